"""Every metric against an independent reference, on many inputs, and what must raise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from sklearn import metrics as reference

from dfdetect.scoring import metrics

CASES = ["normal", "ties", "constant", "perfect", "inverted", "rare_fakes", "two_items"]


def case(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(CASES.index(name))
    if name == "two_items":
        return np.array([1, 0]), np.array([0.7, 0.3])
    labels = rng.permutation(np.repeat([0, 1], (180, 20) if name == "rare_fakes" else (90, 110)))
    p = 1 / (1 + np.exp(-rng.normal(labels * 1.5 - 0.7, 1.2)))
    if name == "ties":
        p = 0.1 + np.round(p * 4) / 5
    elif name == "constant":
        p = np.full(labels.size, 0.3)
    elif name in ("perfect", "inverted"):
        p = np.where(labels == (name == "perfect"), 0.9, 0.1) + rng.normal(0, 0.01, labels.size)
    return labels, p


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(2, 30))
    labels = draw(
        st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda x: len({*x}) > 1)
    )
    # few distinct values, so that ties are common; sixteenths are exact
    scores = draw(st.lists(st.integers(0, 16), min_size=n, max_size=n))
    return np.array(labels), np.array(scores) / 16


@pytest.mark.parametrize("name", CASES)
class TestAgainstReferences:
    def test_roc_auc(self, name: str) -> None:
        labels, p = case(name)
        assert metrics.roc_auc(labels, p) == pytest.approx(reference.roc_auc_score(labels, p))

    def test_roc_auc_is_the_share_of_won_comparisons(self, name: str) -> None:
        labels, p = case(name)
        fake, real = p[labels == 1][:, None], p[labels == 0][None]
        won = np.mean((fake > real) + (fake == real) / 2)
        assert metrics.roc_auc(labels, p) == pytest.approx(won)

    @pytest.mark.parametrize("max_fpr", [0.01, 0.1, 0.5])
    def test_partial_auc(self, name: str, max_fpr: float) -> None:
        labels, p = case(name)
        expected = reference.roc_auc_score(labels, p, max_fpr=max_fpr)
        assert metrics.partial_auc(labels, p, max_fpr) == pytest.approx(expected)

    def test_average_precision(self, name: str) -> None:
        labels, p = case(name)
        expected = reference.average_precision_score(labels, p)
        assert metrics.average_precision(labels, p) == pytest.approx(expected)

    def test_eer_is_where_the_roc_polyline_meets_the_diagonal(self, name: str) -> None:
        labels, p = case(name)
        fpr, tpr, _ = reference.roc_curve(labels, p, drop_intermediate=False)
        # walk the polyline by arc position: where it is vertical, fpr alone is not a coordinate
        place = np.arange(fpr.size)
        root = optimize.brentq(
            lambda t: 1 - np.interp(t, place, tpr) - np.interp(t, place, fpr),
            0,
            fpr.size - 1,
            xtol=1e-14,
        )
        assert metrics.eer(labels, p) == pytest.approx(np.interp(root, place, fpr), abs=1e-9)

    def test_eer_nearest_is_deepfakebench(self, name: str) -> None:
        labels, p = case(name)
        fpr, tpr, _ = reference.roc_curve(labels, p, pos_label=1)
        fnr = 1 - tpr
        expected = fpr[np.nanargmin(np.absolute(fnr - fpr))]
        assert metrics.eer_nearest(labels, p) == pytest.approx(expected)

    @pytest.mark.parametrize("max_fpr", [0.0, 0.001, 0.01, 0.05, 0.1, 1.0])
    def test_tpr_at_fpr_tries_every_threshold(self, name: str, max_fpr: float) -> None:
        labels, p = case(name)
        best = max(
            np.mean(p[labels == 1] >= cut)
            for cut in [*p, np.inf]
            if np.mean(p[labels == 0] >= cut) <= max_fpr
        )
        assert metrics.tpr_at_fpr(labels, p, max_fpr) == pytest.approx(best)

    def test_accuracy(self, name: str) -> None:
        labels, p = case(name)
        assert metrics.accuracy(labels, p) == pytest.approx(
            reference.accuracy_score(labels, p > 0.5)
        )
        assert metrics.balanced_accuracy(labels, p, 0.4) == pytest.approx(
            reference.balanced_accuracy_score(labels, p > 0.4)
        )

    def test_log_loss_and_brier(self, name: str) -> None:
        labels, p = case(name)
        assert metrics.log_loss(labels, p) == pytest.approx(reference.log_loss(labels, p))
        assert metrics.brier(labels, p) == pytest.approx(reference.brier_score_loss(labels, p))

    def test_ece_by_sorting_and_splitting(self, name: str) -> None:
        labels, p = case(name)
        if name in ("ties", "constant"):
            return  # a plain split breaks ties by the order of the input; see the tests below
        order = np.argsort(p)
        places = np.floor(15 * (np.arange(p.size) + 0.5) / p.size)
        bins = [order[places == number] for number in range(15)]
        gaps = [part.size * abs(p[part].mean() - labels[part].mean()) for part in bins if part.size]
        assert metrics.ece(labels, p) == pytest.approx(sum(gaps) / p.size)

    def test_cllr(self, name: str) -> None:
        labels, p = case(name)
        log_lrs = np.log(p / (1 - p))
        ratios = np.exp(log_lrs)
        fake = np.mean([math.log2(1 + 1 / ratio) for ratio in ratios[labels == 1]])
        real = np.mean([math.log2(1 + ratio) for ratio in ratios[labels == 0]])
        assert metrics.cllr(labels, log_lrs) == pytest.approx((fake + real) / 2)


def delong_by_definition(labels: np.ndarray, scores: np.ndarray) -> float:
    fake, real = scores[labels == 1][:, None], scores[labels == 0][None]
    won = (fake > real) + (fake == real) / 2
    return float(np.var(won.mean(1), ddof=1) / fake.size + np.var(won.mean(0), ddof=1) / real.size)


@pytest.mark.parametrize("name", CASES[:-1])
def test_delong_variance_by_its_definition(name: str) -> None:
    labels, p = case(name)
    assert metrics.delong_variance(labels, p) == pytest.approx(delong_by_definition(labels, p))


def test_log_loss_of_certainty_is_clipped_not_infinite() -> None:
    assert metrics.log_loss([1], [0.0]) == pytest.approx(-math.log(1e-15))
    # 1 - 1e-15 is not a double: the nearest one is taken, as scikit-learn's older clipping did
    assert metrics.log_loss([0], [1.0]) == pytest.approx(-math.log(1e-15), rel=0.01)
    assert metrics.log_loss([0, 1], [0.5, 0.5]) == pytest.approx(0.6931, abs=1e-4)


def test_ece_of_equal_probabilities_is_one_gap() -> None:
    labels = np.array([0] * 30 + [1] * 70)
    assert metrics.ece(labels, np.full(100, 0.6)) == pytest.approx(0.1)


def test_cllr_rewards_truth_and_punishes_error() -> None:
    assert metrics.cllr([0, 1], [-20.0, 20.0]) < 1e-6
    assert metrics.cllr([0, 1], [20.0, -20.0]) > 20


@given(samples())
def test_roc_auc_depends_on_ranks_only(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, p = sample
    auc = metrics.roc_auc(labels, p)
    assert metrics.roc_auc(labels, np.exp(3 * p) - 7) == auc
    assert metrics.roc_auc(labels, -p) == pytest.approx(1 - auc)
    assert metrics.roc_auc(1 - labels, p) == pytest.approx(1 - auc)


@given(samples())
def test_ranking_metrics_stand_when_scores_are_stretched(
    sample: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, p = sample
    for metric in ALL_METRICS[:6]:
        assert metric(labels, np.expm1(5 * p)) == metric(labels, p)
    if min(np.bincount(labels)) > 1:
        assert metrics.delong_variance(labels, np.expm1(5 * p)) == metrics.delong_variance(
            labels, p
        )


@given(samples())
def test_label_flip(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, p = sample
    assert metrics.brier(1 - labels, 1 - p) == pytest.approx(metrics.brier(labels, p))
    assert metrics.cllr(1 - labels, -p) == pytest.approx(metrics.cllr(labels, p))
    # certainty that is wrong is clipped differently at 0 and at 1, by a float's rounding
    flipped = metrics.log_loss(1 - labels, 1 - p)
    assert flipped == pytest.approx(metrics.log_loss(labels, p), rel=0.01)
    moved = np.where(p == 0.5, 0.51, p)  # at the threshold itself both answers are "genuine"
    for metric in (metrics.accuracy, metrics.balanced_accuracy):
        assert metric(1 - labels, 1 - moved) == pytest.approx(metric(labels, moved))
    if min(np.bincount(labels)) > 1:
        variance = metrics.delong_variance(labels, p)
        assert metrics.delong_variance(1 - labels, p) == pytest.approx(variance)


@given(samples(), st.integers(2, 4))
def test_every_item_several_times_changes_nothing(
    sample: tuple[np.ndarray, np.ndarray], times: int
) -> None:
    labels, p = sample
    for metric in ALL_METRICS:
        many = metric(np.tile(labels, times), np.tile(p, times))
        assert many == pytest.approx(metric(labels, p))


@given(samples())
def test_eer_stands_when_classes_and_scores_are_exchanged(
    sample: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, p = sample
    assert metrics.eer(labels, p) == pytest.approx(metrics.eer(1 - labels, -p))


@given(samples(), st.randoms(use_true_random=False))
def test_order_of_items_does_not_matter(sample: tuple[np.ndarray, np.ndarray], random) -> None:
    labels, p = sample
    order = np.array(random.sample(range(labels.size), labels.size))
    for metric in ALL_METRICS:
        assert metric(labels[order], p[order]) == pytest.approx(metric(labels, p))


@given(samples())
def test_ranges(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, p = sample
    for metric in ALL_METRICS:
        value = metric(labels, p)
        assert value >= 0
        assert value <= 1 or metric in (metrics.log_loss, metrics.cllr)


ALL_METRICS = (
    metrics.roc_auc,
    metrics.partial_auc,
    metrics.tpr_at_fpr,
    metrics.eer,
    metrics.eer_nearest,
    metrics.average_precision,
    metrics.accuracy,
    metrics.balanced_accuracy,
    metrics.log_loss,
    metrics.brier,
    metrics.ece,
    metrics.cllr,
)
NEED_BOTH = (*ALL_METRICS[:6], metrics.balanced_accuracy, metrics.cllr, metrics.delong_variance)


class TestUndefinedInput:
    @pytest.mark.parametrize("metric", [*ALL_METRICS, metrics.delong_variance])
    def test_no_metric_accepts_nonsense(self, metric: metrics.Metric) -> None:
        with pytest.raises(ValueError, match="no samples"):
            metric([], [])
        with pytest.raises(ValueError, match="NaN or infinite"):
            metric([0, 1], [0.5, math.nan])
        with pytest.raises(ValueError, match="NaN or infinite"):
            metric([0, 1], [0.5, math.inf])
        with pytest.raises(ValueError, match="labels must be 0"):
            metric([0, 2], [0.5, 0.6])
        with pytest.raises(ValueError, match="labels must be 0"):
            metric([0, -1], [0.5, 0.6])
        with pytest.raises(ValueError, match="one length"):
            metric([0, 1], [0.5])
        with pytest.raises(ValueError, match="one length"):
            metric([[0, 1]], [[0.5, 0.6]])

    @pytest.mark.parametrize("metric", NEED_BOTH)
    @pytest.mark.parametrize(("label", "kind"), [(0, "genuine"), (1, "fake")])
    def test_one_class(self, metric: metrics.Metric, label: int, kind: str) -> None:
        with pytest.raises(ValueError, match=f"all 3 items are {kind}.*both classes"):
            metric([label] * 3, [0.1, 0.2, 0.3])

    @pytest.mark.parametrize("metric", [metrics.log_loss, metrics.brier, metrics.ece])
    @pytest.mark.parametrize("score", [-0.01, 1.01, 5.0])
    def test_logits_are_not_taken_for_probabilities(
        self, metric: metrics.Metric, score: float
    ) -> None:
        with pytest.raises(ValueError, match="sigmoid"):
            metric([0, 1], [0.5, score])

    def test_arguments_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="max_fpr"):
            metrics.partial_auc([0, 1], [0, 1], max_fpr=0.0)
        with pytest.raises(ValueError, match="max_fpr"):
            metrics.tpr_at_fpr([0, 1], [0, 1], max_fpr=1.1)
        with pytest.raises(ValueError, match="bins"):
            metrics.ece([0, 1], [0, 1], bins=0)
        with pytest.raises(ValueError, match="two items"):
            metrics.delong_variance([0, 1, 1], [0, 1, 2])
