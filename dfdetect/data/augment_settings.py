"""How strongly training crops are changed; `configs/augment` holds the values of whole recipes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How strongly training crops are changed; probabilities are in [0, 1].

    `scale_low` and `scale_high` bound the side of the region as a multiple of the face box;
    `shift` is the largest offset of its centre, as a share of its side. `resize_low` is the
    smallest size, as a share of the input's, that a picture is taken down to and back up from.
    `jpeg_low` is the lowest JPEG quality, `noise_high` the largest standard deviation in grey
    levels, `colour_high` the largest change of brightness, contrast and saturation. `blur_low` and
    `blur_high` bound the blur's standard deviation in pixels; `rotate_high` is in degrees,
    `rgb_shift_high` in grey levels of each channel by itself. `codec` is the probability of going
    through H.264 at a CRF from `codec_low` to `codec_high`; `cutout` that one part of the face is
    covered in black, which needs landmarks; `erase` that a rectangle of up to `erase_high` of the
    picture's area is filled with one colour.
    """

    scale_low: float = 1.0
    scale_high: float = 1.5
    shift: float = 0.05
    flip: float = 0.5
    colour: float = 0.5
    colour_high: float = 0.25
    grey: float = 0.05
    blur: float = 0.15
    resize: float = 0.35
    resize_low: float = 0.35
    noise: float = 0.15
    noise_high: float = 8.0
    jpeg: float = 0.5
    jpeg_low: int = 40
    blur_low: float = 0.5
    blur_high: float = 1.5
    rotate: float = 0.0
    rotate_high: float = 10.0
    rgb_shift: float = 0.0
    rgb_shift_high: float = 20.0
    codec: float = 0.0
    codec_low: int = 23
    codec_high: int = 40
    cutout: float = 0.0
    erase: float = 0.0
    erase_high: float = 0.2


NO_AUGMENT = AugmentSettings(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 100)
"""Leaves a crop as it is, apart from the region and the size."""
GEOMETRY = ("scale_low", "scale_high", "shift", "flip", "rotate", "rotate_high")


def geometry_of(settings: AugmentSettings) -> AugmentSettings:
    """Return settings of the same regions, flips and rotations that change nothing else."""
    return replace(NO_AUGMENT, **{name: getattr(settings, name) for name in GEOMETRY})
