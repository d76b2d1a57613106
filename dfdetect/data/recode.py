"""Pictures through a real video codec in memory: what a platform's encoder does to a face."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from dfdetect.media.x264 import repeatable_x264
from dfdetect.types import Image

PRESET = "veryfast"


def h264(frames: Sequence[Image], crf: int) -> list[Image]:
    """Encode frames as one H.264 clip (4:2:0, one thread) and decode them again.

    A single picture becomes a key frame; of several, most are predicted from one another.

    Args:
        frames: uint8 RGB (H, W, 3), all of one size, in order.
        crf: Constant rate factor, 0 (best) to 51; platforms use about 23 to 35.

    Returns:
        As many pictures of the same size.

    Raises:
        ValueError: There are frames of several sizes, or the codec gave another number back.

    Example:
        >>> grey = np.full((31, 40, 3), 128, np.uint8)
        >>> [picture.shape for picture in h264([grey, grey], 30)]
        [(31, 40, 3), (31, 40, 3)]
    """
    if not frames:
        return []
    height, width = frames[0].shape[:2]
    if any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError("frames of several sizes make no clip")
    # 4:2:0 halves the colours' resolution, so that both sides must be even
    even = ((0, height % 2), (0, width % 2), (0, 0))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = width + width % 2, height + height % 2
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "preset": PRESET} | repeatable_x264()
    packets = []
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.pad(frame, even, "edge"), "rgb24")
        picture.pts = number
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = [picture for packet in packets for picture in decoder.decode(packet)]
    decoded += decoder.decode(None)
    if len(decoded) != len(frames):
        raise ValueError(f"the codec made {len(decoded)} frames of {len(frames)}")
    return [
        np.ascontiguousarray(picture.to_ndarray(format="rgb24")[:height, :width])
        for picture in decoded
    ]
