"""What a treatment does to the pixels of crops and masks, step by step, by torchvision.

This is where training items meet torch; `augment` imports it when the first picture comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from dfdetect.data.degrade import (
    blur,
    down_and_up,
    grey,
    jpeg,
    noisy,
    recolour,
    shift_channels,
)
from dfdetect.data.face_shape import placed_shape
from dfdetect.data.occlusion import Covered, erased_pixels, part_pixels
from dfdetect.data.opacity import Mask, as_floats
from dfdetect.data.recode import h264
from dfdetect.data.region import Pixels, region
from dfdetect.data.treatment import Landmarks, Treatment, carried
from dfdetect.types import Image

# what a turn can bring in from beyond an edge, as a share of the side: (√2 − 1) / 2
BEYOND = 0.2072


def treated(
    crops: Sequence[Image],
    crop_scale: float,
    size: int,
    treatment: Treatment,
    landmarks: Sequence[Landmarks],
) -> list[Image]:
    """Return crops after one and the same treatment, size × size × 3.

    Args:
        crops: Stored crops, S × S × 3, in order where they are a clip.
        crop_scale: The scale that they were stored with.
        size: Side of the results in pixels.
        treatment: What happens.
        landmarks: 5, 68 or 81 points for each crop; empty where no part of a face is covered.
    """
    pictures = _degraded(_placed(crops, crop_scale, size, treatment), treatment)
    if treatment.crf is not None:
        pictures = _tensor(h264(_arrays(pictures), treatment.crf))
    if treatment.quality is not None:
        pictures = jpeg(pictures, treatment.quality)
    if treatment.part is not None:
        parts = [
            _part(points, treatment.part, len(crop), treatment, crop_scale, size)
            for crop, points in zip(crops, landmarks, strict=True)
        ]
        pictures = pictures.masked_fill(torch.from_numpy(np.stack(parts))[:, None], 0)
    if treatment.hole is not None:
        top, left, height, width = treatment.hole.within(size)
        colour = torch.tensor(treatment.hole.colour, dtype=torch.uint8)[:, None, None]
        pictures = v2.erase(pictures, top, left, height, width, colour)
    return _arrays(pictures)


def treated_mask(
    mask: Mask, crop_scale: float, size: int, treatment: Treatment, landmarks: Landmarks
) -> Mask:
    """Return a crop's mask after the geometry of a treatment, 0 where something is covered.

    Args:
        mask: float32, S × S, in [0, 1].
        crop_scale: As for `treated`.
        size: As for `treated`.
        treatment: As for `treated`.
        landmarks: The points of its crop.
    """
    hidden = np.zeros((size, size), dtype=np.bool_)
    if treatment.part is not None:
        hidden |= _part(landmarks, treatment.part, len(mask), treatment, crop_scale, size)
    if treatment.hole is not None:
        hidden |= erased_pixels(treatment.hole, size)
    placed = _placed([mask], crop_scale, size, treatment)
    shown = placed.masked_fill(torch.from_numpy(hidden), 0).clamp(0, 1)
    return as_floats(shown[0, 0].contiguous().numpy())


def _tensor(pictures: Sequence[Pixels]) -> Tensor:
    """Return N × C × H × W, a view of one copy: N pictures of three channels, or masks of one."""
    stacked = torch.from_numpy(np.stack(pictures))
    return stacked.permute(0, 3, 1, 2) if stacked.ndim == 4 else stacked[:, None]


def _arrays(pictures: Tensor) -> list[Image]:
    return list(pictures.permute(0, 2, 3, 1).contiguous().numpy())


def _placed(crops: Sequence[Pixels], crop_scale: float, size: int, treatment: Treatment) -> Tensor:
    """Cut, mirror and turn; a turn brings a picture's mirrored rim in, and to a mask nothing."""
    share = treatment.share_of(crop_scale)
    placed = _tensor([region(crop, share, treatment.shift, size) for crop in crops])
    if treatment.flip:
        placed = v2.horizontal_flip(placed)
    if treatment.angle is None:
        return placed
    if placed.shape[1] == 3:
        placed = v2.pad(placed, [math.ceil(BEYOND * size)], padding_mode="reflect")
    turned = v2.rotate(placed, treatment.angle, InterpolationMode.BILINEAR)
    middle: Tensor = v2.center_crop(turned, [size, size])
    return middle


def _degraded(pictures: Tensor, treatment: Treatment) -> Tensor:
    if treatment.colour is not None:
        pictures = recolour(pictures, treatment.colour)
    if treatment.rgb_shift is not None:
        pictures = shift_channels(pictures, treatment.rgb_shift)
    if treatment.grey:
        pictures = grey(pictures)
    if treatment.sigma is not None and treatment.sigma > 0:
        pictures = blur(pictures, treatment.sigma)
    if treatment.smaller is not None:
        pictures = down_and_up(pictures, treatment.smaller)
    if treatment.noise is not None:
        pictures = noisy(pictures, *treatment.noise)
    return pictures


def _part(
    landmarks: Landmarks, part: str, side: int, treatment: Treatment, crop_scale: float, size: int
) -> Covered:
    shape = carried(placed_shape(landmarks), side, treatment, crop_scale, size)
    return part_pixels(shape, part, size)
