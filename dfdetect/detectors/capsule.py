"""Capsule-Forensics: capsules over VGG's features that must agree on real or fake.

Source: Nguyen, Yamagishi and Echizen, "Capsule-Forensics: Using Capsule Networks to Detect Forged
Images and Videos", ICASSP 2019, and "Use of a Capsule Network to Detect Fake Images and Videos",
arXiv 1910.12467 (ten capsules); routing after Sabour, Frosst and Hinton, NIPS 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.backbone import IMAGENET, crop_policy, timm_features
from dfdetect.detectors.base import Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, smoothed
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.detectors.precision import at_least_single, full_precision

VGG = "vgg19.tv_in1k"
# the map before VGG's third pooling: 256 channels at a quarter of the input
THIRD_BLOCK = (2,)
CHANNELS = 256
PART_DIMS, CLASS_DIMS = 8, 4
N_CLASSES = 2
NOISE = 0.01


@DETECTORS.register("capsule")
class Capsule(Detector):
    """Capsule-Forensics: ten capsules on VGG-19's third block, routed to real and fake.

    Paper: Nguyen, Yamagishi and Echizen, ICASSP 2019, and arXiv 1910.12467.

    Same: VGG-19's first eight convolutions; ten primary capsules, each of convolutions to 64 and 16
    channels, mean and variance over the picture, and two 1-D convolutions; squashed to 8
    dimensions; routed in two rounds to two capsules of 4 dimensions, as Sabour et al. write it,
    with noise on the weights (standard deviation 0.01, recalled) while training; the loss is the
    sum over those dimensions of the cross-entropy of real against fake; the logit is that of the
    mean over the dimensions of each one's softmax. As many parameters as DeepfakeBench's.

    Differs: VGG is trained along (`tuned`), as in DeepfakeBench; the authors keep it fixed
    (recalled). 300 px, ImageNet statistics and the dropout of votes are recalled. Without `init`
    the weights are random. Squashed vectors are shorter than 1, so that the probability stays
    between 0.27 and 0.73 and the loss above 1.25: both follow from the method.

    Published: frame AUC 0.8421 FF++ c23, 0.7472 Celeb-DF-v2, trained on FF++ c23 at 256 px
    (DeepfakeBench README).
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})
    # four terms, none of which can see its logit leave ± 1: 4 · ln(1 + 1/e)
    loss_floor: ClassVar[float] = 1.2530

    def __init__(
        self,
        capsules: int = 10,
        rounds: int = 2,
        dropout: float = 0.05,
        size: int = 300,
        crop_scale: float = 1.3,
        crop: str = "square",
        tuned: bool = True,
        init: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            capsules: Number of primary capsules.
            rounds: Rounds of routing.
            dropout: Probability with which a part's vote loses a dimension while training.
            size: Side of the input in pixels, at least 32.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            tuned: Whether VGG's weights are trained too.
            init: A timm state dict or `download`, see `load_initial`; None: random weights.

        Raises:
            ValueError: A value is out of range, or a file does not fit.
        """
        if capsules < 1 or rounds < 1:
            raise ValueError("there must be at least one capsule and one round of routing")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        if size < 32:
            raise ValueError(f"size must be at least 32, not {size}")
        super().__init__(Preprocess(size, *IMAGENET, crop_policy(crop, crop_scale, size)))
        self.vgg = timm_features(VGG, out_indices=THIRD_BLOCK, init=init).requires_grad_(tuned)
        self.parts = nn.ModuleList(PrimaryCapsule() for _ in range(capsules))
        self.routing = Routing(capsules, rounds, dropout)

    def capsule_logits(self, pixels: Tensor) -> Tensor:
        """Return what each dimension of the class capsules says of fake against real: B × 4."""
        (features,) = self.vgg(pixels)
        parts = torch.stack([part(features) for part in self.parts], dim=1)
        classes: Tensor = self.routing(parts)
        return classes[:, 1] - classes[:, 0]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        return mean_logit(self.capsule_logits(pixels))

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return `bce`, the cross-entropies of the class capsules' dimensions, added up."""
        logits = self.capsule_logits(batch.pixels)
        targets = smoothed(batch.labels, smoothing)[:, None].expand_as(logits)
        crossed = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (LossTerm("bce", crossed.sum(dim=1).mean()),)


class PrimaryCapsule(nn.Module):
    """One primary capsule: feature maps B × 256 × H × W → a vector, B × 8, not yet squashed."""

    def __init__(self) -> None:
        """Make the layers; each capsule starts from other random weights."""
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(CHANNELS, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        # 16 statistics of two kinds → 8 → 8
        self.vector = nn.Sequential(
            nn.Conv1d(2, 8, 5, stride=2, padding=2),
            nn.BatchNorm1d(8),
            nn.Conv1d(8, 1, 3, padding=1),
            nn.BatchNorm1d(1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return B × 8."""
        vector: Tensor = self.vector(pooled_statistics(self.maps(features))).squeeze(1)
        return vector


class Routing(nn.Module):
    """Dynamic routing from primary capsules to the two classes; algorithm 1 of the paper."""

    def __init__(self, capsules: int, rounds: int, dropout: float) -> None:
        """Make the weights: a 4 × 8 matrix for each class and capsule."""
        super().__init__()
        shape = (N_CLASSES, capsules, CLASS_DIMS, PART_DIMS)
        self.weights = nn.Parameter(torch.randn(shape))
        self.dropout = nn.Dropout(dropout)
        self.rounds = rounds

    def forward(self, parts: Tensor) -> Tensor:
        """Return the class capsules, B × 2 × 4 (real, fake), for parts B × capsules × 8."""
        weights: Tensor = self.weights
        if self.training:
            weights = weights + NOISE * torch.randn_like(weights)
        # half precision would lose the noise, and what keeps the gradient of zeros finite
        with full_precision(parts):
            directions = squashed(at_least_single(parts))
            votes = self.dropout(torch.einsum("kcdp,bcp->bkcd", weights, directions))
            agreement = torch.zeros_like(votes[..., :1])
            classes = _elected(votes, agreement)
            for _ in range(self.rounds - 1):
                agreement = agreement + (votes * classes[:, :, None]).sum(dim=-1, keepdim=True)
                classes = _elected(votes, agreement)
        return classes


def _elected(votes: Tensor, agreement: Tensor) -> Tensor:
    # each part divides its vote between the classes
    return squashed((agreement.softmax(dim=1) * votes).sum(dim=2))


def pooled_statistics(maps: Tensor) -> Tensor:
    """Return mean and unbiased variance over height and width: B × C × H × W → B × 2 × C."""
    flat = maps.flatten(2)
    mean = flat.mean(dim=2)
    # written out, so that it exports
    variance = (flat - mean[:, :, None]).square().sum(dim=2) / (flat.shape[2] - 1)
    return torch.stack([mean, variance], dim=1)


def squashed(vectors: Tensor) -> Tensor:
    """Return vectors of the same direction and of length n² / (1 + n²), along the last axis.

    Example:
        >>> squashed(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.5769, 0.7692],
                [0.0000, 0.0000]])
    """
    square = vectors.square().sum(dim=-1, keepdim=True)
    # the smallest number keeps the gradient at 0 finite
    return vectors * (square + 1e-12).sqrt() / (1 + square)


def mean_logit(logits: Tensor) -> Tensor:
    """Return the logit of the mean probability: B × D → B; exact for large logits too.

    Example:
        >>> mean_logit(torch.tensor([[2.0, 2.0], [200.0, -200.0]]))
        tensor([2., 0.])
    """
    fake = functional.logsigmoid(logits).logsumexp(dim=1)
    return fake - functional.logsigmoid(-logits).logsumexp(dim=1)
