"""Thresholds on a clip's logit that keep a promise on false alarms, and what they do elsewhere.

The threshold is that of label-conditional split conformal prediction (Vovk, Gammerman & Shafer,
Algorithmic Learning in a Random World, 2005; Vovk, Machine Learning 92 (2013) 349-376): of n
genuine clips the ⌈(n + 1)(1 − a)⌉-th smallest logit. If one more genuine clip is exchangeable
with them, it lies strictly above that with probability at most a, whatever the distribution. The
promise is on average over calibration sets, and about clips like theirs; clips that share people
are not quite exchangeable with new people's, which is what the cross-fitted counts show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfdetect.types import OperatingPoint

FALSE_ALARMS = (0.01, 0.05)
"""The shares of genuine clips that may be flagged, for which thresholds are stated."""


def conformal_threshold(genuine: ArrayLike, false_alarm: float) -> float | None:
    """Return the logit above which at most a share of genuine clips lies, or None.

    Raising a genuine logit never lowers it. None where n clips do not support the share, which
    takes n ≥ 1 / a − 1: 19 for 0.05, 99 for 0.01.

    Args:
        genuine: Logits of genuine clips, in any order.
        false_alarm: a, in (0, 1).

    Example:
        >>> conformal_threshold(range(1, 20), 0.05), conformal_threshold(range(1, 19), 0.05)
        (19.0, None)
    """
    values = np.sort(np.asarray(genuine, dtype=np.float64))
    rank = _rank(values.size, false_alarm)
    return float(values[rank - 1]) if rank <= values.size else None


def operating_points(
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    fold_of: NDArray[np.intp],
    false_alarms: Sequence[float] = FALSE_ALARMS,
) -> tuple[OperatingPoint, ...]:
    """Return a threshold for each share of false alarms, from all genuine clips, with its counts.

    The counts are cross-fitted: each fold's clips meet the threshold that the other folds' genuine
    clips give. Where those are too few for the share, though all folds together are not, it is
    their highest logit, which flags more rather than less. Where all are too few, none is flagged.

    Args:
        logits: One a clip, finite.
        labels: 0 or 1.
        fold_of: The fold of each clip; related clips share one.
        false_alarms: Shares in (0, 1).
    """
    real = labels == 0
    found = []
    for share in false_alarms:
        logit = conformal_threshold(logits[real], share)
        flagged = np.zeros(logits.size, dtype=bool)
        for fold in np.unique(fold_of) if logit is not None else ():
            held = fold_of == fold
            others = np.sort(logits[real & ~held])
            flagged[held] = logits[held] > others[min(_rank(others.size, share), others.size) - 1]
        found.append(
            OperatingPoint(
                false_alarm=share,
                logit=logit,
                n_real=int(np.sum(real)),
                real_flagged=int(np.sum(flagged & real)),
                n_fake=int(np.sum(~real)),
                fake_flagged=int(np.sum(flagged & ~real)),
            )
        )
    return tuple(found)


def _rank(n: int, false_alarm: float) -> int:
    # as the decimal that was written: 0.95 · 20 is 19, whatever binary makes of 0.05
    return math.ceil((n + 1) * (1 - Fraction(str(false_alarm))))
