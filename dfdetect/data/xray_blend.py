"""Blends of two genuine faces, as Face X-ray is trained on: one person's face in another's.

Source: Li et al., "Face X-ray for More General Face Forgery Detection" (CVPR 2020), section 3.2: a
partner with near landmarks, its face moved onto the other's, colours matched, the mask the hull of
the landmarks, deformed and blurred at random. Ours: how far a mask is deformed and blurred, that
both happen at half of the resolution, and that colours are matched by 8-bit tables. With five
points instead of 68 the canonical shape takes their place, and the method is called `xray-5pt`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.face_shape import N_POINTS, face_side, placed_shape
from dfdetect.data.opacity import (
    Blend,
    Floats,
    Mask,
    as_floats,
    as_image,
    cleaned,
    mix,
    require_picture,
)
from dfdetect.data.published_blend import fill_hulls, region_hulls
from dfdetect.faces.crop import similarity
from dfdetect.types import Image, Point

METHOD = "xray-5pt"
METHOD_68 = "xray"
N_CANDIDATES = 100
# shares of the face's side: how far the corners of the mask's grid move, and the blur's sigma
DEFORM = (0.0, 0.05)
BLUR = (0.015, 0.08)
DEFORM_CELLS = 4


def normalised(shapes: NDArray[np.float64], template: Floats) -> NDArray[np.float64]:
    """Bring shapes to one place, size and rotation.

    Args:
        shapes: (K, N, 2) points.
        template: (N, 2) points of a face that is upright.

    Returns:
        (K, N, 2): centred on 0, with a root mean square distance of 1 from it, as the template is.

    Example:
        >>> from dfdetect.data.face_shape import CANONICAL_68
        >>> face = np.array(CANONICAL_68)
        >>> turned = face[:, ::-1] * [3, -3] + 7
        >>> bool(np.allclose(*normalised(np.stack([face, turned]), face)))
        True
    """
    plane = shapes[..., 0] + 1j * shapes[..., 1]
    plane = plane - plane.mean(axis=-1, keepdims=True)
    size = np.sqrt((np.abs(plane) ** 2).mean(axis=-1, keepdims=True))
    plane = plane / np.maximum(size, 1e-9)
    upright = np.asarray(template) @ np.array([1, 1j])
    turn = (np.conj(plane) * (upright - upright.mean())).sum(axis=-1, keepdims=True)
    plane = plane * np.exp(1j * np.angle(turn))
    return np.stack([plane.real, plane.imag], axis=-1)


def xray_blend(
    background: Image,
    landmarks: Sequence[Point] | Floats,
    foreground: Image,
    foreground_landmarks: Sequence[Point] | Floats,
    rng: np.random.Generator,
) -> Blend:
    """Put the face of one genuine picture into another.

    Args:
        background: uint8 RGB (H, W, 3): everything but the face comes from it.
        landmarks: Its 5, 68 or 81 points in its pixels.
        foreground: uint8 RGB of any size, with the face to put in.
        foreground_landmarks: 5, 68 or 81 points in the pixels of `foreground`.
        rng: The only source of chance.

    Returns:
        `real` is the background, `fake` the blend, `mask` the foreground's share; `xray` gives
        the seam. `method` is `xray-5pt` for five `landmarks`, which the mask follows, and `xray`
        for more.

    Raises:
        ValueError: The pictures or the landmarks have another shape than stated.
    """
    require_picture(background)
    require_picture(foreground)
    shape, other = placed_shape(landmarks), placed_shape(foreground_landmarks)
    height, width = background.shape[:2]
    side = min(face_side(shape), 4.0 * max(height, width))
    onto = similarity(_points(other), _points(shape))
    moved, covered = _moved(foreground, onto, (height, width))
    hull = region_hulls(shape, "whole", forehead=shape.shape[0] == 81 and rng.random() < 0.5)
    hard, _ = fill_hulls(hull, np.eye(2, 3), (height, width), shrink=2)
    hard = np.minimum(hard, covered)
    matched = match_colours(moved, background, hard)
    mask = _soft(_deformed(hard, side / 2, rng), side / 2, rng)
    mask = cleaned(as_floats(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)))
    method = METHOD if len(landmarks) == 5 else METHOD_68
    return Blend(background, mix(matched, background, mask), mask, method, "whole")


def match_colours(image: Image, reference: Image, mask: Mask) -> Image:
    """Give a picture the mean and spread of each L*a*b* channel that another has.

    Source: Reinhard et al., "Color Transfer between Images", 2001, in L*a*b* of 8 bits.

    Args:
        image: uint8 RGB.
        reference: uint8 RGB of the same size.
        mask: float32, of any size: statistics are those where it is above a half.
    """
    height, width = image.shape[:2]
    inside = (mask > 0.5).astype(np.uint8)
    inside = as_image(cv2.resize(inside, (width, height), interpolation=cv2.INTER_NEAREST))
    if not inside.any():
        return image
    ours, theirs = (as_image(cv2.cvtColor(each, cv2.COLOR_RGB2LAB)) for each in (image, reference))
    (mean, spread), (wanted, wanted_spread) = (
        [np.ravel(values) for values in cv2.meanStdDev(each, mask=inside)]
        for each in (ours, theirs)
    )
    levels = np.arange(256, dtype=np.float64)[:, None]
    # a flat foreground has no spread to stretch
    gain = np.where(spread > 1, wanted_spread / np.maximum(spread, 1), 1.0)
    table = np.clip((levels - mean) * gain + wanted, 0, 255)
    changed = cv2.LUT(ours, np.rint(table).astype(np.uint8)[None])
    return as_image(cv2.cvtColor(changed, cv2.COLOR_LAB2RGB))


def _points(shape: Floats) -> list[Point]:
    return [(float(x), float(y)) for x, y in shape[:N_POINTS]]


def _moved(image: Image, onto: Floats, size: tuple[int, int]) -> tuple[Image, Mask]:
    """Warp a picture; return it and, at half of the resolution, where it covers the other."""
    height, width = size
    shrink = np.hypot(onto[0, 0], onto[0, 1])
    if shrink < 0.5:
        # bilinear warping skips pixels when it shrinks, so areas are averaged beforehand
        rows, columns = image.shape[:2]
        small = (max(1, round(columns * shrink)), max(1, round(rows * shrink)))
        factor = np.array([columns / small[0], rows / small[1]])
        image = as_image(cv2.resize(image, small, interpolation=cv2.INTER_AREA))
        offset = onto[:, :2] @ (0.5 * factor - 0.5) + onto[:, 2]
        onto = np.column_stack([onto[:, :2] * factor, offset])
    moved = cv2.warpAffine(
        image, onto, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    whole = np.ones(image.shape[:2], np.float32)
    covered = cv2.warpAffine(whole, onto, (width, height), flags=cv2.INTER_NEAREST)
    small = (max(2, width // 2), max(2, height // 2))
    half = as_floats(cv2.resize(covered, small, interpolation=cv2.INTER_NEAREST))
    return as_image(moved), half


def _deformed(mask: Mask, side: float, rng: np.random.Generator) -> Mask:
    height, width = mask.shape
    corners = rng.normal(0, rng.uniform(*DEFORM) * side, (DEFORM_CELLS, DEFORM_CELLS, 2))
    shift = as_floats(
        cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    )
    shift[..., 0] += np.arange(width, dtype=np.float32)
    shift[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return as_floats(cv2.remap(mask, shift[..., 0], shift[..., 1], cv2.INTER_LINEAR))


def _soft(mask: Mask, side: float, rng: np.random.Generator) -> Mask:
    sigma = max(rng.uniform(*BLUR) * side, 0.5)
    return as_floats(cv2.GaussianBlur(mask, (0, 0), sigma))
