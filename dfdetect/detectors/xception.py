"""Xception in stages, as the detectors that look into its middle need it.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, figure
5; the network is timm's `legacy_xception`, whose parameter names are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import timm
from torch import Tensor, nn

from dfdetect.detectors.backbone import Adapt, crop_policy, load_initial
from dfdetect.detectors.base import RGB, Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector

MODEL = "legacy_xception.tf_in1k"
WIDTH = 2048
HALF: RGB = (0.5, 0.5, 0.5)

N_BLOCKS = 12
MIDDLE = range(4, 12)
"""The blocks of the middle flow, which keep 728 channels and their size."""


class XceptionBody(nn.Module):
    """Xception without its classifier: `stem`, `blocks` 1 to 12 and `exit`, one after the other.

    Sizes for a picture of S × S: 64 channels at about S/2 after the stem; 128, 256 and 728 at S/4,
    S/8 and S/16 after the first three blocks; 728 up to block 11, 1024 at S/32 after block 12, and
    2048 after the exit.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        shallow: bool = False,
        init: str | None = None,
        adapt: Adapt | None = None,
    ) -> None:
        """Make the network.

        Args:
            channels: Channels of the input.
            shallow: Leave out the middle flow (blocks 4 to 11).
            init: See `load_initial`; the published state has three input channels.
            adapt: How the published first layer is fitted to other `channels`; by default its mean
                over R, G, B in every channel, times 3 / `channels`.

        Raises:
            ValueError: The initial weights cannot be read or do not fit.
        """
        super().__init__()
        # its parts are reached by name, which nn.Module types as tensors or modules
        self.network: Any = timm.create_model(
            MODEL, pretrained=False, num_classes=0, in_chans=channels
        )
        if init is not None:
            default = None if channels == len(HALF) else _spread_over(channels)
            load_initial(self.network, init, adapt or default)
        if shallow:
            for number in MIDDLE:
                setattr(self.network, f"block{number}", nn.Identity())

    def stem(self, pixels: Tensor) -> Tensor:
        """Return 64 channels at half the size."""
        network = self.network
        first = network.act1(network.bn1(network.conv1(pixels)))
        features: Tensor = network.act2(network.bn2(network.conv2(first)))
        return features

    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """Return what blocks `first` to `last`, both included and counted from 1, make of it."""
        for number in range(first, last + 1):
            features = getattr(self.network, f"block{number}")(features)
        return features

    def exit(self, features: Tensor) -> Tensor:
        """Return 2048 channels from the 1024 of block 12, rectified."""
        network = self.network
        third = network.act3(network.bn3(network.conv3(features)))
        last: Tensor = network.act4(network.bn4(network.conv4(third)))
        return last

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the last feature map, B × 2048 × S/32 × S/32."""
        return self.exit(self.blocks(self.stem(pixels), 1, N_BLOCKS))


def pooled(features: Tensor) -> Tensor:
    """Return the mean over height and width: B × C × H × W → B × C."""
    return features.mean(dim=(2, 3))


def logit_layer(width: int, dropout: float = 0.0) -> nn.Sequential:
    """Return dropout and a linear layer to one logit that starts close to 0."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
    linear = nn.Linear(width, 1)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Dropout(dropout), linear)


def half_preprocess(size: int, crop_scale: float, crop: str = "square") -> Preprocess:
    """Return pixels in [-1, 1], as Xception's weights expect, from crops as `crop_policy` says."""
    return Preprocess(size, HALF, HALF, crop_policy(crop, crop_scale, size))


def _spread_over(channels: int) -> Adapt:
    def adapt(state: dict[str, Tensor]) -> dict[str, Tensor]:
        kernel = state["conv1.weight"]
        spread = kernel.mean(dim=1, keepdim=True) * (kernel.shape[1] / channels)
        return {**state, "conv1.weight": spread.expand(-1, channels, -1, -1).contiguous()}

    return adapt


@DETECTORS.register("xception")
class Xception(Detector):
    """Xception, the baseline of FaceForensics++.

    Paper: Rössler et al., "FaceForensics++", ICCV 2019, section 4; network by Chollet, CVPR 2017.

    Same: the network; 299 px; square crops at 1.3 times the face box; pixels in [-1, 1]; binary
    cross-entropy.

    Differs: one logit instead of two, which is the same classifier; without `init` the weights are
    random, and the published numbers need the ImageNet start.

    Published: accuracy 0.9573 on FF++ c23 with their own protocol (paper, recalled); frame AUC
    0.9637 FF++ c23, 0.7365 Celeb-DF-v2, trained on FF++ c23 at 256 px (DeepfakeBench README);
    re-runs of its released weights differ by up to 6 points.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})

    def __init__(
        self,
        size: int = 299,
        crop_scale: float = 1.3,
        dropout: float = 0.0,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            dropout: Probability in front of the last layer.
            init: A timm state dict or `download`, see `load_initial`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
        """
        super().__init__(half_preprocess(size, crop_scale, crop))
        self.body = XceptionBody(init=init)
        self.head = logit_layer(WIDTH, dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [-1, 1], float B × 3 × S × S."""
        logits: Tensor = self.head(pooled(self.body(pixels))).squeeze(1)
        return logits
