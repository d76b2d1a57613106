"""Cosine classifiers and the margins they are trained with.

Source: Wang, Cheng, Liu, Liu, "Additive Margin Softmax for Face Verification", IEEE Signal
Processing Letters 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.losses import binary_cross_entropy
from dfdetect.detectors.precision import at_least_single, full_precision


class CosineHead(nn.Module):
    """Two directions, for genuine and forged; the logit is how much closer the second one is.

    logit = scale · (cos(feature, forged) - cos(feature, genuine)), within ± 2 · scale. A feature
    of zeros has cosine 0 with everything.
    """

    def __init__(self, width: int, scale: float) -> None:
        """Make the head for features of `width` numbers.

        Raises:
            ValueError: The scale is not above 0.
        """
        super().__init__()
        if not scale > 0:
            raise ValueError(f"the scale of cosines must be above 0, not {scale}")
        self.scale = scale
        self.directions = nn.Parameter(torch.empty(2, width))
        nn.init.xavier_uniform_(self.directions)

    def cosines(self, features: Tensor) -> Tensor:
        """Return the cosines with genuine and with forged: B × width → B × 2."""
        # what a scale of 30 multiplies must not be rounded to a hundredth
        with full_precision(features):
            return functional.linear(
                functional.normalize(at_least_single(features), dim=1),
                functional.normalize(self.directions, dim=1),
            )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B,) for features, B × width."""
        genuine, forged = self.cosines(features).unbind(1)
        return self.scale * (forged - genuine)


def additive_margin_loss(
    logits: Tensor, labels: Tensor, scale: float, margin: float, smoothing: float = 0.0
) -> Tensor:
    """Return the mean additive-margin softmax loss over two classes.

    It is the cross-entropy of scale · (cos - margin) for the true class against scale · cos for
    the other one. With two classes only their difference counts, which is the logit, lowered by
    scale · margin for forged faces and raised by as much for genuine ones.

    Args:
        logits: (B,), scale · (cos with forged - cos with genuine).
        labels: (B,), 1 for forged.
        scale: What the cosines in the logits were multiplied with.
        margin: By how much the true class's cosine shall be ahead.
        smoothing: See `binary_cross_entropy`; the margin goes by the labels as they are.

    Example:
        >>> additive_margin_loss(torch.tensor([13.5]), torch.ones(1), 30.0, 0.45).round(decimals=4)
        tensor(0.6931)
    """
    return binary_cross_entropy(logits - scale * margin * (2 * labels - 1), labels, smoothing)
