"""Metrics: pure functions of labels and scores, one definition each.

Everywhere: `labels` holds 0 (genuine) and 1 (fake), `scores` is higher for fakes, both are 1-D
and of one length. What is undefined raises ValueError with a sentence: no samples, one class
where two are needed, NaN or infinity, labels other than 0 and 1, and probabilities outside [0, 1].
Names follow scikit-learn; the functions need numpy only, and are tested against scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]
Metric: TypeAlias = Callable[[Any, Any], float]

CHUNK_ITEMS = 4_000_000  # resampled items held at once: some 100 MB


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
    false_positives, true_positives = _roc_counts(*_two_classes(labels, scores))
    area = np.sum(np.diff(false_positives) * (true_positives[1:] + true_positives[:-1]) / 2)
    return float(area / (false_positives[-1] * true_positives[-1]))


def partial_auc(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.1) -> float:
    """Area under the ROC curve for FPR in [0, `max_fpr`], standardised so that chance is 0.5.

    (1 + (A − A_min) / (A_max − A_min)) / 2, where A_min = max_fpr² / 2 is chance and A_max =
    max_fpr is perfection; the curve is interpolated linearly at `max_fpr` (McClish, Medical
    Decision Making 1989; scikit-learn's `roc_auc_score(max_fpr=…)`).
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must lie in (0, 1], got {max_fpr}")
    fpr, tpr = _roc_rates(labels, scores)
    inside = fpr <= max_fpr
    # of the points at max_fpr itself the highest is reached, so interpolate only beyond it
    x = np.append(fpr[inside], max_fpr)
    y = np.append(tpr[inside], _interpolated(max_fpr, fpr, tpr))
    area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
    chance = max_fpr**2 / 2
    return 0.5 * (1 + (area - chance) / (max_fpr - chance))


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
    fpr, tpr = _roc_rates(labels, scores)
    return float(tpr[fpr <= max_fpr].max())


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate, interpolated: where the ROC polyline meets FNR = FPR. In [0, 1].

    Between neighbouring ROC points both rates are interpolated linearly. It is the value that
    this project reports; `eer_nearest` is DeepfakeBench's.

    Example:
        >>> eer([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.5
    """
    fpr, tpr = _roc_rates(labels, scores)
    gap = 1 - tpr - fpr  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def eer_nearest(labels: ArrayLike, scores: ArrayLike) -> float:
    """FPR at the ROC point where |FNR − FPR| is smallest, the first of several. In [0, 1].

    DeepfakeBench's definition (Yan et al., NeurIPS 2023, its `metrics/utils.py`), including that
    collinear ROC points are dropped first, as scikit-learn's `roc_curve` does by default. For
    comparison with published tables only: it jumps with single samples.
    """
    false_positives, true_positives = _roc_counts(*_two_classes(labels, scores))
    bends = np.logical_or(np.diff(false_positives, 2), np.diff(true_positives, 2))
    kept = np.concatenate(([True], bends, [True]))
    fpr = (false_positives / false_positives[-1])[kept]
    fnr = 1 - (true_positives / true_positives[-1])[kept]
    return float(fpr[np.argmin(np.abs(fnr - fpr))])


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Σ (R_n − R_{n−1}) · P_n over distinct thresholds, positive = fake. In (0, 1].

    Chance is the share of fakes, so it compares only between sets of one base rate.

    Example:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    false_positives, true_positives = _roc_counts(*_two_classes(labels, scores))
    precision = true_positives[1:] / (true_positives[1:] + false_positives[1:])
    return float(np.sum(np.diff(true_positives) * precision) / true_positives[-1])


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Share of items on the right side of `threshold`; a score above it says fake. In [0, 1]."""
    truth, values = _checked(labels, scores)
    return float(np.mean((values > threshold) == (truth == 1)))


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the shares of fakes above and of genuine items not above `threshold`. In [0, 1]."""
    truth, values = _two_classes(labels, scores)
    flagged = values > threshold
    return float((np.mean(flagged[truth == 1]) + np.mean(~flagged[truth == 0])) / 2)


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float:
    """−mean(y ln p + (1 − y) ln(1 − p)), p clipped to [1e-15, 1 − 1e-15]; lower is better.

    A constant 0.5 gives ln 2 = 0.6931; the DFDC leader board's measure.
    """
    truth, p = _probabilities(labels, scores)
    p = np.clip(p, 1e-15, 1 - 1e-15)
    return float(-np.mean(np.where(truth == 1, np.log(p), np.log1p(-p))))


def brier(labels: ArrayLike, scores: ArrayLike) -> float:
    """Brier score: mean((p − y)²), in [0, 1], lower is better (Brier, 1950)."""
    truth, p = _probabilities(labels, scores)
    return float(np.mean((p - truth) ** 2))


def ece(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass, in [0, 1], lower is better.

    Σ_b n_b / n · |mean(p) − mean(y)|. An item of midrank r goes to bin ⌊bins · (r − ½) / n⌋, so
    that bins hold equally many items and equal probabilities share a bin, whatever their order
    (equal mass: Nixon et al., 2019; the measure: Naeini et al., AAAI 2015).
    """
    truth, p = _probabilities(labels, scores)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    bin_of = np.floor(bins * (_midranks(p) - 0.5) / p.size).astype(np.int64)
    gaps = np.bincount(bin_of, weights=p - truth, minlength=bins)
    return float(np.sum(np.abs(gaps)) / p.size)


def cllr(labels: ArrayLike, log_lrs: ArrayLike) -> float:
    """Cost of the log likelihood ratio, in bits; 0 = perfect, 1 = an LR of 1 for everything.

    ½ (mean over fakes of log2(1 + 1/LR) + mean over genuine items of log2(1 + LR)), with natural
    logarithms of LR given and LR > 1 favouring fake (Brümmer & du Preez, 2006).

    Example:
        >>> cllr([0, 1], [0.0, 0.0])
        1.0
    """
    truth, values = _two_classes(labels, log_lrs)
    fake = np.logaddexp(0.0, -values[truth == 1])
    real = np.logaddexp(0.0, values[truth == 0])
    return float((np.mean(fake) + np.mean(real)) / (2 * np.log(2)))


def delong_variance(labels: ArrayLike, scores: ArrayLike) -> float:
    """Variance of the AUC of independent items (DeLong, DeLong & Clarke-Pearson, 1988).

    S₁₀ / n_fake + S₀₁ / n_real, the sample variances of every fake's and every genuine item's
    share of won comparisons, by midranks (Sun & Xu, 2014). For videos, not for the frames of a
    video, which are not independent.

    Raises:
        ValueError: A class has fewer than two items.
    """
    truth, values = _two_classes(labels, scores)
    fake, real = values[truth == 1], values[truth == 0]
    if min(fake.size, real.size) < 2:
        raise ValueError("DeLong's variance needs at least two items of each class")
    joint = _midranks(np.concatenate((fake, real)))
    won_by_fake = (joint[: fake.size] - _midranks(fake)) / real.size
    lost_by_real = 1 - (joint[fake.size :] - _midranks(real)) / fake.size
    return float(np.var(won_by_fake, ddof=1) / fake.size + np.var(lost_by_real, ddof=1) / real.size)


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

    Frames of a video rise and fall together, so the video is what is resampled. The order of the
    items does not matter.

    Args:
        metric: A function of (labels, scores).
        labels: 0 or 1.
        scores: What the metric takes.
        groups: One id an item; all items of a group share a label. None: every item alone.
        n: Number of resamples.
        seed: Of the random numbers.
        level: Coverage aimed at.

    Raises:
        ValueError: A class has a single group, or a group holds both labels.
    """
    truth, values = _checked(labels, scores)
    names = np.arange(truth.size) if groups is None else np.asarray(groups)
    if names.shape != truth.shape:
        raise ValueError(f"there are {truth.size} items but {names.size} groups")
    # sorted by score, so that neither the order of the items nor repeated sorting costs anything
    order = np.lexsort((truth, values) if groups is None else (names, truth, values))
    truth, values = truth[order], values[order]
    group_of = names if groups is None else np.unique(names[order], return_inverse=True)[1]
    strata = _strata(truth, group_of)
    rng = np.random.default_rng(seed)
    replicates = np.empty(n)
    chunk = max(1, CHUNK_ITEMS // truth.size)
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        weights = np.stack([_draw(rng, strata, group_of) for _ in range(size)])
        replicates[start : start + size] = _replicates(metric, truth, values, weights)
    low, high = np.percentile(replicates, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high))


def _strata(truth: Labels, group_of: NDArray[np.intp]) -> tuple[NDArray[np.intp], ...]:
    n_groups = int(group_of.max()) + 1
    sizes = np.bincount(group_of, minlength=n_groups)
    fakes = np.bincount(group_of, weights=truth, minlength=n_groups)
    if np.any((fakes > 0) & (fakes < sizes)):
        raise ValueError("a group holds genuine and fake items; resample by video, not by source")
    strata = tuple(np.flatnonzero(fakes == 0 if label == 0 else fakes > 0) for label in (0, 1))
    if any(stratum.size == 1 for stratum in strata):
        raise ValueError("a class has a single group, so its spread cannot be estimated")
    return tuple(stratum for stratum in strata if stratum.size)


def _draw(
    rng: np.random.Generator, strata: tuple[NDArray[np.intp], ...], group_of: NDArray[np.intp]
) -> NDArray[np.intp]:
    drawn = [stratum[rng.integers(0, stratum.size, stratum.size)] for stratum in strata]
    return np.bincount(np.concatenate(drawn), minlength=int(group_of.max()) + 1)[group_of]


def _replicates(metric: Metric, truth: Labels, values: Floats, weights: NDArray[np.intp]) -> Floats:
    if metric is not roc_auc:
        # items stay sorted by score, which keeps each metric's own sorting cheap
        return np.array([metric(np.repeat(truth, row), np.repeat(values, row)) for row in weights])
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf))
    fakes = np.add.reduceat(weights * truth, starts, axis=1)
    reals = np.add.reduceat(weights * (1 - truth), starts, axis=1)
    beaten = np.cumsum(reals, axis=1) - reals / 2
    return np.asarray(np.sum(fakes * beaten, axis=1) / (fakes.sum(1) * reals.sum(1)))


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


def _roc_counts(truth: Labels, values: Floats) -> tuple[Labels, Labels]:
    order = np.argsort(values, kind="stable")[::-1]
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), truth.size - 1)
    true_positives = np.cumsum(truth[order])[last_of_tie]
    false_positives = last_of_tie + 1 - true_positives
    return np.concatenate(([0], false_positives)), np.concatenate(([0], true_positives))


def _roc_rates(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    false_positives, true_positives = _roc_counts(*_two_classes(labels, scores))
    return false_positives / false_positives[-1], true_positives / true_positives[-1]


def _interpolated(at: float, fpr: Floats, tpr: Floats) -> float:
    last = int(np.flatnonzero(fpr <= at)[-1])
    if last + 1 == fpr.size:
        return float(tpr[last])
    share = (at - fpr[last]) / (fpr[last + 1] - fpr[last])
    return float(tpr[last] + share * (tpr[last + 1] - tpr[last]))


def _midranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])
