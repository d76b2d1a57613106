"""Logit → likelihood ratio: fitted on clips that neither training nor testing saw, and bounded.

A likelihood ratio (LR) says how much more often a score like this one comes from manipulated than
from authentic clips. It needs no assumption on how many clips are manipulated: both classes weigh
alike in the fit. Two limits keep it honest. It is never more extreme than the sample supports
(`supported_range`), and the error rates of each band are counted on clips that the curve applied
to them was not fitted to (cross-fitting by group). All of it is numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfdetect.errors import UsageError
from dfdetect.scoring.aggregate import sigmoid
from dfdetect.types import Band, BandRate, Calibration

Floats = NDArray[np.float64]

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
MAX_NEWTON_STEPS = 100


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
        aggregate: How faces became a clip's logit (`scoring.aggregate`).
        folds: Number of cross-fits; fewer where there are fewer groups.
        seed: Of the assignment of groups to folds.

    Raises:
        ValueError: A class has fewer than two groups, or an input is malformed.
        UsageError: On this set higher logits do not go with fakes, so no LR can be had from it.
    """
    return _fit("platt", logits, labels, groups, (set_name, date, aggregate), folds, seed)


def fit_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    set_name: str,
    date: str,
    groups: Sequence[str] | None = None,
    aggregate: str = "mean_logit",
    folds: int = FOLDS,
    seed: int = 0,
) -> Calibration:
    """Fit log LR = logit / T, the case of `fit_platt` without intercept (Guo et al., 2017).

    It presumes that logit 0 is neutral, as after training with both classes alike; prefer
    `fit_platt` unless clips are few. Arguments and errors are those of `fit_platt`.
    """
    return _fit("temperature", logits, labels, groups, (set_name, date, aggregate), folds, seed)


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


def _fit(
    method: str,
    logits: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None,
    about: tuple[str, str, str],
    folds: int,
    seed: int,
) -> Calibration:
    values, truth = _checked(logits, labels)
    group_of = _group_numbers(groups, truth.size)
    slope, intercept = _coefficients(method, values, truth)
    if slope <= 0:
        raise UsageError(
            f"on {about[0]} higher scores do not go with manipulated clips (slope {slope:.3g}); "
            "train the detector longer or on more data, then calibrate again"
        )
    unseen = _cross_fitted(method, values, truth, _folds(truth, group_of, folds, seed))
    lr_min, lr_max = supported_range(unseen, truth)
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
        rates=_rates(np.clip(unseen, math.log(lr_min), math.log(lr_max)), truth),
        covariance=_covariance(method, values, truth, group_of, slope, intercept),
        aggregate=about[2],
    )


def _rates(log_lrs: Floats, truth: NDArray[np.int64]) -> tuple[BandRate, ...]:
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


def _cross_fitted(
    method: str, values: Floats, truth: NDArray[np.int64], fold_of: NDArray[np.intp]
) -> Floats:
    unseen = np.empty(values.size)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        slope, intercept = _coefficients(method, values[~held], truth[~held])
        unseen[held] = slope * values[held] + intercept
    return unseen


def _folds(
    truth: NDArray[np.int64], group_of: NDArray[np.intp], folds: int, seed: int
) -> NDArray[np.intp]:
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


def _coefficients(method: str, values: Floats, truth: NDArray[np.int64]) -> tuple[float, float]:
    centre = float(np.mean(values)) if method == "platt" else 0.0
    scale = float(np.sqrt(np.mean((values - centre) ** 2)))
    if scale <= 1e-12 * max(1.0, abs(centre)):
        raise ValueError("all logits are equal, so nothing can be fitted to them")
    design = _design(method, (values - centre) / scale)
    targets, weights = _targets(truth)
    beta = _newton(design, targets, weights)
    slope = float(beta[0]) / scale
    return slope, (float(beta[1]) - slope * centre if method == "platt" else 0.0)


def _design(method: str, values: Floats) -> Floats:
    return np.stack((values, np.ones_like(values)), 1) if method == "platt" else values[:, None]


def _targets(truth: NDArray[np.int64]) -> tuple[Floats, Floats]:
    n_fake = int(truth.sum())
    n_real = truth.size - n_fake
    epsilon = 1 / (min(n_real, n_fake) + 2)
    targets = np.where(truth == 1, 1 - epsilon, epsilon)
    weights = truth.size / 2 / np.where(truth == 1, n_fake, n_real)
    return targets, weights


def _newton(design: Floats, targets: Floats, weights: Floats) -> Floats:
    def loss(beta: Floats) -> float:
        scores = design @ beta
        return float(np.sum(weights * (np.logaddexp(0.0, scores) - targets * scores)))

    beta = np.zeros(design.shape[1])
    for _ in range(MAX_NEWTON_STEPS):
        p = sigmoid(design @ beta)
        gradient = design.T @ (weights * (p - targets))
        if np.max(np.abs(gradient)) < 1e-9 * targets.size:
            return beta
        curvature = design.T @ (design * (weights * p * (1 - p))[:, None])
        step = np.linalg.solve(curvature, gradient)
        length = 1.0
        # the slack keeps rounding near the optimum from halving for ever
        while loss(beta - length * step) > loss(beta) * (1 + 1e-12):
            length /= 2
        beta = beta - length * step
    raise ValueError("the calibration did not converge; are the logits finite and of sane size?")


def _covariance(
    method: str,
    values: Floats,
    truth: NDArray[np.int64],
    group_of: NDArray[np.intp],
    slope: float,
    intercept: float,
) -> tuple[float, float, float]:
    design = _design(method, values)
    targets, weights = _targets(truth)
    p = sigmoid(slope * values + intercept)
    bread = np.linalg.inv(design.T @ (design * (weights * p * (1 - p))[:, None]))
    n_groups = int(group_of.max()) + 1
    per_group = np.zeros((n_groups, design.shape[1]))
    np.add.at(per_group, group_of, design * (weights * (p - targets))[:, None])
    cover = bread @ (per_group.T @ per_group) @ bread * n_groups / (n_groups - 1)
    if method == "temperature":
        return float(cover[0, 0]), 0.0, 0.0
    return float(cover[0, 0]), float(cover[0, 1]), float(cover[1, 1])


def _group_numbers(groups: Sequence[str] | None, size: int) -> NDArray[np.intp]:
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise ValueError(f"there are {size} logits but {len(groups)} groups")
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    return numbers


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
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
