"""MesoNet: two small networks for 256 px faces, cheap enough for a CPU.

Source: Afchar, Nozick, Yamagishi, Echizen, "MesoNet: a Compact Facial Video Forgery Detection
Network", WIFS 2018, sections III.A (Meso-4) and III.B (MesoInception-4). The paper trains with the
mean squared error of the probability and Adam at 1e-3, on pixels in [0, 1].

The authors' networks answer 1 for a *real* face; these answer above 0 for a *fake* one.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.backbone import crop_policy, statistics_called
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.losses import LossTerm, smoothed
from dfdetect.detectors.network import Detector, TrainingBatch

# the first dense layer fixes the input: 256 px / (2 · 2 · 2 · 4) = 8 × 8 cells of 16 channels
CELL = 32
CELL_WIDTH = 16
LOSSES = ("bce", "mse")
# Keras's default for batch norms
EPSILON = 1e-3


class MesoNet(Detector):
    """What the two networks share: pixels, `blocks` and then `head`, and the loss."""

    # it matters to training alone
    not_stored: ClassVar[frozenset[str]] = frozenset({"loss"})

    blocks: nn.Sequential
    head: nn.Sequential

    def __init__(self, size: int, crop_scale: float, loss: str, crop: str, statistics: str) -> None:
        """Remember crops, pixels and loss; a subclass makes the layers."""
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}")
        if size % CELL:
            raise ValueError(f"size must be a multiple of {CELL}, not {size}")
        policy = crop_policy(crop, crop_scale, size)
        super().__init__(Preprocess(size, *statistics_called(statistics), policy))
        self._squared = loss == "mse"

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        logits: Tensor = self.head(self.blocks(pixels)).squeeze(1)
        return logits

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return `bce`, or `mse`: the mean squared error of the probability, as in the paper."""
        if not self._squared:
            return super().loss_terms(batch, smoothing)
        targets = smoothed(batch.labels, smoothing)
        error = functional.mse_loss(self(batch.pixels).sigmoid(), targets)
        return (LossTerm("mse", error),)


@DETECTORS.register("meso4")
class Meso4(MesoNet):
    """Meso-4: four convolutions and two dense layers, 27,977 parameters.

    Paper: Afchar, Nozick, Yamagishi and Echizen, "MesoNet", WIFS 2018, section III.A.

    Same: every layer, each convolution with a batch norm of its own; RGB in [0, 1] at 256 px;
    Keras's initial weights. The authors' released weights answer here as they do in Keras.

    Differs: it answers above 0 for fake, the authors' network 1 for real. Binary cross-entropy by
    default, whose gradient does not vanish where the network is sure and wrong; `loss=mse` is the
    paper's. `crop_scale` is what FF++ crops use; the paper's faces come from another finder.

    Published: accuracy 0.891 a frame on the authors' deepfakes (paper, recalled); frame AUC 0.6077
    FF++ c23, 0.6091 Celeb-DF-v2, trained on FF++ c23 (DeepfakeBench README, whose Meso4 shares
    batch norms between layers, and whose weights are read into one norm a layer here).
    """

    def __init__(
        self,
        size: int = 256,
        dropout: float = 0.5,
        crop_scale: float = 1.3,
        loss: str = "bce",
        crop: str = "square",
        statistics: str = "none",
        epsilon: float = EPSILON,
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels, a multiple of 32; the first dense layer's follows.
            dropout: Probability in front of both dense layers.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            loss: bce or mse, see `loss_terms`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            statistics: Mean and std of the pixels: imagenet, half or none.
            epsilon: What batch norms add to variances; DeepfakeBench has 1e-5.

        Raises:
            ValueError: A value is out of range.
        """
        super().__init__(size, crop_scale, loss, crop, statistics)
        self.blocks = nn.Sequential(
            _block(3, 8, kernel=3, pool=2, epsilon=epsilon),
            _block(8, 8, kernel=5, pool=2, epsilon=epsilon),
            _block(8, 16, kernel=5, pool=2, epsilon=epsilon),
            _block(16, 16, kernel=5, pool=4, epsilon=epsilon),
        )
        self.head = _head(size, dropout)
        self.apply(_glorot)


@DETECTORS.register("meso_inception4")
class MesoInception4(MesoNet):
    """MesoInception-4: Meso-4 with two dilated inception layers first, 28,615 parameters.

    Paper: Afchar, Nozick, Yamagishi and Echizen, "MesoNet", WIFS 2018, section III.B.

    Same: every layer, with a ReLU behind each convolution; RGB in [0, 1] at 256 px; Keras's initial
    weights. The authors' released weights answer here as they do in Keras.

    Differs: as `Meso4`: above 0 is fake; binary cross-entropy unless `loss=mse`; crops at 1.3 times
    the box.

    Published: accuracy 0.917 a frame on the authors' deepfakes (paper, recalled); frame AUC 0.7583
    FF++ c23, 0.6966 Celeb-DF-v2, trained on FF++ c23 (DeepfakeBench README, whose branches have no
    ReLU: `rectified=false`).
    """

    def __init__(
        self,
        size: int = 256,
        dropout: float = 0.5,
        crop_scale: float = 1.3,
        loss: str = "bce",
        crop: str = "square",
        statistics: str = "none",
        epsilon: float = EPSILON,
        rectified: bool = True,
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels, a multiple of 32; the first dense layer's follows.
            dropout: Probability in front of both dense layers.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            loss: bce or mse, see `loss_terms`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
            statistics: Mean and std of the pixels: imagenet, half or none.
            epsilon: What batch norms add to variances; DeepfakeBench has 1e-5.
            rectified: Whether a ReLU follows each convolution of the inception layers; in
                DeepfakeBench none does.

        Raises:
            ValueError: A value is out of range.
        """
        super().__init__(size, crop_scale, loss, crop, statistics)
        first, second = (
            Inception(channels, widths, rectified)
            for channels, widths in ((3, (1, 4, 4, 2)), (11, (2, 4, 4, 2)))
        )
        self.blocks = nn.Sequential(
            nn.Sequential(first, _norm(11, epsilon), nn.MaxPool2d(2)),
            nn.Sequential(second, _norm(12, epsilon), nn.MaxPool2d(2)),
            _block(12, 16, kernel=5, pool=2, epsilon=epsilon),
            _block(16, 16, kernel=5, pool=4, epsilon=epsilon),
        )
        self.head = _head(size, dropout)
        self.apply(_glorot)


class Inception(nn.Module):
    """Four branches side by side: 1×1; then 1×1 followed by 3×3 at dilation 1, 2 and 3.

    A ReLU follows every convolution if `rectified`. `widths` are the channels of the four branches.
    """

    def __init__(
        self, channels: int, widths: tuple[int, int, int, int], rectified: bool = True
    ) -> None:
        """Make the layer for an input of `channels` channels."""
        super().__init__()
        plain, *dilated = widths
        after = nn.ReLU if rectified else nn.Identity
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(channels, plain, 1), after())])
        for dilation, width in enumerate(dilated, start=1):
            wide = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            narrow = nn.Conv2d(channels, width, 1)
            self.branches.append(nn.Sequential(narrow, after(), wide, after()))

    def forward(self, features: Tensor) -> Tensor:
        """Return the branches' channels one after the other, at the input's height and width."""
        return torch.cat([branch(features) for branch in self.branches], dim=1)


def _block(channels: int, width: int, kernel: int, pool: int, epsilon: float) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.ReLU(), _norm(width, epsilon), nn.MaxPool2d(pool))


def _norm(channels: int, epsilon: float) -> nn.BatchNorm2d:
    # Keras's default momentum, 0.99, is 0.01 in torch's reading
    return nn.BatchNorm2d(channels, eps=epsilon, momentum=0.01)


def _head(size: int, dropout: float) -> nn.Sequential:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(CELL_WIDTH * (size // CELL) ** 2, 16),
        nn.LeakyReLU(0.1),
        nn.Dropout(dropout),
        nn.Linear(16, 1),
    )


def _glorot(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None  # noqa: S101 — none of these layers goes without
        nn.init.zeros_(module.bias)
