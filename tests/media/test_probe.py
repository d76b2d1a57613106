"""What the container says, and how pictures and their folders are clips."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dfdetect.errors import UnreadableVideo
from dfdetect.media import DecodeLimits, FrameSampler, probe
from dfdetect.types import Frame, SamplingSummary

Sampled = Callable[..., tuple[list[Frame], SamplingSummary]]
DecodeAll = Callable[[Path], list[tuple[float | None, NDArray[np.uint8]]]]


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
def test_rotated_video_stands_upright(
    sampled: Sampled, turn: int, clips: ModuleType, tmp_path: Path
) -> None:
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
    sampled: Sampled,
    decode_all: DecodeAll,
    matrix: tuple[int, int, int, int],
    clips: ModuleType,
    tmp_path: Path,
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
    sampled: Sampled,
    matrix_tag: int,
    range_tag: int,
    red: float,
    blue: float,
    clips: ModuleType,
    tmp_path: Path,
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


def test_a_picture_is_a_clip_of_one_frame_whatever_its_name(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
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
def test_exif_orientation_is_applied(sampled: Sampled, orientation: int, tmp_path: Path) -> None:
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


def test_deep_grey_and_transparent_pictures_become_rgb(sampled: Sampled, tmp_path: Path) -> None:
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


def test_a_folder_of_pictures_is_a_clip_in_natural_order(
    sampled: Sampled, clips: ModuleType, tmp_path: Path
) -> None:
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


def test_an_8k_still_is_admitted(sampled: Sampled, tmp_path: Path) -> None:
    path = tmp_path / "8k.jpg"
    path.write_bytes(cv2.imencode(".jpg", np.zeros((4320, 7680, 3), np.uint8))[1].tobytes())
    frames, summary = sampled(path)
    assert frames[0].image.shape == (4320, 7680, 3)
    assert (summary.n_requested, summary.n_read) == (32, 1)
