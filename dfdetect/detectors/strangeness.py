"""How unlike a face is to all that a detector learned from: a distance in the network's own terms.

What a network sees of a crop, its traits, are the means over the picture of the feature maps behind
each of its stages. The traits of the faces it learned from are taken for one Gaussian: spread
freely along a few principal directions and evenly in all others (probabilistic PCA, Tipping &
Bishop, J. R. Stat. Soc. B 1999). Strangeness is the squared Mahalanobis distance from its centre
divided by the number of traits: about 1 for what was learned from, without an upper limit.

Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks", NeurIPS 2018 (Mahalanobis distances of features averaged over the picture, at
several depths); Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022
(what lies outside the principal directions counts). Differs from both: genuine and forged faces
share one Gaussian, and all depths do, because a face's strangeness must not depend on whether it is
forged; nothing is fitted on examples of strange pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfdetect.detectors.precision import at_least_single, full_precision

MOST_DIRECTIONS = 64
MOST_TRAITS = 4096
# below this share of the average variance, rounding is all that a direction holds
_LEAST_REST = 1e-6


class Strangeness(nn.Module):
    """The Gaussian of what was learned from; `forward` maps traits to strangeness.

    With standardised traits z = (traits - `mean`) / `scale`, c = z · `directions` and the rest
    r = z - c · `directions`ᵀ, strangeness is (Σ (c / `spread`)² + |r|² / `rest`²) / traits.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    spread: Tensor
    rest: Tensor

    def __init__(self, n_traits: int) -> None:
        """Make room for a Gaussian of so many traits.

        Raises:
            ValueError: There are too few traits, or too many for a file of weights.
        """
        super().__init__()
        if not 2 <= n_traits <= MOST_TRAITS:
            raise ValueError(
                f"strangeness needs 2 to {MOST_TRAITS} traits, and the network has {n_traits}"
            )
        self.register_buffer("mean", torch.zeros(n_traits))
        self.register_buffer("scale", torch.ones(n_traits))
        self.register_buffer("directions", torch.zeros(n_traits, n_directions(n_traits)))
        self.register_buffer("spread", torch.ones(n_directions(n_traits)))
        self.register_buffer("rest", torch.ones(1))

    def forward(self, traits: Tensor) -> Tensor:
        """Return the strangeness of traits: B × T → B."""
        with full_precision(traits):
            standard = (at_least_single(traits) - self.mean) / self.scale
            along = standard @ self.directions
            # taken apart before it is squared: a difference of squares would lose the digits
            across = (standard - along @ self.directions.mT) / self.rest
            squares = (along / self.spread).square().sum(1) + across.square().sum(1)
        return squares / traits.shape[1]

    def require_sound(self) -> None:
        """Refuse a Gaussian that divides by nothing.

        Raises:
            ValueError: A scale or spread is not positive, or a number is not finite.
        """
        for name, tensor in self.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"strangeness.{name} is not finite")
        for name in ("scale", "spread", "rest"):
            if not bool((getattr(self, name) > 0).all()):
                raise ValueError(f"strangeness.{name} is not above 0 throughout")


def n_directions(n_traits: int) -> int:
    """Return how many principal directions are kept of so many traits.

    Example:
        >>> n_directions(512), n_directions(24)
        (64, 12)
    """
    return min(MOST_DIRECTIONS, n_traits // 2)


def fit_strangeness(groups: Sequence[NDArray[np.float32]]) -> Strangeness:
    """Fit the Gaussian on traits of faces, each group of which counts alike.

    Args:
        groups: Of each dataset the traits of its crops, N × T, genuine and forged.

    Raises:
        ValueError: There are no crops, or too few to tell more than one trait from another.
    """
    if not groups or min(len(group) for group in groups) == 0:
        raise ValueError("strangeness is fitted on crops, and a group has none")
    traits = np.concatenate(groups).astype(np.float64)
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    weights /= weights.sum()
    n_traits, n_kept = traits.shape[1], n_directions(traits.shape[1])
    if len(traits) <= n_kept:
        raise ValueError(
            f"{len(traits)} crops cannot say how {n_traits} traits vary; give more than {n_kept}"
        )
    mean = weights @ traits
    scale = np.sqrt(weights @ (traits - mean) ** 2)
    # a trait that never varies is held against what the others vary by
    scale = np.where(scale > 0, scale, scale.mean() or 1.0)
    standard = (traits - mean) / scale
    variances, vectors = np.linalg.eigh((standard * weights[:, None]).T @ standard)
    # the greatest first
    variances, vectors = variances[::-1], vectors[:, ::-1]
    least = _LEAST_REST * max(float(variances.mean()), 1.0)
    rest = max(float(variances[n_kept:].mean()), least)
    fitted = Strangeness(n_traits)
    for name, values in (
        ("mean", mean),
        ("scale", scale),
        ("directions", vectors[:, :n_kept]),
        ("spread", np.sqrt(np.maximum(variances[:n_kept], rest))),
        ("rest", np.array([np.sqrt(rest)])),
    ):
        getattr(fitted, name).copy_(torch.from_numpy(np.ascontiguousarray(values)))
    fitted.require_sound()
    return fitted
