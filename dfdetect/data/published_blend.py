"""Self-blending as published, at a speed that CPU workers can keep up: the recipe for 68 landmarks.

Source: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022), section
3. Its ranges are in pixels or shares of a picture about twice as large as the face; here they
follow the size of the face in the picture, so that any crop will do: `ELASTIC_SIDE` and
`SOFT_SIDES` say at which size of a face both agree. For speed the elastic field is drawn at an
eighth and the mask softened at half of the resolution, and colour goes through one 8-bit table.
The shifts of hue and saturation, ±0.3 of 255 in the paper's settings, are left out: they stay below
half a grey level. Distributions are tested against a plain version without any of this.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.face_shape import N_POINTS, PUBLISHED_REGIONS, face_side, with_raised_brows
from dfdetect.data.opacity import (
    Blend,
    BlendSettings,
    Floats,
    Mask,
    as_floats,
    as_image,
    cleaned,
    mix,
    odd,
)
from dfdetect.types import Image

REGIONS = tuple(PUBLISHED_REGIONS)
FOREHEAD_DROP = 0.25
RGB_SHIFT, RGB_SHIFT_SHARE = 20.0, 0.3
CONTRAST, BRIGHTNESS = 0.1, 0.1
SHARPEN, LIGHTNESS = (0.2, 0.5), (0.5, 1.0)
COARSE_FACTORS = (2, 4)
SCALE_LOW = 0.95
# shares of the face's side: ±3 % and ±1.5 % of a picture 2 faces wide and 2.4 high
SHIFT = (0.06, 0.036)
# The paper's displacement (α 50, σ 7) has this standard deviation and correlation length in
# pixels of a picture of 256, where a face measures about half.
ELASTIC_SIDE, ELASTIC_STD, ELASTIC_SIGMA, ELASTIC_STEP = 128.0, 1.205, 7.0, 8.0
# standard deviation of white noise after the Gaussian at ELASTIC_SIGMA / ELASTIC_STEP and cubic
# interpolation
GRID_STD = 0.323
# the mask is softened in a picture of 192 to 256 pixels, the face half of it
SOFT_SIDES = (96.0, 128.0)
KERNELS = (5, 26)
SIGMAS = (5, 46)
# Every interpolation of a plain version softens the mask's edge, and the cut at the plateau takes
# the softened rim off; there are more of them at full resolution. In pixels of SOFT_SIDES.
RIM = 3.5
# what remains of the peak where a blur has touched the mask's edge with its last tap only
PLATEAU = 0.9995


def published_blend(
    image: Image,
    shape: Floats,
    rng: np.random.Generator,
    settings: BlendSettings,
    method: str,
) -> Blend:
    """Blend a face with a changed copy of itself as the paper does.

    Args:
        image: uint8 RGB (H, W, 3).
        shape: (N, 2) points in the picture's pixels: 68, then those of the forehead if known.
        rng: The only source of chance.
        settings: Opacities and strength.
        method: What the result is called.
    """
    strength = settings.strength
    side = min(face_side(shape), 4.0 * max(image.shape[:2]))
    region = REGIONS[int(rng.integers(len(REGIONS)))]
    hulls = region_hulls(shape, region, forehead=rng.random() >= FOREHEAD_DROP)
    changed = change(image, strength, rng)
    source, target = (changed, image) if rng.random() < 0.5 else (image, changed)
    move = draw_move(shape, side, strength, rng)
    mask = _mask(hulls, move, side, (image.shape[0], image.shape[1]), rng)
    mask *= np.float32(settings.ratios[int(rng.integers(len(settings.ratios)))])
    return Blend(target, _laid_over(source, target, mask, move), mask, method, region)


def _laid_over(source: Image, target: Image, mask: Mask, move: Floats) -> Image:
    """Move the source and lay it over the target, within the box that the mask fills alone."""
    fake: Image = target.copy()
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    if width and height:
        box = slice(top, top + height), slice(left, left + width)
        within = move - [[0, 0, left], [0, 0, top]]
        moved = cv2.warpAffine(
            source, within, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        fake[box] = mix(as_image(moved), target[box], mask[box])
    return fake


def region_hulls(shape: Floats, region: str, *, forehead: bool) -> list[Mask]:
    """Return the corners of the convex hulls whose union is a region, in the shape's pixels.

    Args:
        shape: (N, 2) points: 68, then those of the forehead.
        region: One of `REGIONS`.
        forehead: Whether the region `whole` reaches up to the points of the forehead.
    """
    if region == "whole":
        parts = [shape if forehead else shape[:N_POINTS]]
    else:
        points = with_raised_brows(shape)
        parts = [points[list(part)] for part in PUBLISHED_REGIONS[region]]
    return [_hull(part.astype(np.float32)) for part in parts]


def _hull(points: Mask) -> Mask:
    corners: Any = cv2.convexHull(points)
    # of points that all but coincide OpenCV finds none
    return points[:1] if corners is None else as_floats(corners).reshape(-1, 2)


def change(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Change colour, then either sharpness or resolution: the source-target generator."""
    changed = _colour(image, strength, rng)
    if rng.random() < 0.5:
        return _coarser(changed, strength, rng)
    amount, lightness = rng.uniform(*SHARPEN) * strength, rng.uniform(*LIGHTNESS)
    kernel = np.full((3, 3), -amount, np.float32)
    kernel[1, 1] = 1 - amount + amount * (8 + lightness)
    return as_image(cv2.filter2D(changed, -1, kernel))


def _colour(image: Image, strength: float, rng: np.random.Generator) -> Image:
    shifted = rng.random() < RGB_SHIFT_SHARE
    shift = rng.uniform(-RGB_SHIFT, RGB_SHIFT, 3) * strength
    contrast = 1 + rng.uniform(-CONTRAST, CONTRAST) * strength
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS) * 255 * strength
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = np.clip(levels + (shift if shifted else np.zeros(3)), 0, 255)
    table = np.clip(table * contrast + brightness, 0, 255)
    return as_image(cv2.LUT(image, np.rint(table).astype(np.uint8)[None]))


def _coarser(image: Image, strength: float, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    factor = 1 + (COARSE_FACTORS[int(rng.integers(2))] - 1) * max(strength, 0.0)
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    coarse = cv2.resize(image, small, interpolation=cv2.INTER_NEAREST)
    return as_image(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))


def draw_move(shape: Floats, side: float, strength: float, rng: np.random.Generator) -> Floats:
    """Return how source and mask are moved together: scale about the face and shift, 2 × 3."""
    scale = 1 + (rng.uniform(SCALE_LOW, 1 / SCALE_LOW) - 1) * strength
    shift = rng.uniform(-1, 1, 2) * np.array(SHIFT) * side * strength
    centre = shape[:N_POINTS].mean(0)
    move: Floats = np.array([[scale, 0, 0], [0, scale, 0]], dtype=np.float64)
    move[:, 2] = centre - scale * centre + shift
    return move


def _mask(
    hulls: list[Mask],
    move: Floats,
    side: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Mask:
    height, width = size
    # half resolution: a soft mask has no finer detail, and blurs cost a quarter
    hard, ratio = fill_hulls(hulls, move, size, shrink=2)
    small_side = float(side * ratio.mean())
    soft = soften(elastic(hard, small_side, rng, ELASTIC_STD), small_side, rng)
    return cleaned(as_floats(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)))


def fill_hulls(
    hulls: list[Mask], move: Floats, size: tuple[int, int], shrink: int
) -> tuple[Mask, NDArray[np.float64]]:
    """Fill hulls, moved by `move`, in a picture `shrink` times smaller; 0 outside, 1 inside.

    Returns:
        The mask and its size over the whole picture's, x and y.
    """
    height, width = size
    small = np.zeros((max(2, height // shrink), max(2, width // shrink)), dtype=np.uint8)
    ratio = np.array([small.shape[1] / width, small.shape[0] / height])
    limit = 4.0 * max(height, width)
    for hull in hulls:
        # the middle of a pixel is a whole number, in the large picture and in the small one
        placed = (hull @ move[:, :2].T + move[:, 2] + 0.5) * ratio - 0.5
        placed = np.round(np.clip(placed, -limit, limit) * 16).astype(np.int32)
        cv2.fillConvexPoly(small, placed, 255, cv2.LINE_AA, 4)
    return small.astype(np.float32) / np.float32(255), ratio


def elastic(mask: Mask, side: float, rng: np.random.Generator, deviation: float) -> Mask:
    """Push a mask about by a smooth random field.

    Args:
        mask: float32 (h, w).
        side: The face's side in the mask's pixels.
        rng: The only source of chance.
        deviation: Standard deviation of the shift along x and y, in pixels of a face of
            `ELASTIC_SIDE`.
    """
    height, width = mask.shape
    unit = side / ELASTIC_SIDE
    coarse = [int(np.clip(round(n / (ELASTIC_STEP * unit)), 4, n + 4)) for n in (height, width)]
    field = rng.standard_normal((*coarse, 2), dtype=np.float32)
    field = as_floats(cv2.GaussianBlur(field, (7, 7), ELASTIC_SIGMA / ELASTIC_STEP))
    field *= np.float32(deviation * unit / GRID_STD)
    field = as_floats(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC))
    field[..., 0] += np.arange(width, dtype=np.float32)
    field[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return as_floats(cv2.remap(mask, field[..., 0], field[..., 1], cv2.INTER_LINEAR))


def soften(mask: Mask, side: float, rng: np.random.Generator) -> Mask:
    """Erode a mask by a blur that is cut at its plateau, then blur what remains; the peak is 1.

    Args:
        mask: float32 (h, w) in [0, 1].
        side: The face's side in the mask's pixels.
        rng: The only source of chance.
    """
    unit = side / rng.uniform(*SOFT_SIDES)
    first, second = (2 * (int(kernel) // 2) + 1 for kernel in rng.integers(*KERNELS, 2))
    sigma = float(rng.integers(*SIGMAS))
    width = odd((first + RIM) * unit)
    # the sigma that belongs to a kernel of this size by OpenCV's rule
    blurred = cv2.GaussianBlur(mask, (width, width), (0.15 * (first + RIM - 1) + 0.5) * unit)
    peak = float(blurred.max())
    if peak < 0.02:
        return np.zeros_like(mask)
    core = (blurred >= PLATEAU * peak).astype(np.float32)
    width = odd(second * unit)
    soft = as_floats(cv2.GaussianBlur(core, (width, width), max(sigma * unit, 1e-3)))
    soft /= max(float(soft.max()), 1e-6)
    return soft
