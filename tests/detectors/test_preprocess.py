"""Preprocessing: the arithmetic, and settings that contradict each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.detectors.base import Preprocess
from dfdetect.types import CropPolicy

unit = st.floats(0.05, 1.0)


@given(st.tuples(unit, unit, unit), st.tuples(unit, unit, unit), st.integers(0, 2**32 - 1))
def test_normalise_is_the_textbook_formula(
    mean: tuple[float, float, float], std: tuple[float, float, float], seed: int
) -> None:
    crops = np.random.default_rng(seed).integers(0, 256, (2, 16, 16, 3), np.uint8)
    pixels = Preprocess(16, mean, std, CropPolicy(size=16)).normalise(crops)
    expected = ((crops / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    np.testing.assert_allclose(pixels, expected, atol=3e-6)


def test_normalise_takes_no_other_arrays() -> None:
    preprocess = Preprocess(16, (0.0,) * 3, (1.0,) * 3, CropPolicy(size=16))
    for crops in (np.zeros((2, 16, 16, 3), np.float32), np.zeros((16, 16, 3), np.uint8)):
        with pytest.raises(ValueError, match="crops must be uint8"):
            preprocess.normalise(crops)
    assert preprocess.normalise(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("size", "mean", "std", "crop"),
    [
        (64, 0.5, 0.5, CropPolicy(size=32)),
        (8, 0.5, 0.5, CropPolicy(size=8)),
        (64, 0.5, 0.0, CropPolicy(size=64)),
        (64, float("nan"), 0.5, CropPolicy(size=64)),
        (64, 0.5, 0.5, CropPolicy(scale=0.0, size=64)),
    ],
)
def test_contradictions_are_refused(size: int, mean: float, std: float, crop: CropPolicy) -> None:
    with pytest.raises(ValueError, match=r"preprocess|crop"):
        Preprocess(size, (mean,) * 3, (std,) * 3, crop)
