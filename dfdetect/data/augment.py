"""What happens to a face crop before training sees it: a random region, then what platforms do.

Pixels are changed by torchvision's v2 functionals on uint8 tensors and by real codecs
(`dfdetect.data.treated`), in the loader's workers; `scripts/bench_train.py` holds the cost against
OpenCV's. OpenCV cuts the region, where it cuts it for scoring (`dfdetect.data.region`), and fills
the parts of a face that are covered, for which torchvision has nothing. All chance lies in a
`Treatment`, which is drawn once: a picture and its twin, a picture and its mask, or all frames of a
clip get the same one when they are given generators in the same state, or go through one call.
torch's global generator is neither read nor moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfdetect.data.augment_settings import NO_AUGMENT as NO_AUGMENT
from dfdetect.data.augment_settings import AugmentSettings as AugmentSettings
from dfdetect.data.opacity import Floats, Mask
from dfdetect.data.region import face_region as face_region
from dfdetect.data.treatment import Landmarks as Landmarks
from dfdetect.data.treatment import Treatment as Treatment
from dfdetect.data.treatment import carried
from dfdetect.data.treatment import draw_treatment as draw_treatment
from dfdetect.errors import UsageError
from dfdetect.types import Image


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
    (picture,) = _treated([crop], crop_scale, size, treatment, [landmarks])
    from dfdetect.data.treated import treated_mask  # torch, see `_treated`

    return picture, treated_mask(mask, crop_scale, size, treatment, landmarks)


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
    marks = np.asarray(landmarks, np.float64)
    points = carried(marks, crop.shape[0], treatment, crop_scale, size)
    return picture, points[[1, 0, 2, 4, 3]] if treatment.flip else points


def require_landmarks(settings: AugmentSettings, landmarks: Sequence[Landmarks]) -> None:
    """Raise UsageError where cut-outs of face parts are asked for but a face has no landmarks."""
    if settings.cutout > 0 and not all(len(points) for points in landmarks):
        raise UsageError(
            "cut-outs of face parts need landmarks; extract with faces.landmarks=true or set "
            "augment.cutout=0"
        )


def _treated(
    crops: Sequence[Image],
    crop_scale: float,
    size: int,
    treatment: Treatment,
    landmarks: Sequence[Landmarks],
) -> list[Image]:
    # torch takes seconds to import: reading a configuration, which names these settings, does not
    from dfdetect.data.treated import treated

    return treated(crops, crop_scale, size, treatment, landmarks)
