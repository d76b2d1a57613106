"""The bundled detector's blends, regions and draws are still those of the day it was trained.

What a treatment then does to pixels is torchvision's by now, and was OpenCV's.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from dfdetect.data.augment import AugmentSettings, augment, draw_treatment
from dfdetect.data.augment_settings import geometry_of
from dfdetect.data.blend import CANONICAL_68, BlendSettings, five_of_68, self_blend
from dfdetect.types import Image

# OpenCV rounds by its build and the machine's instructions; these are those of the build that wrote
# the hashes below
OPENCV = "d176a88e08b6ed26609f2449107bcb3cf02ddeee4aa7b3371d9c0d4539f583ab"
BLENDS = "f434edc9946b2a10edf618c7678b1824e5144415b6cf74922fe00190f06bd568"
REGIONS = "e00705450a67ad9f5ce299358d0610a53e8bb5c8818be67feeee1b2dd9da8c0e"
DRAWS = "4933d83067be85b4675e314214842898f789913e17310c500b0c7439601414c5"
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


def test_fifty_regions_are_those_the_bundled_detector_was_trained_on() -> None:
    _require_same_opencv()
    digest = hashlib.sha256()
    told = geometry_of(AugmentSettings())
    for seed in range(50):
        size = (64, 112, 224)[seed % 3]
        crop = picture(seed, SIDES[seed % 3])
        rng = np.random.default_rng(seed)
        digest.update(augment(crop, 1.6, size, rng, told).tobytes())
    assert digest.hexdigest() == REGIONS


def test_fifty_treatments_are_those_the_bundled_detector_was_trained_on() -> None:
    # what happens, how strongly and to whom; the pixels that come of it were OpenCV's then
    digest = hashlib.sha256()
    for seed in range(50):
        drawn = draw_treatment(np.random.default_rng(seed), AugmentSettings())
        deviation, noise = drawn.noise or (0.0, None)
        numbers = [
            drawn.scale,
            *drawn.shift,
            drawn.flip,
            drawn.grey,
            drawn.sigma or 0,
            drawn.smaller or 0,
            drawn.quality or 0,
            deviation,
            *(noise.generate_state(2).tolist() if noise else []),
            *(drawn.colour.tolist() if drawn.colour is not None else []),
        ]
        digest.update(np.array(numbers, np.float64).tobytes())
    assert digest.hexdigest() == DRAWS
