"""FTCN: convolutions that see time only, and a transformer over what they found in each moment.

Source: Zheng, Bao, Chen, Zeng, Wen, "Exploring Temporal Coherence for More General Video Face
Forgery Detection", ICCV 2021, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torchvision.ops import Conv3dNormActivation

from dfdetect.detectors.backbone import IMAGENET, crop_policy
from dfdetect.detectors.base import BatchNeeds, Preprocess, Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.detectors.xception import logit_layer

STEM_WIDTH = 64
EXPANSION = 4
STAGES = ((64, (3, 3, 3)), (128, (3, 1, 3, 1)), (256, (3, 1, 3, 1, 3, 1)))
"""Stages 2 to 4 of the I3D ResNet-50: inner width, and the temporal kernel of every block."""

HEADS, HIDDEN, DROPOUT = 16, 2048, 0.1


@DETECTORS.register("ftcn")
class Ftcn(Detector):
    """FTCN-style: a 3-D ResNet-50 that convolves over time only, and a temporal transformer.

    Paper: Zheng et al., "Exploring Temporal Coherence for More General Video Face Forgery
    Detection", ICCV 2021, section 3.

    Same: a 3-D ResNet-50 whose spatial kernels are all 1, up to stage 4 (1024 channels, 14 × 14 of
    224 px); the mean over places gives one token a moment; a class token, a transformer of one
    layer with 16 heads, 2048 hidden units and dropout 0.1 over 16 moments, and a linear layer;
    binary cross-entropy; trained from random weights, on adjacent frames.

    Differs: it is built from our words on the paper, so call it FTCN-style. The temporal kernels
    are those of the I3D ResNet-50 (5 in the stem; 3 in every block of stage 2 and in every other
    one of stages 3 and 4: recalled). Maps shrink in space by strides, and behind the stem by a
    maximum over 3 × 3 places, the only part where places meet before the mean; how the paper
    shrinks them is not known to us. The transformer normalises in front of its parts, as timm's
    does. One clip has as many frames as the transformer has moments; the authors' released settings
    name clips of 32 frames. Pixels have ImageNet's mean and std (recalled).

    Published: video AUC 0.869 Celeb-DF-v2, 0.740 DFDC, 0.988 FaceShifter, 0.988 DeeperForensics,
    trained on FF++ (paper, recalled). In DeepfakeBench it does not train (its issue 173).
    """

    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"frames": 8, "size": 32})

    def __init__(
        self,
        frames: int = 16,
        size: int = 224,
        crop_scale: float = 1.3,
        crop: str = "square",
        dropout: float = DROPOUT,
    ) -> None:
        """Make the network, with random weights.

        Args:
            frames: Frames a clip.
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            dropout: Probability in the transformer.

        Raises:
            ValueError: A value is out of range.
        """
        if frames < 2:
            raise ValueError(f"frames must be 2 or more, not {frames}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        super().__init__(Preprocess(size, *IMAGENET, crop_policy(crop, crop_scale, size)))
        self.frames = frames
        self.body = TemporalResNet()
        self.transformer = TemporalTransformer(self.body.width, frames, dropout)
        self.head = logit_layer(self.body.width)

    @property
    def needs(self) -> BatchNeeds:
        """Clips."""
        return BatchNeeds(frames=self.frames)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised clips, float B × T × 3 × S × S."""
        logits: Tensor = self.head(self.transformer(self.moments(pixels))).squeeze(1)
        return logits

    def moments(self, pixels: Tensor) -> Tensor:
        """Return what is found in every moment, the mean over places: B × T × 1024."""
        maps: Tensor = self.body(pixels.transpose(1, 2))
        return maps.mean((3, 4)).transpose(1, 2)


class TemporalResNet(nn.Module):
    """Stages 1 to 4 of a 3-D ResNet-50 with spatial kernels of 1: B × 3 × T × S × S pixels.

    Maps have S/4 and 256 channels in stage 2, S/8 and 512 in stage 3, S/16 and 1024 in stage 4; the
    number of moments stays.
    """

    def __init__(self) -> None:
        """Make it with random weights."""
        super().__init__()
        self.stem = nn.Sequential(
            _temporal(3, STEM_WIDTH, 5, stride=2), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        )
        self.width = STEM_WIDTH
        stages = []
        for number, (inner, kernels) in enumerate(STAGES):
            blocks = []
            for place, kernel in enumerate(kernels):
                stride = 2 if number and not place else 1
                blocks.append(_Bottleneck(self.width, inner, kernel, stride))
                self.width = EXPANSION * inner
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the maps of stage 4, B × 1024 × T × S/16 × S/16."""
        maps: Tensor = self.stages(self.stem(pixels))
        return maps


class TemporalTransformer(nn.Module):
    """One transformer layer over the moments of a clip; a class token says what was found."""

    def __init__(self, width: int, n_moments: int, dropout: float) -> None:
        """Make it with random weights for B × `n_moments` × `width` tokens."""
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, n_moments + 1, width))
        self.dropout = nn.Dropout(dropout)
        self.layer: Any = Block(
            width, HEADS, HIDDEN / width, qkv_bias=True, proj_drop=dropout, attn_drop=dropout
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one feature vector a clip, B × width."""
        first = self.token.expand(tokens.shape[0], -1, -1)
        placed = self.dropout(torch.cat([first, tokens], dim=1) + self.positions)
        features: Tensor = self.norm(self.layer(placed)[:, 0])
        return features


class _Bottleneck(nn.Module):
    def __init__(self, width: int, inner: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * inner
        last = _temporal(inner, wide, 1, activation=None)
        # blocks begin as their skips (Goyal et al. 2017, section 5.1): sums of noise train badly
        nn.init.zeros_(last[1].weight)
        self.branch = nn.Sequential(
            _temporal(width, inner, kernel), _temporal(inner, inner, 1, stride=stride), last
        )
        changes = width != wide or stride > 1
        self.skip = (
            _temporal(width, wide, 1, stride=stride, activation=None) if changes else nn.Identity()
        )

    def forward(self, maps: Tensor) -> Tensor:
        summed: Tensor = self.skip(maps) + self.branch(maps)
        return summed.relu()


def _temporal(
    n_in: int,
    n_out: int,
    kernel: int,
    *,
    stride: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> Any:
    """Return a convolution over time with batch norm; `stride` is that in space."""
    return Conv3dNormActivation(
        n_in,
        n_out,
        kernel_size=(kernel, 1, 1),
        stride=(1, stride, stride),
        padding=(kernel // 2, 0, 0),
        activation_layer=activation,
    )
