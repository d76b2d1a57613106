"""SRM: two Xceptions, on a picture and on its high-frequency noise, that attend to each other.

Source: Luo, Zhang, Yan, Liu, "Generalizing Face Forgery Detection with High-frequency Features",
CVPR 2021; the filters are from Fridrich, Kodovský, "Rich Models for Steganalysis of Digital
Images", IEEE TIFS 2012.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm
from dfdetect.detectors.margins import CosineHead, additive_margin_loss
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.detectors.precision import at_least_single, full_precision
from dfdetect.detectors.xception import (
    N_BLOCKS,
    WIDTH,
    XceptionBody,
    half_preprocess,
    pooled,
)

LAPLACIAN = (
    (0, 0, 0, 0, 0),
    (0, -1, 2, -1, 0),
    (0, 2, -4, 2, 0),
    (0, -1, 2, -1, 0),
    (0, 0, 0, 0, 0),
)
SQUARE = (
    (-1, 2, -2, 2, -1),
    (2, -6, 8, -6, 2),
    (-2, 8, -12, 8, -2),
    (2, -6, 8, -6, 2),
    (-1, 2, -2, 2, -1),
)
HORIZONTAL = (
    (0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0),
    (0, 1, -2, 1, 0),
    (0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0),
)
KERNELS = ((LAPLACIAN, 4), (SQUARE, 12), (HORIZONTAL, 2))
"""The three filters and what each is divided by."""
CLIP = 3.0

CROSSED_AFTER = (3, 7)
MIDDLE_WIDTH = 728


class HighPass(nn.Module):
    """The three filters, clipped to ± 3.

    On a picture each filter sums over R, G and B: 3 maps. On features (`apart`) each runs on every
    channel by itself: 3 maps a channel, those of one channel next to each other.
    """

    def __init__(self, channels: int, apart: bool) -> None:
        """Make the filters for maps of `channels` channels."""
        super().__init__()
        kernels = torch.stack([torch.tensor(rows) / divisor for rows, divisor in KERNELS])[:, None]
        kernels = kernels.repeat(channels, 1, 1, 1) if apart else kernels.repeat(1, channels, 1, 1)
        self.kernels: Tensor
        self.register_buffer("kernels", kernels, persistent=False)
        self.groups = channels if apart else 1

    def forward(self, maps: Tensor) -> Tensor:
        """Return the noise at the same height and width, float32 in [-3, 3]."""
        with full_precision(maps):
            noise = functional.conv2d(
                at_least_single(maps), self.kernels, padding=2, groups=self.groups
            )
            return noise.clamp(-CLIP, CLIP)


class FeatureNoise(nn.Sequential):
    """The noise of features, brought back to as many channels."""

    def __init__(self, channels: int) -> None:
        """Make the layer for maps of `channels` channels."""
        super().__init__(
            HighPass(channels, apart=True),
            nn.Conv2d(3 * channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )


class ResidualAttention(nn.Module):
    """Where a picture's noise says one should look."""

    def __init__(self) -> None:
        """Make the layers; their sizes follow those of Xception's stem."""
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.place = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Return a map in [0, 1] as large as the stem's: B × 3 × S × S → B × 1 × H × H."""
        features = self.features(noise)
        mean, largest = features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)
        return torch.sigmoid(self.place(torch.cat([mean, largest], dim=1)))


class CrossModality(nn.Module):
    """Dual cross-modality attention: each stream takes from the other what correlates with it.

    Its linear layers over all places tie it to one size of picture.
    """

    def __init__(self, channels: int, places: int) -> None:
        """Make the layer for two maps of `channels` channels at `places` = H · W places."""
        super().__init__()
        narrow = channels // 8
        self.keys = nn.ModuleList(nn.Conv2d(channels, narrow, 1) for _ in range(2))
        self.shared = nn.Conv2d(narrow, narrow, 1)
        self.values = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.weights = nn.ModuleList(nn.Linear(places, places) for _ in range(2))
        self.gains = nn.ParameterList(torch.zeros(1) for _ in range(2))

    def correlation(self, first: Tensor, second: Tensor) -> Tensor:
        """Return how every place of the first goes with every place of the second, B × HW × HW."""
        left = self.shared(self.keys[0](first)).flatten(2)
        right = self.shared(self.keys[1](second)).flatten(2)
        correlation: Tensor = left.mT @ right
        return correlation

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return both maps, each with what it takes from the other; all B × C × H × W."""
        correlation = self.correlation(first, second)
        to_first = torch.softmax(self.weights[0](correlation), dim=2)
        to_second = torch.softmax(self.weights[1](correlation.mT), dim=2)
        from_first = (self.values[0](first).flatten(2) @ to_second.mT).reshape(first.shape)
        from_second = (self.values[1](second).flatten(2) @ to_first.mT).reshape(second.shape)
        return first + self.gains[0] * from_second, second + self.gains[1] * from_first


class Fusion(nn.Module):
    """Both streams' ends become one map, whose channels are then weighed against each other."""

    def __init__(self, width: int, ratio: int = 16) -> None:
        """Make the layers for two maps of `width` channels."""
        super().__init__()
        self.joined = nn.Sequential(
            nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.weights = nn.Sequential(
            nn.Linear(width, width // ratio, bias=False),
            nn.ReLU(),
            nn.Linear(width // ratio, width, bias=False),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return B × width × H × W."""
        features: Tensor = self.joined(torch.cat([first, second], dim=1))
        mean, largest = features.mean(dim=(2, 3)), features.amax(dim=(2, 3))
        weights = torch.sigmoid(self.weights(mean) + self.weights(largest))
        return features * (1 + weights[:, :, None, None])


@DETECTORS.register("srm")
class SRM(Detector):
    """SRM, two Xceptions on a face and on its high-frequency noise that attend to each other.

    Paper: Luo et al., "Generalizing Face Forgery Detection with High-frequency Features", CVPR
    2021: multi-scale noise, residual-guided spatial attention, dual cross-modality attention.

    Same: three fixed filters give the noise of the picture and of the first two layers' features,
    clipped to ± 3; attention from the noise onto the early RGB features; dual cross-modality
    attention after blocks 3 and 7 that starts without effect; fusion with channel attention; the
    additive-margin softmax, scale 30 and margin 0.45, on cosines; 256 px.

    Differs: the clip is in units of pixels in [-1, 1], where a photo hardly reaches it, and not of
    3 in 256 levels as in steganalysis. Widths, the linear layers over places and what is shared
    follow from the names and shapes of DeepfakeBench's tensors; what those leave open is ours: both
    attentions see mean and largest value as in CBAM (Woo et al., ECCV 2018), that over channels
    with a shortcut; one noise picture feeds the stream and the attention. The linear layers over
    places fit one size only. DeepfakeBench's head is linear, so that its margin acts on raw logits
    and not on cosines as the loss is defined; its weights cannot be read here.

    Published: AUC 0.794 on Celeb-DF, trained on FF++ (paper, recalled); frame AUC 0.9576 FF++ c23,
    0.7552 Celeb-DF-v2, trained on FF++ c23 (DeepfakeBench README); re-runs of its released weights
    differ by up to 6 points.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})

    def __init__(
        self,
        size: int = 256,
        crop_scale: float = 1.3,
        scale: float = 30.0,
        margin: float = 0.45,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            scale: What cosines are multiplied with; logits lie within twice as much.
            margin: By how much the true class's cosine shall be ahead when training.
            init: A timm state dict or `download` for both Xceptions, see `load_initial`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.

        Raises:
            ValueError: A value is out of range.
        """
        if not 0 <= margin < 2:
            raise ValueError(f"the margin of cosines must lie in [0, 2), not {margin}")
        super().__init__(half_preprocess(size, crop_scale, crop))
        self.margin = margin
        self.scale = scale
        self.noise = HighPass(3, apart=False)
        self.rgb_body = XceptionBody(init=init)
        self.noise_body = XceptionBody(init=init)
        self.feature_noise = nn.ModuleList(FeatureNoise(n) for n in (32, 64))
        self.attention = ResidualAttention()
        self.attended = nn.Sequential(nn.BatchNorm2d(64), nn.ReLU())
        places = _middle_side(size) ** 2
        self.crossings = nn.ModuleList(CrossModality(MIDDLE_WIDTH, places) for _ in CROSSED_AFTER)
        self.fusion = Fusion(WIDTH)
        self.head = CosineHead(WIDTH, scale)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) within ± 2 · scale for pixels in [-1, 1], float B × 3 × S × S."""
        residual = self.noise(pixels)
        rgb, noise = self._stems(pixels, residual)
        rgb = self.attended(rgb * (1 + self.attention(residual)))
        done = 0
        for last, crossing in zip(CROSSED_AFTER, self.crossings, strict=True):
            rgb = self.rgb_body.blocks(rgb, done + 1, last)
            noise = self.noise_body.blocks(noise, done + 1, last)
            rgb, noise = crossing(rgb, noise)
            done = last
        rgb = self.rgb_body.exit(self.rgb_body.blocks(rgb, done + 1, N_BLOCKS))
        noise = self.noise_body.exit(self.noise_body.blocks(noise, done + 1, N_BLOCKS))
        logits: Tensor = self.head(pooled(self.fusion(rgb, noise)))
        return logits

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the additive-margin softmax loss."""
        logits: Tensor = self(batch.pixels)
        value = additive_margin_loss(logits, batch.labels, self.scale, self.margin, smoothing)
        return (LossTerm("am_softmax", value),)

    def _stems(self, rgb: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        for layer, more in enumerate(self.feature_noise, start=1):
            rgb = _stem_layer(self.rgb_body, layer, rgb)
            noise = _stem_layer(self.noise_body, layer, noise) + more(rgb)
        return rgb, noise


def _stem_layer(body: XceptionBody, number: int, features: Tensor) -> Tensor:
    convolution, norm, rectifier = (
        getattr(body.network, f"{part}{number}") for part in ("conv", "bn", "act")
    )
    rectified: Tensor = rectifier(norm(convolution(features)))
    return rectified


def _middle_side(size: int) -> int:
    """Return the side of Xception's maps after block 3."""
    side = (size - 3) // 2 - 1
    for _ in range(3):
        side = (side - 1) // 2 + 1
    return side
