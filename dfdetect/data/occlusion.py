"""Which pixels are covered: parts of a face by its landmarks, and rectangles anywhere.

Cut-outs of eyes, nose and mouth are those of Seferbekov's winning entry to the Deepfake Detection
Challenge (2020), in words; rectangles follow Zhong et al., "Random Erasing Data Augmentation"
(AAAI 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.opacity import Floats

Covered = NDArray[np.bool_]

_EYE_LEFT, _EYE_RIGHT = tuple(range(36, 42)), tuple(range(42, 48))
_HULLS: dict[str, tuple[tuple[int, ...], ...]] = {
    "left eye": (_EYE_LEFT,),
    "right eye": (_EYE_RIGHT,),
    "eyes": ((*_EYE_LEFT, *_EYE_RIGHT),),
    "nose": (tuple(range(27, 36)),),
    "mouth": (tuple(range(48, 68)),),
}
PARTS = tuple(_HULLS)
# how much larger than its landmarks a part is covered; eyes are flat
GROWN = 1.5
SMALLEST_AREA, FLATTEST = 0.02, 0.3


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle in shares of a picture's side, and the RGB colour it is filled with."""

    x: float
    y: float
    width: float
    height: float
    colour: tuple[int, int, int]

    @classmethod
    def drawn(cls, chance: NDArray[np.float64], area_high: float) -> Rectangle:
        """Return a rectangle within the picture.

        Args:
            chance: Six numbers in [0, 1): area, shape, place (x, y), brightness and tint.
            area_high: The largest area as a share of the picture's.
        """
        low = min(SMALLEST_AREA, area_high)
        area = low + (area_high - low) * chance[0]
        shape = np.exp(np.log(FLATTEST) * (2 * chance[1] - 1))
        width, height = (min(1.0, float(side)) for side in np.sqrt([area * shape, area / shape]))
        grey, tint = 255 * chance[4], 64 * (chance[5] - 0.5)
        red, green, blue = (
            round(float(np.clip(v, 0, 255))) for v in (grey + tint, grey, grey - tint)
        )
        x, y = chance[2] * (1 - width), chance[3] * (1 - height)
        return cls(float(x), float(y), width, height, (red, green, blue))

    def within(self, size: int) -> tuple[int, int, int, int]:
        """Return top, left, height and width in pixels of a picture with sides of `size`."""
        left, top = round(self.x * size), round(self.y * size)
        right, bottom = round((self.x + self.width) * size), round((self.y + self.height) * size)
        return top, left, bottom - top, right - left


def part_pixels(shape: Floats, part: str, size: int) -> Covered:
    """Return the pixels of a part of the face, size × size.

    Args:
        shape: 68 points or more in the picture's pixels.
        part: One of `PARTS`.
        size: Side of the picture.
    """
    covered = np.zeros((size, size), np.uint8)
    for hull in _HULLS[part]:
        points = shape[list(hull)]
        points = (points - points.mean(0)) * GROWN + points.mean(0)
        corners = np.clip(np.rint(points), -4 * size, 5 * size).astype(np.int32)
        cv2.fillConvexPoly(covered, np.asarray(cv2.convexHull(corners), np.int32), 1)
    return covered.astype(np.bool_)


def erased_pixels(hole: Rectangle, size: int) -> Covered:
    """Return the pixels of a rectangle, size × size."""
    covered = np.zeros((size, size), np.bool_)
    top, left, height, width = hole.within(size)
    covered[top : top + height, left : left + width] = True
    return covered
