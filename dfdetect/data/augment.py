"""What happens to a face crop before training sees it: a random region, then what platforms do.

These transforms work on single uint8 pictures with numpy and OpenCV, in the loader's workers: the
JPEG and resize artefacts must be the real codecs', and one picture costs a few milliseconds.
Every draw comes from the generator that is passed in, so a picture and its twin, or all frames of
a clip, get the same treatment when they are given generators in the same state.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.types import Image

N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How strongly training crops are changed; probabilities are in [0, 1].

    `scale_low` and `scale_high` bound the side of the region as a multiple of the face box;
    `shift` is the largest offset of its centre, as a share of its side. `resize_low` is the
    smallest size, as a share of the input's, that a picture is taken down to and back up from.
    `jpeg_low` is the lowest JPEG quality, `noise_high` the largest standard deviation in grey
    levels, `colour_high` the largest change of brightness, contrast and saturation.
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


NO_AUGMENT = AugmentSettings(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 100)
"""Leaves a crop as it is, apart from the region and the size."""


def face_region(crop: Image, crop_scale: float, scale: float, size: int) -> Image:
    """Cut the centre of a stored crop down to `scale` times the face box and resize it.

    Args:
        crop: Stored crop, S × S × 3, whose side is `crop_scale` times the face box.
        crop_scale: The scale that it was stored with.
        scale: The scale that is wanted; more than was stored gives the whole crop.
        size: Side of the result in pixels.
    """
    return _region(crop, min(1.0, scale / crop_scale), (0.0, 0.0), size)


def augment(
    crop: Image,
    crop_scale: float,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
) -> Image:
    """Return a randomly changed region of a stored crop, size × size × 3.

    Every call draws the same amount of chance, whatever is applied, so that two pictures with
    generators in the same state are treated alike.
    """
    share = min(1.0, rng.uniform(settings.scale_low, settings.scale_high) / crop_scale)
    shift = rng.uniform(-settings.shift, settings.shift, 2)
    flip, colour, grey, blur, resize, noise, jpeg = rng.random(7)
    strength = rng.uniform(-1.0, 1.0, 6)
    picture = _region(crop, share, (shift[0], shift[1]), size)
    if flip < settings.flip:
        picture = picture[:, ::-1]
    if colour < settings.colour:
        picture = _recolour(picture, strength[:3] * settings.colour_high)
    if grey < settings.grey:
        luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        picture = _uint8(cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB))
    if blur < settings.blur:
        picture = _uint8(cv2.GaussianBlur(picture, (0, 0), 0.5 + abs(strength[3])))
    if resize < settings.resize:
        picture = _down_and_up(picture, 1 - (1 - settings.resize_low) * abs(strength[4]))
    if noise < settings.noise:
        picture = _noisy(picture, settings.noise_high * abs(strength[5]), rng.spawn(1)[0])
    if jpeg < settings.jpeg:
        quality = settings.jpeg_low + (100 - settings.jpeg_low) * jpeg / settings.jpeg
        picture = _jpeg(picture, round(quality))
    return np.ascontiguousarray(picture)


def augment_masked(
    crop: Image,
    mask: NDArray[np.float32],
    crop_scale: float,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
) -> tuple[Image, NDArray[np.float32]]:
    """Return what `augment` makes of a crop, and its mask moved alike, size × size in [0, 1].

    Only the region and the flip move a mask; what compression does to a picture does nothing to
    where it is forged.
    """
    again = copy.deepcopy(rng)
    picture = augment(crop, crop_scale, size, rng, settings)
    share = min(1.0, again.uniform(settings.scale_low, settings.scale_high) / crop_scale)
    shift = again.uniform(-settings.shift, settings.shift, 2)
    flip = again.random(7)[0]
    moved = _window(mask, share, (shift[0], shift[1]), size)
    if flip < settings.flip:
        moved = moved[:, ::-1]
    return picture, np.ascontiguousarray(moved.clip(0.0, 1.0), dtype=np.float32)


def _region(crop: Image, share: float, shift: tuple[float, float], size: int) -> Image:
    return np.ascontiguousarray(_window(crop, share, shift, size))


def _window(crop: NDArray[N], share: float, shift: tuple[float, float], size: int) -> NDArray[N]:
    side = crop.shape[0]
    cut = max(1, round(side * share))
    x, y = (round((side - cut) / 2 + offset * cut) for offset in shift)
    x, y = (min(max(position, 0), side - cut) for position in (x, y))
    region = crop[y : y + cut, x : x + cut]
    if cut == size:
        return region
    # area averaging keeps fine artefacts from aliasing; it cannot enlarge
    shrink = cv2.INTER_AREA if cut > size else cv2.INTER_LINEAR
    # OpenCV's stubs know no arrays of a type variable
    resized = cv2.resize(cast("Any", region), (size, size), interpolation=shrink)
    return np.asarray(resized, dtype=crop.dtype)


def _recolour(picture: Image, change: NDArray[np.float64]) -> Image:
    brightness, contrast, saturation = change
    pixels = picture.astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * (1 + saturation)
    pixels = (pixels - pixels.mean()) * (1 + contrast) + pixels.mean() * (1 + brightness)
    return _uint8(np.clip(pixels, 0, 255))


def _down_and_up(picture: Image, share: float) -> Image:
    size = picture.shape[0]
    small = max(8, round(size * share))
    reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    return _uint8(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR))


def _noisy(picture: Image, deviation: float, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * deviation
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def _jpeg(picture: Image, quality: int) -> Image:
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return _uint8(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def _uint8(picture: object) -> Image:
    # OpenCV's stubs do not know that a picture keeps its type
    return np.asarray(picture, dtype=np.uint8)
