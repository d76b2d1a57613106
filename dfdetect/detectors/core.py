"""CORE: two views of a face should give one representation.

Source: Ni, Meng, Yu, Quan, Ren, Zhao, "CORE: Consistent Representation Learning for Face Forgery
Detection", CVPR Workshops 2022, section 3. Every face comes in two independent augmentations; the
loss adds to the cross-entropy how far apart the directions of their features are.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy, smoothed
from dfdetect.detectors.network import BatchNeeds, Detector, TrainingBatch
from dfdetect.detectors.precision import at_least_single
from dfdetect.detectors.xception import (
    WIDTH,
    XceptionBody,
    half_preprocess,
    logit_layer,
    pooled,
)

N_VIEWS = 2


@DETECTORS.register("core")
class Core(Detector):
    """CORE, an Xception whose features agree between two augmentations of a face.

    Paper: Ni et al., "CORE: Consistent Representation Learning for Face Forgery Detection", CVPR
    Workshops 2022, section 3.

    Same: Xception at 299 px with pixels in [-1, 1]; the loss is taken over both views; the
    consistency is the mean of (1 - cos)² between the pooled, rectified 2048 features of a face's
    two views; it counts 100 times, the paper's weight for tests on other datasets (with RaAug or
    DFDC_selim augmentation). For tests on the training dataset, with random erasing, the paper has
    `consistency_weight` 1.

    Differs: one logit instead of two, which is the same classifier. The paper weights genuine faces
    4 to 1 against the four forgeries of each in FF++; batches here are half genuine, where the same
    expected loss has weight 1, so `real_weight` is 1: set 4 for batches with one genuine face in
    five. Which face of a picture is taken (the paper's authors go by FF++'s masks) is up to the
    crops.

    Published: AUC trained on FF++ c23 (paper, table 8; frame or video not noted): DFD 0.9619,
    DFDC preview 0.6719, Celeb-DF 0.6698 with RaAug; 0.9374, 0.7574, 0.7945 with DFDC_selim. Frame
    AUC 0.9638 FF++ c23, 0.7428 Celeb-DF-v2 (DeepfakeBench README), where the views are different
    faces.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})

    def __init__(
        self,
        size: int = 299,
        crop_scale: float = 1.3,
        dropout: float = 0.0,
        consistency_weight: float = 100.0,
        real_weight: float = 1.0,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            dropout: Probability in front of the last layer.
            consistency_weight: How often the consistency counts (the paper's alpha).
            real_weight: How often a genuine face counts where a fake counts once.
            init: A timm state dict or `download`, see `load_initial`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.

        Raises:
            ValueError: A value out of range.
        """
        super().__init__(half_preprocess(size, crop_scale, crop))
        if real_weight <= 0:
            raise ValueError(f"real_weight must be positive, not {real_weight}")
        self.consistency_weight = consistency_weight
        self.real_weight = real_weight
        self.body = XceptionBody(init=init)
        self.head = logit_layer(WIDTH, dropout)

    @property
    def needs(self) -> BatchNeeds:
        """Two views of every face."""
        return BatchNeeds(views=N_VIEWS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [-1, 1], float B × 3 × S × S."""
        logits: Tensor = self.head(self.features(pixels)).squeeze(1)
        return logits

    def features(self, pixels: Tensor) -> Tensor:
        """Return the pooled features, B × 2048, none negative."""
        return pooled(self.body(pixels))

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the weighted cross-entropy over both views and the consistency between them."""
        features = self.features(batch.pixels)
        logits: Tensor = self.head(features).squeeze(1)
        entropy = weighted_cross_entropy(logits, batch.labels, self.real_weight, smoothing)
        first, second = features.chunk(N_VIEWS)
        agreement = consistency(first, second)
        return (
            LossTerm("bce", entropy),
            LossTerm("consistency", agreement, self.consistency_weight),
        )


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of (1 - cos)² between the rows of two B × C tensors (section 3, equation 2).

    Example:
        >>> import torch
        >>> consistency(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        tensor(1.)
    """
    first, second = at_least_single(first), at_least_single(second)
    return (1 - functional.cosine_similarity(first, second, dim=1)).square().mean()


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, real_weight: float, smoothing: float = 0.0
) -> Tensor:
    """Return the weighted mean of the binary cross-entropies, genuine faces counting more or less.

    It is the cross-entropy of two logits with class weights (`real_weight`, 1) for the difference
    of the logits.

    Args:
        logits: B, above 0 for fake.
        labels: B, 1 = fake.
        real_weight: Weight of a genuine face; a fake counts once.
        smoothing: See `binary_cross_entropy`.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([0.0, 9.0]), torch.tensor([0.0, 1.0])
        >>> weighted_cross_entropy(logits, labels, 4.0).round(decimals=4)
        tensor(0.5545)
    """
    if real_weight == 1:
        return binary_cross_entropy(logits, labels, smoothing)
    weights = real_weight + (1 - real_weight) * labels
    entropies = functional.binary_cross_entropy_with_logits(
        logits, smoothed(labels, smoothing), reduction="none"
    )
    return (weights * entropies).sum() / weights.sum()
