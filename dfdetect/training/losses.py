"""Losses over logits, by name."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean binary cross-entropy of logits (B,) against labels (B,) with 1 = fake.

    With `smoothing` s the targets are s / 2 and 1 - s / 2 (Szegedy et al., CVPR 2016, section 7).

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.zeros(2), torch.tensor([0.0, 1.0])).round(decimals=4)
        tensor(0.6931)
    """
    targets = labels * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, targets)
