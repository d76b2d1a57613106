"""Every metric, of many resamples at once, from how often each score occurs in each of them.

A resample repeats some items and leaves others out, so it is told by weights, and all metrics are
functions of the weights of genuine and of fake items at each distinct score. One sample is the
case of a single row with weights that count its items: `scoring.metrics` is that case, and says
what each metric is and where it comes from. Here every function takes B rows and returns B values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Costs = Floats | NDArray[np.bool_]
"""(K,) what an item with each score contributes to a mean."""

ECE_BINS = 15
NEAR = 32  # points of a curve that are looked at on either side of a place, to begin with


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """How many genuine and fake items have each of K distinct scores, in B resamples.

    Attributes:
        scores: (K,), falling: whatever the metric takes (logits, probabilities, log LRs).
        real: (B, K), counts of genuine items.
        fake: (B, K), counts of fakes.
        false_positives: (B, K + 1): genuine items among the highest 0, 1, … K scores.
        true_positives: (B, K + 1): fakes among them.
    """

    scores: Floats = field(repr=False)
    real: Floats = field(repr=False)
    fake: Floats = field(repr=False)
    false_positives: Floats = field(repr=False)
    true_positives: Floats = field(repr=False)

    @classmethod
    def of(cls, scores: Floats, real: Floats, fake: Floats) -> Self:
        """Return the counts, with their sums from the highest score downwards."""
        return cls(scores, real, fake, _summed(real), _summed(fake))

    @classmethod
    def of_sample(cls, labels: Ints, scores: Floats) -> Self:
        """Return the counts of one sample of N labels and scores, as a single row.

        Example:
            >>> found = ScoreCounts.of_sample(np.array([0, 1, 1]), np.array([0.2, 0.9, 0.2]))
            >>> found.scores.tolist(), found.real.tolist(), found.fake.tolist()
            ([0.9, 0.2], [[0.0, 1.0]], [[1.0, 1.0]])
        """
        order = np.argsort(scores, kind="stable")[::-1]
        falling = scores[order]
        starts = np.flatnonzero(np.append(True, falling[1:] != falling[:-1]))
        fake = np.add.reduceat(labels[order], starts).astype(np.float64)
        both = np.diff(np.append(starts, labels.size))
        return cls.of(falling[starts], (both - fake)[None], fake[None])

    def scored_as(self, scores: Floats) -> Self:
        """Return the same items with other scores, which must not rise either."""
        return replace(self, scores=scores)

    @property
    def n_real(self) -> Floats:
        """(B,) genuine items of each resample."""
        return self.false_positives[:, -1]

    @property
    def n_fake(self) -> Floats:
        """(B,) fakes of each resample."""
        return self.true_positives[:, -1]


Counted = Callable[[ScoreCounts], Floats]


def roc_auc(counts: ScoreCounts) -> Floats:
    """See `metrics.roc_auc`."""
    # every genuine item loses to the fakes above it and draws with those at its score
    won = np.einsum("bk,bk->b", counts.real, counts.true_positives[:, :-1])
    drawn = np.einsum("bk,bk->b", counts.real, counts.fake)
    return np.asarray((won + drawn / 2) / (counts.n_real * counts.n_fake))


def partial_auc(counts: ScoreCounts, max_fpr: float = 0.1) -> Floats:
    """See `metrics.partial_auc`."""
    n_inside = _n_within(counts, max_fpr)
    rows, last = np.arange(n_inside.size), n_inside - 1
    after = np.minimum(n_inside, counts.scores.size)
    area = np.array(
        [
            real[:end] @ (above[:end] + fake[:end] / 2)
            for real, fake, above, end in zip(
                counts.real, counts.fake, counts.true_positives, last.tolist(), strict=True
            )
        ]
    ) / (counts.n_real * counts.n_fake)
    x0, x1 = (counts.false_positives[rows, at] / counts.n_real for at in (last, after))
    y0, y1 = (counts.true_positives[rows, at] / counts.n_fake for at in (last, after))
    # of the points at max_fpr itself the highest is reached, so interpolate only beyond it
    width = max_fpr - x0
    rise = np.divide(y1 - y0, x1 - x0, out=np.zeros_like(x0), where=x1 > x0)
    area += width * (y0 + width * rise / 2)
    chance = max_fpr**2 / 2
    return np.asarray(0.5 * (1 + (area - chance) / (max_fpr - chance)))


def tpr_at_fpr(counts: ScoreCounts, max_fpr: float = 0.01) -> Floats:
    """See `metrics.tpr_at_fpr`."""
    last = _n_within(counts, max_fpr) - 1
    return np.asarray(counts.true_positives[np.arange(last.size), last] / counts.n_fake)


def eer(counts: ScoreCounts) -> Floats:
    """See `metrics.eer`."""
    rows, after = np.arange(len(counts.real)), _n_before_equality(counts)
    before = after - 1
    gap_before, gap_after = _gap(counts, rows, before), _gap(counts, rows, after)
    share = gap_before / (gap_before - gap_after)
    fpr_before, fpr_after = (
        counts.false_positives[rows, at] / counts.n_real for at in (before, after)
    )
    return np.asarray(fpr_before + share * (fpr_after - fpr_before))


def eer_nearest(counts: ScoreCounts) -> Floats:
    """See `metrics.eer_nearest`."""
    after = _n_before_equality(counts).tolist()
    curves = zip(counts.false_positives, counts.true_positives, after, strict=True)
    return np.array([_nearest_bend(fp, tp, place) for fp, tp, place in curves])


def average_precision(counts: ScoreCounts) -> Floats:
    """See `metrics.average_precision`."""
    precision = counts.true_positives[:, 1:] + counts.false_positives[:, 1:]
    # where nothing is flagged yet, no fake is either, and the term is zero
    np.maximum(precision, 1.0, out=precision)
    np.divide(counts.true_positives[:, 1:], precision, out=precision)
    return np.asarray(np.einsum("bk,bk->b", counts.fake, precision) / counts.n_fake)


def accuracy(counts: ScoreCounts, threshold: float = 0.5) -> Floats:
    """See `metrics.accuracy`."""
    flagged = counts.scores > threshold
    return _mean(counts, ~flagged, flagged)


def balanced_accuracy(counts: ScoreCounts, threshold: float = 0.5) -> Floats:
    """See `metrics.balanced_accuracy`."""
    flagged = counts.scores > threshold
    return _mean_of_classes(counts, ~flagged, flagged)


def log_loss(counts: ScoreCounts) -> Floats:
    """See `metrics.log_loss`."""
    p = np.clip(counts.scores, 1e-15, 1 - 1e-15)
    return _mean(counts, -np.log1p(-p), -np.log(p))


def brier(counts: ScoreCounts) -> Floats:
    """See `metrics.brier`."""
    return _mean(counts, counts.scores**2, (counts.scores - 1) ** 2)


def cllr(counts: ScoreCounts) -> Floats:
    """See `metrics.cllr`."""
    of_real, of_fake = np.logaddexp(0.0, counts.scores), np.logaddexp(0.0, -counts.scores)
    return np.asarray(_mean_of_classes(counts, of_real, of_fake) / np.log(2))


def ece(counts: ScoreCounts, bins: int = ECE_BINS) -> Floats:
    """See `metrics.ece`."""
    counts = _without_ties(counts)
    n_rows, size = counts.real.shape
    n = counts.n_real + counts.n_fake
    row, lower = np.repeat(np.arange(n_rows), bins), np.tile(np.arange(bins), n_rows)

    def is_above(place: Ints) -> NDArray[np.bool_]:
        # midrank - 1/2 of the items with a score: those below, and half of those with it
        up_to, beyond = (
            counts.true_positives[row, at] + counts.false_positives[row, at]
            for at in (place, place + 1)
        )
        below = n[row] - (up_to + beyond) / 2
        return np.asarray(np.floor(bins * below / n[row]) >= lower)

    # where each bin ends, from the highest downwards; it begins where the next higher one ends
    ends = _n_leading(is_above, row.size, size).reshape(n_rows, bins)[:, ::-1]
    starts = np.concatenate((np.zeros((n_rows, 1), np.int64), ends[:, :-1]), axis=1)
    # one more than there are, for bins that begin behind the last score
    stretch = np.zeros(n_rows * size + 1)
    gaps = stretch[:-1].reshape(n_rows, size)
    np.add(counts.real, counts.fake, out=gaps)
    gaps *= counts.scores
    gaps -= counts.fake
    sums = np.add.reduceat(stretch, (starts + size * np.arange(n_rows)[:, None]).ravel())
    # reduceat has no empty stretch: it gives the item itself
    sums[(ends <= starts).ravel()] = 0.0
    return np.asarray(np.abs(sums).reshape(n_rows, bins).sum(axis=1) / n)


def _summed(counts: Floats) -> Floats:
    sums = np.empty((counts.shape[0], counts.shape[1] + 1))
    sums[:, 0] = 0.0
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums


def _mean(counts: ScoreCounts, of_real: Costs, of_fake: Costs) -> Floats:
    total = counts.real @ of_real + counts.fake @ of_fake
    return np.asarray(total / (counts.n_real + counts.n_fake))


def _mean_of_classes(counts: ScoreCounts, of_real: Costs, of_fake: Costs) -> Floats:
    over_real = counts.real @ of_real / counts.n_real
    return np.asarray((over_real + counts.fake @ of_fake / counts.n_fake) / 2)


def _n_leading(holds: Callable[[Ints], NDArray[np.bool_]], n_rows: int, size: int) -> Ints:
    """Return of how many of `size` places in each row something holds that holds for the first.

    `holds` is asked for one place a row; from where it fails on, it must fail for good.
    """
    low, high = np.zeros(n_rows, np.int64), np.full(n_rows, size, np.int64)
    while np.any(low < high):
        middle = (low + high) // 2
        found = holds(np.minimum(middle, size - 1)) & (low < high)
        low, high = np.where(found, middle + 1, low), np.where(found, high, middle)
    return low


def _n_within(counts: ScoreCounts, max_fpr: float) -> Ints:
    rows = np.arange(len(counts.real))
    return _n_leading(
        lambda place: counts.false_positives[rows, place] / counts.n_real <= max_fpr,
        rows.size,
        counts.scores.size + 1,
    )


def _gap(counts: ScoreCounts, rows: Ints, place: Ints) -> Floats:
    """FNR - FPR, which falls from 1 to -1 along a curve."""
    tpr = counts.true_positives[rows, place] / counts.n_fake
    return np.asarray(1 - tpr - counts.false_positives[rows, place] / counts.n_real)


def _n_before_equality(counts: ScoreCounts) -> Ints:
    rows = np.arange(len(counts.real))
    return _n_leading(
        lambda place: _gap(counts, rows, place) > 0, rows.size, counts.scores.size + 1
    )


def _nearest_bend(false_positives: Floats, true_positives: Floats, after: int) -> float:
    """Return the FPR where |FNR - FPR| is smallest, of the points at which one curve bends.

    Only the last bend before `after` and the first one from there on can be it, so that a short
    stretch of the curve is looked at, and a longer one where it has no bend.
    """
    last, reach = false_positives.size - 1, NEAR
    while True:
        low, high = max(0, after - reach), min(last, after + reach)
        fp, tp = false_positives[low : high + 1], true_positives[low : high + 1]
        # points that coincide are one
        kept = np.flatnonzero(np.append(True, (fp[1:] > fp[:-1]) | (tp[1:] > tp[:-1])))
        fp, tp = fp[kept], tp[kept]
        bends = np.logical_or(np.diff(fp, 2), np.diff(tp, 2))
        # the ends of the curve count as bends, those of a stretch do not
        is_kept = np.concatenate(([low == 0], bends, [high == last]))
        at = np.flatnonzero(is_kept) if fp.size > 1 else kept[:0]
        fpr = fp[at] / false_positives[-1]
        gap = 1 - tp[at] / true_positives[-1] - fpr
        if at.size and (low == 0 or gap[0] > 0) and (high == last or gap[-1] <= 0):
            return float(fpr[np.argmin(np.abs(gap))])
        reach *= 4


def _without_ties(counts: ScoreCounts) -> ScoreCounts:
    starts = np.flatnonzero(np.append(True, counts.scores[1:] != counts.scores[:-1]))
    if starts.size == counts.scores.size:
        return counts
    real, fake = (np.add.reduceat(one, starts, axis=1) for one in (counts.real, counts.fake))
    return ScoreCounts.of(counts.scores[starts], real, fake)
