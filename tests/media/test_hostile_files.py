"""Broken, hostile and forbidden files: read as far as they go, or refused in one sentence."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfdetect.errors import UnreadableVideo
from dfdetect.media import printable, probe
from dfdetect.types import Frame, SamplingSummary

Sampled = Callable[..., tuple[list[Frame], SamplingSummary]]


def test_hostile_files_are_read_or_refused_in_one_sentence(
    sampled: Sampled, clips: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for hostile in clips.HOSTILE.values():
        path = hostile.make(tmp_path / hostile.file_name)
        if hostile.readable:
            for neighbours in (False, True):
                frames, summary = sampled(path, count=4, allow_neighbours=neighbours)
                assert 1 <= len(frames) == summary.n_read <= 4
            frames, _ = sampled(path, rule="all")
            assert hostile.n_frames in (None, len(frames))
            continue
        with pytest.raises(UnreadableVideo) as refusal:
            probe(path)
        said = str(refusal.value)
        assert said.startswith(printable(path))
        assert "\n" not in said
        assert refusal.value.exit_code == 5
    assert capfd.readouterr() == ("", "")


def test_refusals_tell_causes_apart(clips: ModuleType, tmp_path: Path) -> None:
    causes = {
        "empty": "is empty",
        "text": "not a video or picture",
        "playlist": "not a video or picture",
        "headless": "index is missing",
        "audio_only": "sound but no video",
        "no_frames": "without a single frame",
        "undecodable": "none of its frames can be decoded",
    }
    assert set(causes) == {name for name, kind in clips.HOSTILE.items() if not kind.readable}
    for name, cause in causes.items():
        hostile = clips.HOSTILE[name]
        with pytest.raises(UnreadableVideo, match=cause):
            probe(hostile.make(tmp_path / hostile.file_name))


def test_truncated_video_gives_what_is_left_and_says_so(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_truncated(tmp_path / "cut.mp4", 90, share=0.7)
    left, summary = sampled(path, rule="all")
    assert [clips.read_index(f.image) for f in left] == list(range(len(left)))
    assert 10 < len(left) < 90
    assert summary.n_decode_errors == 1
    assert any("90 frames" in note for note in summary.notes)
    assert any("9.00 s" in note for note in summary.notes)
    frames, summary = sampled(path, count=8)
    assert (summary.n_requested, summary.n_read, summary.n_neighbours) == (8, 8, 0)
    assert frames[-1].index >= len(left) * 7 // 8
    assert probe(path).duration_s == pytest.approx(len(left) / 10)


def test_corrupt_middle_is_counted_and_the_rest_is_read(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_corrupt(tmp_path / "corrupt.mp4", 60, range(24, 30))
    frames, summary = sampled(path, rule="all")
    assert summary.n_decode_errors == 6
    assert summary.n_read == 54
    assert any("damaged" in note for note in summary.notes)
    # places in the clip stay what they were, before the damage and after the next key frame
    sound = [f for f in frames if f.index < 20 or f.index >= 36]
    assert len(sound) == 44
    assert all(clips.read_index(f.image) == f.index for f in sound)
    for neighbours in (False, True):
        _, summary = sampled(path, count=12, allow_neighbours=neighbours)
        assert summary.n_read == 12
        assert summary.n_decode_errors > 0
        assert summary.n_neighbours > 0


def test_a_header_that_claims_too_much_loses_no_frames(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_lying_duration(tmp_path / "lying.mkv", 60, fps=10, claim_s=10)
    info = probe(path)
    assert info.duration_s == pytest.approx(6)
    frames, summary = sampled(path)
    assert (summary.n_requested, summary.n_read) == (32, 32)
    assert frames[-1].time_s > 5.7
    assert summary.notes == ("the header claims 10.00 s, the frames last 6.00 s",)


def test_an_edit_list_moves_the_beginning(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_edited(tmp_path / "edited.mp4", 40, skipped=7)
    frames, summary = sampled(path, rule="all")
    assert [f.index for f in frames] == list(range(33))
    assert [clips.read_index(f.image) for f in frames] == list(range(7, 40))
    assert frames[0].time_s == 0
    assert summary == SamplingSummary("all", n_requested=33, n_wanted=33, n_read=33)


def test_a_stream_without_count_or_duration(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_clip(
        tmp_path / "live.mkv", 50, container="matroska", container_options={"live": "1"}
    )
    assert probe(path).n_frames is None
    assert probe(path).duration_s == pytest.approx(5)
    frames, summary = sampled(path, count=10)
    assert [clips.read_index(f.image) for f in frames] == list(range(2, 50, 5))
    assert summary.notes == ()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    spots=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20),
    keep=st.floats(0.05, 1),
    kind=st.sampled_from(["a.mp4", "a.mkv", "a.ts", "a.webm"]),
)
def test_noise_never_escapes_as_another_error(
    sampled: Sampled,
    spots: list[tuple[float, int]],
    keep: float,
    kind: str,
    clips: ModuleType,
    tmp_path: Path,
) -> None:
    whole = tmp_path / kind
    if not whole.exists():
        clips.write_clip(whole, 12, codec="libvpx-vp9" if kind == "a.webm" else "libx264")
    content = bytearray(whole.read_bytes())
    for place, value in spots:
        # half of the noise goes to the header
        reach = len(content) if value % 2 else min(len(content), 1500)
        content[min(int(place * reach), len(content) - 1)] = value
    noisy = tmp_path / f"noisy{whole.suffix}"
    noisy.write_bytes(content[: max(20, int(keep * len(content)))])
    try:
        frames, summary = sampled(noisy, count=5)
    except UnreadableVideo:
        return
    assert len(frames) == summary.n_read
    assert [f.index for f in frames] == sorted({f.index for f in frames})
    assert [f.time_s for f in frames] == sorted(f.time_s for f in frames)


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder that an ordinary user may enter, with this process acting as one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)


def test_paths_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"missing\.mp4 does not exist"):
        probe(tmp_path / "missing.mp4")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnreadableVideo, match="does not exist"):
        probe(tmp_path / "file" / "below.mp4")
    with pytest.raises(UnreadableVideo, match="cannot be read"):
        probe(tmp_path / ("long" * 200))
    with pytest.raises(UnreadableVideo, match="not a valid path"):
        probe(Path("nul\0.mp4"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UnreadableVideo, match="neither a file nor a folder"):
        probe(tmp_path / "pipe.mp4")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no user rights of this kind here")
def test_forbidden_files_and_folders_are_refused(clips: ModuleType, ordinary_user: Path) -> None:
    user = os.geteuid()
    os.seteuid(os.getuid())
    path = clips.write_clip(ordinary_user / "secret.mp4", 2)
    (ordinary_user / "folder").mkdir(mode=0)
    path.chmod(0)
    os.seteuid(user)
    for forbidden in (path, ordinary_user / "folder"):
        with pytest.raises(UnreadableVideo, match="may not be read"):
            probe(forbidden)


def test_names_are_printed_on_one_line(sampled: Sampled, clips: ModuleType, tmp_path: Path) -> None:
    assert printable("a b'c.mp4") == "a b'c.mp4"
    assert printable("a\nb\x1b[31m\u202e.mp4") == "a\\nb\\x1b[31m\\u202e.mp4"
    assert printable(os.fsdecode(b"\xff.mp4")) == "\\udcff.mp4"
    assert printable("größe 東.mp4") == "größe 東.mp4"
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n:%03d.mp4"))
    plain = clips.write_clip(tmp_path / "plain.mp4", 3)
    plain.rename(odd)
    assert len(sampled(odd)[0]) == 3


def test_names_that_look_like_protocols_are_files(
    sampled: Sampled, clips: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clips.write_clip(tmp_path / "plain.mp4", 3)
    for name in ("http:x.mp4", "concat:plain.mp4|plain.mp4", "-i.mp4", "pipe:0"):
        Path(name).write_bytes(Path("plain.mp4").read_bytes())
        assert len(sampled(Path(name))[0]) == 3
