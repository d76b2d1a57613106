"""What the figures show, as numbers: ROC curves with bands, and how far probabilities hold.

Everything is by video, the unit whose items are independent, so that a band is a bootstrap of
items within each class and a bin's interval is binomial.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfdetect.evaluation.measure import LEVEL
from dfdetect.scoring.bootstrap import interval_of_unanimous
from dfdetect.scoring.words import clopper_pearson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_POINTS = 2000
N_BAND = 1000
MOST_BINS = 15
LEAST_IN_BIN = 10


@dataclass(frozen=True, slots=True)
class RocCurve:
    """A ROC curve and the band of its true-positive rate; all rates lie in [0, 1].

    Attributes:
        fpr: K false-positive rates that thresholds attain, rising from 0 to 1.
        tpr: K true-positive rates beside them.
        grid: G false-positive rates at which the band is given.
        low: G lower ends of the true-positive rate's interval.
        high: G upper ends.
        auc_low: Lower end of the interval of the area below the curve, by the same resamples.
        auc_high: Its upper end.
        n_real: Genuine videos.
        n_fake: Fake videos.
    """

    fpr: Floats = field(repr=False)
    tpr: Floats = field(repr=False)
    grid: Floats = field(repr=False)
    low: Floats = field(repr=False)
    high: Floats = field(repr=False)
    auc_low: float
    auc_high: float
    n_real: int
    n_fake: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Videos of like probability: their mean `p`, and the share of fakes with its interval."""

    p: float
    share: float
    low: float
    high: float
    n: int


def roc_curve(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    n_bootstrap: int = N_BAND,
    seed: int = 0,
    points: int = MOST_POINTS,
) -> RocCurve:
    """Return the ROC curve of independent items with a pointwise bootstrap band.

    A curve of more than `points` distinct scores is thinned to thresholds at quantiles of either
    class, denser at both ends; every point that is kept is exact. Resampling items within a class
    is then a multinomial draw over the stretches between thresholds, so that a band costs the same
    for a hundred videos as for a hundred thousand.

    Args:
        labels: 0 (genuine) or 1 (fake).
        scores: Higher for fakes.
        n_bootstrap: Resamples.
        seed: Of the resampling.
        points: The most points that a curve may have.

    Raises:
        ValueError: A class is missing, or a score is NaN.

    Example:
        >>> curve = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        >>> curve.fpr.tolist(), curve.tpr.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    real, fake = np.sort(values[truth == 0]), np.sort(values[truth == 1])
    if not (real.size and fake.size) or np.isnan(values).any():
        raise ValueError("a ROC curve needs scores of both classes, none of them NaN")
    cuts = _thresholds(real, fake, points - 1)
    reals, fakes = _between(real, cuts), _between(fake, cuts)
    grid = _grid(real.size)
    rng = np.random.default_rng(seed)
    drawn_real = _rates(rng.multinomial(real.size, reals / real.size, n_bootstrap))
    drawn_fake = _rates(rng.multinomial(fake.size, fakes / fake.size, n_bootstrap))
    drawn = np.stack([np.interp(grid, x, y) for x, y in zip(drawn_real, drawn_fake, strict=True)])
    ends = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    low, high = np.percentile(drawn, ends, axis=0)
    steps, heights = np.diff(drawn_real), (drawn_fake[:, 1:] + drawn_fake[:, :-1]) / 2
    areas = np.percentile(np.sum(steps * heights, axis=1), ends).tolist()
    fpr, tpr = _rates(reals[None])[0], _rates(fakes[None])[0]
    counts = int(real.size), int(fake.size)
    area = round(float(np.trapezoid(tpr, fpr)), 12)
    auc_low, auc_high = interval_of_unanimous(area, counts) or areas
    return RocCurve(fpr, tpr, grid, low, high, auc_low, auc_high, *counts)


def reliability(labels: ArrayLike, p_fake: ArrayLike, bins: int = MOST_BINS) -> tuple[Bin, ...]:
    """Return bins of equal mass, with the share of fakes in each and its exact 95 % interval.

    There are fewer bins where one would hold under ten videos; equal probabilities share a bin.

    Args:
        labels: 0 (genuine) or 1 (fake), of independent items.
        p_fake: In [0, 1].
        bins: The most there are.
    """
    truth, p = np.asarray(labels), np.asarray(p_fake, dtype=np.float64)
    wanted = max(1, min(bins, p.size // LEAST_IN_BIN))
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    midranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    bin_of = np.floor(wanted * (midranks - 0.5) / max(1, p.size)).astype(np.int64)
    return tuple(
        _bin(truth[bin_of == place], p[bin_of == place]) for place in np.unique(bin_of).tolist()
    )


def _bin(truth: NDArray[np.int64], p: Floats) -> Bin:
    n_fake, n = int(truth.sum()), int(truth.size)
    low, high = clopper_pearson(n_fake, n, LEVEL)
    return Bin(float(p.mean()), n_fake / n, low, high, n)


def _thresholds(real: Floats, fake: Floats, most: int) -> Floats:
    """Return falling thresholds; each flags the scores at and above it."""
    distinct = np.unique(np.concatenate((real, fake)))
    if distinct.size > most:
        share = most // 2
        # the lowest score of all is among them, which flags everything
        kept = [one[_places(one.size, share)] for one in (real, fake)]
        distinct = np.unique(np.concatenate(kept))
    return distinct[::-1]


def _places(n: int, most: int) -> Ints:
    tail = np.geomspace(1, n, most // 4) - 1
    spread = np.linspace(0, n - 1, most // 2)
    return np.unique(np.concatenate((spread, tail, n - 1 - tail)).astype(np.int64))


def _between(ordered: Floats, cuts: Floats) -> Ints:
    flagged = ordered.size - np.searchsorted(ordered, cuts, side="left")
    return np.diff(flagged, prepend=0)


def _rates(counts: NDArray[np.integer]) -> Floats:
    total = np.cumsum(counts, axis=1)
    zero = np.zeros((len(counts), 1))
    return np.concatenate((zero, total / total[:, -1:]), axis=1)


def _grid(n_real: int) -> Floats:
    least = 1 / (2 * max(n_real, 10))
    tail = np.geomspace(least, 0.5, 60)
    return np.unique(np.concatenate((np.linspace(0, 1, 101), tail, 1 - tail)))
