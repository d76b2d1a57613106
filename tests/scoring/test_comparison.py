"""The paired test of two AUCs against permutations and its definition; Holm against hand work."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from dfdetect.scoring.comparison import holm, paired_delong
from dfdetect.scoring.metrics import delong_variance


def two_detectors(
    seed: int, n: int = 120, better: float = 0.0, shared: float = 0.6, ties: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels and two correlated scores; the first separates better by so much."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 > 0).astype(int)
    common = rng.normal(0, 1, n)
    a, b = (
        labels * gap + shared * common + math.sqrt(1 - shared**2) * rng.normal(0, 1, n)
        for gap in (1 + better, 1)
    )
    return (labels, np.round(2 * a), np.round(2 * b)) if ties else (labels, a, b)


def variance_by_definition(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Covariances of the shares of won comparisons, item by item, as the paper writes them."""
    won = []
    for scores in (a, b):
        fake, real = scores[labels == 1][:, None], scores[labels == 0][None]
        won.append((fake > real) + (fake == real) / 2)
    by_fake = np.cov([one.mean(axis=1) for one in won])
    by_real = np.cov([one.mean(axis=0) for one in won])
    cover = by_fake / (labels == 1).sum() + by_real / (labels == 0).sum()
    return float(cover[0, 0] + cover[1, 1] - 2 * cover[0, 1])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [18, 120])
def test_by_its_definition(seed: int, ties: bool, n: int) -> None:
    labels, a, b = two_detectors(seed, n=n, better=0.5, ties=ties)
    found = paired_delong(labels, a, b)
    assert found.auc_a == pytest.approx(roc_auc_score(labels, a))
    assert found.auc_b == pytest.approx(roc_auc_score(labels, b))
    assert found.difference == pytest.approx(found.auc_a - found.auc_b)
    assert found.variance == pytest.approx(variance_by_definition(labels, a, b))
    assert found.z == pytest.approx(found.difference / math.sqrt(found.variance))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(found.z)))
    half = stats.norm.ppf(0.975) * math.sqrt(found.variance)
    assert found.interval.high == pytest.approx(found.difference + half)
    assert found.interval.low == pytest.approx(found.difference - half)


@pytest.mark.parametrize(("seed", "better"), [(0, 0.0), (1, 0.2), (2, 0.4), (3, 0.8)])
def test_p_is_that_of_exchanging_the_detectors(seed: int, better: float) -> None:
    labels, a, b = two_detectors(seed, better=better)
    # ranks, so that both are on one scale and an item's two scores can be exchanged
    a, b = stats.rankdata(a), stats.rankdata(b)
    found = paired_delong(labels, a, b)
    rng = np.random.default_rng(0)
    swapped = rng.random((4000, labels.size)) < 0.5
    differences = auc_of_rows(labels, np.where(swapped, b, a)) - auc_of_rows(
        labels, np.where(swapped, a, b)
    )
    permuted = np.mean(np.abs(differences) >= abs(found.difference) - 1e-12)
    assert found.p_value == pytest.approx(permuted, abs=0.04)


def auc_of_rows(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    ranks = stats.rankdata(scores, axis=1)
    n_fake, n_real = labels.sum(), (1 - labels).sum()
    return (ranks[:, labels == 1].sum(axis=1) / n_fake - (n_fake + 1) / 2) / n_real


def test_errs_about_as_often_as_it_says() -> None:
    p_values = [paired_delong(*two_detectors(seed, n=90)).p_value for seed in range(400)]
    assert 0.025 <= np.mean(np.array(p_values) < 0.05) <= 0.08
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_interval_covers_the_true_difference() -> None:
    # P(N(1.5, 1) > N(0, 1)) and the same for 1, as scores have unit variance
    truth = stats.norm.cdf(1.5 / math.sqrt(2)) - stats.norm.cdf(1 / math.sqrt(2))
    found = [paired_delong(*two_detectors(seed, n=150, better=0.5)).interval for seed in range(300)]
    assert 0.92 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.98


def test_pairing_is_what_makes_it_sharp() -> None:
    labels, a, b = two_detectors(0, shared=0.95)
    unpaired = delong_variance(labels, a) + delong_variance(labels, b)
    assert paired_delong(labels, a, b).variance < unpaired / 4


@given(st.integers(0, 1000), st.randoms(use_true_random=False), st.booleans())
def test_what_does_not_matter(seed: int, random, ties: bool) -> None:
    labels, a, b = two_detectors(seed, n=30, better=0.5, ties=ties)
    found = paired_delong(labels, a, b)
    # the order of the items, and the scale of either detector
    order = np.array(random.sample(range(30), 30))
    moved = paired_delong(labels[order], np.exp(a[order]), 3 * b[order] - 1)
    turned = paired_delong(labels, b, a)
    flipped = paired_delong(1 - labels, -a, -b)
    for one in (moved, turned, flipped):
        assert one.p_value == pytest.approx(found.p_value)
        assert one.variance == pytest.approx(found.variance)
    assert moved.difference == pytest.approx(found.difference)
    assert flipped.difference == pytest.approx(found.difference)
    assert turned.difference == pytest.approx(-found.difference)


def test_equal_ranks_do_not_differ() -> None:
    labels, a, _ = two_detectors(0)
    found = paired_delong(labels, a, np.exp(a))
    assert (found.difference, found.z, found.p_value) == (0.0, 0.0, 1.0)


class TestUndefined:
    def test_one_class_nan_and_empty(self) -> None:
        with pytest.raises(ValueError, match="both classes"):
            paired_delong([1, 1], [0, 1], [1, 0])
        with pytest.raises(ValueError, match="NaN"):
            paired_delong([0, 0, 1, 1], [0, 1, 2, 3], [0, 1, 2, math.nan])
        with pytest.raises(ValueError, match="no samples"):
            paired_delong([], [], [])
        with pytest.raises(ValueError, match="one length"):
            paired_delong([0, 0, 1, 1], [0, 1, 2, 3], [0, 1, 2])
        with pytest.raises(ValueError, match="two items"):
            paired_delong([0, 1, 1], [0, 1, 2], [0, 1, 2])

    def test_difference_without_spread(self) -> None:
        with pytest.raises(ValueError, match=r"differ by 0\.5000 for every item alike"):
            paired_delong([0, 0, 1, 1], [0, 1, 2, 3], [1, 1, 1, 1])


class TestHolm:
    def test_by_hand(self) -> None:
        # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; none below the one before it
        assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
        assert holm([0.5, 0.9]) == (1.0, 1.0)
        assert holm([0.2]) == (0.2,)
        assert holm([]) == ()

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.3))
    def test_rejects_what_stepping_down_rejects(self, p_values: list[float], alpha: float) -> None:
        rejected = set()
        for step, place in enumerate(np.argsort(p_values, kind="stable").tolist()):
            if p_values[place] * (len(p_values) - step) > alpha:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(holm(p_values)) if p <= alpha} == rejected

    @given(st.lists(st.floats(0, 1), min_size=2, max_size=5, unique=True))
    def test_lies_between_none_and_bonferroni(self, p_values: list[float]) -> None:
        for raw, adjusted in zip(p_values, holm(p_values), strict=True):
            assert raw <= adjusted <= min(1.0, raw * len(p_values))

    def test_order_does_not_matter(self) -> None:
        values = (0.04, 0.001, 0.03, 0.2)
        adjusted = dict(zip(values, holm(values), strict=True))
        for order in itertools.permutations(values):
            assert holm(order) == tuple(adjusted[value] for value in order)

    @pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
    def test_no_p_value(self, bad: float) -> None:
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            holm([0.5, bad])
