"""Whether stated likelihood ratios hold: on clips that follow them, and on clips that do not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dfdetect.scoring.aggregate import sigmoid
from dfdetect.scoring.band_checks import calibration_error, check_bands
from dfdetect.scoring.band_ratios import EXACT_BANDS, measured_ratio
from dfdetect.scoring.calibrate import fit_platt
from dfdetect.scoring.metrics import ece
from dfdetect.types import Band, Calibration

PLAIN = Calibration("platt", 1.0, 0.0, 1e-3, 1e3, 500, 500, "val", "2026-01-01")


def gaussian(
    n_real: int, n_fake: int, seed: int, distance: float = 2.5
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits that are their own log LR."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], (n_real, n_fake))
    normal = rng.normal(size=labels.size) + np.where(labels == 1, distance / 2, -distance / 2)
    return normal * distance, labels


def test_counts_and_means_by_hand() -> None:
    logits = np.log([40.0, 90.0, 20.0, 12.0, 1.0, 0.1, 0.2, 0.05])
    found = check_bands(PLAIN, logits, [1, 1, 0, 1, 0, 0, 1, 0])
    assert tuple(one.band for one in found) == EXACT_BANDS
    strong, moderate, weak, inconclusive, none = found
    assert (strong.real_found, strong.n_real, strong.fake_found, strong.n_fake) == (0, 4, 2, 4)
    assert strong.stated == pytest.approx(60.0)
    assert (strong.stated_low, strong.stated_high) == pytest.approx((40.0, 90.0))
    assert (strong.measured, strong.low, strong.high) == measured_ratio(0, 4, 2, 4)
    assert moderate.stated == pytest.approx(math.sqrt(240))
    assert (weak.real_found, weak.fake_found, weak.stated, weak.holds) == (0, 0, None, None)
    assert (inconclusive.real_found, inconclusive.stated) == (1, pytest.approx(1.0))
    assert (none.real_found, none.fake_found) == (2, 1)
    assert none.stated == pytest.approx(0.1)
    assert strong.expected == pytest.approx((40 / 41 + 90 / 91) / (1 / 41 + 1 / 91))
    assert weak.expected is None


def test_each_class_counts_for_half_of_what_is_expected() -> None:
    logits, labels = np.log([12.0, 20.0, 15.0, 1.0]), [1, 0, 0, 0]
    moderate = check_bands(PLAIN, logits, labels)[1]
    p = (12 / 13 + (20 / 21 + 15 / 16) / 3) / (1 + 2 / 3)
    assert moderate.expected == pytest.approx(p / (1 - p))


def test_stated_ratios_are_held_at_the_calibrations_bounds() -> None:
    bounded = dataclasses.replace(PLAIN, lr_max=15.0)
    found = {one.band: one for one in check_bands(bounded, np.array([9.0, -2.0]), [1, 0])}
    assert found[Band.STRONG].stated is None
    assert found[Band.MODERATE].stated_high == pytest.approx(15.0)


def test_a_calibration_holds_on_clips_like_its_own() -> None:
    # the true LR: each band's interval covers what is expected about as often as it says
    checks = [check_bands(PLAIN, *gaussian(300, 300, seed)) for seed in range(200)]
    for place, band in enumerate(EXACT_BANDS):
        assert np.mean([one[place].holds for one in checks]) > 0.91, band
    fitted = fit_platt(*gaussian(2000, 2000, 0), set_name="val", date="2026-01-01")
    assert calibration_error(fitted, *gaussian(3000, 3000, 99)) < 0.03


def test_an_overconfident_one_does_not() -> None:
    boastful = dataclasses.replace(PLAIN, slope=4.0)
    logits, labels = gaussian(300, 300, 1)
    found = {one.band: one for one in check_bands(boastful, logits, labels)}
    assert found[Band.STRONG].holds is False
    assert found[Band.NONE].holds is False
    honest, loud = (calibration_error(one, logits, labels) for one in (PLAIN, boastful))
    assert loud > honest + 0.02


def test_error_is_the_projects_own_where_classes_are_as_many() -> None:
    logits, labels = gaussian(150, 150, 3)
    p = sigmoid(np.clip(logits, np.log(1e-3), np.log(1e3)))
    assert calibration_error(PLAIN, logits, labels) == pytest.approx(ece(labels, p))
    assert calibration_error(PLAIN, logits, labels, 4) == pytest.approx(ece(labels, p, 4))
    with pytest.raises(ValueError, match="bins must be at least 1"):
        calibration_error(PLAIN, logits, labels, 0)


def test_error_weighs_both_classes_alike() -> None:
    # 5 copies of every genuine clip say nothing new of what an LR is worth
    logits, labels = gaussian(200, 200, 4)
    copies = np.where(labels == 0, 5, 1)
    many = calibration_error(PLAIN, np.repeat(logits, copies), np.repeat(labels, copies))
    assert many == pytest.approx(calibration_error(PLAIN, logits, labels), abs=1e-12)


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        ([1.0, 2.0], [1], "one logit and one label"),
        ([1.0, 2.0], [1, 1], "both must be there"),
        ([1.0, 2.0], [1, 2], "labels must be"),
        ([1.0, math.nan], [0, 1], "not finite"),
    ],
)
def test_malformed_input(logits: list[float], labels: list[int], reason: str) -> None:
    for check in (check_bands, calibration_error):
        with pytest.raises(ValueError, match=reason):
            check(PLAIN, logits, labels)
