"""Pictures in time order → a coded clip: a file, or pictures again after a codec had them.

One thread encodes, so that equal pictures give equal bytes. Times are kept to 1/90,000 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import av
import cv2
import numpy as np

from dfdetect.errors import UnreadableVideo, UsageError
from dfdetect.media.x264 import repeatable_x264
from dfdetect.provenance import written_whole
from dfdetect.types import Frame, Image

TICKS_PER_SECOND = 90_000
H264, H265, LOSSLESS = "h264", "h265", "lossless"

_ENCODERS = {H264: "libx264", H265: "libx265", LOSSLESS: "libx264rgb"}
_DECODERS = {H264: "h264", H265: "hevc"}
_USUAL_GAP = TICKS_PER_SECOND // 25
_TICK_S = Fraction(1, TICKS_PER_SECOND)
# a clip is cut off from its source's rate here: what follows is its own
_MAX_FPS = 240
# so many frames of a clip are looked at before its encoder is set up
_SHORT = 3

_Ticked: TypeAlias = tuple[Frame, int, int]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pictures are coded: `h264`, `h265` (both 4:2:0, sides cut to even) or `lossless`.

    `crf` is the constant rate factor, higher is worse. `max_kbps` bounds the rate over two
    seconds, as platforms do; None bounds nothing. `preset` is the encoder's own word. Lossless is
    H.264 on RGB and gives every picture back as it was.

    Raises:
        UsageError: The codec is unknown or absent here, or a number makes no sense.
    """

    codec: str = LOSSLESS
    crf: int = 0
    max_kbps: int | None = None
    preset: str = "medium"

    def __post_init__(self) -> None:
        if self.codec not in _ENCODERS:
            raise UsageError(f"unknown codec {self.codec!r}; choose one of {', '.join(_ENCODERS)}")
        if not 0 <= self.crf <= 51:
            raise UsageError(f"crf {self.crf} is none of 0 (best) to 51")
        if self.max_kbps is not None and self.max_kbps < 1:
            raise UsageError(f"max_kbps {self.max_kbps} is no rate; give 1 or more")
        if _ENCODERS[self.codec] not in av.codecs_available:
            raise UsageError(
                f"PyAV was built without {_ENCODERS[self.codec]}, so nothing can be coded as "
                f"{self.codec} here; install PyAV from its wheel, or leave these conditions out"
            )

    @property
    def options(self) -> dict[str, str]:
        """What the encoder is told."""
        if self.codec == LOSSLESS:
            return {"qp": "0", "preset": "ultrafast"} | repeatable_x264()
        options = {"crf": str(self.crf), "preset": self.preset}
        if self.codec == H265:
            told = "log-level=none:pools=none:frame-threads=1:info=0"
            if self.max_kbps is not None:
                told += f":vbv-maxrate={self.max_kbps}:vbv-bufsize={2 * self.max_kbps}"
            return options | {"x265-params": told}
        if self.max_kbps is not None:
            options |= {"maxrate": f"{self.max_kbps}k", "bufsize": f"{2 * self.max_kbps}k"}
        return options | repeatable_x264()


LOSSLESS_ENCODING = Encoding()


def write_frames(
    path: Path, frames: Iterable[Frame], encoding: Encoding = LOSSLESS_ENCODING, mark: str = ""
) -> int:
    """Write pictures as an MP4, whole or not at all, and return how many there were.

    Args:
        path: Where to.
        frames: In time order; pictures of another size than the first take on its size.
        encoding: How.
        mark: What `read_mark` finds in the file.

    Raises:
        UnreadableVideo: There is no picture.
    """
    n_frames = 0
    ticked = _ticked(_coded_size(frames, encoding))
    opening = tuple(islice(ticked, _SHORT))
    if not opening:
        raise UnreadableVideo(f"no picture was left to write {path.name} of; look at its source")
    with written_whole(path) as part, av.open(str(part), "w", format="mp4") as container:
        container.metadata["comment"] = mark
        stream: Any = container.add_stream(_ENCODERS[encoding.codec], rate=_rate(opening))
        _set_up(stream.codec_context, stream, opening, encoding)
        for one in chain(opening, ticked):
            container.mux(stream.encode(_picture(one, encoding)))
            n_frames += 1
        container.mux(stream.encode())
    return n_frames


def read_mark(path: Path) -> str:
    """Return the mark that `write_frames` left in a file, or '' where there is none.

    Raises:
        UnreadableVideo: It is no video.
    """
    try:
        with av.open(f"file:{path}") as container:
            mark: str = container.metadata.get("comment", "")
            return mark
    except av.FFmpegError as error:
        raise UnreadableVideo(f"{path} is no video; remove it") from error


def recoded(frames: Iterable[Frame], encoding: Encoding) -> Iterator[Frame]:
    """Yield pictures after a lossy codec had them, with the indices and times that they came with.

    Args:
        frames: In time order; odd sides lose their last row or column.
        encoding: H.264 or H.265.
    """
    ticked = _ticked(_coded_size(frames, encoding))
    opening = tuple(islice(ticked, _SHORT))
    if not opening:
        return
    encoder: Any = av.CodecContext.create(_ENCODERS[encoding.codec], "w")
    _set_up(encoder, encoder, opening, encoding)
    encoder.framerate = _rate(opening)
    decoder: Any = av.CodecContext.create(_DECODERS[encoding.codec], "r")
    decoder.thread_count = 1
    waiting: dict[int, tuple[int, float]] = {}

    def shown(packets: Iterable[Any]) -> Iterator[Frame]:
        for packet in packets:
            for picture in decoder.decode(packet):
                yield Frame(*waiting.pop(picture.pts), picture.to_ndarray(format="rgb24"))

    for one in chain(opening, ticked):
        waiting[one[1]] = (one[0].index, one[0].time_s)
        yield from shown(encoder.encode(_picture(one, encoding)))
    yield from shown(encoder.encode(None))
    yield from shown([None])


def _set_up(context: Any, sized: Any, opening: Sequence[_Ticked], encoding: Encoding) -> None:
    sized.height, sized.width = opening[0][0].image.shape[:2]
    sized.pix_fmt = "rgb24" if encoding.codec == LOSSLESS else "yuv420p"
    options = encoding.options
    if encoding.codec == H265 and len(opening) < _SHORT:
        # libx265 gives broken packets of one or two frames where it may use B-frames
        options["x265-params"] += ":bframes=0"
    sized.options = options
    context.time_base, context.thread_count = _TICK_S, 1


def _picture(one: _Ticked, encoding: Encoding) -> av.VideoFrame:
    frame, tick, duration = one
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="rgb24")
    if encoding.codec != LOSSLESS:
        picture = picture.reformat(format="yuv420p")
    picture.pts, picture.time_base, picture.duration = tick, _TICK_S, duration
    return picture


def _rate(opening: Sequence[_Ticked]) -> Fraction:
    return min(Fraction(TICKS_PER_SECOND, opening[0][2]), Fraction(_MAX_FPS))


def _ticked(frames: Iterable[Frame]) -> Iterator[_Ticked]:
    """Yield every frame with its tick and its duration; the last lasts as long as the one before.

    The first frame is at 0, and no two frames share a tick.
    """
    held: Frame | None = None
    start, tick, duration = 0.0, 0, _USUAL_GAP
    for frame in frames:
        if held is None:
            held, start = frame, frame.time_s
            continue
        following = max(tick + 1, round((frame.time_s - start) * TICKS_PER_SECOND))
        duration = following - tick
        yield held, tick, duration
        held, tick = frame, following
    if held is not None:
        yield held, tick, duration


def _coded_size(frames: Iterable[Frame], encoding: Encoding) -> Iterator[Frame]:
    size: tuple[int, int] | None = None
    for frame in frames:
        height, width = frame.image.shape[:2]
        if size is None:
            size = (width, height)
        image = frame.image
        if (width, height) != size:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if encoding.codec != LOSSLESS:
            image = even_sided(image)
        yield Frame(frame.index, frame.time_s, image)


def even_sided(image: Image) -> Image:
    """Cut off the last row and column of odd sides, which 4:2:0 cannot hold; one pixel stays two.

    Example:
        >>> even_sided(np.zeros((5, 8, 3), np.uint8)).shape
        (4, 8, 3)
    """
    height, width = image.shape[:2]
    if min(height, width) < 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        height, width = image.shape[:2]
    return image[: height // 2 * 2, : width // 2 * 2]
