"""MesoNet: two small networks for 256 px faces, cheap enough for a CPU.

Source: Afchar, Nozick, Yamagishi, Echizen, "MesoNet: a Compact Facial Video Forgery Detection
Network", WIFS 2018, sections III.A (Meso-4) and III.B (MesoInception-4). The paper trains with the
mean squared error of the probability and Adam at 1e-3, on pixels in [0, 1].

The authors' networks answer 1 for a *real* face; these answer above 0 for a *fake* one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.types import CropPolicy

# the first dense layer fixes the input: 256 px / (2 · 2 · 2 · 4) = 8 × 8 cells of 16 channels
SIZE = 256
FEATURES = 16 * 8 * 8


@DETECTORS.register("meso4")
class Meso4(Detector):
    """Meso-4: four convolutions and two dense layers, 27,977 parameters.

    Pixels are RGB in [0, 1], B × 3 × 256 × 256. `crop_scale` is not from the paper, whose faces
    come from another finder; 1.3 is what FF++ crops use.
    """

    def __init__(self, dropout: float = 0.5, crop_scale: float = 1.3) -> None:
        """Make the published network, with Keras's initial weights (Glorot uniform, zero bias)."""
        super().__init__(_preprocess(crop_scale))
        self.blocks = nn.Sequential(
            _block(3, 8, kernel=3, pool=2),
            _block(8, 8, kernel=5, pool=2),
            _block(8, 16, kernel=5, pool=2),
            _block(16, 16, kernel=5, pool=4),
        )
        self.head = _head(dropout)
        self.apply(_glorot)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [0, 1], float B × 3 × 256 × 256."""
        logits: Tensor = self.head(self.blocks(pixels)).squeeze(1)
        return logits


@DETECTORS.register("meso_inception4")
class MesoInception4(Detector):
    """MesoInception-4: Meso-4 with two dilated inception layers first, 28,615 parameters.

    Pixels are RGB in [0, 1], B × 3 × 256 × 256; `crop_scale` as for `Meso4`.
    """

    def __init__(self, dropout: float = 0.5, crop_scale: float = 1.3) -> None:
        """Make the published network, with Keras's initial weights (Glorot uniform, zero bias)."""
        super().__init__(_preprocess(crop_scale))
        self.blocks = nn.Sequential(
            nn.Sequential(Inception(3, (1, 4, 4, 2)), _norm(11), nn.MaxPool2d(2)),
            nn.Sequential(Inception(11, (2, 4, 4, 2)), _norm(12), nn.MaxPool2d(2)),
            _block(12, 16, kernel=5, pool=2),
            _block(16, 16, kernel=5, pool=4),
        )
        self.head = _head(dropout)
        self.apply(_glorot)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [0, 1], float B × 3 × 256 × 256."""
        logits: Tensor = self.head(self.blocks(pixels)).squeeze(1)
        return logits


class Inception(nn.Module):
    """Four branches side by side: 1×1; then 1×1 followed by 3×3 at dilation 1, 2 and 3.

    A ReLU follows every convolution. `widths` are the channels of the four branches.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int]) -> None:
        """Make the layer for an input of `channels` channels."""
        super().__init__()
        plain, *dilated = widths
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(channels, plain, 1), nn.ReLU())])
        for dilation, width in enumerate(dilated, start=1):
            wide = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            narrow = nn.Conv2d(channels, width, 1)
            self.branches.append(nn.Sequential(narrow, nn.ReLU(), wide, nn.ReLU()))

    def forward(self, features: Tensor) -> Tensor:
        """Return the branches' channels one after the other, at the input's height and width."""
        return torch.cat([branch(features) for branch in self.branches], dim=1)


def _preprocess(crop_scale: float) -> Preprocess:
    crop = CropPolicy("square", crop_scale, SIZE)
    return Preprocess(SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), crop)


def _block(channels: int, width: int, kernel: int, pool: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.ReLU(), _norm(width), nn.MaxPool2d(pool))


def _norm(channels: int) -> nn.BatchNorm2d:
    # Keras's defaults: epsilon 1e-3; its momentum 0.99 is 0.01 in torch's reading
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _head(dropout: float) -> nn.Sequential:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(FEATURES, 16),
        nn.LeakyReLU(0.1),
        nn.Dropout(dropout),
        nn.Linear(16, 1),
    )


def _glorot(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None  # noqa: S101 — none of these layers goes without
        nn.init.zeros_(module.bias)
