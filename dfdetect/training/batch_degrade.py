"""What `dfdetect.data.degrade` does, for a whole batch at once, where the batch is.

Every step is given as one number a sample and applied to all pictures of that sample, so that a
genuine face and its forged twin are changed alike. The steps are those of single pictures.
torchvision's functionals take one strength for a whole batch, so only the one without a strength,
`rgb_to_grayscale`, serves here; for the rest a loop over samples would make the GPU wait for the
CPU. Blurs and changes of size are products with matrices, JPEG is done as its standard says (tables
of annex K scaled by quality, colours at half of the resolution), only that nothing is packed into
bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as v2

from dfdetect.data.augment_settings import AugmentSettings
from dfdetect.data.degrade import SMALLEST
from dfdetect.training.batch_blend import Draws
from dfdetect.training.batch_shapes import gaussian_rows

# ITU-T T.81, annex K.1
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA_TABLE = (
    (17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99),
)  # fmt: skip
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Degradations:
    """One draw for each of B samples; the values of those that a step leaves alone do nothing.

    `colour` is B × 3 (brightness, contrast, saturation), `rgb_shift` B × 3 in grey levels, `grey`
    B of truth values, `sigma` B in pixels (0: none), `smaller` B in shares of the side (1: none),
    `noise` B × 3 × H × W in grey levels, `quality` B of JPEG (101: none).
    """

    colour: Tensor
    rgb_shift: Tensor
    grey: Tensor
    sigma: Tensor
    smaller: Tensor
    noise: Tensor
    quality: Tensor


def draw_degradations(draw: Draws, settings: AugmentSettings, size: int) -> Degradations:
    """Draw what will happen to each sample, distributed as `draw_treatment` draws it."""

    def some(share: float, values: Tensor, otherwise: float) -> Tensor:
        happens = draw.chance(share).reshape(-1, *[1] * (values.ndim - 1))
        return torch.where(happens, values, otherwise)

    told = settings
    deviation = draw.uniform(0, told.noise_high)[:, None, None, None]
    quality = draw.uniform(told.jpeg_low, 100).round()
    return Degradations(
        some(told.colour, draw.uniform(-told.colour_high, told.colour_high, 3), 0),
        some(told.rgb_shift, draw.uniform(-told.rgb_shift_high, told.rgb_shift_high, 3), 0),
        draw.chance(told.grey),
        some(told.blur, draw.uniform(told.blur_low, told.blur_high), 0),
        some(told.resize, draw.uniform(told.resize_low, 1), 1),
        some(told.noise, draw.normal(3, size, size) * deviation, 0),
        some(told.jpeg, quality, 101),
    )


def degrade(images: Tensor, changes: Degradations) -> Tensor:
    """Change the N pictures of every sample alike.

    Args:
        images: B × N × 3 × S × S, float32, whole numbers from 0 to 255.
        changes: What happens to each sample.

    Returns:
        The same shape, whole numbers from 0 to 255.
    """
    pixels = _recoloured(images, changes.colour)
    shift = changes.rgb_shift[:, None, :, None, None]
    pixels = (pixels + shift).clamp(0, 255).round()
    grey = v2.rgb_to_grayscale(pixels).floor()
    pixels = torch.where(_wide(changes.grey), grey, pixels)
    n = images.shape[-1]
    radius = (3 * changes.sigma).round().clamp(min=1)
    blur = gaussian_rows(changes.sigma, radius, n)[:, None, None]
    pixels = torch.where(_wide(changes.sigma > 0), (blur @ pixels @ blur.mT).round(), pixels)
    coarse = _coarse_rows(changes.smaller, n)[:, None, None]
    coarser = (coarse @ pixels @ coarse.mT).round()
    pixels = torch.where(_wide(changes.smaller < 1), coarser, pixels)
    pixels = (pixels + changes.noise[:, None]).round().clamp(0, 255)
    return torch.where(_wide(changes.quality <= 100), jpeg(pixels, changes.quality), pixels)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Return pictures after JPEG with colours at half of the resolution, as libjpeg writes it.

    Args:
        images: B × N × 3 × H × W, 0 to 255.
        quality: B, from 1 to 100.
    """
    height, width = images.shape[-2:]
    flat = images.flatten(0, 1)
    flat = functional.pad(flat, (0, -width % 16, 0, -height % 16), "replicate")
    red, green, blue = flat.unbind(1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    colours = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402], 1)
    colours = functional.avg_pool2d((colours + 128).round(), 2)
    scale = quality.clamp(1, 100)
    scale = torch.where(scale < 50, (5000 / scale).floor(), 200 - 2 * scale)
    scale = scale.repeat_interleave(images.shape[1])[:, None, None]
    high = functional.pad(torch.tensor(CHROMA_TABLE), (0, 4, 0, 4), value=99)
    luma = _quantised(luma.round()[:, None], torch.tensor(LUMA_TABLE), scale)[:, 0]
    colours = _quantised(colours.round(), high, scale)
    size = list(luma.shape[-2:])
    colours = functional.interpolate(colours, size, mode="bilinear", align_corners=False).round()
    b, r = (colours - 128).unbind(1)
    restored = torch.stack(
        [
            luma + 1.402 * r,
            luma - (LUMA[2] * 1.772 * b + LUMA[0] * 1.402 * r) / LUMA[1],
            luma + 1.772 * b,
        ],
        1,
    )
    restored = restored.clamp(0, 255).round()[..., :height, :width]
    return restored.reshape(images.shape)


def _quantised(planes: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """Round the cosine transforms of 8 × 8 blocks to multiples of a scaled table."""
    steps = ((table.to(planes) * scale + 50) / 100).floor().clamp(1, 255)
    n, channels, height, width = planes.shape
    blocks = planes.reshape(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4) - 128
    place = torch.arange(8, device=planes.device)
    basis = torch.cos((2 * place + 1) * place[:, None] * (math.pi / 16)) / 2
    basis = torch.cat([basis[:1] / math.sqrt(2), basis[1:]])
    steps = steps[:, None, None, None]
    kept = (basis @ blocks @ basis.T / steps).round() * steps
    back = (basis.T @ kept @ basis + 128).clamp(0, 255).round()
    return back.transpose(3, 4).reshape(planes.shape)


def _recoloured(images: Tensor, change: Tensor) -> Tensor:
    """Do what `recolour` does, with strengths that torchvision's functionals do not take."""
    brightness, contrast, saturation = (_wide(each) for each in (1 + change).clamp(min=0).unbind(1))
    levels = (images / 255 * brightness).clamp(0, 1)
    mean = v2.rgb_to_grayscale(levels).mean((3, 4), keepdim=True)
    levels = (mean + (levels - mean) * contrast).clamp(0, 1)
    grey = v2.rgb_to_grayscale(levels)
    levels = (grey + (levels - grey) * saturation).clamp(0, 1)
    still = (change == 0).all(1)
    return torch.where(_wide(still), images, v2.to_dtype(levels, torch.uint8, scale=True))


def _coarse_rows(share: Tensor, n: int) -> Tensor:
    """Return matrices that take a line of n pixels down without aliasing and up, both linearly."""
    small = (n * share).round().clamp(SMALLEST, max(n, SMALLEST))[:, None, None]
    line = torch.arange(n, device=share.device, dtype=torch.float32)
    rows, columns = line[:, None], line[None]
    length = n / small
    # a coarse pixel looks as far as the middles of its neighbours
    distance = ((rows + 0.5) * length - (columns + 0.5)).abs() / length
    down = (1 - distance).clamp(min=0) * (rows < small)
    down = down / down.sum(-1, keepdim=True).clamp(min=1e-6)
    place = ((rows + 0.5) / length - 0.5).clamp(min=0).minimum(small - 1)
    up = (1 - (place - columns).abs()).clamp(min=0) * (columns < small)
    return up @ down


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None, None]
