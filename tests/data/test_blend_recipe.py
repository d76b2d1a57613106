"""The bundled detector's blends and crops come out bit for bit as on the day it was trained."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from dfdetect.data.augment import AugmentSettings, augment
from dfdetect.data.blend import CANONICAL_68, BlendSettings, five_of_68, self_blend
from dfdetect.types import Image

# OpenCV rounds by its build and the machine's instructions; these are those of the build that wrote
# the hashes below
OPENCV = "d176a88e08b6ed26609f2449107bcb3cf02ddeee4aa7b3371d9c0d4539f583ab"
BLENDS = "f434edc9946b2a10edf618c7678b1824e5144415b6cf74922fe00190f06bd568"
CROPS = "c082cc122868c0d90bde2a3f30a4aaf4b148bbe8e6707184fff6d58b5f0911e1"
SIDES = (96, 161, 256)


def picture(seed: int, side: int) -> Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (side // 16 + 2, side // 16 + 2, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


def points(seed: int, side: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    five = five_of_68(np.array(CANONICAL_68)) * side * 0.22 + [side / 2, side * 0.38]
    return [(float(x), float(y)) for x, y in five + rng.normal(0, side * 0.01, (5, 2))]


def _require_same_opencv() -> None:
    image, digest = picture(0, 161), hashlib.sha256()
    mask = image[..., 0].astype(np.float32) / np.float32(255)
    move = np.array([[1.03, 0, -2.2], [0, 1.03, 1.7]])
    y, x = np.mgrid[:161, :161].astype(np.float32)
    for array in (
        cv2.GaussianBlur(mask, (13, 13), 7.7),
        cv2.GaussianBlur(image, (0, 0), 1.1),
        cv2.warpAffine(image, move, (161, 161), borderMode=cv2.BORDER_REFLECT),
        cv2.resize(mask, (322, 322), interpolation=cv2.INTER_CUBIC),
        cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA),
        cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR),
        cv2.remap(mask, x + np.float32(0.3), y - np.float32(0.7), cv2.INTER_LINEAR),
        cv2.blendLinear(image, image[::-1].copy(), mask, 1 - mask),
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 71])[1],
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    if digest.hexdigest() != OPENCV:
        pytest.skip(f"this build of OpenCV ({cv2.__version__}) rounds otherwise")


def test_fifty_blends_are_those_the_bundled_detector_was_trained_on() -> None:
    _require_same_opencv()
    digest = hashlib.sha256()
    for seed in range(50):
        side = SIDES[seed % 3]
        told = None if seed % 5 else BlendSettings((1.0,), 1.4)
        blend = self_blend(
            picture(seed, side), points(seed, side), np.random.default_rng(seed), told
        )
        assert blend.method == "sbi-5pt"
        for array in (blend.real, blend.fake, blend.mask):
            digest.update(array.tobytes())
    assert digest.hexdigest() == BLENDS


def test_fifty_crops_are_those_the_bundled_detector_was_trained_on() -> None:
    _require_same_opencv()
    digest = hashlib.sha256()
    for seed in range(50):
        size = (64, 112, 224)[seed % 3]
        crop = picture(seed, SIDES[seed % 3])
        rng = np.random.default_rng(seed)
        digest.update(augment(crop, 1.6, size, rng, AugmentSettings()).tobytes())
    assert digest.hexdigest() == CROPS
