"""Sampling: which frames are taken, against a plain decode of everything."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfdetect.errors import UsageError
from dfdetect.media import DecodeLimits, FrameSampler, decoding_threads, probe
from dfdetect.media.packets import Tally, scan_packets
from dfdetect.media.sampler import nearest
from dfdetect.media.source import opened_video
from dfdetect.media.timeline import Timeline
from dfdetect.media.video import decoded
from dfdetect.types import Frame, SamplingSummary

Sampled = Callable[..., tuple[list[Frame], SamplingSummary]]
DecodeAll = Callable[[Path], list[tuple[float | None, NDArray[np.uint8]]]]

# every kind of container and codec that people's clips come in and this machine can write
KINDS = {
    "h264.mp4": {},
    "h264_audio.mov": {"audio": True},
    "h264_late.mkv": {"start_s": 5.0},
    "h264_late.mp4": {"start_s": 5.0},
    "h264.ts": {},
    "h264.flv": {},
    "h264_b_frames.avi": {},
    "h264_raw.h264": {},
    "h264_fractional.mp4": {"fps": Fraction(30000, 1001)},
    "h264_interlaced.mp4": {"options": {"x264-params": "interlaced=1"}},
    "h264_10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "h264_odd.mp4": {"width": 161, "height": 97, "pix_fmt": "yuv444p"},
    "hevc.mp4": {"codec": "libx265"},
    "vp8.webm": {"codec": "libvpx"},
    "vp9_odd.webm": {"codec": "libvpx-vp9", "width": 161, "height": 97},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "fps": 25},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "raw.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "variable.mp4": {"variable_frame_rate": True},
}


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_match_a_plain_decode(
    sampled: Sampled, decode_all: DecodeAll, name: str, clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_clip(tmp_path / name, 40, **KINDS[name])
    frames, summary = sampled(path, rule="all")
    reference = decode_all(path)
    assert [f.index for f in frames] == list(range(40))
    assert [clips.read_index(f.image) for f in frames] == list(range(40))
    for frame, (time_s, image) in zip(frames, reference, strict=True):
        np.testing.assert_array_equal(frame.image, image)
        if time_s is not None and not name.endswith(".avi"):
            assert frame.time_s == pytest.approx(time_s, abs=1e-6)
    assert summary == SamplingSummary("all", n_requested=40, n_wanted=40, n_read=40)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("neighbours", [False, True])
def test_even_sampling_takes_the_same_frames_with_and_without_skipping(
    sampled: Sampled,
    decode_all: DecodeAll,
    name: str,
    neighbours: bool,
    clips: ModuleType,
    tmp_path: Path,
) -> None:
    path = clips.write_clip(tmp_path / name, 45, **KINDS[name])
    frames, summary = sampled(path, count=7, allow_neighbours=neighbours)
    everything = decode_all(path)
    for frame in frames:
        assert clips.read_index(frame.image) == frame.index
        np.testing.assert_array_equal(frame.image, everything[frame.index][1])
    assert summary == SamplingSummary("even", n_requested=7, n_wanted=7, n_read=7)
    if name != "variable.mp4":
        assert [f.index for f in frames] == [(2 * k + 1) * 45 // 14 for k in range(7)]


def test_skipping_decodes_fewer_frames(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 45)
    limits = DecodeLimits()
    n_decoded = []
    for wanted in (None, [3], range(45)):
        with opened_video(path, limits) as (container, stream):
            timeline = scan_packets(path, container, stream, limits).timeline
        exactly = None if wanted is None else frozenset(timeline.ticks[list(wanted)].tolist())
        with opened_video(path, limits) as (container, stream):
            frames = decoded(container, stream, timeline, Tally(), exactly)
            n_decoded.append(sum(1 for _ in frames))
    assert n_decoded[0] == n_decoded[2] == 45
    assert n_decoded[1] < 40


def test_neighbours_are_counted_where_skipping_cannot_be_steered(
    sampled: Sampled, decode_all: DecodeAll, clips: ModuleType, tmp_path: Path
) -> None:
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("no AV1 encoder here")
    options = {"preset": "10", "crf": "5", "svtav1-params": "lp=1"}
    path = clips.write_clip(tmp_path / "av1.mkv", 45, codec="libsvtav1", options=options)
    exact, summary = sampled(path, count=7)
    wanted = [(2 * k + 1) * 45 // 14 for k in range(7)]
    assert [f.index for f in exact] == wanted
    assert summary.n_neighbours == 0
    near, summary = sampled(path, count=7, allow_neighbours=True)
    assert summary.n_read == 7
    assert summary.n_neighbours == sum(f.index not in wanted for f in near) > 0
    everything = decode_all(path)
    for frame in near:
        np.testing.assert_array_equal(frame.image, everything[frame.index][1])


def test_fps_sampling_takes_the_frame_on_screen(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 30, fps=10)
    frames, summary = sampled(path, rule="fps", fps=4)
    assert [f.index for f in frames] == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]
    assert summary == SamplingSummary("fps", n_requested=12, n_wanted=12, n_read=12)
    # asked for more than there are: each once, and both numbers are told
    frames, summary = sampled(path, rule="fps", fps=20)
    assert [f.index for f in frames] == list(range(30))
    assert (summary.n_requested, summary.n_wanted, summary.n_read) == (60, 30, 30)


def test_a_short_clip_gives_all_its_frames_once(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    frames, summary = sampled(clips.write_clip(tmp_path / "short.mp4", 5))
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert (summary.n_requested, summary.n_wanted, summary.n_read) == (32, 5, 5)


def test_variable_frame_rate_samples_time_not_frames(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
    # ten quick frames, then ten slow ones; the last is shown for the nominal 0.1 s, to 9.2 s
    times = [i / 10 for i in range(10)] + [1 + 0.9 * i for i in range(10)]
    path = clips.write_clip(tmp_path / "variable.mkv", 20, times_s=times)
    info = probe(path)
    assert info.variable_frame_rate
    frames, _ = sampled(path, count=5)
    shown = [max(i for i, t in enumerate(times) if t <= at) for at in (0.92, 2.76, 4.6, 6.44, 8.28)]
    assert [f.index for f in frames] == shown
    assert [f.time_s for f in frames] == pytest.approx([times[i] for i in shown], abs=1e-3)


def test_sampling_is_deterministic(sampled: Sampled, clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 64, width=320, height=180)
    runs = [sampled(path, count=9, allow_neighbours=True) for _ in range(3)]
    assert len({tuple((f.index, f.time_s, f.image.tobytes()) for f in run[0]) for run in runs}) == 1


def test_a_stream_is_iterated_once_and_then_has_its_summary(
    clips: ModuleType, tmp_path: Path
) -> None:
    stream = FrameSampler(count=2).sample(probe(clips.write_clip(tmp_path / "clip.mp4", 8)))
    iterator = iter(stream)
    next(iterator)
    with pytest.raises(RuntimeError, match="all frames"):
        _ = stream.summary
    list(iterator)
    assert stream.summary.n_read == 2
    with pytest.raises(RuntimeError, match="once"):
        iter(stream)


@pytest.mark.parametrize(
    "kwargs", [{"rule": "evn"}, {"count": 0}, {"fps": 0}, {"fps": float("nan")}]
)
def test_senseless_sampling_is_refused(kwargs: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        FrameSampler(**kwargs)  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own counts")
def test_memory_does_not_grow_with_the_clip(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(
        tmp_path / "long.mp4", 160, width=640, height=480, options={"preset": "ultrafast"}
    )
    gc.collect()
    gc.disable()  # cycles that only the collector breaks would hold frames for long
    try:
        resident = [
            int(Path("/proc/self/statm").read_text().split()[1])
            for _ in FrameSampler(rule="all").sample(probe(path))
        ]
    finally:
        gc.enable()
    grown = (resident[-1] - resident[40]) * os.sysconf("SC_PAGE_SIZE")
    assert grown < 20 * 460_800  # bytes of one frame as decoded; 120 frames were read between


def test_media_needs_no_learning_library() -> None:
    code = (
        "import sys, dfdetect.media;"
        "heavy = {'torch', 'scipy', 'sklearn', 'pandas', 'pyarrow', 'hydra', 'matplotlib'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


ascending_ticks = st.lists(st.integers(1, 50), min_size=0, max_size=80).map(
    lambda gaps: np.cumsum([0, *gaps])
)


@given(ticks=ascending_ticks, last=st.integers(1, 50), count=st.integers(1, 100))
def test_even_gives_as_many_different_frames_as_there_can_be(
    ticks: NDArray[np.int64], last: int, count: int
) -> None:
    timeline = Timeline(ticks - 17, Fraction(1, 90), last)
    positions = timeline.even(count).tolist()
    assert len(positions) == min(count, len(ticks))
    assert positions == sorted(set(positions))
    assert 0 <= positions[0] <= positions[-1] < len(ticks)
    # where the frames on screen at the wanted times differ, they are the ones taken
    span = int(ticks[-1]) + last
    wanted = [Fraction(2 * k + 1, 2 * count) * span for k in range(count)]
    shown = [max(i for i, tick in enumerate(ticks) if tick <= at) for at in wanted]
    if len(set(shown)) == count:
        assert positions == shown


@given(ticks=ascending_ticks, last=st.integers(1, 50), fps=st.floats(0.1, 200))
def test_every_takes_the_frames_on_screen_at_regular_times(
    ticks: NDArray[np.int64], last: int, fps: float
) -> None:
    timeline = Timeline(ticks + 5, Fraction(1, 90), last)
    positions, n_times = timeline.every(fps)
    step = 90 / Fraction(fps).limit_denominator(1_000_000)
    times = [k * step for k in range(n_times + 1)]
    assert times[-1] >= ticks[-1] + last > times[-2]
    shown = {max(i for i, tick in enumerate(ticks) if tick <= at) for at in times[:-1]}
    assert positions.tolist() == sorted(shown)


@given(
    present=st.sets(st.integers(0, 40)).map(sorted), wanted=st.sets(st.integers(0, 40)).map(sorted)
)
def test_stand_ins_fill_gaps_without_disorder(present: list[int], wanted: list[int]) -> None:
    picked = list(nearest([(p, str(p)) for p in present], wanted))
    positions = [p for p, _, _ in picked]
    assert positions == sorted(set(positions))
    assert set(positions) <= set(present)
    assert len(positions) <= len(wanted)
    exact = {p for p, _, stands_in in picked if not stands_in}
    assert exact == set(present) & set(wanted)
    assert all(item == str(p) for p, item, _ in picked)
    if wanted and present:
        assert picked


def test_a_lone_gap_takes_the_nearer_side() -> None:
    def taken(present: list[int], wanted: list[int]) -> list[int]:
        return [p for p, _, _ in nearest([(p, p) for p in present], wanted)]

    assert taken([0, 4, 6, 9], [5]) == [4]
    assert taken([0, 2, 6, 9], [5]) == [6]
    assert taken([0, 2, 6, 9], [5, 6]) == [2, 6]
    assert taken([0, 2, 9], [4, 5, 6]) == [2, 9]
    assert taken([0, 2], [5]) == [2]


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "DFDC/dfdc_train_part_0/lynaeydofd.mp4",
        "FaceForensics++/manipulated_sequences/Deepfakes/c23/videos/994_986.mp4",
        "FaceForensics++/original_sequences/youtube/c23/videos/055.mp4",
    ],
)
def test_real_clips_match_a_selection_from_everything(
    sampled: Sampled, name: str, shared_data: Path
) -> None:
    path = shared_data / "clips" / name
    frames, summary = sampled(path)
    skipped, skipped_summary = sampled(path, allow_neighbours=True)
    assert summary.n_read == skipped_summary.n_read == 32
    assert summary.n_neighbours == summary.n_decode_errors == 0
    by_index = {f.index: f for f in frames}
    n_seen = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in enumerate(container.decode(video=0)):
            n_seen += 1
            for kept in (by_index.pop(index, None), next(iter(skipped), None)):
                if kept is not None and kept.index == index:
                    np.testing.assert_array_equal(kept.image, frame.to_ndarray(format="rgb24"))
                    assert kept.time_s == pytest.approx(frame.time, abs=1e-6)
                    skipped = [f for f in skipped if f is not kept]
    assert not by_index
    assert not skipped
    assert [f.index for f in frames] == [(2 * k + 1) * n_seen // 64 for k in range(32)]


@pytest.mark.parametrize("seed", range(6))
def test_leaving_frames_out_changes_nothing_in_a_damaged_clip(
    sampled: Sampled,
    seed: int,
    clips: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 120)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    # the pictures lie in the middle; header and index stay whole
    for place in rng.integers(len(content) // 4, 3 * len(content) // 4, 1 + 2 * seed):
        content[place] ^= 0x55
    path.write_bytes(content)
    with decoding_threads(1):
        quick, quick_summary = sampled(path, count=9)
        monkeypatch.setattr("dfdetect.media.sampler._CERTAIN", ())
        plain, plain_summary = sampled(path, count=9)
    assert quick_summary == plain_summary
    assert [f.index for f in quick] == [f.index for f in plain]
    for one, other in zip(quick, plain, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
