"""Logit → likelihood ratio: fitted on clips that neither training nor testing saw, and bounded.

A likelihood ratio (LR) says how much more often a score like this one comes from manipulated than
from authentic clips. It needs no assumption on how many clips are manipulated: both classes weigh
alike in the fit. Two limits keep it honest. It is never more extreme than the sample supports
(`supported_range`), and the error rates of each band, and of each operating point, are counted on
clips that the curve applied to them was not fitted to (cross-fitting by group). All of it is numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

from dfdetect.errors import UsageError
from dfdetect.scoring.operating_points import operating_points
from dfdetect.scoring.regression import class_weights, coefficients, covariance
from dfdetect.types import Band, BandRate, Calibration, SetRates

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Places = NDArray[np.intp]

# Grades of evidence in half powers of ten: Jeffreys, Theory of Probability (1961), appendix B.
# There 10^½ is where evidence stops being "barely worth mentioning". ENFSI's guideline for
# evaluative reporting (2015) is sparing with the word: its example scale says "moderate support"
# for LR 10–100. Our words are of signs seen by one detector, not of support in a court.
BAND_LIMITS: tuple[tuple[Band, float], ...] = (
    (Band.STRONG, 10**1.5),
    (Band.MODERATE, 10.0),
    (Band.WEAK, 10**0.5),
)
NONE_LIMIT = 10**-0.5
FOLDS = 10


def band_of(log_lr: float) -> Band:
    """Return the band of a natural log LR; INCONCLUSIVE between weak signs and none.

    Example:
        >>> [band_of(math.log(lr)).value for lr in (40, 12, 4, 1, 0.1)]
        ['strong', 'moderate', 'weak', 'inconclusive', 'none']
    """
    for band, limit in BAND_LIMITS:
        if log_lr >= math.log(limit):
            return band
    return Band.NONE if log_lr <= math.log(NONE_LIMIT) else Band.INCONCLUSIVE


def log_likelihood_ratio(calibration: Calibration, logit: float) -> float:
    """Return the natural log LR of a track's logit, within what the calibration set supports.

    Above 0 favours manipulation. It never falls when the logit rises.

    Raises:
        ValueError: The logit is not finite.
    """
    if not math.isfinite(logit):
        raise ValueError("a logit is not finite; the detector's weights or input are broken")
    return _within(calibration, calibration.slope * logit + calibration.intercept)


def log_lr_interval(
    calibration: Calibration, logit: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the interval of the log LR that the uncertainty of the fit leaves, or None.

    Delta method: var(log LR) = logit² var(slope) + 2 logit cov + var(intercept), normal quantiles,
    then the same bounds as the LR itself. It covers the fit's sampling error, not the chance that
    the clip is unlike all clips of the calibration set. None where the fit has no covariance.
    """
    if calibration.covariance is None:
        return None
    var_slope, cov, var_intercept = calibration.covariance
    variance = logit**2 * var_slope + 2 * logit * cov + var_intercept
    half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(max(0.0, variance))
    middle = calibration.slope * logit + calibration.intercept
    return _within(calibration, middle - half), _within(calibration, middle + half)


def is_bounded(calibration: Calibration, logit: float) -> bool:
    """Return whether the LR of this logit is held at a bound of the calibration set."""
    raw = calibration.slope * logit + calibration.intercept
    return raw != _within(calibration, raw)


def fit_platt(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    set_name: str,
    date: str,
    groups: Sequence[str] | None = None,
    sets: Sequence[str] | None = None,
    balance: bool = False,
    aggregate: str = "mean_logit",
    folds: int = FOLDS,
    seed: int = 0,
) -> Calibration:
    """Fit log LR = slope · logit + intercept to one logit a clip of the validation split.

    Weighted logistic regression, each class with half of the weight, so that the fitted log-odds
    are the log LR. The targets are smoothed as Platt's are, 1 − ε and ε with ε = 1 / (n + 2), but
    with n the smaller class for both, which keeps balance: separable clips get a finite slope
    (Platt, 1999; Lin, Lin & Weng, 2007). The covariance is the sandwich estimate, clustered by
    group. The LR is bounded by `supported_range` and the rates are counted on cross-fitted LRs.

    Args:
        logits: One aggregated logit a clip (or a track), higher = more fake.
        labels: 0 or 1.
        set_name: What a reader will find the clips under.
        date: ISO date of the fit.
        groups: One id a clip; clips that share people or sources share an id, so that related
            clips are never on both sides of a cross-fit. None: every clip alone.
        sets: The dataset of each clip; the counts of bands are then told by dataset, too.
        balance: Whether the sets share each class's half of the weight alike, so that a set of
            240 stills does not drown one of 40 clips. Otherwise every clip of a class weighs the
            same. It bends the curve (and its covariance) only: bounds, rates and thresholds are
            counts of clips either way, and a set of few clips then has a loud voice.
        aggregate: How faces became a clip's logit (`scoring.aggregate`).
        folds: Number of cross-fits; fewer where there are fewer groups.
        seed: Of the assignment of groups to folds.

    Raises:
        ValueError: A class has fewer than two groups, an input is malformed, or there are no
            sets to balance.
        UsageError: On this set higher logits do not go with fakes, so no LR can be had from it.
    """
    clips = _Clips.of(logits, labels, groups, sets, balance)
    return _fit("platt", clips, (set_name, date, aggregate), folds, seed)


def fit_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    set_name: str,
    date: str,
    groups: Sequence[str] | None = None,
    sets: Sequence[str] | None = None,
    balance: bool = False,
    aggregate: str = "mean_logit",
    folds: int = FOLDS,
    seed: int = 0,
) -> Calibration:
    """Fit log LR = logit / T, the case of `fit_platt` without intercept (Guo et al., 2017).

    It presumes that logit 0 is neutral, as after training with both classes alike; prefer
    `fit_platt` unless clips are few. Arguments and errors are those of `fit_platt`.
    """
    clips = _Clips.of(logits, labels, groups, sets, balance)
    return _fit("temperature", clips, (set_name, date, aggregate), folds, seed)


def supported_range(log_lrs: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Return the lowest and highest LR that the sample supports: its empirical bounds (ELUB).

    An LR of t claims that acting at that threshold pays at odds of 1 : t. Give each class one more
    clip with the worst possible score; then the claim stands while t ≤ TPR(t) / FPR(t), and on the
    other side while t ≥ FNR(t) / TNR(t). The bounds are the first t, going out from 1, at which it
    fails. With perfect separation they are n_real + 1 times n_fake / (n_fake + 1), and the same
    mirrored: never beyond n_real (n_fake) by more than one (Vergeer, van Es, de Jongh, Alberink &
    Stoel, Science & Justice 56 (2016) 482-491).

    Args:
        log_lrs: Natural log LRs, best of clips that the curve was not fitted to.
        labels: 0 or 1.

    Example:
        >>> low, high = supported_range([-9, -9, -9, 9, 9, 9], [0, 0, 0, 1, 1, 1])
        >>> round(low, 4), round(high, 4)
        (0.3333, 3.0)
    """
    values, truth = _checked(log_lrs, labels)
    fake, real = np.sort(values[truth == 1]), np.sort(values[truth == 0])
    # exchanging the classes turns LR into 1 / LR
    return 1 / _upper_bound(-real[::-1], -fake[::-1]), _upper_bound(fake, real)


def _upper_bound(fake: Floats, real: Floats) -> float:
    edges = np.unique(np.concatenate((fake, real)))
    for start, stop in pairwise([0.0, *edges[edges > 0].tolist(), math.inf]):
        # for thresholds in [start, stop) the clips above are the same
        hits = fake.size - int(np.searchsorted(fake, start, side="right"))
        alarms = real.size - int(np.searchsorted(real, start, side="right")) + 1
        ratio = (hits / (fake.size + 1)) / (alarms / (real.size + 1))
        if ratio < math.exp(min(stop, 700.0)):
            return max(math.exp(start), ratio)
    raise AssertionError("unreachable: the last stop is infinite")


@dataclass(frozen=True, slots=True)
class _Clips:
    """What a fit is given, checked: N clips."""

    values: Floats
    truth: Labels
    group_of: Places
    set_of: Places
    sets: tuple[str, ...]
    balance: bool

    @classmethod
    def of(
        cls,
        logits: ArrayLike,
        labels: ArrayLike,
        groups: Sequence[str] | None,
        sets: Sequence[str] | None,
        balance: bool,
    ) -> Self:
        values, truth = _checked(logits, labels)
        if balance and sets is None:
            raise ValueError("there are no sets to balance; say of which set each clip is")
        _, group_of = _numbered(range(truth.size) if groups is None else groups, truth, "groups")
        names, set_of = _numbered([""] * truth.size if sets is None else sets, truth, "sets")
        return cls(values, truth, group_of, set_of, () if sets is None else names, balance)

    def line(self, method: str, which: NDArray[np.bool_]) -> tuple[float, float]:
        """Return slope and intercept of the fit to some of the clips."""
        truth = self.truth[which]
        return coefficients(method, self.values[which], truth, self.weights(which))

    def weights(self, which: NDArray[np.bool_]) -> Floats:
        """Return what some of the clips weigh in their fit."""
        set_of = self.set_of if self.balance else np.zeros_like(self.set_of)
        return class_weights(self.truth[which], set_of[which])


def _fit(
    method: str, clips: _Clips, about: tuple[str, str, str], folds: int, seed: int
) -> Calibration:
    truth, everyone = clips.truth, np.ones(clips.truth.size, dtype=bool)
    slope, intercept = clips.line(method, everyone)
    if slope <= 0:
        raise UsageError(
            f"on {about[0]} higher scores do not go with manipulated clips (slope {slope:.3g}); "
            "train the detector longer or on more data, then calibrate again"
        )
    fold_of = _folds(truth, clips.group_of, folds, seed)
    unseen = _cross_fitted(method, clips, fold_of)
    lr_min, lr_max = supported_range(unseen, truth)
    held = np.clip(unseen, math.log(lr_min), math.log(lr_max))
    return Calibration(
        method=method,
        slope=slope,
        intercept=intercept,
        lr_min=lr_min,
        lr_max=lr_max,
        n_real=int(np.sum(truth == 0)),
        n_fake=int(np.sum(truth == 1)),
        set_name=about[0],
        date=about[1],
        rates=_rates(held, truth),
        covariance=covariance(
            method, clips.values, truth, clips.weights(everyone), clips.group_of, (slope, intercept)
        ),
        aggregate=about[2],
        operating_points=operating_points(clips.values, truth, fold_of),
        sets=tuple(
            _rates_of_set(name, held[here], truth[here])
            for name, here in ((name, clips.set_of == at) for at, name in enumerate(clips.sets))
        ),
    )


def _rates_of_set(name: str, log_lrs: Floats, truth: Labels) -> SetRates:
    n_real, n_fake = (int(np.sum(truth == label)) for label in (0, 1))
    return SetRates(name, n_real, n_fake, _rates(log_lrs, truth))


def _rates(log_lrs: Floats, truth: Labels) -> tuple[BandRate, ...]:
    bands = [band_of(float(value)) for value in log_lrs]
    ladder = [band for band, _ in BAND_LIMITS]
    reached = [(band, frozenset(ladder[: place + 1])) for place, band in enumerate(ladder)]
    reached.append((Band.NONE, frozenset({Band.NONE})))
    rates = []
    for band, among in reached:
        counted = np.array([found in among for found in bands])
        real, fake = (int(np.sum(counted & (truth == label))) for label in (0, 1))
        rates.append(BandRate(band, real, int(np.sum(truth == 0)), fake, int(np.sum(truth == 1))))
    return tuple(rates)


def _cross_fitted(method: str, clips: _Clips, fold_of: Places) -> Floats:
    unseen = np.empty(clips.truth.size)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        slope, intercept = clips.line(method, ~held)
        unseen[held] = slope * clips.values[held] + intercept
    return unseen


def _folds(truth: Labels, group_of: Places, folds: int, seed: int) -> Places:
    n_groups = int(group_of.max()) + 1
    fakes = np.bincount(group_of, weights=truth, minlength=n_groups)
    genuine = np.bincount(group_of, weights=1 - truth, minlength=n_groups)
    fewest = min(int(np.sum(fakes > 0)), int(np.sum(genuine > 0)))
    if fewest < 2:
        raise ValueError("calibration needs clips of at least two groups in each class")
    # dealt out like cards, genuine groups first, mixed ones next: every fold gets of both classes,
    # and since neither class's run is broken, no fold gets all of one
    place = 1 + np.sign(fakes) - np.sign(genuine)
    shuffled = np.random.default_rng(seed).permutation(n_groups)
    dealt = shuffled[np.argsort(place[shuffled], kind="stable")]
    fold_of_group = np.empty(n_groups, dtype=np.intp)
    fold_of_group[dealt] = np.arange(n_groups) % max(2, min(folds, fewest))
    return fold_of_group[group_of]


def _numbered(
    names: Sequence[str] | range, truth: Labels, what: str
) -> tuple[tuple[str, ...], Places]:
    """Return the distinct names, sorted, and the place of each clip's among them."""
    if len(names) != truth.size:
        raise ValueError(f"there are {truth.size} logits but {len(names)} {what}")
    found, numbers = np.unique(np.asarray(names), return_inverse=True)
    return tuple(map(str, found.tolist())), numbers


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Labels]:
    values: Floats = np.asarray(logits, dtype=np.float64)
    truth: NDArray[Any] = np.asarray(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"one logit and one label a clip, not {values.shape} and {truth.shape}")
    if not np.isfinite(values).all():
        raise ValueError("logits must be finite, but some are NaN or infinite")
    if not np.all((truth == 0) | (truth == 1)):
        raise ValueError("labels must be 0 (genuine) or 1 (fake)")
    if not 0 < np.sum(truth) < truth.size:
        raise ValueError("calibration needs clips of both classes")
    return values, truth.astype(np.int64)


def _within(calibration: Calibration, log_lr: float) -> float:
    return min(max(log_lr, math.log(calibration.lr_min)), math.log(calibration.lr_max))
