"""All that chance decides about a crop in training: drawn once, before any pixel is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.augment_settings import AugmentSettings
from dfdetect.data.occlusion import PARTS, Rectangle
from dfdetect.data.opacity import Floats
from dfdetect.data.region import corner
from dfdetect.types import Point

Landmarks: TypeAlias = "Sequence[Point] | Floats"


@dataclass(frozen=True, slots=True)
class Treatment:
    """One draw of everything that happens to a crop; None where something does not happen.

    `scale` is the region's side over the face box's; `shift` (x, y) moves its centre, in shares of
    its side; `angle` turns the picture, in degrees, counter-clockwise.
    """

    scale: float
    shift: tuple[float, float]
    flip: bool
    angle: float | None
    colour: NDArray[np.float64] | None
    rgb_shift: NDArray[np.float64] | None
    grey: bool
    sigma: float | None
    smaller: float | None
    noise: tuple[float, np.random.SeedSequence] | None
    crf: int | None
    quality: int | None
    part: str | None
    hole: Rectangle | None

    def share_of(self, crop_scale: float) -> float:
        """Return the region's side over that of a crop stored with this scale, at most 1."""
        return min(1.0, self.scale / crop_scale)


def draw_treatment(rng: np.random.Generator, settings: AugmentSettings) -> Treatment:
    """Draw what will happen to a crop; the same amount of chance whatever it is."""
    scale = rng.uniform(settings.scale_low, settings.scale_high)
    shift = rng.uniform(-settings.shift, settings.shift, 2)
    flip, colour, grey, blur, resize, noise, compress = rng.random(7)
    strength = rng.uniform(-1.0, 1.0, 6)
    rotate, rgb_shift, codec, cutout, erase = rng.random(5)
    further = rng.uniform(-1.0, 1.0, 6)
    placed = rng.random(7)
    noisy = noise < settings.noise
    low, high = settings.jpeg_low, settings.codec_high - settings.codec_low
    return Treatment(
        scale=scale,
        shift=(shift[0], shift[1]),
        flip=flip < settings.flip,
        angle=further[0] * settings.rotate_high if rotate < settings.rotate else None,
        colour=strength[:3] * settings.colour_high if colour < settings.colour else None,
        rgb_shift=(
            further[1:4] * settings.rgb_shift_high if rgb_shift < settings.rgb_shift else None
        ),
        grey=grey < settings.grey,
        sigma=(
            settings.blur_low + (settings.blur_high - settings.blur_low) * abs(strength[3])
            if blur < settings.blur
            else None
        ),
        smaller=(
            1 - (1 - settings.resize_low) * abs(strength[4]) if resize < settings.resize else None
        ),
        noise=(settings.noise_high * abs(strength[5]), _child(rng)) if noisy else None,
        crf=round(settings.codec_low + high * abs(further[4])) if codec < settings.codec else None,
        quality=(
            round(low + (100 - low) * compress / settings.jpeg)
            if compress < settings.jpeg
            else None
        ),
        part=PARTS[int(placed[0] * len(PARTS))] if cutout < settings.cutout else None,
        hole=(Rectangle.drawn(placed[1:], settings.erase_high) if erase < settings.erase else None),
    )


def carried(
    points: Floats, side: int, treatment: Treatment, crop_scale: float, size: int
) -> Floats:
    """Take points from a stored crop to where its treated picture shows them.

    Args:
        points: N × 2, in the crop's pixels.
        side: Side of the crop in pixels.
        treatment: What happens.
        crop_scale: The scale that the crop was stored with.
        size: Side of the result in pixels.
    """
    share = treatment.share_of(crop_scale)
    x, y, cut = corner(side, share, treatment.shift)
    points = (points - [x, y] + 0.5) * (size / cut) - 0.5
    if treatment.flip:
        points[:, 0] = size - 1 - points[:, 0]
    if treatment.angle is not None:
        middle = (size - 1) / 2
        turn = cv2.getRotationMatrix2D((middle, middle), treatment.angle, 1.0)
        points = points @ turn[:, :2].T + turn[:, 2]
    return points


def _child(rng: np.random.Generator) -> np.random.SeedSequence:
    seed = rng.spawn(1)[0].bit_generator.seed_seq
    if not isinstance(seed, np.random.SeedSequence):
        raise TypeError("noise needs a generator that was made by numpy.random.default_rng")
    return seed
