"""Whether a calibration's stated likelihood ratios hold on clips it was not fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfdetect.scoring import counted
from dfdetect.scoring.aggregate import sigmoid
from dfdetect.scoring.band_ratios import EXACT_BANDS, LEVEL, measured_ratio
from dfdetect.scoring.calibrate import band_of, log_likelihood_ratio
from dfdetect.scoring.counted import ECE_BINS, ScoreCounts
from dfdetect.scoring.regression import class_weights
from dfdetect.types import Band, Calibration

_Told = tuple[float | None, float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class BandCheck:
    """Stated and measured likelihood ratio (LR) of the clips that got exactly one band.

    `real_found` of `n_real` genuine clips and `fake_found` of `n_fake` fakes got it. `stated` is
    the geometric mean of the LRs that these clips were told, `stated_low` and `stated_high` the
    least and the greatest of them. `expected` is the LR that their counts show, on average, if
    each stated one holds: the odds of the mean of p = LR / (1 + LR), both classes weighed alike.
    It is not the geometric mean, which lies further out in the open bands at either end: there,
    that of a perfect calibration lies outside of most intervals. All four are None where no clip
    got the band. `measured`, with the 95 % interval `low` to `high`, is what the counts show
    (`band_ratios.measured_ratio`).
    """

    band: Band
    real_found: int
    n_real: int
    fake_found: int
    n_fake: int
    stated: float | None
    stated_low: float | None
    stated_high: float | None
    expected: float | None
    measured: float
    low: float
    high: float

    @property
    def holds(self) -> bool | None:
        """Whether the expected LR lies in the measured one's interval; None where no clip is."""
        return None if self.expected is None else self.low <= self.expected <= self.high


def check_bands(
    calibration: Calibration, logits: ArrayLike, labels: ArrayLike
) -> tuple[BandCheck, ...]:
    """Compare the likelihood ratios that a calibration states with those that clips show.

    Args:
        calibration: Fitted to other clips than these.
        logits: One a clip, by the aggregate that `calibration` names.
        labels: 0 or 1.

    Returns:
        One for each of `EXACT_BANDS`, strongest first, whether or not a clip got it.

    Raises:
        ValueError: A class has no clips, or an input is malformed.
    """
    log_lrs, truth = _stated(calibration, logits, labels)
    bands = [band_of(value) for value in log_lrs.tolist()]
    n_real, n_fake = (int(np.sum(truth == label)) for label in (0, 1))
    weights = class_weights(truth, np.zeros(truth.size, dtype=np.intp))
    found = []
    for band in EXACT_BANDS:
        here = np.array([one is band for one in bands])
        real, fake = (int(np.sum(here & (truth == label))) for label in (0, 1))
        told: _Told = (None, None, None, None)
        if np.any(here):
            mine = log_lrs[here]
            p = float(np.average(sigmoid(mine), weights=weights[here]))
            least, most = math.exp(mine.min()), math.exp(mine.max())
            told = (math.exp(mine.mean()), least, most, p / (1 - p))
        ratio = measured_ratio(real, n_real, fake, n_fake, LEVEL)
        found.append(BandCheck(band, real, n_real, fake, n_fake, *told, *ratio))
    return tuple(found)


def calibration_error(
    calibration: Calibration, logits: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS
) -> float:
    """Return the expected calibration error of p = LR / (1 + LR), with both classes weighed alike.

    An LR says p where genuine clips and fakes are equally many, so each class counts for half, as
    if it had as many clips as the other; with as many it is `metrics.ece(labels, p)`. In [0, 1],
    lower is better. Of few clips a bin it is mostly noise, and never 0, however good the LRs are.

    Args:
        calibration: Fitted to other clips than these.
        logits: One a clip, by the aggregate that `calibration` names.
        labels: 0 or 1.
        bins: Of equal mass, as in `metrics.ece`.

    Raises:
        ValueError: A class has no clips, or an input is malformed.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    log_lrs, truth = _stated(calibration, logits, labels)
    plain = ScoreCounts.of_sample(truth, sigmoid(log_lrs))
    half = truth.size / 2
    alike = ScoreCounts.of(
        plain.scores, plain.real * (half / plain.n_real), plain.fake * (half / plain.n_fake)
    )
    return float(counted.ece(alike, bins)[0])


def _stated(
    calibration: Calibration, logits: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"one logit and one label a clip, not {values.shape} and {truth.shape}")
    if not np.all((truth == 0) | (truth == 1)) or not 0 < np.sum(truth) < truth.size:
        raise ValueError("labels must be 0 (genuine) and 1 (fake), and both must be there")
    log_lrs = np.array([log_likelihood_ratio(calibration, logit) for logit in values.tolist()])
    return log_lrs, truth.astype(np.int64)
