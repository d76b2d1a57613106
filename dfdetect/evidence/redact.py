"""Hide faces beyond recovery.

Ordinary pixelation can be undone: coarse cells still tell two people apart, and several frames
of one person can be combined. Here nothing of the face is left to undo. The covered area is
painted over first, and the mosaic that stands for the face is drawn from a seed, never from the
face. The rest of the picture is reduced to a few soft patches of colour, so that a face which
the finder missed is not shown either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.types import FaceBox, Image

CELLS = 8  # cells of the mosaic along each side of a face
COVER_SCALE = 1.3  # the covered area is the face box times this
CONTEXT_CELLS = 18  # patches of colour along the longer side of the whole picture
CONTEXT_CELLS_PER_FACE = 2  # and never more than this across the largest face
NOISE_LEVELS = 16  # added to each patch of colour, up and down
MOSAIC_GREY, MOSAIC_SPREAD = 148, 34
EYE_TOP, EYE_BOTTOM = 0.22, 0.5  # the solid bar, as shares of the face box's height
EYE_BAR = 24


def obscure(image: Image, boxes: Sequence[FaceBox], seed: str) -> Image:
    """Return a copy of a picture in which no face can be recognised or recovered.

    Args:
        image: RGB uint8, height × width × 3.
        boxes: Every face that is known, xyxy in the picture's pixels.
        seed: Words that fix the noise (the clip's SHA-256): equal seeds give equal pictures.

    Returns:
        A new picture of the same size. It does not depend on any pixel inside the covered areas
        (each box × 1.3), and shows the rest as patches of at least an eighteenth of its length.

    Example:
        >>> picture = np.full((64, 64, 3), 90, np.uint8)
        >>> obscure(picture, [FaceBox(16, 16, 48, 48)], "seed").shape
        (64, 64, 3)
    """
    areas = [covered_area(box, image.shape[1], image.shape[0]) for box in boxes]
    blank = image.copy()
    for x0, y0, x1, y1 in areas:
        blank[y0:y1, x0:x1] = MOSAIC_GREY
    result = _soften(blank, max((box.side for box in boxes), default=0.0), seed)
    for number, (x0, y0, x1, y1) in enumerate(areas):
        result[y0:y1, x0:x1] = _mosaic(y1 - y0, x1 - x0, f"{seed}/{number}")
    for box in boxes:
        _draw_eye_bar(result, box)
    return result


def covered_area(box: FaceBox, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the pixels that hide a face, (x0, y0, x1, y1): its box × 1.3 inside the picture."""
    (x, y), scale = box.centre, COVER_SCALE / 2
    x0, x1 = x - box.width * scale, x + box.width * scale
    y0, y1 = y - box.height * scale, y + box.height * scale
    return (
        min(max(int(np.floor(x0)), 0), width),
        min(max(int(np.floor(y0)), 0), height),
        max(min(int(np.ceil(x1)), width), 0),
        max(min(int(np.ceil(y1)), height), 0),
    )


def _soften(image: Image, face_side: float, seed: str) -> Image:
    height, width = image.shape[:2]
    patch = max(max(height, width) / CONTEXT_CELLS, face_side / CONTEXT_CELLS_PER_FACE)
    grid = max(1, round(width / patch)), max(1, round(height / patch))
    cells = cv2.resize(image, grid, interpolation=cv2.INTER_AREA).astype(np.int16)
    shape = (*cells.shape[:2], 1)
    noise = _bytes(f"{seed}/context", cells.size // 3).reshape(shape) % (2 * NOISE_LEVELS + 1)
    cells = np.clip(cells + noise.astype(np.int16) - NOISE_LEVELS, 0, 255).astype(np.uint8)
    smooth = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth.astype(np.uint8, copy=False)


def _mosaic(height: int, width: int, seed: str) -> Image:
    drawn = _bytes(seed, CELLS * CELLS).reshape(CELLS, CELLS).astype(np.int16)
    levels = (MOSAIC_GREY - MOSAIC_SPREAD + drawn * 2 * MOSAIC_SPREAD // 255).astype(np.uint8)
    if height <= 0 or width <= 0:
        return np.zeros((max(height, 0), max(width, 0), 3), np.uint8)
    grey = cv2.resize(levels, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.repeat(grey[..., None], 3, axis=2)


def _draw_eye_bar(image: Image, box: FaceBox) -> None:
    area = FaceBox(box.x0, box.y0 + EYE_TOP * box.height, box.x1, box.y0 + EYE_BOTTOM * box.height)
    height, width = image.shape[:2]
    x0, x1 = (min(max(round(x), 0), width) for x in (area.x0, area.x1))
    y0, y1 = (min(max(round(y), 0), height) for y in (area.y0, area.y1))
    image[y0:y1, x0:x1] = EYE_BAR


def _bytes(seed: str, count: int) -> NDArray[np.uint8]:
    # a hash instead of a random generator: the same noise under every version of numpy
    return np.frombuffer(hashlib.shake_256(seed.encode()).digest(count), np.uint8)
