"""What editing and uploading does to pixels, one step a function, by torchvision's v2 functionals.

Each step takes the N pictures of one sample, uint8 N × 3 × H × W in any memory layout, and changes
all of them alike. `dfdetect.training.batch_degrade` does the same to samples that each have a
strength of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

# a picture is taken down to so many pixels a side at the least
SMALLEST = 8


def recolour(pictures: Tensor, change: Sequence[float] | NDArray[np.float64]) -> Tensor:
    """Change brightness, then contrast, then saturation by shares, 0 = as it was.

    Brightness scales every value; contrast moves it from the mean luma of its picture, and
    saturation from the luma of its pixel.
    """
    brightness, contrast, saturation = (max(0.0, 1 + float(share)) for share in change)
    # in double precision three steps round once, and no mean depends on the number of threads
    levels = v2.to_dtype(pictures.contiguous(), torch.float64, scale=True)
    levels = v2.adjust_brightness(levels, brightness)
    levels = v2.adjust_saturation(v2.adjust_contrast(levels, contrast), saturation)
    changed: Tensor = v2.to_dtype(levels, torch.uint8, scale=True)
    return changed


def shift_channels(pictures: Tensor, levels: NDArray[np.float64]) -> Tensor:
    """Add so many grey levels to red, green and blue, each by itself."""
    shift = torch.from_numpy(levels)[:, None, None]
    return (pictures + shift).clamp_(0, 255).round_().to(torch.uint8)


def grey(pictures: Tensor) -> Tensor:
    """Take the colour away; three equal channels remain."""
    plain: Tensor = v2.rgb_to_grayscale(pictures, 3)
    return plain


def blur(pictures: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian of a standard deviation above 0, in pixels, cut off at three of them."""
    radius = min(max(1, round(3 * sigma)), min(pictures.shape[-2:]) - 1)
    blurred: Tensor = v2.gaussian_blur(pictures, [2 * radius + 1] * 2, [sigma] * 2)
    return blurred


def down_and_up(pictures: Tensor, share: float) -> Tensor:
    """Shrink square pictures to a share of their side, without aliasing, and enlarge them again."""
    size = pictures.shape[-1]
    small = max(SMALLEST, round(size * share))
    restored: Tensor = v2.resize(v2.resize(pictures, [small] * 2), [size] * 2)
    return restored


def noisy(pictures: Tensor, deviation: float, seed: np.random.SeedSequence) -> Tensor:
    """Add normal noise of a standard deviation in grey levels, the same to every picture.

    `v2.gaussian_noise` draws from torch's global generator, and anew for each picture; this draws
    from the seed alone.
    """
    generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]))
    noise = torch.randn(pictures.shape[-3:], generator=generator) * deviation
    return (pictures + noise).round_().clamp_(0, 255).to(torch.uint8)


def jpeg(pictures: Tensor, quality: int) -> Tensor:
    """Compress pictures as JPEG (4:2:0), quality 1 to 100, and read them again."""
    # as Pillow's pictures: the codec that torchvision has for tensors is deprecated
    return torch.stack(
        [
            v2.pil_to_tensor(v2.jpeg(v2.to_pil_image(picture), max(1, quality)))
            for picture in pictures
        ]
    )
