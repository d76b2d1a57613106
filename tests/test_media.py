"""Clips into frames: what is taken, when it is shown, and what becomes of broken files."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfdetect.errors import UnreadableVideo, UsageError
from dfdetect.media import DecodeLimits, FrameSampler, printable, probe
from dfdetect.media.packets import Tally, scan_packets
from dfdetect.media.sampler import nearest
from dfdetect.media.source import opened_video
from dfdetect.media.timeline import Timeline
from dfdetect.media.video import decoded
from dfdetect.types import Frame, SamplingSummary

Image = NDArray[np.uint8]

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


def sampled(path: Path, **kwargs: object) -> tuple[list[Frame], SamplingSummary]:
    stream = FrameSampler(**kwargs).sample(probe(path))  # type: ignore[arg-type]
    frames = list(stream)
    return frames, stream.summary


def decode_all(path: Path) -> list[tuple[float | None, Image]]:
    """The reference: every frame by a plain loop, with its time after the first frame."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    start = frames[0][0]
    return [(None if t is None or start is None else t - start, image) for t, image in frames]


# --- whole clips against a plain decode of everything ---


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_match_a_plain_decode(name: str, clips: ModuleType, tmp_path: Path) -> None:
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
    name: str, neighbours: bool, clips: ModuleType, tmp_path: Path
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
    clips: ModuleType, tmp_path: Path
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


def test_fps_sampling_takes_the_frame_on_screen(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 30, fps=10)
    frames, summary = sampled(path, rule="fps", fps=4)
    assert [f.index for f in frames] == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]
    assert summary == SamplingSummary("fps", n_requested=12, n_wanted=12, n_read=12)
    # asked for more than there are: each once, and both numbers are told
    frames, summary = sampled(path, rule="fps", fps=20)
    assert [f.index for f in frames] == list(range(30))
    assert (summary.n_requested, summary.n_wanted, summary.n_read) == (60, 30, 30)


def test_a_short_clip_gives_all_its_frames_once(clips: ModuleType, tmp_path: Path) -> None:
    frames, summary = sampled(clips.write_clip(tmp_path / "short.mp4", 5))
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert (summary.n_requested, summary.n_wanted, summary.n_read) == (32, 5, 5)


def test_variable_frame_rate_samples_time_not_frames(clips: ModuleType, tmp_path: Path) -> None:
    # ten quick frames, then ten slow ones; the last is shown for the nominal 0.1 s, to 9.2 s
    times = [i / 10 for i in range(10)] + [1 + 0.9 * i for i in range(10)]
    path = clips.write_clip(tmp_path / "variable.mkv", 20, times_s=times)
    info = probe(path)
    assert info.variable_frame_rate
    frames, _ = sampled(path, count=5)
    shown = [max(i for i, t in enumerate(times) if t <= at) for at in (0.92, 2.76, 4.6, 6.44, 8.28)]
    assert [f.index for f in frames] == shown
    assert [f.time_s for f in frames] == pytest.approx([times[i] for i in shown], abs=1e-3)


def test_sampling_is_deterministic(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 64, width=320, height=180)
    runs = [sampled(path, count=9, allow_neighbours=True) for _ in range(3)]
    assert len({tuple((f.index, f.time_s, f.image.tobytes()) for f in run[0]) for run in runs}) == 1


# --- what probe says ---


def test_probe_describes_a_video(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 30, fps=Fraction(30000, 1001), audio=True)
    info = probe(path)
    assert (info.codec, info.pixel_format, info.width, info.height) == ("h264", "yuv420p", 160, 96)
    assert info.container.startswith("mov")
    assert info.fps == pytest.approx(30000 / 1001, rel=1e-9)
    assert info.duration_s == pytest.approx(1.001, abs=1e-4)
    assert info.n_frames == 30
    assert (info.rotation, info.variable_frame_rate, info.has_audio) == (0, False, True)
    tags = dict(info.tags)
    assert tags["encoder"].startswith("Lavf")
    assert tags["video.handler_name"] == "VideoHandler"
    assert list(info.tags) == sorted(info.tags)
    assert info.images == ()


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotated_video_stands_upright(turn: int, clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "turned.mp4", 40, rotation=turn)
    info = probe(path)
    assert info.rotation == turn
    assert (info.width, info.height) == ((96, 160) if turn % 180 else (160, 96))
    for neighbours in (False, True):
        frames, _ = sampled(path, count=4, allow_neighbours=neighbours)
        assert [f.image.shape for f in frames] == [(info.height, info.width, 3)] * 4
        assert [clips.read_index(f.image) for f in frames] == [f.index for f in frames]


@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)])
def test_mirrored_video_follows_its_display_matrix(
    matrix: tuple[int, int, int, int], clips: ModuleType, tmp_path: Path
) -> None:
    path = clips.write_clip(tmp_path / "plain.mp4", 1)
    stored = decode_all(path)[0][1]
    clips.write_display_matrix(path, *matrix)
    (frame,), _ = sampled(path)
    # the reference: move each stored pixel to (a x + c y, b x + d y), then shift into view
    a, b, c, d = matrix
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    to_x, to_y = a * x + c * y, b * x + d * y
    expected = np.zeros_like(frame.image)
    expected[to_y - to_y.min(), to_x - to_x.min()] = stored
    np.testing.assert_array_equal(frame.image, expected)


@pytest.mark.parametrize(
    ("matrix_tag", "range_tag", "red", "blue"),
    [(2, 0, 0.299, 0.114), (1, 1, 0.2126, 0.0722), (6, 1, 0.299, 0.114), (1, 2, 0.2126, 0.0722)],
    ids=["untagged", "bt709", "bt601", "bt709_full_range"],
)
def test_colours_follow_the_tagged_matrix_and_range(
    matrix_tag: int, range_tag: int, red: float, blue: float, clips: ModuleType, tmp_path: Path
) -> None:
    y, u, v = 128, 90, 160
    planes = np.full((96, 64), y, np.uint8)
    planes[64:80], planes[80:] = u, v
    path = tmp_path / "colour.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = matrix_tag, range_tag
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.colorspace, frame.color_range = matrix_tag, range_tag
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    offset, luma, chroma = (0, 255, 255) if range_tag == 2 else (16, 219, 224)
    grey, cb, cr = (y - offset) / luma, (u - 128) / chroma, (v - 128) / chroma
    r, b = grey + 2 * (1 - red) * cr, grey + 2 * (1 - blue) * cb
    g = (grey - red * r - blue * b) / (1 - red - blue)
    (got,), _ = sampled(path)
    np.testing.assert_allclose(got.image[32, 32], [255 * r, 255 * g, 255 * b], atol=3)


# --- broken and hostile files ---


def test_hostile_files_are_read_or_refused_in_one_sentence(
    clips: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
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


def test_truncated_video_gives_what_is_left_and_says_so(clips: ModuleType, tmp_path: Path) -> None:
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


def test_corrupt_middle_is_counted_and_the_rest_is_read(clips: ModuleType, tmp_path: Path) -> None:
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


def test_a_header_that_claims_too_much_loses_no_frames(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_lying_duration(tmp_path / "lying.mkv", 60, fps=10, claim_s=10)
    info = probe(path)
    assert info.duration_s == pytest.approx(6)
    frames, summary = sampled(path)
    assert (summary.n_requested, summary.n_read) == (32, 32)
    assert frames[-1].time_s > 5.7
    assert summary.notes == ("the header claims 10.00 s, the frames last 6.00 s",)


def test_an_edit_list_moves_the_beginning(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_edited(tmp_path / "edited.mp4", 40, skipped=7)
    frames, summary = sampled(path, rule="all")
    assert [f.index for f in frames] == list(range(33))
    assert [clips.read_index(f.image) for f in frames] == list(range(7, 40))
    assert frames[0].time_s == 0
    assert summary == SamplingSummary("all", n_requested=33, n_wanted=33, n_read=33)


def test_a_stream_without_count_or_duration(clips: ModuleType, tmp_path: Path) -> None:
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
    spots: list[tuple[float, int]], keep: float, kind: str, clips: ModuleType, tmp_path: Path
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


# --- limits ---


def test_limits_are_held_before_decoding(clips: ModuleType, tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", 30)
    with pytest.raises(UnreadableVideo, match=r"160 × 96 px, beyond the limit of 0.01 megapixels"):
        probe(path, DecodeLimits(max_pixels=10_000))
    with pytest.raises(UnreadableVideo, match=r"lasts over 2 s"):
        probe(path, DecodeLimits(max_duration_s=2))
    info = probe(path)
    with pytest.raises(UnreadableVideo, match="megapixels"):
        list(FrameSampler(limits=DecodeLimits(max_pixels=10_000)).sample(info))
    # a header without a duration hides nothing
    live = clips.write_clip(
        tmp_path / "live.mkv", 30, container="matroska", container_options={"live": "1"}
    )
    with pytest.raises(UnreadableVideo, match=r"lasts over 2 s"):
        probe(live, DecodeLimits(max_duration_s=2))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
def test_large_pictures_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"large{suffix}"
    path.write_bytes(cv2.imencode(suffix, np.zeros((300, 400, 3), np.uint8))[1].tobytes())
    assert probe(path).width == 400
    with pytest.raises(UnreadableVideo, match=r"limit"):
        probe(path, DecodeLimits(max_pixels=100_000))


def test_an_8k_still_is_admitted(tmp_path: Path) -> None:
    path = tmp_path / "8k.jpg"
    path.write_bytes(cv2.imencode(".jpg", np.zeros((4320, 7680, 3), np.uint8))[1].tobytes())
    frames, summary = sampled(path)
    assert frames[0].image.shape == (4320, 7680, 3)
    assert (summary.n_requested, summary.n_read) == (32, 1)


# --- pictures ---


def test_a_picture_is_a_clip_of_one_frame_whatever_its_name(
    clips: ModuleType, tmp_path: Path
) -> None:
    image = np.full((40, 60, 3), (200, 100, 20), np.uint8)
    for name in ("still.png", "not really.mp4", "line\nbreak.png"):
        path = tmp_path / name
        path.write_bytes(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
        info = probe(path)
        assert (info.container, info.codec, info.n_frames, info.fps) == ("image", "png", 1, 1)
        assert (info.width, info.height, info.images) == (60, 40, (path,))
        (frame,), _ = sampled(path)
        assert (frame.index, frame.time_s) == (0, 0)
        np.testing.assert_array_equal(frame.image, image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:16, :16] = 255  # light at the top left
    # how the camera stored it: the inverse of what the tag asks for (EXIF 2.3, tag 0x0112)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(stored), [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    entry = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x112, 3, 1, orientation, 0, 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(entry) + 8) + b"Exif\0\0" + entry
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg.tobytes()[:2] + segment + jpeg.tobytes()[2:])
    (frame,), _ = sampled(path)
    np.testing.assert_allclose(frame.image.astype(int), upright.astype(int), atol=8)
    assert (probe(path).width, probe(path).height) == (64, 48)


def test_deep_grey_and_transparent_pictures_become_rgb(tmp_path: Path) -> None:
    grey = np.full((20, 30), 120, np.uint8)
    kinds = {
        "deep.png": np.full((20, 30, 3), 120 * 257, np.uint16),
        "grey.png": grey,
        "alpha.png": np.dstack([grey, grey, grey, np.full_like(grey, 7)]),
    }
    for name, pixels in kinds.items():
        path = tmp_path / name
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        (frame,), _ = sampled(path)
        assert frame.image.shape == (20, 30, 3)
        assert frame.image.dtype == np.uint8
        assert (frame.image == 120).all()


def test_a_folder_of_pictures_is_a_clip_in_natural_order(clips: ModuleType, tmp_path: Path) -> None:
    for i in range(12):
        content = cv2.imencode(".png", clips.coded_image(i))[1].tobytes()
        (tmp_path / f"frame{i}.{'PNG' if i % 2 else 'png'}").write_bytes(content)
    (tmp_path / "notes.txt").write_text("not a frame")
    info = probe(tmp_path)
    assert (info.container, info.n_frames, info.duration_s) == ("folder", 12, 12)
    frames, summary = sampled(tmp_path, count=4)
    assert [(f.index, f.time_s, clips.read_index(f.image)) for f in frames] == [
        (i, float(i), i) for i in (1, 4, 7, 10)
    ]
    assert summary == SamplingSummary("even", n_requested=4, n_wanted=4, n_read=4)
    # a damaged picture is counted and left out
    (tmp_path / "frame4.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    frames, summary = sampled(tmp_path, count=4)
    assert [f.index for f in frames] == [1, 7, 10]
    assert (summary.n_read, summary.n_decode_errors) == (3, 1)


def test_folders_without_a_readable_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="folder without pictures"):
        probe(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(UnreadableVideo, match="holds 2 pictures, none"):
        probe(tmp_path)


# --- paths ---


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


def test_names_are_printed_on_one_line(clips: ModuleType, tmp_path: Path) -> None:
    assert printable("a b'c.mp4") == "a b'c.mp4"
    assert printable("a\nb\x1b[31m\u202e.mp4") == "a\\nb\\x1b[31m\\u202e.mp4"
    assert printable(os.fsdecode(b"\xff.mp4")) == "\\udcff.mp4"
    assert printable("größe 東.mp4") == "größe 東.mp4"
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n:%03d.mp4"))
    plain = clips.write_clip(tmp_path / "plain.mp4", 3)
    plain.rename(odd)
    assert len(sampled(odd)[0]) == 3


def test_names_that_look_like_protocols_are_files(
    clips: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clips.write_clip(tmp_path / "plain.mp4", 3)
    for name in ("http:x.mp4", "concat:plain.mp4|plain.mp4", "-i.mp4", "pipe:0"):
        Path(name).write_bytes(Path("plain.mp4").read_bytes())
        assert len(sampled(Path(name))[0]) == 3


# --- streams ---


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


# --- the rules on their own ---

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


# --- real clips ---


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "DFDC/dfdc_train_part_0/lynaeydofd.mp4",
        "FaceForensics++/manipulated_sequences/Deepfakes/c23/videos/994_986.mp4",
        "FaceForensics++/original_sequences/youtube/c23/videos/055.mp4",
    ],
)
def test_real_clips_match_a_selection_from_everything(name: str, shared_data: Path) -> None:
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
