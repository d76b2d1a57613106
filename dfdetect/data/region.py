"""Which part of a stored crop a detector sees, in training and in scoring: the same pixels.

The cut is OpenCV's, as the crops themselves are, so that scoring needs nothing but that and numpy;
`augment` goes on from here.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np

from dfdetect.data.opacity import Mask
from dfdetect.types import Image

Pixels = TypeVar("Pixels", Image, Mask)


def face_region(crop: Image, crop_scale: float, scale: float, size: int) -> Image:
    """Cut the centre of a stored crop down to `scale` times the face box and resize it.

    Args:
        crop: Stored crop, S × S × 3, whose side is `crop_scale` times the face box.
        crop_scale: The scale that it was stored with.
        scale: The scale that is wanted; more than was stored gives the whole crop.
        size: Side of the result in pixels.
    """
    return region(crop, min(1.0, scale / crop_scale), (0.0, 0.0), size)


def region(crop: Pixels, share: float, shift: tuple[float, float], size: int) -> Pixels:
    """Cut a square out of a crop or its mask and resize it.

    Args:
        crop: S × S × 3, or a mask S × S.
        share: The square's side over the crop's, at most 1.
        shift: How far its centre is from the crop's, (x, y), in shares of its side; it stays
            within the crop.
        size: Side of the result in pixels.
    """
    x, y, cut = corner(crop.shape[0], share, shift)
    part = crop[y : y + cut, x : x + cut]
    if cut == size:
        return np.ascontiguousarray(part)
    # area averaging keeps fine artefacts from aliasing; it cannot enlarge
    shrink = cv2.INTER_AREA if cut > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (size, size), interpolation=shrink), dtype=crop.dtype)


def corner(side: int, share: float, shift: tuple[float, float]) -> tuple[int, int, int]:
    """Return where `region` cuts: the square's left and upper edge and its side, in pixels.

    Example:
        >>> corner(160, 0.625, (0.0, 0.1))
        (30, 40, 100)
    """
    cut = max(1, round(side * share))
    x, y = (round((side - cut) / 2 + offset * cut) for offset in shift)
    x, y = (min(max(position, 0), side - cut) for position in (x, y))
    return x, y, cut
