"""Whether two detectors differ: a paired test of their AUCs, and a correction for several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from dfdetect.scoring.metrics import Interval, placements


@dataclass(frozen=True, slots=True)
class PairedDeLong:
    """Two AUCs on the same items, and how sure their difference is.

    Attributes:
        auc_a: AUC of the first scores.
        auc_b: AUC of the second.
        difference: `auc_a` - `auc_b`.
        variance: Of the difference.
        z: The difference in standard errors.
        p_value: Two-sided, of a difference as large as this if there were none.
        interval: Of the difference, symmetric.
    """

    auc_a: float
    auc_b: float
    difference: float
    variance: float
    z: float
    p_value: float
    interval: Interval


def paired_delong(
    labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, level: float = 0.95
) -> PairedDeLong:
    """Test whether two detectors' AUCs on the same items differ.

    Each fake's share of won comparisons, and each genuine item's of lost ones, is subtracted
    between the detectors; the sample variances of these differences, over their numbers, add up
    to the variance of the AUCs' difference, and that over its root is taken for normal (DeLong,
    DeLong & Clarke-Pearson, Biometrics 1988). Items must be independent: videos, not frames of a
    video. With few items, or AUCs near 1, the normal is a poor stand-in. Equal ranks give z = 0
    and p = 1.

    Args:
        labels: 0 or 1.
        scores_a: Of the first detector, on any scale.
        scores_b: Of the second, in the same order of items.
        level: Coverage of the interval.

    Raises:
        ValueError: A class has fewer than two items, the lists differ in length or hold NaN, or
            the AUCs differ but by as much for every item, so that there is no spread to judge by.

    Example:
        >>> found = paired_delong([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6], [1, 5, 2, 3, 4, 6])
        >>> round(found.difference, 3), round(found.p_value, 2)
        (0.111, 0.72)
    """
    sides_a, sides_b = placements(labels, scores_a), placements(labels, scores_b)
    auc_a, auc_b = (float(np.mean(won)) for won, _ in (sides_a, sides_b))
    difference = auc_a - auc_b
    variance = sum(
        float(np.var(a - b, ddof=1)) / a.size for a, b in zip(sides_a, sides_b, strict=True)
    )
    # rounding alone leaves some 1e-33
    if variance < 1e-24:
        if abs(difference) > 1e-12:
            raise ValueError(
                f"the AUCs differ by {difference:.4f} for every item alike, so that there is no "
                "spread to judge the difference by"
            )
        return PairedDeLong(auc_a, auc_b, 0.0, 0.0, 0.0, 1.0, Interval(0.0, 0.0))
    error = math.sqrt(variance)
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    z = difference / error
    return PairedDeLong(
        auc_a=auc_a,
        auc_b=auc_b,
        difference=difference,
        variance=variance,
        z=z,
        p_value=math.erfc(abs(z) / math.sqrt(2)),
        interval=Interval(difference - half, difference + half),
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values adjusted for being several, in their order; none give none.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none may fall below one
    that was smaller before, nor exceed 1. Whoever rejects those under α errs in any of them with
    probability α at most, however the tests depend on each other (Holm, Scandinavian Journal of
    Statistics 1979).

    Raises:
        ValueError: A value is NaN or outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError("p-values must be a list of numbers in [0, 1]")
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty(values.size)
    adjusted[order] = np.minimum(raised, 1.0)
    return tuple(adjusted.tolist())
