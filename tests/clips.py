"""Writes small clips, whole and broken, whose frames carry their number in their pixels.

Every maker takes the path to write and returns it; each needs well under a second. Nothing here
depends on the package under test, so that tests can hold its answers against these.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_COLUMNS, _ROWS = 4, 3
_TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
_QUALITY = {
    "libx264": {"preset": "veryfast", "crf": "12", "threads": "1", "bf": "3", "g": "60"},
    "libx265": {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=none:pools=1"},
    "libvpx": {"crf": "10", "b": "2M", "deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"crf": "15", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"qscale": "2"},
    "mjpeg": {"qscale": "2"},
}


def coded_image(index: int, width: int = 160, height: int = 96) -> Image:
    """Return a grey picture that shows `index` (0–4095) as a 4 × 3 grid of light and dark cells.

    The bits are in Gray code, so that neighbours differ in one cell; the first cell, top left,
    holds the highest bit. The cells stay readable down to 16 × 16 pixels and through lossy codecs.
    """
    grey = index ^ (index >> 1)
    n_bits = _COLUMNS * _ROWS
    bits = [(grey >> (n_bits - 1 - i)) & 1 for i in range(n_bits)]
    rows = np.arange(height) * _ROWS // height
    columns = np.arange(width) * _COLUMNS // width
    cells = np.array(bits).reshape(_ROWS, _COLUMNS)[rows][:, columns]
    luma = np.where(cells == 1, 200, 56).astype(np.uint8)
    return np.repeat(luma[:, :, None], 3, axis=2)


def read_index(image: Image) -> int:
    """Return the number that `coded_image` drew into an upright picture."""
    height, width = image.shape[:2]
    grey = 0
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            y, x = (2 * row + 1) * height // (2 * _ROWS), (2 * column + 1) * width // (2 * _COLUMNS)
            grey = (grey << 1) | int(image[y, x].mean() > 128)
    index = 0
    while grey:
        index ^= grey
        grey >>= 1
    return index


def write_clip(
    path: Path,
    frames: int | Sequence[Image] = 30,
    *,
    width: int = 160,
    height: int = 96,
    fps: float | Fraction = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    variable_frame_rate: bool = False,
    times_s: Sequence[float] | None = None,
    start_s: float = 0.0,
    audio: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container: str | None = None,
) -> Path:
    """Write a video; its name's suffix chooses the container unless `container` names it.

    Args:
        path: File to write.
        frames: RGB pictures of one size, or how many `coded_image`s to write.
        width: Width of the coded images in pixels, as stored, before `rotation`.
        height: Height of the coded images, likewise.
        fps: Frames a second.
        codec: Encoder as libav names it.
        pix_fmt: Pixel format of the stream.
        rotation: Clockwise degrees by which a player turns the stored picture (MP4 and MOV):
            coded images are stored turned the other way, pictures given as arrays as they are.
        variable_frame_rate: Show frames for 1, 1, 3, 1, 1, 3 … frame durations.
        times_s: When each frame is shown, instead of `fps` and `variable_frame_rate`.
        start_s: Time of the first frame.
        audio: Add a stream of silence as long as the video.
        options: Options of the encoder, over the defaults for it.
        container_options: Options of the container's muxer.
        container: Name of the muxer.
    """
    if isinstance(frames, int):
        turned = rotation % 180 == 90
        sides = (height, width) if turned else (width, height)
        images = [np.rot90(coded_image(i, *sides), k=rotation // 90) for i in range(frames)]
    else:
        images = list(frames)
    rate = Fraction(fps).limit_denominator(100_000)
    tick_s, ticks = _clock(len(images), rate, variable_frame_rate, times_s, start_s)
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = _QUALITY.get(codec, {}) | (options or {})
        stream.codec_context.time_base = tick_s
        sound = output.add_stream("aac", rate=16_000) if audio else None
        for image, tick in zip(images, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = tick, tick_s
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if sound is not None:
            _write_silence(output, sound, len(images) / float(rate))
    if rotation:
        write_display_matrix(path, *_TURNS[rotation])
    return path


def write_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Overwrite the display matrix of an MP4: a player shows (x, y) at (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    # box tkhd, version 0: nine numbers a b u c d v x y w stand 40 bytes into its content
    start = content.index(b"tkhd") + 44
    one = 1 << 16
    struct.pack_into(">9i", content, start, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with a stream of silence and no video."""
    with av.open(str(path), "w") as output:
        _write_silence(output, output.add_stream("aac", rate=16_000), seconds)
    return path


def write_empty(path: Path) -> Path:
    """Write a file of 0 bytes."""
    path.write_bytes(b"")
    return path


def write_text(path: Path) -> Path:
    """Write a text under whatever name is given."""
    path.write_text("This is no video.\n" * 40)
    return path


def write_playlist(path: Path) -> Path:
    """Write a playlist that points to an address on the network."""
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://192.0.2.1/a.ts\n")
    return path


def write_without_frames(path: Path) -> Path:
    """Write an MP4 with a video stream that has not one frame."""
    content = bytearray(write_clip(path, 1).read_bytes())
    # sample tables: the number of entries stands 8 bytes after the name, in stsz 12
    for box, offset in ((b"stts", 8), (b"stsc", 8), (b"stco", 8), (b"stsz", 12)):
        struct.pack_into(">I", content, content.index(box) + offset, 0)
    path.write_bytes(content)
    return path


def write_truncated(path: Path, n_frames: int = 60, share: float = 0.6) -> Path:
    """Write an MP4 whose index stands in front, then cut off all after `share` of its bytes."""
    write_clip(path, n_frames, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def write_headless(path: Path) -> Path:
    """Write an MP4 whose index stood at the end and was cut off."""
    write_clip(path)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"moov") - 4])
    return path


def write_corrupt(path: Path, n_frames: int = 60, damaged: range = range(24, 30)) -> Path:
    """Write an MP4 and overwrite the packets `damaged` (in decoding order) with noise."""
    write_clip(path, n_frames, options={"g": "12"})
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for start, size in spans[damaged.start : damaged.stop]:
        assert start is not None
        content[start + 6 : start + size] = noise.bytes(size - 6)
    path.write_bytes(content)
    return path


def write_undecodable(path: Path) -> Path:
    """Write an MP4 with a sound index and noise in place of every packet."""
    return write_corrupt(path, 12, range(12))


def write_lying_duration(
    path: Path, n_frames: int = 60, fps: int = 10, claim_s: float = 10
) -> Path:
    """Write a Matroska file of `n_frames` whose header claims to last `claim_s` seconds."""
    write_clip(path, n_frames, fps=fps, container="matroska")
    content = path.read_bytes()
    # element Duration: id 0x4489, 8 bytes, a double in milliseconds
    start = content.index(b"\x44\x89\x88") + 3
    path.write_bytes(content[:start] + struct.pack(">d", 1000 * claim_s) + content[start + 8 :])
    return path


def write_edited(path: Path, n_frames: int = 40, skipped: int = 7, fps: int = 10) -> Path:
    """Write an MP4 whose edit list has players begin at the frame `skipped`."""
    write_clip(path, n_frames, fps=fps)
    content = bytearray(path.read_bytes())
    start = content.index(b"elst") + 4
    version, count, duration, begin = struct.unpack_from(">IIIi", content, start)
    assert (version, count) == (0, 1)
    scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0]
    movie_scale = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    struct.pack_into(
        ">Ii",
        content,
        start + 8,
        duration - skipped * movie_scale // fps,
        begin + skipped * scale // fps,
    )
    path.write_bytes(content)
    return path


@dataclass(frozen=True, slots=True)
class Hostile:
    """A kind of clip that breaks careless readers: file name, maker, and whether it can be read.

    `n_frames` is how many frames a reader can show, None where that depends on the decoder.
    """

    file_name: str
    make: Callable[[Path], Path]
    readable: bool
    n_frames: int | None = None


HOSTILE: dict[str, Hostile] = {
    "empty": Hostile("empty.mp4", write_empty, readable=False),
    "text": Hostile("text.mp4", write_text, readable=False),
    "playlist": Hostile("playlist.mp4", write_playlist, readable=False),
    "headless": Hostile("headless.mp4", write_headless, readable=False),
    "audio_only": Hostile("sound.m4a", write_sound, readable=False),
    "no_frames": Hostile("no_frames.mp4", write_without_frames, readable=False),
    "undecodable": Hostile("undecodable.mp4", write_undecodable, readable=False),
    "truncated": Hostile("truncated.mp4", write_truncated, readable=True),
    "corrupt": Hostile("corrupt.mp4", write_corrupt, readable=True),
    "one_frame": Hostile("one.mp4", lambda p: write_clip(p, 1), readable=True, n_frames=1),
    "tiny": Hostile(
        "tiny.mp4", lambda p: write_clip(p, width=16, height=16), readable=True, n_frames=30
    ),
    "rotated": Hostile("rotated.mp4", lambda p: write_clip(p, rotation=90), True, 30),
    "vfr": Hostile("vfr.mp4", lambda p: write_clip(p, variable_frame_rate=True), True, 30),
    "ten_bit": Hostile("ten_bit.mp4", lambda p: write_clip(p, pix_fmt="yuv420p10le"), True, 30),
    "odd_sides": Hostile(
        "odd.mp4", lambda p: write_clip(p, width=161, height=97, pix_fmt="yuv444p"), True, 30
    ),
    "edited": Hostile("edited.mp4", write_edited, readable=True, n_frames=33),
    "lying_duration": Hostile("lying.mkv", write_lying_duration, readable=True, n_frames=60),
    "no_header_count": Hostile("stream.ts", write_clip, readable=True, n_frames=30),
    "odd_name": Hostile(" a 'b' \"c\"\n<i>.mp4", write_clip, readable=True, n_frames=30),
}


def _clock(
    n_frames: int,
    rate: Fraction,
    variable: bool,
    times_s: Sequence[float] | None,
    start_s: float,
) -> tuple[Fraction, list[int]]:
    if times_s is None and not variable:
        # AVI and MPEG-4 know no finer ticks than frames
        start = round(start_s * rate)
        return 1 / rate, [start + i for i in range(n_frames)]
    tick_s = 1 / (100 * rate)
    if times_s is None:
        gaps = [(1, 1, 3)[i % 3] for i in range(n_frames)]
        times_s = [float(sum(gaps[:i]) / rate) for i in range(n_frames)]
    return tick_s, [round((start_s + t) / tick_s) for t in times_s]


def _write_silence(
    output: av.container.OutputContainer, stream: av.AudioStream, seconds: float
) -> None:
    for i in range(max(1, round(seconds * 16_000 / 1024))):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 16_000, 1024 * i
        output.mux(stream.encode(frame))
    output.mux(stream.encode())
