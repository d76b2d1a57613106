"""UCF: what forgeries have in common, apart from the method and from the face.

Source: Yan, Zhang, Fan, Wu, "UCF: Uncovering Common Features for Generalizable Deepfake Detection",
ICCV 2023, section 3. One encoder sees the forgery, one the content. Forgery features are split
into what is specific to a method and what all have in common; a decoder that rebuilds faces from
content and forgery keeps the two encoders to their parts. Only the common part is scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy
from dfdetect.detectors.network import BatchNeeds, Detector, TrainingBatch
from dfdetect.detectors.xception import (
    WIDTH,
    XceptionBody,
    half_preprocess,
    logit_layer,
    pooled,
)
from dfdetect.errors import ContractError

ENCODED = 512
SPLIT = ENCODED // 2
HIDDEN = 512
DECODER_WIDTHS = (ENCODED, 256, 128, 64)
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
UNLISTED = -1

EPSILON = 1e-5


@DETECTORS.register("ucf")
class Ucf(Detector):
    """UCF, an Xception that scores only what forgery methods have in common.

    Paper: Yan et al., "UCF: Uncovering Common Features for Generalizable Deepfake Detection", ICCV
    2023, section 3.

    Same: two Xception encoders with 512 channels each; 256 specific and 256 common channels; heads
    for the methods and for fake or not; a decoder of three AdaIN stages; cross-entropy of the
    common head + 0.1 times that of the methods + 0.3 times L1 of two own and two crossed
    reconstructions of a pair of genuine and forged face + 0.05 times the contrastive loss with
    margin 3; common features shuffled within genuine and within forged with probability 0.7.
    Layers and their sizes are those of DeepfakeBench's, without its unused classifiers.

    Differs: one logit instead of two, which is the same classifier. Recalled or chosen, not
    read in the paper: shuffling changes only what the decoder gets; a crossed
    reconstruction takes content from one face and forgery from its partner and is compared
    with the content's owner; forgery statistics are those of the specific and common channels
    passed through the decoder's own convolutions; upsampling is bilinear; the contrastive loss is
    the mean over all triplets of a batch instead of drawn ones, on pooled features. Pairs are the
    i-th genuine and the i-th forged face of a batch, of whatever person. A forgery by no listed
    method, such as a self-blend, is left out of both losses on specific features, and kept in the
    others.

    Published: frame AUC 0.9705 FF++ c23, 0.7527 Celeb-DF-v2, trained on FF++ c23 (DeepfakeBench
    README); a re-run of its released weights gave 0.9812 and 0.7716 (its issue 109). Video AUC
    0.837 Celeb-DF-v2 (Effort's table 1).
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})
    training_only: ClassVar[frozenset[str]] = frozenset(
        {"content", "specific", "method_head", "decoder"}
    )

    def __init__(
        self,
        size: int = 256,
        crop_scale: float = 1.3,
        dropout: float = 0.2,
        methods: tuple[str, ...] = METHODS,
        specific_weight: float = 0.1,
        reconstruction_weight: float = 0.3,
        contrastive_weight: float = 0.05,
        margin: float = 3.0,
        shuffle_probability: float = 0.7,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            dropout: Probability in front of both heads' last layer.
            methods: The forgery methods that are told apart.
            specific_weight: How often the cross-entropy of the methods counts.
            reconstruction_weight: How often the sum of four reconstructions counts.
            contrastive_weight: How often the contrastive loss counts.
            margin: By how much a face of another kind is to be farther than one of the same.
            shuffle_probability: How likely a batch's common features are shuffled.
            init: A timm state dict or `download`, see `load_initial`; for both encoders.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.

        Raises:
            ValueError: A value out of range.
        """
        super().__init__(half_preprocess(size, crop_scale, crop))
        if not methods or len(set(methods)) < len(methods):
            raise ValueError(f"methods must be one or more different names, not {methods}")
        self.methods = methods
        self.specific_weight = specific_weight
        self.reconstruction_weight = reconstruction_weight
        self.contrastive_weight = contrastive_weight
        self.margin = margin
        self.shuffle_probability = shuffle_probability
        self.forgery = Encoder(init)
        self.content = Encoder(init)
        self.specific = _split_layers()
        self.common = _split_layers()
        self.method_head = nn.Sequential(
            *_hidden_layers(), nn.Dropout(dropout), nn.Linear(HIDDEN, 1 + len(methods))
        )
        self.head = nn.Sequential(*_hidden_layers(), logit_layer(HIDDEN, dropout))
        self.decoder = Decoder()

    @property
    def needs(self) -> BatchNeeds:
        """By which method every forgery was made."""
        return BatchNeeds(methods=self.methods)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [-1, 1], float B × 3 × S × S."""
        logits: Tensor = self.head(pooled(self.common(self.forgery(pixels)))).squeeze(1)
        return logits

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the losses of the common and the specific head, the decoder and the triplets.

        Raises:
            ContractError: The batch does not say by which methods its forgeries were made.
        """
        if batch.methods is None:
            raise ContractError(
                "ucf learns methods apart, but the batch has none; batches follow `needs`"
            )
        pixels, labels, methods = batch.pixels, batch.labels, batch.methods
        forgery = self.forgery(pixels)
        specific, common = self.specific(forgery), self.common(forgery)
        content = self.content(pixels)
        alike, own = pooled(common), pooled(specific)
        entropy = binary_cross_entropy(self.head(alike).squeeze(1), labels, smoothing)
        told = method_cross_entropy(self.method_head(own), methods)
        rebuilt = self._reconstruction(pixels, labels, content, specific, common)
        contrast = contrastive_loss(alike, own, labels, methods, self.margin)
        return (
            LossTerm("bce", entropy),
            LossTerm("specific", told, self.specific_weight),
            LossTerm("reconstruction", rebuilt, self.reconstruction_weight),
            LossTerm("contrastive", contrast, self.contrastive_weight),
        )

    def _reconstruction(
        self, pixels: Tensor, labels: Tensor, content: Tensor, specific: Tensor, common: Tensor
    ) -> Tensor:
        # the coin is torch's, so that a seed repeats a training
        if self.training and float(torch.rand(())) < self.shuffle_probability:
            common = common[shuffled_within(labels)]
        forgery = torch.cat((specific, common), dim=1)
        total = pixels.new_zeros(())
        real, fake = pairs(labels)
        for recipe in recipes(real, fake):
            rebuilt = self.decoder(content[recipe.content], forgery[recipe.forgery])
            target = pixels[recipe.content]
            rebuilt = functional.interpolate(
                rebuilt, size=target.shape[-2:], mode="bilinear", align_corners=False
            )
            total = total + functional.l1_loss(rebuilt, target)
        return total


class Encoder(nn.Module):
    """Xception up to its last batch norm, and a 1×1 convolution to 512 rectified channels."""

    def __init__(self, init: str | None = None) -> None:
        """Make the network; `init` as for `XceptionBody`."""
        super().__init__()
        self.body = XceptionBody(init=init)
        # the published network has no ReLU between Xception's last batch norm and this convolution
        self.body.network.act4 = nn.Identity()
        self.adjust = nn.Sequential(
            nn.Conv2d(WIDTH, ENCODED, 1), nn.BatchNorm2d(ENCODED), nn.ReLU()
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return B × 512 × S/32 × S/32."""
        features: Tensor = self.adjust(self.body(pixels))
        return features


class Decoder(nn.Module):
    """Rebuilds a face from content, in the statistics of a forgery, at 8 times their size.

    Three stages: content gets the forgery's mean and deviation, both are upsampled by 2 and pass
    the same two 3×3 convolutions. A 1×1 convolution and tanh end it.
    """

    def __init__(self) -> None:
        """Make the layers with random weights."""
        super().__init__()
        widths = pairwise(DECODER_WIDTHS)
        self.stages = nn.ModuleList(_stage(channels, width) for channels, width in widths)
        self.last = nn.Conv2d(DECODER_WIDTHS[-1], 3, 1)

    def forward(self, content: Tensor, forgery: Tensor) -> Tensor:
        """Return faces in [-1, 1], B × 3 × 8h × 8w, for two tensors B × 512 × h × w."""
        last = len(self.stages) - 1
        for number, stage in enumerate(self.stages):
            content = stage(restyled(content, forgery))
            if number < last:
                forgery = stage(forgery)
        face: Tensor = self.last(content)
        return face.tanh()


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which faces of a batch give content and forgery to a reconstruction; one index a face."""

    content: Tensor
    forgery: Tensor


def pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of genuine and of forged faces, as many of each as there are pairs.

    Example:
        >>> import torch
        >>> pairs(torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]))
        (tensor([1, 2]), tensor([0, 3]))
    """
    fake = labels >= 0.5
    first, second = (~fake).nonzero().squeeze(1), fake.nonzero().squeeze(1)
    count = min(len(first), len(second))
    return first[:count], second[:count]


def recipes(real: Tensor, fake: Tensor) -> tuple[Recipe, ...]:
    """Return two own and two crossed reconstructions of pairs; none where there are no pairs."""
    if not len(real):
        return ()
    sides = (real, fake)
    return tuple(Recipe(content, forgery) for content in sides for forgery in sides)


def shuffled_within(labels: Tensor) -> Tensor:
    """Return a random order of a batch, by torch's generator, that keeps every place's label."""
    order = torch.arange(len(labels), device=labels.device)
    for kind in (labels < 0.5, labels >= 0.5):
        places = kind.nonzero().squeeze(1)
        order[places] = places[torch.randperm(len(places), device=labels.device)]
    return order


def restyled(content: Tensor, style: Tensor) -> Tensor:
    """Return content with each channel's mean and deviation over space taken from `style`.

    Source: Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance
    Normalization", ICCV 2017, equation 8.

    Args:
        content: B × C × h × w.
        style: B × C × any height and width.
    """
    mean, deviation = _statistics(content)
    new_mean, new_deviation = _statistics(style)
    return (content - mean) / deviation * new_deviation + new_mean


def method_cross_entropy(logits: Tensor, methods: Tensor) -> Tensor:
    """Return the mean cross-entropy over faces whose method is listed; 0 if there are none.

    Args:
        logits: B × (1 + number of methods), genuine first.
        methods: B, see `TrainingBatch`; -1 is left out.
    """
    total = functional.cross_entropy(logits, methods, ignore_index=UNLISTED, reduction="sum")
    return total / (methods != UNLISTED).sum().clamp(min=1)


def contrastive_loss(
    common: Tensor, specific: Tensor, labels: Tensor, methods: Tensor, margin: float
) -> Tensor:
    """Return the triplet loss of common features by label plus that of specific ones by method.

    Args:
        common: B × C.
        specific: B × C.
        labels: B, 1 = fake.
        methods: B, see `TrainingBatch`; -1 is left out of the second loss.
        margin: See `triplet_loss`.
    """
    listed = methods != UNLISTED
    by_label = triplet_loss(common, labels >= 0.5, margin)
    return by_label + triplet_loss(specific[listed], methods[listed], margin)


def triplet_loss(features: Tensor, kinds: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, d(a, p) - d(a, n) + margin) over all triplets; 0 without any.

    A triplet is a face a, another face p of its kind, and a face n of another kind; d is the
    Euclidean distance.

    Args:
        features: B × C.
        kinds: B, equal where faces are of a kind.
        margin: By how much n is to be farther from a than p.

    Example:
        >>> import torch
        >>> triplet_loss(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]), 3.0)
        tensor(1.5000)
    """
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(features, features, compute_mode=exact)
    same = kinds[:, None] == kinds[None, :]
    itself = torch.eye(len(kinds), dtype=torch.bool, device=kinds.device)
    triplets = (same & ~itself)[:, :, None] & ~same[:, None, :]
    excess = (distances[:, :, None] - distances[:, None, :] + margin).clamp(min=0)
    return (excess * triplets).sum() / triplets.sum().clamp(min=1)


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    return mean, (variance + EPSILON).sqrt()


def _split_layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(ENCODED, SPLIT, 1),
        nn.LeakyReLU(),
        nn.Conv2d(SPLIT, SPLIT, 1),
        nn.LeakyReLU(),
        nn.Conv2d(SPLIT, SPLIT, 1),
    )


def _hidden_layers() -> tuple[nn.Linear, nn.LeakyReLU]:
    return nn.Linear(SPLIT, HIDDEN), nn.LeakyReLU()


def _stage(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2.0, mode="bilinear"),
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
    )
