"""Augmentation: equal draws treat equally, regions are where they should be, sizes hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.data.augment import NO_AUGMENT, AugmentSettings, augment, face_region

ALWAYS = AugmentSettings(1.0, 1.4, 0.1, 1.0, 1.0, 0.3, 1.0, 1.0, 1.0, 0.3, 1.0, 10.0, 1.0, 40)


def ramp(side: int) -> np.ndarray:
    column = np.linspace(0, 255, side).astype(np.uint8)
    return np.stack(
        [
            np.tile(column, (side, 1)),
            np.tile(column[:, None], (1, side)),
            np.full((side, side), 128, np.uint8),
        ],
        axis=2,
    )


@given(
    st.integers(9, 200),
    st.sampled_from([16, 32, 64]),
    st.integers(0, 2**32),
    st.floats(1.0, 2.0),
    st.booleans(),
)
def test_any_crop_gives_the_wanted_size_and_repeats(
    side: int, size: int, seed: int, scale: float, everything: bool
) -> None:
    settings = ALWAYS if everything else AugmentSettings()
    crop = ramp(side)
    kept = crop.copy()
    one, other = (
        augment(crop, scale, size, np.random.default_rng(seed), settings) for _ in range(2)
    )
    assert one.shape == (size, size, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, other)
    assert np.array_equal(crop, kept)


def test_a_pair_is_treated_alike() -> None:
    """Where two pictures are equal they are equal after augmentation, JPEG and noise included."""
    crop = ramp(96)
    for seed in range(20):
        one, other = (
            augment(picture, 1.6, 64, np.random.default_rng(seed), ALWAYS)
            for picture in (crop, crop.copy())
        )
        assert np.array_equal(one, other)


def test_without_augmentation_only_the_region_is_cut() -> None:
    crop = ramp(160)
    expected = crop[30:130, 30:130]
    assert np.array_equal(augment(crop, 1.6, 100, np.random.default_rng(0), NO_AUGMENT), expected)
    assert np.array_equal(face_region(crop, 1.6, 1.0, 100), expected)


def test_a_scale_beyond_the_stored_one_gives_the_whole_crop() -> None:
    crop = ramp(64)
    assert np.array_equal(face_region(crop, 1.05, 1.3, 64), crop)


@pytest.mark.parametrize("size", [32, 200])
def test_resizing_keeps_brightness(size: int) -> None:
    crop = ramp(100)
    assert abs(face_region(crop, 1.0, 1.0, size).mean() - crop.mean()) < 1.5
