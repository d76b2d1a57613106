"""The weighted logistic regression behind a calibration: its coefficients and their covariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfdetect.scoring.aggregate import sigmoid

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Places = NDArray[np.intp]

MAX_NEWTON_STEPS = 100


def class_weights(truth: Labels, set_of: Places) -> Floats:
    """Return the weight of each clip: half of all for each class, shared alike by its sets.

    Args:
        truth: (N,) 0 or 1, both present.
        set_of: (N,) the number of each clip's set; all 0 where every clip of a class is to weigh
            the same.

    Returns:
        (N,), their sum is N.

    Example:
        >>> class_weights(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0])).tolist()
        [0.5, 0.5, 1.0, 2.0]
    """
    weights = np.empty(truth.size)
    for label in (0, 1):
        mine = truth == label
        sizes = np.bincount(set_of[mine])
        weights[mine] = truth.size / 2 / np.count_nonzero(sizes) / sizes[set_of[mine]]
    return weights


def coefficients(
    method: str, values: Floats, truth: Labels, weights: Floats
) -> tuple[float, float]:
    """Return slope and intercept (0 for `temperature`) of the fit to smoothed targets.

    Raises:
        ValueError: All logits are equal, or the fit does not converge.
    """
    centre = float(np.mean(values)) if method == "platt" else 0.0
    scale = float(np.sqrt(np.mean((values - centre) ** 2)))
    if scale <= 1e-12 * max(1.0, abs(centre)):
        raise ValueError("all logits are equal, so nothing can be fitted to them")
    design = _design(method, (values - centre) / scale)
    beta = _newton(design, _targets(truth), weights)
    slope = float(beta[0]) / scale
    return slope, (float(beta[1]) - slope * centre if method == "platt" else 0.0)


def covariance(
    method: str,
    values: Floats,
    truth: Labels,
    weights: Floats,
    group_of: Places,
    fitted: tuple[float, float],
) -> tuple[float, float, float]:
    """Return var slope, cov slope-intercept and var intercept: the sandwich, clustered by group."""
    slope, intercept = fitted
    design = _design(method, values)
    p = sigmoid(slope * values + intercept)
    bread = np.linalg.inv(design.T @ (design * (weights * p * (1 - p))[:, None]))
    n_groups = int(group_of.max()) + 1
    per_group = np.zeros((n_groups, design.shape[1]))
    np.add.at(per_group, group_of, design * (weights * (p - _targets(truth)))[:, None])
    cover = bread @ (per_group.T @ per_group) @ bread * n_groups / (n_groups - 1)
    if method == "temperature":
        return float(cover[0, 0]), 0.0, 0.0
    return float(cover[0, 0]), float(cover[0, 1]), float(cover[1, 1])


def _design(method: str, values: Floats) -> Floats:
    return np.stack((values, np.ones_like(values)), 1) if method == "platt" else values[:, None]


def _targets(truth: Labels) -> Floats:
    n_fake = int(truth.sum())
    epsilon = 1 / (min(truth.size - n_fake, n_fake) + 2)
    return np.where(truth == 1, 1 - epsilon, epsilon)


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
