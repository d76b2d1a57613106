"""RECCE: a decoder learns to rebuild genuine faces, and what it fails at points to forgeries.

Source: Cao, Ma, Yao, Chen, Ding, Yang, "End-to-End Reconstruction-Classification Learning for Face
Forgery Detection", CVPR 2022, section 3. The score depends on the decoder: its maps feed the graph
reasoning, and the difference to its reconstruction guides the attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from timm.models.xception import Block, SeparableConv2d
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.detectors.precision import at_least_single, full_precision
from dfdetect.detectors.xception import (
    N_BLOCKS,
    WIDTH,
    XceptionBody,
    half_preprocess,
    logit_layer,
    pooled,
)

MIDDLE_WIDTH = 728
"""Channels of Xception's middle flow, from block 3 to block 11."""

DECODER_WIDTHS = (256, 128, 64)
EMBEDDED = 256

# the blocks after which the decoder, the graph and the attention come in
DECODED, REASONED, GUIDED = 4, 7, 8


@dataclass(frozen=True, slots=True)
class Reconstructed:
    """What one pass gives: logits (B,), the reconstruction B × 3 × S × S in [-1, 1], three maps.

    `embedded` are the maps whose pooled directions the metric loss compares: after block 4, and
    after the decoder's first and second residual block.
    """

    logits: Tensor
    reconstruction: Tensor
    embedded: tuple[Tensor, Tensor, Tensor]


@DETECTORS.register("recce")
class Recce(Detector):
    """RECCE, an Xception that learns to rebuild genuine faces and looks where that fails.

    Paper: Cao et al., "End-to-End Reconstruction-Classification Learning for Face Forgery
    Detection", CVPR 2022, section 3.

    Same: 299 px, pixels in [-1, 1]; decoder after block 4; graph reasoning between block 7 and the
    decoder's 2 × 2 and 4 × 4 patches; attention by the reconstruction's difference after block 8;
    in training, white noise of 1e-6 on half of the faces; flooded cross-entropy (0.04) + 0.1 times
    the L1 reconstruction of genuine faces + 0.1 times the metric loss over three embeddings.
    As in the authors' released code (github.com/VISION-SJTU/RECCE, MIT), where the paper leaves it
    open: layers and their sizes, without its unused classifier; the reconstruction's target is the
    face without noise; dropout in front of the decoder, behind the graph, in the attention's
    shortcut and in the head; graph weights are a softmax over rectified scores; the embeddings are
    block 4 and the decoder's two residual blocks; no pair is a face with itself.

    Differs: written anew from these facts. The graph's gate is a sigmoid σ, the release's 1 - σ,
    which is the same layer with the opposite weights, and the graph's sums stand behind the
    vertices, there before them: the conversion turns both round. Every patch is embedded at once,
    which is the same sum. A batch without genuine pairs adds nothing to the metric loss, there a
    constant. Without `init` the weights are random. Set `flooding` 0 to reach a loss of 0.

    Published: AUC 0.9932 FF++ c23, and 0.6871 Celeb-DF trained on FF++ c40 (paper, recalled). Frame
    AUC 0.9621 FF++ c23, 0.7319 Celeb-DF-v2, trained on FF++ c23 at 256 px (DeepfakeBench README),
    where neither the reconstruction nor the metric loss is trained on.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})

    def __init__(
        self,
        size: int = 299,
        crop_scale: float = 1.3,
        dropout: float = 0.2,
        reconstruction_weight: float = 0.1,
        metric_weight: float = 0.1,
        flooding: float = 0.04,
        noise_std: float = 1e-6,
        noise_probability: float = 0.5,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            dropout: Probability in front of the last layer and of the decoder, behind the graph
                and in the attention's shortcut.
            reconstruction_weight: How often the reconstruction of genuine faces counts.
            metric_weight: How often the metric loss counts.
            flooding: Level below which the cross-entropy is pushed up again; 0 for never.
            noise_std: Deviation of the white noise in training, pixels lying in [-1, 1].
            noise_probability: Share of the training faces that get it.
            init: A timm state dict or `download`, see `load_initial`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.

        Raises:
            ValueError: A value out of range.
        """
        super().__init__(half_preprocess(size, crop_scale, crop))
        if flooding < 0 or noise_std < 0:
            raise ValueError(
                f"flooding and noise_std must not be negative: {flooding}, {noise_std}"
            )
        self.reconstruction_weight = reconstruction_weight
        self.metric_weight = metric_weight
        self.flooding = flooding
        self.noise_std = noise_std
        self.noise_probability = noise_probability
        self.body = XceptionBody(init=init)
        self.dropout = nn.Dropout(dropout)
        self.decoder = Decoder()
        self.reasoning = GraphReasoning(dropout)
        self.attention = GuidedAttention(dropout)
        self.head = logit_layer(WIDTH, dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [-1, 1], float B × 3 × S × S."""
        return self.reconstructed(pixels, pixels).logits

    def reconstructed(self, pixels: Tensor, shown: Tensor) -> Reconstructed:
        """Return logits and what they rest on.

        Args:
            pixels: The faces that the reconstruction is compared with.
            shown: What the encoder sees: the same faces, in training with noise.
        """
        body = self.body
        encoded = body.blocks(body.stem(shown), 1, DECODED)
        coarse, fine, small = self.decoder(self.dropout(encoded))
        reconstruction = _resized(small, pixels)
        features = body.blocks(encoded, DECODED + 1, REASONED)
        features = features + self.reasoning(features, coarse, fine)
        features = body.blocks(features, REASONED + 1, GUIDED)
        features = self.attention(features, (pixels - reconstruction).abs())
        last = body.exit(body.blocks(features, GUIDED + 1, N_BLOCKS))
        logits: Tensor = self.head(pooled(last)).squeeze(1)
        return Reconstructed(logits, reconstruction, (encoded, coarse, fine))

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the flooded cross-entropy, the reconstruction and the metric loss."""
        pixels, real = batch.pixels, batch.labels < 0.5
        shown = pixels
        if self.training:
            shown = white_noise(pixels, self.noise_std, self.noise_probability)
        seen = self.reconstructed(pixels, shown)
        entropy = binary_cross_entropy(seen.logits, batch.labels, smoothing)
        distances = [metric_loss(pooled(features), real) for features in seen.embedded]
        return (
            LossTerm("bce", flooded(entropy, self.flooding)),
            LossTerm(
                "reconstruction",
                reconstruction_loss(seen.reconstruction, pixels, real),
                self.reconstruction_weight,
            ),
            LossTerm("metric", torch.stack(distances).sum(), self.metric_weight),
        )


class Decoder(nn.Module):
    """Rebuilds a face from the 728 channels after block 4, at 8 times their height and width.

    Three times: nearest upsampling by 2, a separable convolution, batch norm, ReLU; a residual
    block of three separable convolutions after the first two. A 1×1 convolution and tanh end it.
    """

    def __init__(self) -> None:
        """Make the layers with random weights."""
        super().__init__()
        coarse, fine, last = DECODER_WIDTHS
        self.up1 = _doubled(MIDDLE_WIDTH, coarse)
        self.block1 = Block(coarse, coarse, 3)
        self.up2 = _doubled(coarse, fine)
        self.block2 = Block(fine, fine, 3)
        self.up3 = _doubled(fine, last)
        self.last = _pointwise(last, 3)

    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps of both residual blocks and the face: 256, 128, 3 channels.

        For an input of h × w they are 2h × 2w, 4h × 4w and 8h × 8w; the face lies in [-1, 1].
        """
        coarse: Tensor = self.block1(self.up1(encoded))
        fine: Tensor = self.block2(self.up2(coarse))
        face: Tensor = self.last(self.up3(fine))
        return coarse, fine, face.tanh()


class GraphReasoning(nn.Module):
    """Lets every vertex of an encoder map look at the decoder's patches of the same place.

    A vertex is one position, embedded in 256 channels. It is joined to the 2 × 2 and the 4 × 4
    vertices of two decoder maps that show the same part of the face: a softmax over scores of each
    pair weighs them, a gate computed from the encoder scales their sum. Vertex and both sums go
    through a sigmoid and are projected back to the map's channels.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        """Make the layers with random weights; `dropout` acts on what is added."""
        super().__init__()
        self.embed = nn.Sequential(
            _pointwise(MIDDLE_WIDTH, EMBEDDED), nn.ReLU(), _pointwise(EMBEDDED, EMBEDDED)
        )
        self.coarse = _Neighbours(DECODER_WIDTHS[0], ratio=2)
        self.fine = _Neighbours(DECODER_WIDTHS[1], ratio=4)
        self.project = nn.Sequential(
            _pointwise(3 * EMBEDDED, MIDDLE_WIDTH),
            nn.ReLU(),
            _pointwise(MIDDLE_WIDTH, MIDDLE_WIDTH),
            nn.Dropout(dropout),
        )

    def forward(self, features: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return what is added to `features`, B × 728 × h × w.

        Args:
            features: B × 728 × h × w.
            coarse: B × 256 × 2h × 2w.
            fine: B × 128 × 4h × 4w.
        """
        vertices = self.embed(features)
        joined = (
            vertices,
            self.coarse(features, vertices, coarse),
            self.fine(features, vertices, fine),
        )
        added: Tensor = self.project(torch.cat(joined, dim=1).sigmoid())
        return added


class _Neighbours(nn.Module):
    """The gated, weighted sum of the decoder vertices below each encoder vertex."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.gate = nn.Sequential(_pointwise(MIDDLE_WIDTH, EMBEDDED), nn.Sigmoid())
        self.embed = nn.Sequential(
            nn.Linear(width, EMBEDDED, bias=False),
            nn.ReLU(),
            nn.Linear(EMBEDDED, EMBEDDED, bias=False),
        )
        # scores a pair: the vertex's channels first, then the neighbour's
        self.score = nn.Linear(2 * EMBEDDED, 1, bias=False)

    def forward(self, features: Tensor, vertices: Tensor, finer: Tensor) -> Tensor:
        neighbours = self.embed(patches(finer, self.ratio))
        # the score is linear, so its two halves add up without a tensor of all pairs
        weight = self.score.weight
        left = functional.linear(vertices.permute(0, 2, 3, 1), weight[:, :EMBEDDED]).unsqueeze(3)
        right = functional.linear(neighbours, weight[:, EMBEDDED:])
        scores = (left + right).relu()
        mixed = (scores.softmax(dim=3) * neighbours).sum(dim=3).permute(0, 3, 1, 2)
        gated: Tensor = self.gate(features) * mixed
        return gated


class GuidedAttention(nn.Module):
    """Weighs features by a map made from how far a face is from its reconstruction."""

    def __init__(self, dropout: float) -> None:
        """Make the layers with random weights; `dropout` acts on the shortcut."""
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.ReLU(), _pointwise(3, 1), nn.Sigmoid()
        )
        self.transform = nn.Sequential(
            _pointwise(MIDDLE_WIDTH, MIDDLE_WIDTH), nn.BatchNorm2d(MIDDLE_WIDTH), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, difference: Tensor) -> Tensor:
        """Return B × 728 × h × w for features of that shape and differences B × 3 × S × S."""
        gate = self.gate(_resized(difference, features))
        attended: Tensor = gate * self.transform(features) + self.dropout(features)
        return attended


def patches(features: Tensor, ratio: int) -> Tensor:
    """Return the `ratio` × `ratio` vertices below each vertex of a map that much coarser.

    Args:
        features: B × C × (h · ratio) × (w · ratio).
        ratio: Side of a patch.

    Returns:
        B × h × w × ratio² × C, the vertices of a patch row by row.

    Example:
        >>> import torch
        >>> patches(torch.arange(8.0).reshape(1, 1, 2, 4), 2)[0, 0, 1].flatten()
        tensor([2., 3., 6., 7.])
    """
    channels, height, width = features.shape[1:]
    cut = features.reshape(-1, channels, height // ratio, ratio, width // ratio, ratio)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3, 4)


def white_noise(pixels: Tensor, std: float, probability: float) -> Tensor:
    """Add Gaussian noise to a random part of the faces and clip those to [-1, 1].

    Drawn from torch's generator of the pixels' device, for each face with `probability`.
    """
    chosen = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < probability
    noisy = (pixels + std * torch.randn_like(pixels)).clamp(-1, 1)
    return torch.where(chosen, noisy, pixels)


def flooded(loss: Tensor, level: float) -> Tensor:
    """Return |loss - level| + level: below the level, descent on it climbs on the loss.

    Source: Ishida et al., "Do We Need Zero Training Loss After Achieving Zero Training Error?",
    ICML 2020, section 3.

    Example:
        >>> import torch
        >>> flooded(torch.tensor([0.01, 0.3]), 0.04)
        tensor([0.0700, 0.3000])
    """
    return (loss - level).abs() + level


def reconstruction_loss(reconstruction: Tensor, pixels: Tensor, real: Tensor) -> Tensor:
    """Return the mean absolute difference over the genuine faces; 0 if there are none.

    Args:
        reconstruction: B × 3 × S × S.
        pixels: The same faces before.
        real: B, bool, which faces are genuine.
    """
    differences = (reconstruction - pixels).abs().mean(dim=(1, 2, 3))
    return (differences * real).sum() / real.sum().clamp(min=1)


def metric_loss(embedded: Tensor, real: Tensor) -> Tensor:
    """Return max(0, 1 - mean similarity of genuine pairs + mean similarity of mixed pairs).

    Similarity is the cosine moved to [0, 1]. Genuine pairs are two different genuine faces, mixed
    pairs one of each kind; nothing is asked of two forgeries. A mean without pairs counts 1 for
    genuine pairs and 0 for mixed ones, so that it asks nothing.

    Args:
        embedded: B × C.
        real: B, bool, which faces are genuine.
    """
    with full_precision(embedded):
        directions = functional.normalize(at_least_single(embedded), dim=1)
        similarity = (1 + directions @ directions.T) / 2
    itself = torch.eye(len(real), dtype=torch.bool, device=real.device)
    alike = real[:, None] & real[None, :] & ~itself
    mixed = real[:, None] & ~real[None, :]
    # as a sum of what is missing, so that an empty mean is 0 of it
    apart = ((1 - similarity) * alike).sum() / alike.sum().clamp(min=1)
    close = (similarity * mixed).sum() / mixed.sum().clamp(min=1)
    return (apart + close).clamp(min=0)


def _resized(features: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(
        features, size=like.shape[-2:], mode="bilinear", align_corners=True
    )


def _pointwise(channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 1, bias=False)


def _doubled(channels: int, width: int) -> nn.Sequential:
    separable = SeparableConv2d(channels, width, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2.0), separable, nn.BatchNorm2d(width), nn.ReLU())
