"""F3-Net: Xception on a picture taken apart by frequency, and on local frequency statistics.

Source: Qian et al., "Thinking in Frequency: Face Forgery Detection by Mining Frequency-aware
Clues", ECCV 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.frequency import dct_matrix, diagonal_band
from dfdetect.detectors.network import Detector
from dfdetect.detectors.precision import at_least_single, full_precision
from dfdetect.detectors.xception import (
    N_BLOCKS,
    WIDTH,
    XceptionBody,
    half_preprocess,
    logit_layer,
    pooled,
)

N_FILTERS = 4
WINDOW = 10
N_BANDS = 6
# brightness from R, G, B (ITU-R BT.601)
LUMA = (0.299, 0.587, 0.114)
# one pixel of a window, changed by one of 256 levels, adds about 0.06 over all bands
FLOOR = 1e-3
MIXED = {7: 728, 12: 1024}
"""After which blocks the branches are mixed, and how many channels they have there."""


class FrequencyDecomposition(nn.Module):
    """FAD: a picture as four pictures of other frequencies, by filters that learn.

    Each filter multiplies the picture's cosine transform by base + learnt, learnt within ± 1. The
    bases hold the diagonals i + j from 0 to ⌊S / 2.82⌋ (a sixteenth of all frequencies), to ⌊S / 2⌋
    (an eighth), the rest, and all; the bounds belong to both neighbours.
    """

    def __init__(self, size: int) -> None:
        """Make the filters for pictures of size × size."""
        super().__init__()
        low, middle, end = int(size / 2.82), size // 2, 2 * size
        bounds = ((0, low), (low, middle), (middle, end), (0, end))
        bands = torch.stack([diagonal_band(size, *bound) for bound in bounds])
        self.transform: Tensor
        self.bands: Tensor
        self.register_buffer("transform", dct_matrix(size), persistent=False)
        self.register_buffer("bands", bands, persistent=False)
        self.learnt = _learnt(N_FILTERS, size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return B × 12 × S × S for B × 3 × S × S: R, G, B of each filter, one after the other."""
        with full_precision(pixels):
            forth, back = self.transform, self.transform.mT
            spectrum = forth @ at_least_single(pixels) @ back
            filters = self.bands + _squashed(self.learnt)
            filtered = spectrum[:, None] * filters[:, None]
            return (back @ filtered @ forth).flatten(1, 2)


class LocalStatistics(nn.Module):
    """LFS: how much of each of six bands there is around each place.

    Windows of 10 × 10 slide by 2 over the brightness; each statistic is log10 of the sum of the
    absolute values of the window's filtered cosine transform. The margins (4 px before, 3 after, of
    zeros) make the map as large as Xception's first one: 149 × 149 for 299 × 299.
    """

    def __init__(self) -> None:
        """Make the filters: six bands of i + j of equal width, and what is learnt on top."""
        super().__init__()
        transform = dct_matrix(WINDOW)
        # kernel (i, j) is the outer product of rows i and j of the transform
        basis = (transform[:, None, :, None] * transform[None, :, None, :]).flatten(0, 1)
        edges = [math.ceil(band * 2 * WINDOW / N_BANDS) for band in range(N_BANDS + 1)]
        bands = torch.stack([diagonal_band(WINDOW, low, high - 1) for low, high in pairwise(edges)])
        self.basis: Tensor
        self.luma: Tensor
        self.bands: Tensor
        self.register_buffer("basis", basis[:, None], persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA)[:, None, None], persistent=False)
        self.register_buffer("bands", bands, persistent=False)
        self.learnt = _learnt(N_BANDS, WINDOW)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return B × 6 × H × H with H = ⌊(S - 1) / 2⌋ for pixels B × 3 × S × S."""
        with full_precision(pixels):
            luma = (at_least_single(pixels) * self.luma).sum(dim=1, keepdim=True)
            padded = functional.pad(luma, (4, 3, 4, 3))
            spectra = functional.conv2d(padded, self.basis, stride=2).abs()
            filters = (self.bands + _squashed(self.learnt)).abs()
            # |a · f| = |a| · |f|, so that the sum is a product with |f|
            sums = functional.conv2d(spectra, filters.flatten(1)[:, :, None, None])
            return torch.log10(sums + FLOOR)


class MixBlock(nn.Module):
    """Cross-attention: each branch is told what the other one sees, by one shared matrix.

    The matrix weighs places by queries and keys from both branches; what it adds starts at 0.
    """

    def __init__(self, channels: int) -> None:
        """Make the block for two maps of `channels` channels."""
        super().__init__()
        narrow = channels // 8
        self.queries = nn.ModuleList(nn.Conv2d(channels, narrow, 1) for _ in range(2))
        self.keys = nn.ModuleList(nn.Conv2d(channels, narrow, 1) for _ in range(2))
        self.values = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
            for _ in range(2)
        )
        self.gains = nn.Parameter(torch.zeros(2))

    def attention(self, first: Tensor, second: Tensor) -> Tensor:
        """Return for every place how much each place counts: B × HW × HW, rows of sum 1."""
        queries = _joined(self.queries, first, second)
        keys = _joined(self.keys, first, second)
        return torch.softmax(queries.mT @ keys / math.sqrt(queries.shape[1]), dim=2)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return both maps, each with what it takes from the other; all B × C × H × W."""
        weights = self.attention(first, second).mT
        seen_first = (first.flatten(2) @ weights).reshape(first.shape)
        seen_second = (second.flatten(2) @ weights).reshape(second.shape)
        return (
            first + self.gains[0] * self.values[0](seen_second),
            second + self.gains[1] * self.values[1](seen_first),
        )


class LocalBranch(nn.Module):
    """The second branch: local statistics, an Xception over them, and where it meets the first."""

    def __init__(self, init: str | None = None) -> None:
        """Make the branch; `init` as for `XceptionBody`."""
        super().__init__()
        self.statistics = LocalStatistics()
        self.body = XceptionBody(N_BANDS, init=init)
        # the statistics come at half the size already
        first = self.body.network.conv1
        first.stride, first.padding = (1, 1), (1, 1)
        self.mixes = nn.ModuleDict({str(at): MixBlock(width) for at, width in MIXED.items()})

    def forward(self, body: XceptionBody, features: Tensor, pixels: Tensor) -> Tensor:
        """Run both branches to their ends.

        Args:
            body: The first branch.
            features: What its stem made, B × 64 × H × H.
            pixels: B × 3 × S × S.

        Returns:
            Both last maps, the first branch's first: B × 4096 × S/32 × S/32.
        """
        local = self.body.stem(self.statistics(pixels))
        done = 0
        for at, mix in self.mixes.items():
            features = body.blocks(features, done + 1, int(at))
            local = self.body.blocks(local, done + 1, int(at))
            features, local = mix(features, local)
            done = int(at)
        return torch.cat([body.exit(features), self.body.exit(local)], dim=1)


@DETECTORS.register("f3net")
class F3Net(Detector):
    """F3-Net, an Xception on a picture that learnt filters take apart by frequency.

    Paper: Qian et al., "Thinking in Frequency", ECCV 2020: frequency-aware decomposition (FAD),
    local frequency statistics (LFS), MixBlock.

    Same: FAD: orthonormal cosine transform of the whole picture, four filters of a fixed band and a
    learnt part within ± 1, twelve channels into Xception; 299 px; cross-entropy. With `lfs`:
    windows of 10 px that slide by 2, six learnt bands of log10 statistics on 149 × 149 places into
    a second Xception, cross-attention after blocks 7 and 12, both ends concatenated.

    Differs: by default there is the FAD branch only, as in DeepfakeBench, whose band bounds, start
    of the filters (normal, 0.1) and dropout of 0.5 are used. All constants of `lfs` are recalled
    from the paper and not re-checked. Chosen here, because not known: statistics of the brightness,
    a floor of 0.001 under the logarithm, bands of equal width in i + j, a margin of zeros, and in
    the MixBlock an eighth of the channels for queries and keys and gains that start at 0. One logit
    instead of two, which is the same classifier. The filters are as large as the picture, so
    weights fit one size only.

    Published: for both branches, accuracy 0.9752 and AUC 0.981 on FF++ c23, 0.9043 and 0.933 on
    c40, trained on the same (paper, recalled); for FAD alone, frame AUC 0.9635 FF++ c23, 0.7352
    Celeb-DF-v2, trained on FF++ c23 at 256 px (DeepfakeBench README); re-runs of its released
    weights differ by up to 6 points.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})

    def __init__(
        self,
        size: int = 299,
        crop_scale: float = 1.3,
        lfs: bool = False,
        dropout: float = 0.5,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            lfs: Add the branch of local frequency statistics, mixed with the first.
            dropout: Probability in front of the last layer.
            init: A timm state dict or `download` for every Xception, see `load_initial`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
        """
        super().__init__(half_preprocess(size, crop_scale, crop))
        self.decomposition = FrequencyDecomposition(size)
        self.body = XceptionBody(3 * N_FILTERS, init=init, adapt=_for_every_filter)
        self.local = LocalBranch(init) if lfs else None
        self.head = logit_layer(2 * WIDTH if lfs else WIDTH, dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [-1, 1], float B × 3 × S × S."""
        features = self.body.stem(self.decomposition(pixels))
        if self.local is None:
            last = self.body.exit(self.body.blocks(features, 1, N_BLOCKS))
        else:
            last = self.local(self.body, features, pixels)
        logits: Tensor = self.head(pooled(last)).squeeze(1)
        return logits


def _learnt(count: int, size: int) -> nn.Parameter:
    filters = nn.Parameter(torch.empty(count, size, size))
    nn.init.normal_(filters, std=0.1)
    return filters


def _squashed(filters: Tensor) -> Tensor:
    # (1 - exp(-x)) / (1 + exp(-x)) in the paper
    return torch.tanh(filters / 2)


def _joined(layers: nn.ModuleList, first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([layers[0](first), layers[1](second)], dim=1).flatten(2)


def _for_every_filter(state: dict[str, Tensor]) -> dict[str, Tensor]:
    kernel = state["conv1.weight"]
    return {**state, "conv1.weight": kernel.repeat(1, N_FILTERS, 1, 1) / N_FILTERS}
