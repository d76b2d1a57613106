"""Self-blending written down plainly: every step per pixel at full resolution, nothing clever.

The yardstick of `bench_train.py` for speed, and of the tests for distributions. It follows the
paper's numbers to the letter, which are in pixels, so that the picture must be about 256 pixels
wide and the face half of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.face_shape import PUBLISHED_REGIONS, with_raised_brows

Array: TypeAlias = NDArray[Any]
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class PlainBlend:
    """Both pictures uint8 RGB, the mask in [0, 1], the elastic shift (H, W, 2) in pixels."""

    real: Array
    fake: Array
    mask: Array
    field: Array


def plain_self_blend(image: Array, landmarks: Array, rng: np.random.Generator) -> PlainBlend:
    """Blend a face with a changed copy of itself.

    Args:
        image: uint8 RGB (H, W, 3).
        landmarks: 68 or 81 points (N, 2) in the picture's pixels.
        rng: The only source of chance.
    """
    height, width = image.shape[:2]
    mask = _hull_mask(landmarks, (height, width), rng)
    source, target = image.copy(), image.copy()
    if rng.random() < 0.5:
        source = _changed(source, rng)
    else:
        target = _changed(target, rng)
    move = _move(landmarks, width, height, rng)
    source = cv2.warpAffine(source, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    mask = cv2.warpAffine(mask, move, (width, height))
    mask, field = _elastic(mask, rng)
    mask = _softened(mask, rng)[..., None] * RATIOS[int(rng.integers(len(RATIOS)))]
    fake = mask * source.astype(np.float32) + (1 - mask) * target.astype(np.float32)
    return PlainBlend(target, np.rint(fake).astype(np.uint8), mask[..., 0], field)


def _hull_mask(landmarks: Array, size: tuple[int, int], rng: np.random.Generator) -> Array:
    region = list(PUBLISHED_REGIONS)[int(rng.integers(4))]
    if rng.random() < 0.25:
        landmarks = landmarks[:68]
    points = with_raised_brows(landmarks)
    parts = PUBLISHED_REGIONS[region]
    hulls = [points[list(part)] for part in parts] if parts else [landmarks]
    mask = np.zeros(size, np.float32)
    for hull in hulls:
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(hull).astype(np.int32)), 1.0)
    return mask


def _changed(image: Array, rng: np.random.Generator) -> Array:
    pixels = image.astype(np.float32)
    if rng.random() < 0.3:
        pixels = np.clip(pixels + rng.uniform(-20, 20, 3), 0, 255)
    hsv = cv2.cvtColor(np.rint(pixels).astype(np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
    hue, saturation, value = rng.uniform(-0.3, 0.3, 3)
    hsv[..., 0] = np.mod(hsv[..., 0] + hue, 180)
    hsv[..., 1:] = np.clip(hsv[..., 1:] + np.array([saturation, value]), 0, 255)
    pixels = cv2.cvtColor(np.rint(hsv).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    contrast, brightness = 1 + rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1) * 255
    pixels = np.rint(np.clip(pixels * contrast + brightness, 0, 255)).astype(np.uint8)
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        factor = int(rng.choice([2, 4]))
        small = cv2.resize(
            pixels, (width // factor, height // factor), interpolation=cv2.INTER_NEAREST
        )
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    amount, lightness = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0)
    plain = np.zeros((3, 3), np.float32)
    plain[1, 1] = 1
    edges = np.full((3, 3), -1, np.float32)
    edges[1, 1] = 8 + lightness
    kernel = (1 - amount) * plain + amount * edges
    sharp = cv2.filter2D(pixels.astype(np.float32), -1, kernel)
    return np.rint(np.clip(sharp, 0, 255)).astype(np.uint8)


def _move(landmarks: Array, width: int, height: int, rng: np.random.Generator) -> Array:
    scale = rng.uniform(0.95, 1 / 0.95)
    shift = rng.uniform(-0.03, 0.03) * width, rng.uniform(-0.015, 0.015) * height * 1.2
    centre = landmarks[:68].mean(axis=0)
    offset = centre - scale * centre + shift
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])


def _elastic(mask: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    height, width = mask.shape
    noise = rng.uniform(-1, 1, (height, width, 2)).astype(np.float32)
    field = cv2.GaussianBlur(noise, (0, 0), 7) * np.float32(50)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(mask, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR)
    return np.asarray(moved), field


def _softened(mask: Array, rng: np.random.Generator) -> Array:
    height, width = mask.shape
    rows, columns = (int(side) for side in rng.integers(192, 257, 2))
    mask = cv2.resize(mask, (columns, rows))
    first, second = (int(kernel) // 2 * 2 + 1 for kernel in rng.integers(5, 26, 2))
    mask = cv2.GaussianBlur(mask, (first, first), 0)
    mask = np.asarray(mask / max(float(mask.max()), 1e-6), np.float32)
    mask[mask < 1 - 1e-5] = 0
    mask = cv2.GaussianBlur(mask, (second, second), float(rng.integers(5, 46)))
    mask = np.asarray(mask / max(float(mask.max()), 1e-6), np.float32)
    return np.clip(cv2.resize(mask, (width, height)), 0, 1)
