"""Self-blended images: a forgery made of one genuine face, with the mask that was blended.

Method: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022),
section 3. The paper places its masks on 81 detected landmarks. Where 68 or 81 are given, its
recipe is followed (`dfdetect.data.published_blend`) and the result is called `sbi`. With the five
points that every finder gives, a canonical 68-point shape is fitted to them, so that masks follow a
face less closely: results made with it are called `sbi-5pt`, never SBI. They have a recipe of their
own, below. It differs from the paper's, each time for speed or for variety that the coarser shape
lacks: the elastic field is drawn at 1/8 and the mask softened at 1/2 of the resolution, hull points
are jittered, regions may be parts of a face, and colour is changed through 8-bit tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.face_shape import (
    BROWS,
    CANONICAL_68,
    EYES,
    JAW,
    LIPS,
    NOSE,
    face_side,
    fit_shape,
    five_of_68,
    placed_shape,
)
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
    require_picture,
)
from dfdetect.data.published_blend import published_blend
from dfdetect.types import Image, Point

__all__ = [
    "CANONICAL_68",
    "METHOD",
    "METHOD_68",
    "Blend",
    "BlendSettings",
    "fit_shape",
    "five_of_68",
    "self_blend",
]

METHOD = "sbi-5pt"
METHOD_68 = "sbi"
RECIPES = (None, "varied", "published")

_BROW_TOPS = tuple(range(68, 73))

# Each variant is a union of convex hulls, given by indices into the fitted shape.
_VARIANTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "face": (JAW + BROWS,),
    "face and forehead": (JAW + BROWS + _BROW_TOPS,),
    "inner face": (BROWS + EYES + NOSE + LIPS + (5, 11),),
    "lower half": ((*range(2, 15), 31, 35, 28),),
    "upper half": ((0, 1, 2, 14, 15, 16, 30, 31, 35, *BROWS),),
    "mouth": ((*LIPS, 5, 8, 11, 33),),
}
_COMPONENTS: tuple[tuple[int, ...], ...] = (
    (*range(17, 22), *range(36, 42)),
    (*range(22, 27), *range(42, 48)),
    (*NOSE, 39, 42),
    LIPS,
)
_CHOICES = ("face", "face", "face and forehead", "inner face", "inner face",
            "components", "components", "lower half", "upper half", "mouth")  # fmt: skip


def self_blend(
    image: Image,
    landmarks: Sequence[Point] | Floats,
    rng: np.random.Generator,
    settings: BlendSettings | None = None,
) -> Blend:
    """Blend a picture's face with a changed copy of itself; everything is drawn from `rng`.

    Args:
        image: uint8 RGB (H, W, 3), with one face of interest.
        landmarks: In the picture's pixels: five points in the order of `types.Face`, 68 in the
            iBUG order, or 81 of which the last 13 lie on the forehead.
        rng: The only source of chance: the same state gives the same blend.
        settings: Opacities, strength and recipe; the training defaults where None.

    Returns:
        The genuine picture, its twin and the mask. Where the face lies outside the picture the
        mask is 0 everywhere and the twin is equal: callers that need a forgery must look.
        `method` is `sbi-5pt` for five points and `sbi` for more.

    Raises:
        ValueError: The picture or the landmarks have another shape than stated, or there is no
            such recipe; `varied` is for five points.
    """
    require_picture(image)
    settings = settings or BlendSettings()
    if settings.recipe not in RECIPES:
        raise ValueError(f"no recipe {settings.recipe!r}; choose varied, published or None")
    shape = placed_shape(landmarks)
    method = METHOD if len(landmarks) == 5 else METHOD_68
    if settings.recipe == "published" or (settings.recipe is None and method == METHOD_68):
        return published_blend(image, shape, rng, settings, method)
    if method != METHOD:
        raise ValueError("the recipe `varied` is for five landmarks; leave recipe out")
    return _varied_blend(image, shape, rng, settings)


def _varied_blend(
    image: Image, shape: Floats, rng: np.random.Generator, settings: BlendSettings
) -> Blend:
    side = face_side(shape)
    region, hulls = _draw_hulls(shape, side, rng)
    changed = _change(image, settings.strength, rng)
    source, target = (changed, image) if rng.random() < 0.5 else (image, changed)
    move = _draw_move(shape, side, settings.strength, rng)
    height, width = image.shape[:2]
    moved = cv2.warpAffine(
        source, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    mask = _soft_mask(hulls, move, side, (height, width), rng)
    mask *= settings.ratios[int(rng.integers(len(settings.ratios)))]
    return Blend(target, mix(as_image(moved), target, mask), mask, METHOD, region)


def _draw_hulls(shape: Floats, side: float, rng: np.random.Generator) -> tuple[str, list[Mask]]:
    jittered = (shape + rng.normal(0, 0.012 * side, shape.shape)).astype(np.float32)
    variant = _CHOICES[int(rng.integers(len(_CHOICES)))]
    if variant == "components":
        kept = [part for part in _COMPONENTS if rng.random() < 0.7] or list(_COMPONENTS)
    else:
        kept = list(_VARIANTS[variant])
    hulls = [as_floats(cv2.convexHull(jittered[list(part)])).reshape(-1, 2) for part in kept]
    if variant in ("components", "mouth"):
        # parts are small: without this, softening would leave next to nothing of them
        grown = 1 + rng.uniform(0.1, 0.5)
        hulls = [(hull - hull.mean(0)) * grown + hull.mean(0) for hull in hulls]
    return variant, hulls


def _draw_move(
    shape: Floats, side: float, strength: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    # the paper's ±3 % and ±1.5 % are of a picture about twice as wide as the face
    scale = 1 + rng.uniform(-0.05, 0.05) * strength
    shift = rng.uniform(-1, 1, 2) * np.array([0.04, 0.02]) * side * strength
    centre = shape[:68].mean(0)
    move = np.array([[scale, 0, 0], [0, scale, 0]], dtype=np.float64)
    move[:, 2] = centre - scale * centre + shift
    return move


def _soft_mask(
    hulls: list[Mask],
    move: NDArray[np.float64],
    side: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Mask:
    height, width = size
    # half resolution: a soft mask has no finer detail, and blurs cost a quarter
    small = np.zeros((max(2, height // 2), max(2, width // 2)), dtype=np.uint8)
    ratio = np.array([small.shape[1] / width, small.shape[0] / height])
    limit = 4.0 * max(height, width)
    for hull in hulls:
        placed = np.clip((hull @ move[:, :2].T + move[:, 2]) * ratio, -limit, limit)
        cv2.fillConvexPoly(small, np.round(placed * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    hard: Mask = small.astype(np.float32) / np.float32(255)
    small_side = float(side * ratio.mean())
    soft = _soften(_elastic(hard, small_side, rng), small_side, rng)
    mask = as_floats(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR))
    return cleaned(mask)


def _elastic(mask: Mask, side: float, rng: np.random.Generator) -> Mask:
    height, width = mask.shape
    # 1/8 of the picture's resolution is 1/4 of the mask's
    coarse = (max(2, height // 4), max(2, width // 4), 2)
    field = rng.standard_normal(coarse, dtype=np.float32)
    field = as_floats(cv2.GaussianBlur(field, (5, 5), 0.9))
    field *= side * rng.uniform(0.01, 0.06)
    field = as_floats(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC))
    field[..., 0] += np.arange(width, dtype=np.float32)
    field[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return as_floats(cv2.remap(mask, field[..., 0], field[..., 1], cv2.INTER_LINEAR))


def _soften(mask: Mask, side: float, rng: np.random.Generator) -> Mask:
    # two blurs: the first, cut at its plateau, erodes; the second makes the soft boundary.
    # The paper's kernels of 5 to 25 pixels belong to a face of about 130 pixels.
    unit = min(side, 4096.0) / 130
    first, second = (odd(rng.uniform(5, 25) * unit) for _ in range(2))
    sigma = rng.uniform(5, 45) * unit
    blurred = cv2.GaussianBlur(mask, (first, first), 0)
    peak = float(blurred.max())
    if peak < 0.02:
        return np.zeros_like(mask)
    core = (blurred >= 0.995 * peak).astype(np.float32)
    soft = as_floats(cv2.GaussianBlur(core, (second, second), sigma))
    soft /= max(float(soft.max()), 1e-6)
    return soft


def _change(image: Image, strength: float, rng: np.random.Generator) -> Image:
    changed = _colour(image, strength, rng)
    if rng.random() < 0.5:
        return _coarser(changed, strength, rng)
    amount = rng.uniform(0.2, 0.6) * strength
    blurred = cv2.GaussianBlur(changed, (3, 3), 0)
    return as_image(cv2.addWeighted(changed, 1 + amount, blurred, -amount, 0))


def _colour(image: Image, strength: float, rng: np.random.Generator) -> Image:
    levels = np.arange(256, dtype=np.float32)[:, None]
    contrast = 1 + rng.uniform(-0.1, 0.1) * strength
    brightness = rng.uniform(-0.1, 0.1) * 255 * strength
    shift = rng.uniform(-20, 20, 3) * strength if rng.random() < 0.3 else np.zeros(3)
    table = np.clip((levels - 128) * contrast + 128 + brightness + shift, 0, 255)
    changed = cv2.LUT(image, np.rint(table).astype(np.uint8)[None])
    if rng.random() < 0.5:
        # saturation: away from or towards the grey of each pixel
        share = float(1 + rng.uniform(-0.3, 0.3) * strength)
        grey = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        changed = cv2.addWeighted(changed, share, grey, 1 - share, 0)
    return as_image(changed)


def _coarser(image: Image, strength: float, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    factor = 1 + (rng.uniform(1.3, 4.0) - 1) * max(strength, 0.0)
    small = (max(2, round(width / factor)), max(2, round(height / factor)))
    down = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA)[int(rng.integers(3))]
    up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.integers(2))]
    coarse = cv2.resize(image, small, interpolation=down)
    return as_image(cv2.resize(coarse, (width, height), interpolation=up))
