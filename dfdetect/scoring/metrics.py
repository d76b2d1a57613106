"""Metrics: pure functions of labels and scores, one definition each.

Everywhere: `labels` holds 0 (genuine) and 1 (fake), `scores` is higher for fakes, both are 1-D
and of one length. What is undefined raises ValueError with a sentence: no samples, one class
where two are needed, NaN or infinity, labels other than 0 and 1, and probabilities outside [0, 1].
Names follow scikit-learn, against which the functions are tested. What computes them is in
`scoring.counted`, where the same code serves all resamples of a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfdetect.scoring import counted
from dfdetect.scoring.bootstrap import Sample, auc_replicates, drawn, replicates
from dfdetect.scoring.counted import Counted, ScoreCounts

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]
Metric: TypeAlias = Callable[[Any, Any], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, both ends included."""

    low: float
    high: float


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a fake > score of a genuine), ties count one half.

    AUC = Σ ΔFPR · (TPR_i + TPR_{i-1}) / 2, the trapezoid rule over distinct scores, which equals
    the Mann-Whitney statistic. In [0, 1], 0.5 = chance (Hanley & McNeil, Radiology 1982).

    Example:
        >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    return _of_one(counted.roc_auc, _two_classes(labels, scores))


def partial_auc(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.1) -> float:
    """Area under the ROC curve for FPR in [0, `max_fpr`], standardised so that chance is 0.5.

    (1 + (A − A_min) / (A_max − A_min)) / 2, where A_min = max_fpr² / 2 is chance and A_max =
    max_fpr is perfection; the curve is interpolated linearly at `max_fpr` (McClish, Medical
    Decision Making 1989; scikit-learn's `roc_auc_score(max_fpr=…)`).
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must lie in (0, 1], got {max_fpr}")
    return _of_one(partial(counted.partial_auc, max_fpr=max_fpr), _two_classes(labels, scores))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.01) -> float:
    """Highest true-positive rate among thresholds whose false-positive rate is ≤ `max_fpr`.

    Only points that a threshold attains count: nothing is interpolated, so the figure can be
    lived in practice. It is 0 where even the strictest threshold flags too many genuine items.

    Example:
        >>> tpr_at_fpr([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], max_fpr=0.01)
        0.5
    """
    if not 0 <= max_fpr <= 1:
        raise ValueError(f"max_fpr must lie in [0, 1], got {max_fpr}")
    return _of_one(partial(counted.tpr_at_fpr, max_fpr=max_fpr), _two_classes(labels, scores))


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate, interpolated: where the ROC polyline meets FNR = FPR. In [0, 1].

    Between neighbouring ROC points both rates are interpolated linearly. It is the value that
    this project reports; `eer_nearest` is DeepfakeBench's.

    Example:
        >>> eer([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.5
    """
    return _of_one(counted.eer, _two_classes(labels, scores))


def eer_nearest(labels: ArrayLike, scores: ArrayLike) -> float:
    """FPR at the ROC point where |FNR − FPR| is smallest, the first of several. In [0, 1].

    DeepfakeBench's definition (Yan et al., NeurIPS 2023, its `metrics/utils.py`), including that
    collinear ROC points are dropped first, as scikit-learn's `roc_curve` does by default. For
    comparison with published tables only: it jumps with single samples.
    """
    return _of_one(counted.eer_nearest, _two_classes(labels, scores))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Σ (R_n − R_{n−1}) · P_n over distinct thresholds, positive = fake. In (0, 1].

    Chance is the share of fakes, so it compares only between sets of one base rate.

    Example:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    return _of_one(counted.average_precision, _two_classes(labels, scores))


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Share of items on the right side of `threshold`; a score above it says fake. In [0, 1]."""
    return _of_one(partial(counted.accuracy, threshold=threshold), _checked(labels, scores))


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the shares of fakes above and of genuine items not above `threshold`. In [0, 1]."""
    checked = _two_classes(labels, scores)
    return _of_one(partial(counted.balanced_accuracy, threshold=threshold), checked)


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float:
    """−mean(y ln p + (1 − y) ln(1 − p)), p clipped to [1e-15, 1 − 1e-15]; lower is better.

    A constant 0.5 gives ln 2 = 0.6931; the DFDC leader board's measure.
    """
    return _of_one(counted.log_loss, _probabilities(labels, scores))


def brier(labels: ArrayLike, scores: ArrayLike) -> float:
    """Brier score: mean((p − y)²), in [0, 1], lower is better (Brier, 1950)."""
    return _of_one(counted.brier, _probabilities(labels, scores))


def ece(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass, in [0, 1], lower is better.

    Σ_b n_b / n · |mean(p) − mean(y)|. An item of midrank r goes to bin ⌊bins · (r − ½) / n⌋, so
    that bins hold equally many items and equal probabilities share a bin, whatever their order
    (equal mass: Nixon et al., 2019; the measure: Naeini et al., AAAI 2015).
    """
    checked = _probabilities(labels, scores)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    return _of_one(partial(counted.ece, bins=bins), checked)


def cllr(labels: ArrayLike, log_lrs: ArrayLike) -> float:
    """Cost of the log likelihood ratio, in bits; 0 = perfect, 1 = an LR of 1 for everything.

    ½ (mean over fakes of log2(1 + 1/LR) + mean over genuine items of log2(1 + LR)), with natural
    logarithms of LR given and LR > 1 favouring fake (Brümmer & du Preez, 2006).

    Example:
        >>> cllr([0, 1], [0.0, 0.0])
        1.0
    """
    return _of_one(counted.cllr, _two_classes(labels, log_lrs))


def delong_variance(labels: ArrayLike, scores: ArrayLike) -> float:
    """Variance of the AUC of independent items (DeLong, DeLong & Clarke-Pearson, 1988).

    S₁₀ / n_fake + S₀₁ / n_real, the sample variances of every fake's and every genuine item's
    share of won comparisons, by midranks (Sun & Xu, 2014). For videos, not for the frames of a
    video, which are not independent.

    Raises:
        ValueError: A class has fewer than two items.
    """
    won_by_fake, lost_by_real = placements(labels, scores)
    return float(
        np.var(won_by_fake, ddof=1) / won_by_fake.size
        + np.var(lost_by_real, ddof=1) / lost_by_real.size
    )


def placements(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Return the share of won comparisons of every fake, and of lost ones of every genuine item.

    Both are in the order of the items, ties count one half, and the mean of either is the AUC.

    Raises:
        ValueError: A class has fewer than two items.

    Example:
        >>> [side.tolist() for side in placements([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])]
        [[0.5, 1.0], [1.0, 0.5]]
    """
    truth, values = _two_classes(labels, scores)
    fake, real = values[truth == 1], values[truth == 0]
    if min(fake.size, real.size) < 2:
        raise ValueError("DeLong's variance needs at least two items of each class")
    joint = _midranks(np.concatenate((fake, real)))
    won_by_fake = (joint[: fake.size] - _midranks(fake)) / real.size
    return won_by_fake, 1 - (joint[fake.size :] - _midranks(real)) / fake.size


def bootstrap_ci(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[str] | Sequence[int] | NDArray[Any] | None = None,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a metric; whole groups are drawn, within each class.

    Frames of a video rise and fall together, so the video is what is resampled; what an original
    and the fakes made of it share is not in the interval. Resamples cannot see beyond the sample:
    of a few videos, or of a metric that all of them agree on, the interval is too short (of an AUC
    of 0 or 1 see `bootstrap.interval_of_unanimous`). The order of the items does not matter.

    Args:
        metric: A function of (labels, scores).
        labels: 0 or 1.
        scores: What the metric takes.
        groups: One id an item; all items of a group share a label. None: every item alone.
        n: Number of resamples.
        seed: Of the random numbers.
        level: Coverage aimed at.

    Raises:
        ValueError: A class has a single group, a group holds both labels, or the metric is
            undefined for the items.
    """
    truth, values = _checked(labels, scores)
    metric(truth, values)
    if groups is None:
        # items that are drawn alone are numbered by score, so that their order does not matter
        order = np.lexsort((truth, values))
        truth, values = truth[order], values[order]
    names = np.arange(truth.size) if groups is None else np.asarray(groups)
    found = _replicates(metric, Sample.of(truth, values, names), n, seed)
    low, high = np.percentile(found, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high))


COUNTED: Mapping[Metric, Counted] = {
    roc_auc: counted.roc_auc,
    partial_auc: counted.partial_auc,
    tpr_at_fpr: counted.tpr_at_fpr,
    eer: counted.eer,
    eer_nearest: counted.eer_nearest,
    average_precision: counted.average_precision,
    accuracy: counted.accuracy,
    balanced_accuracy: counted.balanced_accuracy,
    log_loss: counted.log_loss,
    brier: counted.brier,
    ece: counted.ece,
    cllr: counted.cllr,
}
"""The same metrics for many resamples at once."""


def _replicates(metric: Metric, sample: Sample, n: int, seed: int) -> Floats:
    function, arguments = metric, {}
    if isinstance(metric, partial) and not metric.args:
        function, arguments = metric.func, metric.keywords
    if function is roc_auc:
        return auc_replicates(sample, n, seed)
    if function not in COUNTED:
        return _one_by_one(metric, sample, n, seed)
    same = partial(COUNTED[function], **arguments)
    (rows,) = replicates([sample], lambda one: same(one)[None], n, seed, exact_scores=None)
    return np.asarray(rows[0])


def _one_by_one(metric: Metric, sample: Sample, n: int, seed: int) -> Floats:
    sample.require_spread()
    # sorted by score, which keeps each metric's own sorting cheap
    order = np.argsort(sample.scores, kind="stable")
    truth, values, cluster = sample.labels[order], sample.scores[order], sample.cluster[order]
    found = []
    for weights in drawn(sample.n_clusters, n, seed):
        for row in weights.astype(np.int64):
            times = row[cluster]
            found.append(metric(np.repeat(truth, times), np.repeat(values, times)))
    return np.array(found)


def _of_one(metric: Counted, checked: tuple[Labels, Floats]) -> float:
    return float(metric(ScoreCounts.of_sample(*checked))[0])


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Floats]:
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(
            f"labels and scores must be lists of one length, got shapes {truth.shape} and "
            f"{values.shape}"
        )
    if not truth.size:
        raise ValueError("no samples: a metric of nothing is undefined")
    if not np.all((truth == 0) | (truth == 1)):
        raise ValueError("labels must be 0 (genuine) or 1 (fake)")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite, but some are NaN or infinite")
    return truth.astype(np.int64), values


def _two_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Floats]:
    truth, values = _checked(labels, scores)
    n_fake = int(truth.sum())
    if n_fake in (0, truth.size):
        kind = "fake" if n_fake else "genuine"
        raise ValueError(f"all {truth.size} items are {kind}; this metric needs both classes")
    return truth, values


def _probabilities(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Floats]:
    truth, p = _checked(labels, scores)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(
            "scores must be probabilities in [0, 1]; apply the sigmoid to logits first"
        )
    return truth, p


def _midranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])
