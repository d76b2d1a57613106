"""SPSL: Xception on a picture and its phase.

Source: Liu et al., "Spatial-Phase Shallow Learning: Rethinking Face Forgery Detection in Frequency
Domain", CVPR 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.detectors.xception import (
    WIDTH,
    XceptionBody,
    half_preprocess,
    logit_layer,
    pooled,
)

# frequencies below it count as absent; what 8-bit rounding alone puts into one is near 1e-3
FLOOR = 1e-6


class PhaseOnly(nn.Module):
    """A grey picture of which only the phase is left: every frequency's amplitude is set to 1.

    The Fourier transform is orthonormal, so the result has a mean square of 1. An absent frequency
    has no phase: it stays 0, and amplitudes below 1e-6 (in units of the pixels' range [-1, 1])
    count in proportion, amplitude / 1e-6. A constant picture thus becomes a constant, and zeros
    stay zeros.

    Computed in float64, so on a device that has it: float32's rounding puts more than that into
    frequencies that a flat or drawn picture does not have, and their phases would be noise.
    """

    def __init__(self, size: int) -> None:
        """Make the transform for pictures of size × size."""
        super().__init__()
        place = torch.arange(size)
        # whole turns are left out, so that the angles stay exact
        angle = (place[:, None] * place % size).double() * (2 * math.pi / size)
        self.cosine: Tensor
        self.sine: Tensor
        self.register_buffer("cosine", torch.cos(angle) / math.sqrt(size), persistent=False)
        self.register_buffer("sine", torch.sin(angle) / math.sqrt(size), persistent=False)
        self.columns = size // 2 + 1
        # a real picture's spectrum is told by half its columns; the inner ones stand for two
        counts = torch.full((self.columns,), 2.0, dtype=torch.float64)
        counts[0] = 1.0
        if size % 2 == 0:
            counts[-1] = 1.0
        self.counts: Tensor
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        """Return the phase-only picture, float64: B × S × S → B × S × S."""
        cosine, sine = self.cosine.double(), self.sine.double()
        right_cosine, right_sine = cosine[:, : self.columns], sine[:, : self.columns]
        grey = grey.double()
        across, turned = grey @ right_cosine, grey @ right_sine
        real = cosine @ across - sine @ turned
        imaginary = -(sine @ across + cosine @ turned)
        power = real.square() + imaginary.square()
        # of the power and not of the amplitude, whose gradient is infinite at 0
        weight = self.counts.double() * power.clamp(min=FLOOR**2).rsqrt()
        real, imaginary = real * weight, imaginary * weight
        back = cosine @ real - sine @ imaginary
        turned_back = sine @ real + cosine @ imaginary
        return back @ right_cosine.mT - turned_back @ right_sine.mT


@DETECTORS.register("spsl")
class SPSL(Detector):
    """SPSL, a shallow Xception on RGB and the picture's phase.

    Paper: Liu et al., "Spatial-Phase Shallow Learning", CVPR 2021: phase spectrum and shallow
    network.

    Same: the fourth channel is the mean of R, G and B with every Fourier amplitude set to one; with
    `shallow` (the default) Xception without its middle flow, blocks 4 to 11; cross-entropy.

    Differs: the phase picture is scaled to a mean square of 1, as large as the colours; with the
    usual inverse transform it is S times smaller, as in DeepfakeBench's network, whose weights for
    that channel fit here divided by S. One logit instead of two, which is the same classifier. 299
    px and crops at 1.3 times the face box are Xception's; the paper's own were not checked.
    `shallow=false` is the depth of DeepfakeBench's network. With `init` the first layer starts from
    ImageNet's kernel averaged over R, G and B and repeated, as there, but times 3 / 4, which the
    batch norm after it undoes.

    Published: AUC 0.7688 on Celeb-DF, trained on FF++ (paper, recalled); frame AUC 0.9610 FF++
    c23, 0.7650 Celeb-DF-v2, trained on FF++ c23 at 256 px and original depth (DeepfakeBench
    README); re-runs of its released weights differ by up to 6 points.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"init"})
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({"size": 64})

    def __init__(
        self,
        size: int = 299,
        crop_scale: float = 1.3,
        shallow: bool = True,
        dropout: float = 0.0,
        init: str | None = None,
        crop: str = "square",
    ) -> None:
        """Make the network.

        Args:
            size: Side of the input in pixels.
            crop_scale: Side of the crop as a multiple of the face box's longer side.
            shallow: Leave out the middle flow, as in the paper.
            dropout: Probability in front of the last layer.
            init: A timm state dict or `download`, see `load_initial`.
            crop: How faces are cut out: square, aligned or whole; see `CropPolicy`.
        """
        super().__init__(half_preprocess(size, crop_scale, crop))
        self.phase = PhaseOnly(size)
        self.body = XceptionBody(4, shallow=shallow, init=init)
        self.head = logit_layer(WIDTH, dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for pixels in [-1, 1], float B × 3 × S × S."""
        phase = self.phase(pixels.double().mean(dim=1)).to(pixels.dtype)
        features = self.body(torch.cat([pixels, phase[:, None]], dim=1))
        logits: Tensor = self.head(pooled(features)).squeeze(1)
        return logits
