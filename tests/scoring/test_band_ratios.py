"""Measured likelihood ratios of bands: by hand, against a regression, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from dfdetect.scoring.band_ratios import EXACT_BANDS, band_ratios, decisions, measured_ratio
from dfdetect.types import Band, BandRate

LADDER = (Band.STRONG, Band.MODERATE, Band.WEAK)


def rates_of(real: list[int], fake: list[int]) -> tuple[BandRate, ...]:
    """The cumulative counts of exact ones, in the order of `EXACT_BANDS`."""
    n_real, n_fake = sum(real), sum(fake)
    ladder = [
        BandRate(band, sum(real[: at + 1]), n_real, sum(fake[: at + 1]), n_fake)
        for at, band in enumerate(LADDER)
    ]
    return (*ladder, BandRate(Band.NONE, real[4], n_real, fake[4], n_fake))


counts = st.lists(st.integers(0, 50), min_size=5, max_size=5)


@given(counts, counts)
def test_exact_counts_come_back(real: list[int], fake: list[int]) -> None:
    found = band_ratios(rates_of(real, fake))
    assert tuple(one.band for one in found) == EXACT_BANDS
    assert [one.real_found for one in found] == real
    assert [one.fake_found for one in found] == fake
    for one in found:
        if not (sum(real) and sum(fake)):
            assert (one.ratio, one.low, one.high) == (None, None, None)
            continue
        assert one.ratio is not None
        assert one.low is not None
        assert one.high is not None
        assert 0 < one.low < one.ratio < one.high < math.inf


def test_ratio_and_interval_by_hand() -> None:
    ratio, low, high = measured_ratio(2, 50, 30, 60)
    assert ratio == pytest.approx((30.5 / 61) / (2.5 / 51))
    error = math.sqrt(1 / 2.5 - 1 / 51 + 1 / 30.5 - 1 / 61)
    assert (math.log(high) - math.log(ratio)) / error == pytest.approx(1.959964, abs=1e-6)
    assert low * high == pytest.approx(ratio**2)


def test_exchanged_classes_turn_the_ratio_over() -> None:
    ratio, low, high = measured_ratio(3, 40, 9, 70)
    assert measured_ratio(9, 70, 3, 40) == pytest.approx((1 / ratio, 1 / high, 1 / low))


@pytest.mark.parametrize(("p_real", "p_fake"), [(0.02, 0.4), (0.2, 0.2), (0.6, 0.1), (0.01, 0.9)])
def test_interval_covers_as_often_as_it_says(p_real: float, p_fake: float) -> None:
    rng = np.random.default_rng(0)
    n, hits = 3000, 0
    for real, fake in zip(rng.binomial(80, p_real, n), rng.binomial(120, p_fake, n), strict=True):
        _, low, high = measured_ratio(int(real), 80, int(fake), 120)
        hits += low <= p_fake / p_real <= high
    assert hits / n > 0.93


@pytest.mark.parametrize("found", [(0, 0, 1, 2), (1, 2, 0, 0), (3, 2, 0, 1), (-1, 2, 0, 1)])
def test_impossible_counts(found: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no likelihood ratio"):
        measured_ratio(*found)


def test_no_rates_have_no_ratios() -> None:
    assert band_ratios(()) == ()
    with pytest.raises(ValueError, match="without counts"):
        decisions(())


@pytest.mark.parametrize(
    ("rates", "reason"),
    [
        (rates_of([1] * 5, [1] * 5)[:3], "each once"),
        (rates_of([1] * 5, [1] * 5)[:1] * 4, "each once"),
        ((*rates_of([1] * 5, [1] * 5)[:3], BandRate(Band.NONE, 1, 6, 1, 5)), "same clips"),
        (tuple(BandRate(band, 1, 1, 1, 1) for band in (*LADDER, Band.NONE)), "fewer than no"),
        (
            tuple(
                BandRate(band, n, 9, n, 9)
                for band, n in zip((*LADDER, Band.NONE), (3, 2, 4, 1), strict=True)
            ),
            "fewer than no",
        ),
    ],
)
def test_counts_that_contradict_each_other(rates: tuple[BandRate, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        band_ratios(rates)


def test_answers_and_none() -> None:
    found = decisions(rates_of([1, 2, 3, 10, 34], [20, 10, 8, 7, 5]))
    assert (found.inconclusive.count, found.inconclusive.n) == (17, 100)
    # genuine without signs, fakes with any
    assert (found.right.count, found.right.n) == (34 + 38, 83)
    for share in (found.inconclusive, found.right):
        ends = beta.ppf([0.025, 0.975], [share.count, share.count + 1],
                        [share.n - share.count + 1, share.n - share.count])  # fmt: skip
        assert (share.low, share.high) == pytest.approx(tuple(ends), abs=1e-9)


def test_where_nothing_is_answered() -> None:
    found = decisions(rates_of([0, 0, 0, 4, 0], [0, 0, 0, 5, 0]))
    assert (found.right.count, found.right.n, found.right.low, found.right.high) == (
        *(0, 0),
        None,
        None,
    )
