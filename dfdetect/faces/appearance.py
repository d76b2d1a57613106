"""What a face or a whole frame looks like, in few numbers: for linking faces and noticing cuts.

These signatures tell neighbouring people and shots apart; they are no means to recognise anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.faces.crop import square_crop
from dfdetect.types import FaceBox, Image

FACE_SIZE = 64
TEXTURE_BLOCKS = 4  # texture is counted in 4 × 4 blocks of the face
FRAME_COLUMNS, FRAME_ROWS = 64, 36  # about so many pixels stand for a frame
LAYOUT_SIZE = 16

# Histogram bins and ranges of OpenCV's 8-bit Lab, where grey is 128 in a and b and skin near it;
# stronger colours count as the edge of the range.
FACE_BINS, FACE_RANGES = (4, 16, 16), ((0, 256), (96, 160), (96, 176))
FRAME_BINS, FRAME_RANGES = (8, 16, 16), ((0, 256), (64, 192), (64, 192))


@dataclass(frozen=True, slots=True, eq=False)
class FaceLook:
    """Colours and texture of one face, as square roots of histograms."""

    colours: NDArray[np.float32]
    texture: NDArray[np.float32]

    @classmethod
    def of(cls, image: Image, box: FaceBox) -> FaceLook:
        """Look at the face in `box`."""
        crop = square_crop(image, box, 1.0, FACE_SIZE)
        colours = _colour_histogram(crop, FACE_BINS, FACE_RANGES)
        luma = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        return cls(colours, _texture_histogram(luma))

    def likeness(self, other: FaceLook) -> float:
        """Return 0 (nothing alike) to 1 (the same): the mean of two Bhattacharyya coefficients."""
        return float(self.colours @ other.colours + self.texture @ other.texture) / 2


@dataclass(frozen=True, slots=True, eq=False)
class FrameLook:
    """Colours and layout of a whole frame of `shape` (height, width)."""

    shape: tuple[int, int]
    colours: NDArray[np.float32]
    layout: NDArray[np.float32]

    @classmethod
    def of(cls, image: Image) -> FrameLook:
        """Look at a frame through a coarse grid of its pixels."""
        height, width = image.shape[:2]
        down, right = max(1, height // FRAME_ROWS), max(1, width // FRAME_COLUMNS)
        grid = np.ascontiguousarray(image[down // 2 :: down, right // 2 :: right])
        luma = cv2.cvtColor(grid, cv2.COLOR_RGB2GRAY)
        size = (LAYOUT_SIZE, LAYOUT_SIZE)
        layout = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        layout -= layout.mean()
        norm = float(np.linalg.norm(layout))
        colours = _colour_histogram(grid, FRAME_BINS, FRAME_RANGES)
        return cls((height, width), colours, layout / norm if norm > 0 else layout)

    def likeness(self, other: FrameLook) -> float:
        """Return at most 1 (the same): the mean of colour overlap and correlation of layout.

        Frames of different sizes are not alike at all.
        """
        if self.shape != other.shape:
            return 0.0
        flat = not (self.layout.any() or other.layout.any())
        layout = 1.0 if flat else float(self.layout @ other.layout)
        return (float(self.colours @ other.colours) + layout) / 2


def _colour_histogram(
    image: Image, bins: tuple[int, ...], ranges: tuple[tuple[int, int], ...]
) -> NDArray[np.float32]:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    low, high = np.transpose(ranges)
    lab = np.clip(lab, low, high - 1).astype(np.uint8)
    edges = [float(edge) for edge in np.ravel(ranges)]
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(bins), edges).ravel()
    return np.asarray(np.sqrt(counts / counts.sum()), dtype=np.float32)


def _texture_histogram(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return local binary patterns (Ojala et al. 2002) counted in blocks, all weighing the same."""
    rows, columns = luma.shape[0] - 2, luma.shape[1] - 2
    centre = luma[1:-1, 1:-1]
    patterns = np.zeros((rows, columns), np.int64)
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    for bit, (y, x) in enumerate(ring):
        patterns |= (luma[y : y + rows, x : x + columns] >= centre).astype(np.int64) << bit
    block_y = np.arange(rows) * TEXTURE_BLOCKS // rows
    block_x = np.arange(columns) * TEXTURE_BLOCKS // columns
    block = block_y[:, None] * TEXTURE_BLOCKS + block_x
    counts = np.bincount((block * 256 + patterns).ravel(), minlength=TEXTURE_BLOCKS**2 * 256)
    return np.asarray(np.sqrt(counts / patterns.size), dtype=np.float32)
