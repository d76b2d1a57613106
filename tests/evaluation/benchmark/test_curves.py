"""Curves against scikit-learn and a plain bootstrap; bins against the binomial distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as reference_curve

from dfdetect.evaluation.benchmark.roc_curves import MOST_POINTS, reliability, roc_curve

items = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=60).filter(
    lambda found: len({label for label, _ in found}) == 2
)


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, rng.normal(size=n) + labels


@given(items)
def test_points_are_those_of_scikit_learn(found: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([int(one) for one, _ in found]), np.array([x for _, x in found])
    curve = roc_curve(labels, scores, n_bootstrap=20)
    fpr, tpr, _ = reference_curve(labels, scores, drop_intermediate=False)
    assert np.allclose(curve.fpr, fpr)
    assert np.allclose(curve.tpr, tpr)
    assert np.all(curve.low <= curve.high)


def test_a_long_curve_is_thinned_without_moving() -> None:
    labels, scores = sample(60_000)
    curve = roc_curve(labels, scores, n_bootstrap=20)
    fpr, tpr, _ = reference_curve(labels, scores, drop_intermediate=False)
    exact = set(zip(fpr.tolist(), tpr.tolist(), strict=True))
    assert 500 < curve.fpr.size <= MOST_POINTS
    assert {(round(x, 12), round(y, 12)) for x, y in zip(curve.fpr, curve.tpr, strict=True)} <= {
        (round(x, 12), round(y, 12)) for x, y in exact
    }
    assert (curve.fpr[-1], curve.tpr[-1]) == (1, 1)
    area = np.trapezoid(curve.tpr, curve.fpr)
    assert area == pytest.approx(roc_auc_score(labels, scores), abs=2e-5)


def test_the_band_is_that_of_resampling_videos_within_each_class() -> None:
    labels, scores = sample(240, seed=3)
    curve = roc_curve(labels, scores, n_bootstrap=8000)
    rng = np.random.default_rng(7)
    real, fake = scores[labels == 0], scores[labels == 1]
    at, areas, rates = 0.2, [], []
    for _ in range(1500):
        drawn = np.concatenate([rng.choice(real, real.size), rng.choice(fake, fake.size)])
        truth = np.repeat([0, 1], [real.size, fake.size])
        fpr, tpr, _ = reference_curve(truth, drawn, drop_intermediate=False)
        rates.append(np.interp(at, fpr, tpr))
        areas.append(roc_auc_score(truth, drawn))
    place = int(np.argmin(np.abs(curve.grid - at)))
    assert curve.grid[place] == pytest.approx(at)
    found = (curve.low[place], curve.high[place], curve.auc_low, curve.auc_high)
    expected = (*np.percentile(rates, [2.5, 97.5]), *np.percentile(areas, [2.5, 97.5]))
    assert found == pytest.approx(expected, abs=0.02)


def test_equal_input_gives_an_equal_band() -> None:
    labels, scores = sample(80)
    one, two = (roc_curve(labels, scores, seed=5, n_bootstrap=50) for _ in range(2))
    assert np.array_equal(one.low, two.low)
    assert np.array_equal(one.high, two.high)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_is_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        roc_curve(labels, [0.5] * len(labels))


def test_bins_hold_equally_many_and_their_intervals_are_exact() -> None:
    labels, scores = sample(300)
    p = 1 / (1 + np.exp(-scores))
    bins = reliability(labels, p)
    assert [one.n for one in bins] == [20] * 15
    order = np.argsort(p)
    for place, one in enumerate(bins):
        own = order[20 * place : 20 * place + 20]
        exact = binomtest(int(labels[own].sum()), 20).proportion_ci(0.95, "exact")
        assert one.p == pytest.approx(p[own].mean())
        assert (one.share, one.low, one.high) == pytest.approx(
            (labels[own].mean(), exact.low, exact.high), abs=1e-6
        )


def test_few_videos_give_few_bins_and_ties_share_one() -> None:
    labels, scores = sample(25)
    assert len(reliability(labels, 1 / (1 + np.exp(-scores)))) == 2
    (only,) = reliability([0, 1] * 50, np.full(100, 0.3))
    assert (only.n, only.share) == (100, 0.5)
