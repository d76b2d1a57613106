"""What happens to a face crop before training sees it: a random region, then what platforms do.

These transforms work on single uint8 pictures with numpy and OpenCV, in the loader's workers, so
that artefacts are the real codecs' (`scripts/bench_train.py` holds them against torchvision's). All
chance lies in a `Treatment`, which is drawn once: a picture and its twin, a picture and its mask,
or all frames of a clip get the same one when they are given generators in the same state, or go
through one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.augment_settings import NO_AUGMENT as NO_AUGMENT
from dfdetect.data.augment_settings import AugmentSettings as AugmentSettings
from dfdetect.data.degrade import down_and_up, jpeg, noisy, recolour
from dfdetect.data.face_shape import placed_shape
from dfdetect.data.occlusion import PARTS, Rectangle, erased_pixels, part_pixels
from dfdetect.data.opacity import Floats, Mask, as_image
from dfdetect.data.recode import h264
from dfdetect.errors import UsageError
from dfdetect.types import Image, Point

Landmarks: TypeAlias = "Sequence[Point] | Floats"
Pixels = TypeVar("Pixels", Image, Mask)


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
    landmarks: Landmarks = (),
) -> Image:
    """Return a randomly changed region of a stored crop, size × size × 3.

    Every call draws the same amount of chance, whatever is applied, so that two pictures with
    generators in the same state are treated alike.

    Args:
        crop: Stored crop, S × S × 3, whose side is `crop_scale` times the face box.
        crop_scale: The scale that it was stored with.
        size: Side of the result in pixels.
        rng: The only source of chance.
        settings: What may happen.
        landmarks: 5, 68 or 81 points in the crop's pixels; cut-outs need them.

    Raises:
        UsageError: Cut-outs are asked for without landmarks.
    """
    return augment_clip([crop], crop_scale, size, rng, settings, [landmarks])[0]


def augment_clip(
    crops: Sequence[Image],
    crop_scale: float,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    landmarks: Sequence[Landmarks] = (),
) -> list[Image]:
    """Return the frames of a clip after one and the same treatment, encoded as one clip.

    Args:
        crops: The frames' crops, in order, as `augment` takes them.
        crop_scale: The scale that they were stored with.
        size: Side of the results in pixels.
        rng: The only source of chance.
        settings: What may happen.
        landmarks: For each frame, as `augment` takes them; or none at all.

    Raises:
        UsageError: Cut-outs are asked for without landmarks.
    """
    treatment = draw_treatment(rng, settings)
    points = landmarks if len(landmarks) else [()] * len(crops)
    require_landmarks(settings, points)
    return _treated(crops, crop_scale, size, treatment, points)


def augment_masked(
    crop: Image,
    mask: Mask,
    crop_scale: float,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    landmarks: Landmarks = (),
) -> tuple[Image, Mask]:
    """Return what `augment` does, and a mask after the same geometry; both size × size.

    What is covered shows nothing forged any more: the mask is 0 there, and where a rotation has
    brought in what lay outside of the crop.

    Args:
        crop: As for `augment`.
        mask: float32, S × S, in [0, 1], 1 where forged.
        crop_scale: The scale that the crop was stored with.
        size: Side of the results in pixels.
        rng: The only source of chance.
        settings: What may happen.
        landmarks: As for `augment`.

    Raises:
        ValueError: Mask and crop are of different sizes.
        UsageError: Cut-outs are asked for without landmarks.
    """
    if mask.shape != crop.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} does not fit a crop of {crop.shape[:2]}")
    treatment = draw_treatment(rng, settings)
    require_landmarks(settings, [landmarks])
    picture = _treated([crop], crop_scale, size, treatment, [landmarks])[0]
    share = min(1.0, treatment.scale / crop_scale)
    placed = _region(mask, share, treatment.shift, size)
    placed = placed[:, ::-1] if treatment.flip else placed
    if treatment.angle is not None:
        placed = _rotated(placed, treatment.angle, cv2.BORDER_CONSTANT)
    hidden = _hidden(treatment, landmarks, crop.shape[0], share, size)
    covered = np.where(hidden, np.float32(0), placed)
    return picture, np.ascontiguousarray(np.clip(covered, 0, 1), dtype=np.float32)


def augment_marked(
    crop: Image,
    crop_scale: float,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    landmarks: Landmarks,
) -> tuple[Image, Floats]:
    """Return what `augment` does, and where five points came to lie, (5, 2), left ones first."""
    treatment = draw_treatment(rng, settings)
    (picture,) = _treated([crop], crop_scale, size, treatment, [landmarks])
    share = min(1.0, treatment.scale / crop_scale)
    points = _carried(np.asarray(landmarks, np.float64), crop.shape[0], share, treatment, size)
    return picture, points[[1, 0, 2, 4, 3]] if treatment.flip else points


def require_landmarks(settings: AugmentSettings, landmarks: Sequence[Landmarks]) -> None:
    """Raise UsageError where cut-outs of face parts are asked for but a face has no landmarks."""
    if settings.cutout > 0 and not all(len(points) for points in landmarks):
        raise UsageError(
            "cut-outs of face parts need landmarks; extract with faces.landmarks=true or set "
            "augment.cutout=0"
        )


def _child(rng: np.random.Generator) -> np.random.SeedSequence:
    seed = rng.spawn(1)[0].bit_generator.seed_seq
    if not isinstance(seed, np.random.SeedSequence):
        raise TypeError("noise needs a generator that was made by numpy.random.default_rng")
    return seed


def _treated(
    crops: Sequence[Image],
    crop_scale: float,
    size: int,
    treatment: Treatment,
    landmarks: Sequence[Landmarks],
) -> list[Image]:
    share = min(1.0, treatment.scale / crop_scale)
    pictures = [_degraded(_placed(crop, share, size, treatment), treatment) for crop in crops]
    if treatment.crf is not None:
        pictures = h264(pictures, treatment.crf)
    if treatment.quality is not None:
        pictures = [jpeg(picture, treatment.quality) for picture in pictures]
    hole = treatment.hole
    for n, (crop, points) in enumerate(zip(crops, landmarks, strict=True)):
        if treatment.part is not None:
            part = part_pixels(
                _moved(points, crop.shape[0], share, treatment, size), treatment.part, size
            )
            pictures[n] = np.where(part[..., None], np.uint8(0), pictures[n])
        if hole is not None:
            inside = erased_pixels(hole, size)[..., None]
            pictures[n] = np.where(inside, np.array(hole.colour, np.uint8), pictures[n])
    return [np.ascontiguousarray(picture) for picture in pictures]


def _placed(crop: Image, share: float, size: int, treatment: Treatment) -> Image:
    picture = _region(crop, share, treatment.shift, size)
    if treatment.flip:
        picture = picture[:, ::-1]
    if treatment.angle is not None:
        picture = _rotated(picture, treatment.angle, cv2.BORDER_REFLECT_101)
    return picture


def _degraded(picture: Image, treatment: Treatment) -> Image:
    if treatment.colour is not None:
        picture = recolour(picture, treatment.colour)
    if treatment.rgb_shift is not None:
        table = np.clip(np.arange(256.0)[:, None] + treatment.rgb_shift, 0, 255)
        picture = as_image(cv2.LUT(picture, np.rint(table).astype(np.uint8)[None]))
    if treatment.grey:
        luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        picture = as_image(cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB))
    # OpenCV takes a sigma of 0 for a wish to choose one itself
    if treatment.sigma is not None and treatment.sigma > 0:
        picture = as_image(cv2.GaussianBlur(picture, (0, 0), treatment.sigma))
    if treatment.smaller is not None:
        picture = down_and_up(picture, treatment.smaller)
    if treatment.noise is not None:
        deviation, seed = treatment.noise
        picture = noisy(picture, deviation, np.random.default_rng(seed))
    return picture


def _hidden(
    treatment: Treatment, landmarks: Landmarks, side: int, share: float, size: int
) -> NDArray[np.bool_]:
    hidden = np.zeros((size, size), dtype=np.bool_)
    if treatment.part is not None:
        points = _moved(landmarks, side, share, treatment, size)
        hidden |= part_pixels(points, treatment.part, size)
    if treatment.hole is not None:
        hidden |= erased_pixels(treatment.hole, size)
    return hidden


def _moved(
    landmarks: Landmarks, side: int, share: float, treatment: Treatment, size: int
) -> Floats:
    """Take a face's shape from the stored crop to the treated picture."""
    return _carried(placed_shape(landmarks), side, share, treatment, size)


def _carried(points: Floats, side: int, share: float, treatment: Treatment, size: int) -> Floats:
    x, y, cut = _corner(side, share, treatment.shift)
    points = (points - [x, y] + 0.5) * (size / cut) - 0.5
    if treatment.flip:
        points[:, 0] = size - 1 - points[:, 0]
    if treatment.angle is not None:
        turn = _turn(treatment.angle, size)
        points = points @ turn[:, :2].T + turn[:, 2]
    return points


def _turn(angle: float, size: int) -> Floats:
    middle = (size - 1) / 2
    return np.asarray(cv2.getRotationMatrix2D((middle, middle), angle, 1.0), dtype=np.float64)


def _rotated(picture: Pixels, angle: float, border: int) -> Pixels:
    size = picture.shape[0]
    turned = cv2.warpAffine(picture, _turn(angle, size), (size, size), borderMode=border)
    return np.asarray(turned, dtype=picture.dtype)


def _corner(side: int, share: float, shift: tuple[float, float]) -> tuple[int, int, int]:
    cut = max(1, round(side * share))
    x, y = (round((side - cut) / 2 + offset * cut) for offset in shift)
    x, y = (min(max(position, 0), side - cut) for position in (x, y))
    return x, y, cut


def _region(crop: Pixels, share: float, shift: tuple[float, float], size: int) -> Pixels:
    x, y, cut = _corner(crop.shape[0], share, shift)
    region = crop[y : y + cut, x : x + cut]
    if cut == size:
        return np.ascontiguousarray(region)
    # area averaging keeps fine artefacts from aliasing; it cannot enlarge
    shrink = cv2.INTER_AREA if cut > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(region, (size, size), interpolation=shrink), dtype=crop.dtype)
