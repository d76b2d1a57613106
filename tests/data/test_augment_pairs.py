"""Augmentation of pairs: what differs stays where it was, and each setting does what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dfdetect.data.augment import NO_AUGMENT, AugmentSettings, augment
from dfdetect.types import Image

ALWAYS = AugmentSettings(
    flip=1, colour=1, grey=1, blur=1, resize=1, noise=1, jpeg=1, scale_low=0.8, scale_high=2.0
)


@pytest.fixture(scope="module")
def crop(portrait: Image) -> Image:
    return np.ascontiguousarray(portrait[40:200, 140:300])


@pytest.mark.parametrize("seed", range(10))
def test_a_pair_is_treated_alike_whatever_is_in_the_pictures(crop: Image, seed: int) -> None:
    # a local change must stay local: same region, same mirror, same noise in both halves
    told = AugmentSettings(jpeg=0, resize=0, blur=0, noise=1, flip=0.5, colour=0, grey=0)
    twin = crop.copy()
    twin[70:90, 70:90] = 255
    pair = [augment(half, 1.0, 160, np.random.default_rng(seed), told) for half in (crop, twin)]
    equal = (pair[0] == pair[1]).all(axis=2)
    assert 0.9 < equal.mean() < 1


def test_lower_quality_makes_blocks(crop: Image) -> None:
    clean = dataclasses.replace(NO_AUGMENT, jpeg=0)
    coarse = dataclasses.replace(NO_AUGMENT, jpeg=1, jpeg_low=5)
    pictures = [augment(crop, 1.0, 160, np.random.default_rng(3), told) for told in (clean, coarse)]
    error = np.abs(pictures[0].astype(int) - pictures[1]).mean()
    assert error > 0.5


def test_mirror_is_a_mirror(crop: Image) -> None:
    mirrored = augment(
        crop, 1.0, 160, np.random.default_rng(0), dataclasses.replace(NO_AUGMENT, flip=1)
    )
    assert np.array_equal(
        mirrored[:, ::-1], augment(crop, 1.0, 160, np.random.default_rng(0), NO_AUGMENT)
    )


def test_grey_is_grey(crop: Image) -> None:
    told = dataclasses.replace(NO_AUGMENT, grey=1)
    picture = augment(crop, 1.0, 64, np.random.default_rng(0), told)
    assert (picture == picture[..., :1]).all()


def test_scales_cover_the_stated_range() -> None:
    # a ramp: the span of grey levels that remains tells the width of the region
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 256, 0)
    ramp = np.repeat(ramp, 3, 2)
    told = dataclasses.replace(NO_AUGMENT, scale_low=1.0, scale_high=1.5)
    spans = []
    for seed in range(200):
        picture = augment(ramp, 1.6, 64, np.random.default_rng(seed), told)
        spans.append(float(np.ptp(picture)) / 255 * 1.6)
    assert 0.93 < min(spans) < 1.05
    assert 1.4 < max(spans) < 1.55
