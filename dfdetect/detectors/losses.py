"""Losses over logits that more than one method uses."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One term of a method's loss: a scalar `value` that counts `weight` times."""

    name: str
    value: Tensor
    weight: float = 1.0


def total_loss(terms: tuple[LossTerm, ...]) -> Tensor:
    """Return the weighted sum that training descends on.

    Example:
        >>> import torch
        >>> total_loss((LossTerm("a", torch.tensor(2.0)), LossTerm("b", torch.tensor(1.0), 0.5)))
        tensor(2.5000)
    """
    first, *others = terms
    total = first.weight * first.value
    for term in others:
        total = total + term.weight * term.value
    return total


def binary_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean binary cross-entropy of logits (B,) against labels (B,) with 1 = fake.

    With `smoothing` s the targets are s / 2 and 1 - s / 2 (Szegedy et al., CVPR 2016, section 7).

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.zeros(2), torch.tensor([0.0, 1.0])).round(decimals=4)
        tensor(0.6931)
    """
    return functional.binary_cross_entropy_with_logits(logits, smoothed(labels, smoothing))


def smoothed(labels: Tensor, smoothing: float) -> Tensor:
    """Return labels of 0 and 1 moved towards ½: s / 2 and 1 - s / 2."""
    return labels * (1 - smoothing) + smoothing / 2
