"""Clips under a condition: real files, read by the same reader, that lost what they should lose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from dfdetect.data.datasets.synthetic import draw_clip, write_clip
from dfdetect.errors import ContractError, UnreadableVideo, UsageError
from dfdetect.evaluation.robustness.degradations import SEVERITIES
from dfdetect.evaluation.robustness.laundering import (
    Condition,
    conditions_of,
    degradation_names,
    described,
    launder,
)
from dfdetect.evaluation.robustness.profiles import profile_names
from dfdetect.media import FrameSampler, probe
from dfdetect.types import REAL, Frame, Image

CLEAN = Condition("clean")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated person, 320 × 240, 12 frames at 10 a second."""
    path = tmp_path_factory.mktemp("source") / "clip.mp4"
    write_clip(path, draw_clip(np.random.default_rng(1), 12, REAL), 10)
    return path


def frames_of(path: Path) -> list[Frame]:
    return list(FrameSampler("all").sample(probe(path)))


def closeness(reference: Sequence[Frame], found: Sequence[Frame]) -> float:
    by_time = {round(frame.time_s, 3): frame.image for frame in reference}
    pairs = [(by_time[round(frame.time_s, 3)], frame.image) for frame in found]
    assert all(a.shape == b.shape for a, b in pairs)
    return float(np.mean([peak_signal_noise_ratio(a, b) for a, b in pairs]))


def test_a_clean_copy_is_the_same_frame_for_frame(clip: Path, tmp_path: Path) -> None:
    copy = launder(clip, CLEAN, tmp_path / "copy.mp4")
    for one, other in zip(frames_of(clip), frames_of(copy), strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.time_s == other.time_s
    first, second = probe(clip), probe(copy)
    assert (first.fps, first.duration_s, first.n_frames) == (
        second.fps, second.duration_s, second.n_frames,
    )  # fmt: skip


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_codecs_lose_more_with_severity(codec: str, clip: Path, tmp_path: Path) -> None:
    found = [launder(clip, Condition(codec, one), tmp_path / f"{one}.mp4") for one in SEVERITIES]
    assert {probe(path).codec for path in found} == {"h264" if codec == "h264" else "hevc"}
    source = frames_of(clip)
    assert np.diff([closeness(source, frames_of(path)) for path in found]).max() < 0
    assert np.diff([path.stat().st_size for path in found]).max() < 0


def test_degraded_pictures_are_stored_without_loss(clip: Path, tmp_path: Path) -> None:
    from dfdetect.evaluation.robustness.degradations import DEGRADATIONS, picture_rng

    found = frames_of(launder(clip, Condition("noise", 2), tmp_path / "noise.mp4", seed=9))
    change = DEGRADATIONS.get("noise")
    for frame, other in zip(frames_of(clip), found, strict=True):
        wanted = change(frame.image, 2, picture_rng(9, "noise", frame.index))
        assert np.array_equal(wanted, other.image)


def test_resized_clips_are_smaller_with_severity_and_keep_their_shape(
    clip: Path, tmp_path: Path
) -> None:
    sizes = []
    for severity in SEVERITIES:
        video = probe(launder(clip, Condition("resize", severity), tmp_path / f"{severity}.mp4"))
        sizes.append((video.width, video.height))
    assert sizes == [(240, 180), (160, 120), (120, 90), (80, 60), (60, 44)]


def test_dropped_frames_leave_the_others_at_their_times(clips: ModuleType, tmp_path: Path) -> None:
    source = clips.write_clip(tmp_path / "source.mp4", 25, variable_frame_rate=True)
    shown = frames_of(source)
    assert probe(source).variable_frame_rate
    for severity, nth in ((1, 2), (5, 8)):
        found = frames_of(
            launder(source, Condition("frame_rate", severity), tmp_path / f"{severity}.mp4")
        )
        assert [clips.read_index(one.image) for one in found] == list(range(0, 25, nth))
        wanted = [frame.time_s for frame in shown[::nth]]
        assert [one.time_s for one in found] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("rotation", [90, 270])
def test_turned_clips_come_out_upright(rotation: int, clips: ModuleType, tmp_path: Path) -> None:
    source = clips.write_clip(tmp_path / "source.mp4", 6, rotation=rotation)
    for condition in (CLEAN, Condition("h264", 1), Condition("jpeg", 1)):
        out = launder(source, condition, tmp_path / f"{condition.slug}.mp4")
        video = probe(out)
        assert video.rotation == 0
        assert (video.width, video.height) == (probe(source).width, probe(source).height)
        assert [clips.read_index(one.image) for one in frames_of(out)] == list(range(6))


@pytest.mark.parametrize("name", profile_names())
def test_profiles_give_even_clips_and_the_same_bytes_again(
    name: str, clip: Path, tmp_path: Path
) -> None:
    once, again = (
        launder(clip, Condition(name), tmp_path / folder / "clip.mp4", seed=4) for folder in "ab"
    )
    assert once.read_bytes() == again.read_bytes()
    video = probe(once)
    assert (video.width % 2, video.height % 2) == (0, 0)
    assert video.duration_s == pytest.approx(1.2, abs=0.11)
    found = frames_of(once)
    assert len(found) == 12
    spread = [float(one.image.std()) for one in found]
    assert min(spread) > 15


def test_profiles_do_what_their_steps_say(clip: Path, tmp_path: Path) -> None:
    def size(name: str) -> tuple[int, int]:
        video = probe(launder(clip, Condition(name), tmp_path / f"{name}.mp4"))
        return video.width, video.height

    assert size("messenger") == (320, 240)
    assert size("feed") == (294, 220)
    width, height = size("story")
    assert width / height == pytest.approx(9 / 16, abs=0.01)
    # a white bar below the picture
    assert size("repost_chain")[1] > 220
    bottom = frames_of(tmp_path / "repost_chain.mp4")[0].image[-8:]
    assert np.median(bottom) > 230
    # corners of a filmed screen move, another seed moves them elsewhere
    one, other = (
        frames_of(launder(clip, Condition("screen_recording"), tmp_path / f"s{k}.mp4", seed=k))
        for k in (1, 2)
    )
    assert peak_signal_noise_ratio(one[3].image, other[3].image) < 30


def test_a_window_keeps_the_beginning(clip: Path, tmp_path: Path) -> None:
    found = frames_of(launder(clip, Condition("blur", 1), tmp_path / "out.mp4", window_s=0.5))
    assert [one.time_s for one in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_folders_of_pictures_become_clips(portrait: Image, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, side in enumerate((96, 96, 64)):
        picture = cv2.resize(portrait, (side, side))
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
    for condition in (Condition("jpeg", 2), Condition("h265", 1)):
        out = launder(folder, condition, tmp_path / f"{condition.slug}.mp4")
        shapes = [one.image.shape for one in frames_of(out)]
        assert shapes == [(96, 96, 3)] * 3
        assert [one.time_s for one in frames_of(out)] == [
            one.time_s for one in FrameSampler("all").sample(probe(folder))
        ]


def test_a_finished_clip_is_not_made_again(clip: Path, tmp_path: Path) -> None:
    out = launder(clip, Condition("jpeg", 5), tmp_path / "out.mp4", seed=1)
    before = out.stat().st_mtime_ns
    assert launder(clip, Condition("jpeg", 5), out, seed=1) == out
    assert out.stat().st_mtime_ns == before
    for other in (Condition("jpeg", 4), CLEAN):
        with pytest.raises(ContractError, match=r"rm .*out\.mp4"):
            launder(clip, other, out, seed=1)
    with pytest.raises(ContractError, match="was not made of"):
        launder(clip, Condition("jpeg", 5), out, seed=2)
    out.write_text("no clip")
    with pytest.raises(ContractError, match="was not made of"):
        launder(clip, Condition("jpeg", 5), out, seed=1)


def test_unreadable_clips_leave_nothing_behind(clips: ModuleType, tmp_path: Path) -> None:
    for name in ("missing", "empty", "text", "undecodable"):
        if name != "missing":
            clips.HOSTILE[name].make(tmp_path / f"{name}.mp4")
        out = tmp_path / "out" / f"{name}.mp4"
        with pytest.raises(UnreadableVideo):
            launder(tmp_path / f"{name}.mp4", Condition("messenger"), out)
        assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("condition", ["h264 1", "h265 1", "resize 5", "screen_recording", "story"])
@pytest.mark.parametrize(
    "name", ["one_frame", "tiny", "ten_bit", "odd_sides", "edited", "truncated", "no_header_count"]
)
def test_odd_clips_keep_every_frame_and_its_time(
    name: str, condition: str, clips: ModuleType, tmp_path: Path
) -> None:
    kind = clips.HOSTILE[name]
    source = kind.make(tmp_path / kind.file_name)
    out = launder(source, Condition.parse(condition)[0], tmp_path / "out" / "out.mp4")
    video = probe(out)
    assert (video.width % 2, video.height % 2) == (0, 0)
    times = [one.time_s for one in frames_of(source)]
    assert [one.time_s for one in frames_of(out)] == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_the_shortest_clips_can_be_coded(n_frames: int, clips: ModuleType, tmp_path: Path) -> None:
    source = clips.write_clip(tmp_path / "source.mp4", n_frames)
    twice = tmp_path / "twice.yaml"
    twice.write_text("steps: [{step: reencode, codec: h265, crf: 20}, {step: scale, share: 0.5}]")
    for condition in (Condition("h265", 1), Condition(str(twice))):
        # memory that others left behind once decided whether this went well
        for attempt in range(5):
            out = launder(source, condition, tmp_path / f"{condition.slug}-{attempt}.mp4")
            shown = [clips.read_index(one.image) for one in frames_of(out)]
            assert shown == list(range(n_frames))


def test_damaged_clips_keep_what_can_be_read(clips: ModuleType, tmp_path: Path) -> None:
    source = clips.write_corrupt(tmp_path / "corrupt.mp4")
    readable = frames_of(source)
    assert 0 < len(readable) < 60
    found = frames_of(launder(source, Condition("saturation", 1), tmp_path / "out.mp4"))
    assert [one.time_s for one in found] == pytest.approx(
        [one.time_s - readable[0].time_s for one in readable], abs=1e-4
    )


def test_words_mean_conditions() -> None:
    assert [one.name for one in conditions_of(["jpeg:2", "messenger", "jpeg 2"])] == [
        "clean", "jpeg 2", "messenger",
    ]  # fmt: skip
    everything = conditions_of(["all"])
    assert len(everything) == 1 + 5 * len(degradation_names()) + len(profile_names())
    assert len({one.slug for one in everything}) == len(everything)
    assert {"h264", "h265", "frame_rate", "resize", "jpeg", "pixelation"} <= set(
        degradation_names()
    )
    assert [name for name, _, _ in described(conditions_of(["blur", "feed"]))] == ["blur", "feed"]
    with pytest.raises(UsageError, match="did you mean 'messenger'"):
        conditions_of(["mesenger"])
    with pytest.raises(UsageError, match="severities 1 to 5, not 7"):
        conditions_of(["jpeg 7"])
    with pytest.raises(UsageError, match="feed has no severities"):
        conditions_of(["feed 2"])


def test_every_condition_says_whose_values_it_has() -> None:
    rows = described(conditions_of(["all"]))
    assert {name for name, _, _ in rows} == {*degradation_names(), *profile_names()}
    for name, _, source in rows:
        assert re.search(r"our choice|arXiv|DeeperForensics", source), name


def test_a_profile_of_ones_own_is_read_and_checked(clip: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("steps:\n  - step: border\n    aspect: 1\n    fill: white\n")
    (_, condition) = conditions_of([str(own)])
    assert condition.name == "mine"
    image = frames_of(launder(clip, condition, tmp_path / "mine.mp4"))[0].image
    assert image.shape == (320, 320, 3)
    assert (image[:40] == 255).all()
    assert np.array_equal(image[40:-40], frames_of(clip)[0].image)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps: []", "has no steps"),
        ("chain: []", "one key, `steps`"),
        ("steps: [{crf: 3}]", "step 1 names no step"),
        ("steps: [{step: reencod, crf: 30}]", "did you mean 'reencode'"),
        ("steps: [{step: reencode, crff: 30}]", "no key 'crff'; did you mean 'crf'"),
        ("steps: [{step: reencode}]", "needs the key 'crf'"),
        ("steps: [{step: reencode, crf: high}]", "crf is 'high', but a int is wanted"),
        ("steps: [{step: reencode, crf: true}]", "crf is True"),
        ("steps: [{step: reencode, crf: 99}]", "crf 99"),
        ("steps: [{step: reencode, crf: 20, codec: vp9}]", "unknown codec 'vp9'"),
        ("steps: [{step: scale}, {step: crop, share: 2}]", "step 2: crop share 2"),
        ("steps: [{step: degrade, name: jpeg, severity: 9}]", "no severity 9"),
        ("steps: [", "is no YAML"),
    ],
)
def test_faulty_profiles_are_refused_in_a_sentence(
    text: str, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "faulty.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence) as refusal:
        conditions_of([str(path)])
    assert "faulty.yaml" in str(refusal.value)
