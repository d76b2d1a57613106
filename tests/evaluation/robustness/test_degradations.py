"""Degradations of pictures: stronger with severity, repeatable, and as their protocol says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dfdetect.errors import UsageError
from dfdetect.evaluation.robustness.degradations import DEGRADATIONS, SEVERITIES, picture_rng
from dfdetect.types import Image

NAMES = DEGRADATIONS.names()


def degraded(picture: Image, name: str, severity: int, index: int = 0, seed: int = 5) -> Image:
    return DEGRADATIONS.get(name)(picture, severity, picture_rng(seed, name, index))


@pytest.mark.parametrize("name", NAMES)
def test_each_severity_is_worse_than_the_one_before(name: str, portrait: Image) -> None:
    series = [degraded(portrait, name, severity) for severity in SEVERITIES]
    assert {(one.shape, one.dtype.name) for one in series} == {(portrait.shape, "uint8")}
    ratios = [peak_signal_noise_ratio(portrait, one) for one in series]
    assert np.diff(ratios).max() < 0
    if name != "saturation":
        # the structure of the luma is what desaturation keeps
        likeness = [
            structural_similarity(
                cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY), cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)
            )
            for one in series
        ]
        assert np.diff(likeness).max() < 0


@pytest.mark.parametrize("name", NAMES)
def test_pictures_do_not_depend_on_order_or_on_each_other(name: str, portrait: Image) -> None:
    before = portrait.copy()
    third, first = (degraded(portrait, name, 4, index) for index in (2, 0))
    assert np.array_equal(portrait, before)
    assert np.array_equal(third, degraded(portrait, name, 4, 2))
    is_random = name in ("noise", "block_wise")
    assert np.array_equal(third, first) is not is_random
    other_seed = degraded(portrait, name, 4, 2, seed=6)
    assert np.array_equal(third, other_seed) is not is_random


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), severity=st.sampled_from(SEVERITIES))
def test_any_size_is_kept(name: str, height: int, width: int, severity: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    found = degraded(picture, name, severity)
    assert (found.shape, found.dtype) == (picture.shape, picture.dtype)


def test_saturation_keeps_luma_and_ends_in_grey(portrait: Image) -> None:
    grey = degraded(portrait, "saturation", 5)
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    luma = portrait @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - luma).max() <= 1.0


def test_contrast_multiplies_every_value(portrait: Image) -> None:
    assert np.abs(degraded(portrait, "contrast", 3) - 0.6 * portrait).max() <= 0.51


def test_blocks_are_as_many_as_published_and_nested() -> None:
    white = np.full((512, 700, 3), 255, np.uint8)
    covered = [(degraded(white, "block_wise", severity) == 128).all(axis=2) for severity in (1, 5)]
    # two times 256 px: 32 and 160 blocks of 8 × 8, less where they overlap
    for mask, count in zip(covered, (32, 160), strict=True):
        assert 0.9 * count * 64 <= mask.sum() <= count * 64
    assert not (covered[0] & ~covered[1]).any()


def test_noise_has_the_published_variance_in_luma_and_chroma() -> None:
    grey = np.full((300, 300, 3), 128, np.uint8)
    for severity, variance in ((1, 0.001), (3, 0.005)):
        noisy = degraded(grey, "noise", severity)
        as_ycc = cv2.cvtColor(noisy.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb).reshape(-1, 3)
        # of studio-range values, which span 219 and 224 of 255 steps
        spread = as_ycc.std(axis=0) * np.array([219, 224, 224]) / 255
        assert spread == pytest.approx(np.sqrt([variance] * 3), rel=0.03)


def test_blur_spreads_a_point_by_a_sixth_of_its_kernel() -> None:
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    spread = degraded(point, "blur", 1)[..., 0]
    rows = np.nonzero(spread)[0]
    assert rows.min() >= 17
    assert rows.max() <= 23
    weights = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    assert spread[20, 20] == pytest.approx(255 * (1 / weights.sum()) ** 2, abs=1)


def test_pixelation_leaves_no_finer_detail_than_its_factor() -> None:
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(degraded(stripes, "pixelation", 1)) == 0


def test_unknown_names_and_severities_are_refused(portrait: Image) -> None:
    with pytest.raises(UsageError, match="did you mean 'jpeg'"):
        DEGRADATIONS.get("jpg")
    with pytest.raises(ValueError, match="severity 6"):
        degraded(portrait, "jpeg", 6)
