"""Which face of a forgery was painted, by the mask that its dataset ships beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.reuse import Numbered
from dfdetect.errors import UnreadableVideo
from dfdetect.media import FrameSampler, probe
from dfdetect.types import FaceBox, Frame, Image, VideoInfo

# Masks of lossless pictures are thresholded above 1 (DeepfakeBench). In a compressed video black
# rings around every edge and may be coded as 16, so white begins in the middle.
WHITE_ABOVE = 127

# A face was painted where its box holds this share of all that is white.
LEAST_SHARE = 0.5

Painted = NDArray[np.bool_]


def painted_pixels(image: Image) -> Painted:
    """Return where a mask's frame is white, height × width; a tint counts by its brightest channel.

    Example:
        >>> painted_pixels(np.array([[[0, 0, 0], [16, 16, 16], [90, 255, 90]]], np.uint8)).tolist()
        [[False, False, True]]
    """
    return np.asarray(image.max(axis=2) > WHITE_ABOVE, dtype=np.bool_)


def share_inside(painted: Painted, box: FaceBox, width: int, height: int) -> float:
    """Return the share of all painted pixels that lies inside a box, 0 to 1.

    Args:
        painted: The mask, of any resolution, with at least one painted pixel.
        box: A box in the pixels of the video.
        width: Width of the video's frames in pixels.
        height: Height likewise.
    """
    rows, columns = painted.shape
    left, right = (_clipped(x * columns / width, columns) for x in (box.x0, box.x1))
    top, bottom = (_clipped(y * rows / height, rows) for y in (box.y0, box.y1))
    inside = np.count_nonzero(painted[top:bottom, left:right])
    return inside / int(np.count_nonzero(painted))


def painted_face(painted: Painted, faces: Numbered, frame: Frame) -> Numbered:
    """Return the face whose box holds most of what is painted, if it holds half of it; else none.

    Of two that hold the same the first is taken.
    """
    height, width = frame.image.shape[:2]
    shares = [share_inside(painted, face.box, width, height) for _, face in faces]
    best = max(shares, default=0.0)
    return (faces[shares.index(best)],) if best >= LEAST_SHARE else ()


class MaskReader:
    """A forgery's mask, read beside it: two frames of the mask are held at a time.

    Where both files have as many frames, frames belong together by their index, else by the
    nearest time, which must be within half a frame of the forgery.

    Raises:
        UnreadableVideo: The mask is missing or holds no readable frame.
    """

    def __init__(self, path: Path, sampler: FrameSampler, video: VideoInfo) -> None:
        """Open the mask of a video that `sampler` is about to sample."""
        if not path.exists():
            raise UnreadableVideo(f"{path} is missing; restore the mask or use faces=largest")
        info = probe(path, sampler.limits)
        self._by_index = info.n_frames is not None and info.n_frames == video.n_frames
        # times are rounded to ticks, so half a frame may come out a hair longer
        self._slack = 0.0 if self._by_index else 0.501 / video.fps
        # equal clips give equal indices; otherwise any frame of the mask may be the wanted one
        rule = sampler.rule if self._by_index and _same_clock(info, video) else "all"
        exact = replace(sampler, rule=rule, allow_neighbours=False)
        self._frames: Iterator[Frame] = iter(exact.sample(info))
        self._held: Frame | None = None
        self._ahead = next(self._frames, None)

    def at(self, frame: Frame) -> Painted | None:
        """Return what is painted in a frame of the forgery, None where the mask does not say.

        Frames are asked for in the order of time.
        """
        while self._ahead is not None and self._is_nearer(self._ahead, frame):
            self._held, self._ahead = self._ahead, next(self._frames, None)
        if self._held is None or self._distance(self._held, frame) > self._slack:
            return None
        return painted_pixels(self._held.image)

    def _is_nearer(self, ahead: Frame, frame: Frame) -> bool:
        held = self._held
        return held is None or self._distance(ahead, frame) <= self._distance(held, frame)

    def _distance(self, mine: Frame, frame: Frame) -> float:
        if self._by_index:
            return abs(mine.index - frame.index)
        return abs(mine.time_s - frame.time_s)


def _same_clock(mask: VideoInfo, video: VideoInfo) -> bool:
    steady = not (mask.variable_frame_rate or video.variable_frame_rate)
    return steady and math.isclose(mask.fps, video.fps, rel_tol=1e-3)


def _clipped(edge: float, limit: int) -> int:
    return min(limit, max(0, round(edge)))
