"""Padding that does not follow the picture: networks built for one size and fed another.

Source: efficientnet-pytorch 0.7.1 works TensorFlow's padding out once, for the size it was made
for, and keeps it; timm works it out for every picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn import functional

Margins: TypeAlias = tuple[int, int, int, int]
"""Zeros at the left, right, top and bottom."""

DEEPFAKEBENCH_B4: Mapping[str, Margins] = {
    # an ordinary convolution took the stem's place; the others are for 380 px, whatever comes
    "conv_stem": (0, 0, 0, 0),
    "blocks.1.0.conv_dw": (0, 1, 0, 1),
    "blocks.2.0.conv_dw": (2, 2, 2, 2),
    "blocks.3.0.conv_dw": (0, 1, 0, 1),
    "blocks.5.0.conv_dw": (1, 2, 1, 2),
}
"""The convolutions of timm's EfficientNet-B4 that have stride 2, as DeepfakeBench pads them."""


class PaddedConv2d(nn.Conv2d):
    """A convolution with margins of its own on each side."""

    def __init__(self, like: nn.Conv2d, margins: Margins) -> None:
        """Take the place of a convolution: its weights and stride, but other margins."""
        super().__init__(
            like.in_channels,
            like.out_channels,
            (like.kernel_size[0], like.kernel_size[1]),
            (like.stride[0], like.stride[1]),
            groups=like.groups,
            bias=like.bias is not None,
        )
        self.weight, self.bias = like.weight, like.bias
        self.margins = margins

    def forward(self, features: Tensor) -> Tensor:
        """Return the convolution of the padded map."""
        return super().forward(functional.pad(features, self.margins))


def fix_padding(network: nn.Module, margins: Mapping[str, Margins]) -> None:
    """Give the named convolutions of a network these margins, whatever they had before.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1))
        >>> network(torch.zeros(1, 1, 8, 8)).shape[-1]
        4
        >>> fix_padding(network, {"0": (0, 0, 0, 0)})
        >>> network(torch.zeros(1, 1, 8, 8)).shape[-1]
        3
    """
    for name, edges in margins.items():
        convolution = network.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)  # noqa: S101 — names of convolutions
        holder, _, own = name.rpartition(".")
        setattr(network.get_submodule(holder), own, PaddedConv2d(convolution, edges))
