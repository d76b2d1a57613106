"""Resamples of whole clusters: what is drawn, and every metric of them against one by one."""

from functools import partial
from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from dfdetect.scoring import bootstrap, metrics
from dfdetect.scoring.bootstrap import (
    Sample,
    auc_replicates,
    drawn,
    interval_of_unanimous,
    replicates,
)
from dfdetect.scoring.counted import Counted, ScoreCounts
from dfdetect.scoring.metrics import COUNTED, bootstrap_ci

EVERY_METRIC = (
    metrics.roc_auc,
    metrics.eer,
    metrics.eer_nearest,
    metrics.average_precision,
    metrics.accuracy,
    metrics.balanced_accuracy,
    metrics.log_loss,
    metrics.brier,
    metrics.ece,
    metrics.cllr,
    *(partial(metrics.partial_auc, max_fpr=most) for most in (0.01, 0.1, 1.0)),
    *(partial(metrics.tpr_at_fpr, max_fpr=most) for most in (0.001, 0.05, 0.1)),
    *(partial(metrics.accuracy, threshold=limit) for limit in (0.3, 0.7)),
)


def case(name: str, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n_fake = {"rare_fakes": 2 * n // 20, "tiny": 3}.get(name, n // 2)
    n = 6 if name == "tiny" else n
    labels = rng.permutation(np.repeat([0, 1], (n - n_fake, n_fake)))
    p = 1 / (1 + np.exp(-rng.normal(labels * 1.5 - 0.7, 1.2)))
    return labels, np.round(p * 8) / 8 if name == "ties" else p


def videos_of(labels: np.ndarray, faces: int) -> np.ndarray:
    """Return an id an item, up to so many of a class in one."""
    place = np.where(labels == 1, np.cumsum(labels), np.cumsum(1 - labels)) - 1
    return 2 * (place // faces) + labels


def counted_as(metric: metrics.Metric) -> Counted:
    if isinstance(metric, partial):
        return partial(COUNTED[metric.func], **metric.keywords)
    return COUNTED[metric]


def all_numbers(counts: ScoreCounts) -> np.ndarray:
    return np.stack([counted_as(metric)(counts) for metric in EVERY_METRIC])


@pytest.mark.parametrize("name", ["normal", "ties", "rare_fakes", "tiny"])
def test_replicates_are_the_metrics_of_repeated_items(name: str) -> None:
    labels, p = case(name)
    sample = Sample.of(labels, p, videos_of(labels, 1 if name == "tiny" else 4))
    (found,) = replicates([sample], all_numbers, 30, seed=1)
    (weights,) = drawn(sample.n_clusters, 30, seed=1)
    times = weights.astype(int)[:, sample.cluster]
    for row, metric in zip(found, EVERY_METRIC, strict=True):
        one_by_one = [metric(np.repeat(labels, each), np.repeat(p, each)) for each in times]
        np.testing.assert_allclose(row, one_by_one, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(auc_replicates(sample, 30, seed=1), found[0], rtol=1e-12)


@settings(max_examples=60)
@given(st.data())
def test_weights_are_repetitions(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    counts = st.lists(st.integers(0, 3), min_size=size, max_size=size).filter(any)
    real, fake = np.array(data.draw(counts)), np.array(data.draw(counts))
    scores = np.sort(
        data.draw(st.lists(st.integers(0, 16), min_size=size, max_size=size, unique=True))
    )[::-1]
    scores = scores / 16
    labels = np.repeat([0, 1], (real.sum(), fake.sum()))
    p = np.concatenate((np.repeat(scores, real), np.repeat(scores, fake)))
    # a second row of other weights must not matter to the first
    both = (np.stack((side, side[::-1])).astype(float) for side in (real, fake))
    found = all_numbers(ScoreCounts.of(scores, *both))[:, 0]
    for value, metric in zip(found, EVERY_METRIC, strict=True):
        assert value == pytest.approx(metric(labels, p), abs=1e-14)


def test_every_metric_can_be_counted() -> None:
    tried = {metric.func if isinstance(metric, partial) else metric for metric in EVERY_METRIC}
    assert tried == set(COUNTED)


class TestDraws:
    def test_as_many_of_each_class_as_there_are(self) -> None:
        weights = np.concatenate(list(drawn((7, 40), 500, seed=3)))
        assert weights.shape == (500, 47)
        assert set(weights[:, :7].sum(axis=1)) == {7}
        assert set(weights[:, 7:].sum(axis=1)) == {40}
        # with replacement: the variance of a multinomial count is 1 - 1/n
        assert weights.mean(axis=0) == pytest.approx(np.ones(47), abs=0.2)
        assert weights[:, 7:].var() == pytest.approx(1 - 1 / 40, abs=0.05)

    def test_resample_is_the_same_in_every_sample(self) -> None:
        labels, p = case("normal")
        videos = videos_of(labels, 5)
        frames = Sample.of(labels, p, videos)
        ids, first = np.unique(videos, return_index=True)
        means = np.array([p[videos == one].mean() for one in ids])
        by_video = Sample.of(labels[first], means, ids)
        together = replicates([frames, by_video], all_numbers, 20, seed=0)
        for sample, rows in zip((frames, by_video), together, strict=True):
            np.testing.assert_array_equal(rows, replicates([sample], all_numbers, 20, seed=0)[0])

    def test_order_of_items_does_not_matter(self) -> None:
        labels, p = case("ties")
        videos = videos_of(labels, 4)
        order = np.random.default_rng(1).permutation(labels.size)
        for exact in (None, 0):
            found, moved = (
                replicates([Sample.of(*columns)], all_numbers, 20, 0, exact_scores=exact)[0]
                for columns in ((labels, p, videos), (labels[order], p[order], videos[order]))
            )
            np.testing.assert_array_equal(found, moved)

    def test_samples_of_other_clusters_are_refused(self) -> None:
        labels, p = case("normal")
        samples = [Sample.of(labels, p, videos_of(labels, faces)) for faces in (2, 4)]
        with pytest.raises(ValueError, match="same clusters"):
            replicates(samples, all_numbers, 2, seed=0)


@pytest.fixture(scope="module")
def sample() -> Sample:
    rng = np.random.default_rng(5)
    video = np.repeat(np.arange(5000), 8)
    labels = (video % 5 == 0).astype(int)  # unbalanced
    logits = rng.normal(labels * 2.5 - 1.5, 1.0) + rng.normal(0, 1, 5000)[video]
    # a tenth of the items share the lowest scores, as where a network saturates
    return Sample.of(labels, 1 / (1 + np.exp(-np.maximum(logits, -3.5))), video)


@pytest.fixture(scope="module")
def exact(sample: Sample) -> np.ndarray:
    return replicates([sample], all_numbers, 400, seed=2, exact_scores=None)[0]


class TestBins:
    """Where scores are many, neighbours are counted together."""

    def test_intervals_are_those_of_the_exact_ones(self, sample: Sample, exact: np.ndarray) -> None:
        assert np.unique(sample.scores).size > bootstrap.EXACT_SCORES
        (binned,) = replicates([sample], all_numbers, 400, seed=2, cuts=(0.3, 0.5, 0.7))
        assert not np.array_equal(binned, exact)
        ends, near = (np.percentile(rows, [2.5, 97.5], axis=1) for rows in (exact, binned))
        off = np.abs(ends - near).max(axis=0)
        assert off.max() < 2 / bootstrap.RANK_BINS
        assert np.max(off / (ends[1] - ends[0])) < 0.02

    def test_each_resample_is_near(self, sample: Sample, exact: np.ndarray) -> None:
        (binned,) = replicates([sample], all_numbers, 400, seed=2, cuts=(0.3, 0.5, 0.7))
        # a resample can hold a bin's items a few times
        assert np.abs(binned - exact).max() < 4 / bootstrap.RANK_BINS

    def test_no_bin_spans_a_threshold(
        self, sample: Sample, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bootstrap, "RANK_BINS", 8)

        def flagged(counts: ScoreCounts) -> np.ndarray:
            return np.stack(
                [COUNTED[metrics.balanced_accuracy](counts, limit) for limit in (0.41, 0.777)]
            )

        fine, coarse, cut = (
            replicates([sample], flagged, 50, seed=0, exact_scores=exact, cuts=cuts)[0]
            for exact, cuts in ((None, ()), (0, ()), (0, (0.41, 0.777)))
        )
        np.testing.assert_allclose(cut, fine, rtol=1e-12)
        assert np.abs(coarse - fine).max() > 0.001

    def test_few_scores_are_exact_however_many_items(self) -> None:
        labels, p = case("ties", n=2000)
        sample = Sample.of(labels, p, videos_of(labels, 4))
        exact, binned = (
            replicates([sample], all_numbers, 20, 0, exact_scores=limit)[0] for limit in (None, 0)
        )
        np.testing.assert_array_equal(binned, exact)


class TestInterval:
    def test_fast_auc_equals_the_plain_one(self) -> None:
        labels, p = case("ties")
        groups = videos_of(labels, 4)

        def slow(labels: np.ndarray, scores: np.ndarray) -> float:
            return metrics.roc_auc(labels, scores)

        fast = bootstrap_ci(metrics.roc_auc, labels, p, groups, n=200)
        plain = bootstrap_ci(slow, labels, p, groups, n=200)
        assert (fast.low, fast.high) == pytest.approx((plain.low, plain.high))

    @pytest.mark.parametrize("metric", [metrics.roc_auc, metrics.eer])
    def test_chunks_do_not_show(
        self, metric: metrics.Metric, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        labels, p = case("normal")
        whole = bootstrap_ci(metric, labels, p, n=50)
        monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 7 * labels.size)
        monkeypatch.setattr(bootstrap, "COUNTED_AT_ONCE", 3 * labels.size)
        assert bootstrap_ci(metric, labels, p, n=50) == whole

    def test_seed_decides(self) -> None:
        labels, p = case("normal")
        first, again, other = (
            bootstrap_ci(metrics.brier, labels, p, n=100, seed=seed) for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other

    @settings(deadline=None, max_examples=25)
    @given(st.randoms(use_true_random=False))
    def test_order_of_items_does_not_matter(self, random) -> None:
        labels, p = case("ties")
        groups = np.array([f"video{number // 5}/{label}" for number, label in enumerate(labels)])
        order = np.array(random.sample(range(labels.size), labels.size))
        expected = bootstrap_ci(metrics.roc_auc, labels, p, groups, n=20)
        moved = bootstrap_ci(metrics.roc_auc, labels[order], p[order], groups[order], n=20)
        assert moved == expected

    def test_of_independent_items_agrees_with_delong(self) -> None:
        labels, p = case("normal")
        half = 1.96 * sqrt(metrics.delong_variance(labels, p))
        auc = metrics.roc_auc(labels, p)
        found = bootstrap_ci(metrics.roc_auc, labels, p)
        assert found.low == pytest.approx(auc - half, abs=0.01)
        assert found.high == pytest.approx(auc + half, abs=0.01)

    def test_covers_the_truth_about_as_often_as_it_says(self) -> None:
        # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
        truth = 0.7602
        rng = np.random.default_rng(0)
        hits = 0
        for _ in range(200):
            labels = np.repeat([0, 1], 60)
            found = bootstrap_ci(
                metrics.roc_auc, labels, rng.normal(labels, 1), n=300, seed=int(rng.integers(1e9))
            )
            hits += found.low <= truth <= found.high
        assert 0.90 <= hits / 200 <= 0.985

    def test_frames_of_a_video_are_not_counted_as_independent(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1], 400)
        videos = np.repeat(np.arange(40), 20)
        scores = labels + rng.normal(0, 1, 40)[videos] + rng.normal(0, 0.1, 800)
        naive = bootstrap_ci(metrics.roc_auc, labels, scores, n=500)
        honest = bootstrap_ci(metrics.roc_auc, labels, scores, videos, n=500)
        assert honest.high - honest.low > 3 * (naive.high - naive.low)

    def test_classes_keep_their_sizes(self) -> None:
        labels = np.repeat([0, 1], (95, 5))
        scores = np.linspace(0, 1, 100)

        def share(labels: np.ndarray, scores: np.ndarray) -> float:
            return float(np.mean(labels))

        assert bootstrap_ci(share, labels, scores, n=50) == metrics.Interval(0.05, 0.05)

    def test_one_class_is_enough_where_the_metric_says_so(self) -> None:
        found = bootstrap_ci(metrics.accuracy, [1] * 20, np.linspace(0.3, 0.9, 20), n=50)
        assert 0 < found.low < found.high <= 1

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="genuine and fake items"):
            bootstrap_ci(metrics.brier, [0, 1, 0, 1], [0.1] * 4, ["a", "a", "b", "b"])
        with pytest.raises(ValueError, match="single group"):
            bootstrap_ci(metrics.brier, [0, 1, 1], [0.1] * 3)
        with pytest.raises(ValueError, match="3 groups"):
            bootstrap_ci(metrics.brier, [0, 1], [0.1] * 2, ["a", "b", "c"])

    @pytest.mark.parametrize("metric", EVERY_METRIC)
    def test_undefined_input_raises_the_metrics_own_sentence(self, metric: metrics.Metric) -> None:
        with pytest.raises(ValueError, match="no samples"):
            bootstrap_ci(metric, [], [])
        with pytest.raises(ValueError, match="NaN"):
            bootstrap_ci(metric, [0, 0, 1, 1], [0.1, 0.2, np.nan, 0.3])
        with pytest.raises(ValueError, match=r"both classes|sigmoid|single group"):
            bootstrap_ci(metric, [1, 1, 1] if metric is metrics.roc_auc else [0, 1, 1], [2, 3, 4])

    def test_logits_are_not_taken_for_probabilities(self) -> None:
        with pytest.raises(ValueError, match="sigmoid"):
            bootstrap_ci(metrics.brier, [0, 0, 1, 1], [-1.0, 0.0, 1.0, 2.0])


@pytest.mark.parametrize("shift", [0.5, 1.5, 2.5])
def test_an_auc_on_which_all_agree_has_an_interval_that_holds_the_truth(shift: float) -> None:
    truth = 0.5 * (1 + erf(shift / 2))  # of normal scores a shift apart
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(4000, 7)), rng.normal(size=(4000, 3)) + shift
    perfect = fake.min(axis=1) > real.max(axis=1)
    ends = interval_of_unanimous(1.0, (7, 3))
    assert ends == pytest.approx((0.025 ** (1 / 3), 1.0))
    # samples that miss the truth are at most one in forty, on that side
    assert np.mean(perfect & (truth < ends[0])) <= 0.025
    assert interval_of_unanimous(0.0, (3, 7)) == pytest.approx((0.0, 1 - ends[0]))


@given(st.integers(1, 500), st.integers(1, 500), st.floats(1e-9, 1 - 1e-9))
def test_only_unanimous_aucs_have_one(n_real: int, n_fake: int, auc: float) -> None:
    assert interval_of_unanimous(auc, (n_real, n_fake)) is None
    low, high = interval_of_unanimous(1.0, (n_real, n_fake)) or (0.0, 0.0)
    assert high == 1.0
    assert low == pytest.approx(beta.ppf(0.025, min(n_real, n_fake), 1), abs=1e-9)
