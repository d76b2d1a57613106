"""Self-blended images: a forgery made of one genuine face, with the mask that was blended.

Method: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022),
section 3. The paper places its masks on 81 detected landmarks; here a canonical 68-point shape is
fitted to the five points that every finder gives, so masks follow a face less closely. Results
made with it are therefore called `sbi-5pt`, never SBI. Other differences, each for speed or for
variety that the coarser shape lacks: the elastic field is drawn at 1/8 and the mask softened at
1/2 of the resolution, hull points are jittered, and colour is changed through 8-bit tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.types import Image, Point

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.float32]
Hull: TypeAlias = NDArray[np.float32]

METHOD = "sbi-5pt"

# Mean of near-frontal 68-point faces (YouTube Faces), mirrored onto itself; the unit is the
# distance between the eye centres, the origin lies between the eyes, y points down. Only the
# points of the picture's left half and the midline are stored.
_JAW_LEFT = (
    (-1.158, 0.007), (-1.135, 0.314), (-1.082, 0.588), (-1.030, 0.849),
    (-0.939, 1.144), (-0.778, 1.384), (-0.603, 1.550), (-0.363, 1.699),
)  # fmt: skip
_CHIN = ((0.000, 1.792),)
_BROW_LEFT = (
    (-0.899, -0.255), (-0.762, -0.341), (-0.590, -0.364), (-0.431, -0.348), (-0.293, -0.302),
)  # fmt: skip
_RIDGE = ((0.0, 0.021), (0.0, 0.223), (0.0, 0.410), (0.0, 0.579))
_NOSTRIL_LEFT = ((-0.193, 0.687), (-0.111, 0.710))
_NOSE_BASE = ((0.0, 0.739),)
_EYE_LEFT = (
    (-0.688, -0.011), (-0.574, -0.048), (-0.435, -0.044),
    (-0.305, 0.008), (-0.427, 0.048), (-0.572, 0.047),
)  # fmt: skip
_EYE_RIGHT = (
    (0.305, 0.008), (0.435, -0.044), (0.574, -0.048),
    (0.688, -0.011), (0.572, 0.047), (0.427, 0.048),
)  # fmt: skip
_MOUTH = (
    (-0.409, 1.063), (-0.269, 0.977), (-0.091, 0.926), (0.0, 0.941), (0.091, 0.926),
    (0.269, 0.977), (0.409, 1.063), (0.260, 1.185), (0.135, 1.260), (0.0, 1.268),
    (-0.135, 1.260), (-0.260, 1.185), (-0.382, 1.057), (-0.121, 1.025), (0.0, 1.024),
    (0.121, 1.025), (0.382, 1.057), (0.117, 1.123), (0.0, 1.130), (-0.117, 1.123),
)  # fmt: skip


def _mirrored(points: tuple[Point, ...]) -> tuple[Point, ...]:
    return tuple((-x, y) for x, y in reversed(points))


CANONICAL_68: tuple[Point, ...] = (
    *_JAW_LEFT, *_CHIN, *_mirrored(_JAW_LEFT), *_BROW_LEFT, *_mirrored(_BROW_LEFT), *_RIDGE,
    *_NOSTRIL_LEFT, *_NOSE_BASE, *_mirrored(_NOSTRIL_LEFT), *_EYE_LEFT, *_EYE_RIGHT, *_MOUTH,
)  # fmt: skip
"""The canonical face: 68 points in the usual order, in units of the distance between the eyes."""

_SHAPE = np.array(CANONICAL_68)
_FOREHEAD = np.array([[-0.75, -0.75], [-0.40, -0.95], [0.0, -1.02], [0.40, -0.95], [0.75, -0.75]])
_POINTS = np.concatenate([_SHAPE, _FOREHEAD])
_JAW = list(range(17))
_BROWS = list(range(17, 27))
_NOSE = list(range(27, 36))
_EYES = list(range(36, 48))
_LIPS = list(range(48, 68))
_BROW_TOPS = list(range(68, 73))

# Each variant is a union of convex hulls, given by indices into `_POINTS`.
_VARIANTS: dict[str, tuple[list[int], ...]] = {
    "face": (_JAW + _BROWS,),
    "face and forehead": (_JAW + _BROWS + _BROW_TOPS,),
    "inner face": (_BROWS + _EYES + _NOSE + _LIPS + [5, 11],),
    "lower half": ([*range(2, 15), 31, 35, 28],),
    "upper half": ([0, 1, 2, 14, 15, 16, 30, 31, 35, *_BROWS],),
    "mouth": ([*_LIPS, 5, 8, 11, 33],),
}
_COMPONENTS: tuple[list[int], ...] = (
    [*range(17, 22), *range(36, 42)],
    [*range(22, 27), *range(42, 48)],
    [*_NOSE, 39, 42],
    _LIPS,
)
_CHOICES = ("face", "face", "face and forehead", "inner face", "inner face",
            "components", "components", "lower half", "upper half", "mouth")  # fmt: skip


def five_of_68(shape: Floats) -> Floats:
    """Return the five points that a finder gives, computed from a 68-point shape (68, 2).

    Eye centres are means of the six points around each eye; then nose tip and mouth corners.
    """
    return np.stack([shape[36:42].mean(0), shape[42:48].mean(0), shape[30], shape[48], shape[54]])


_FIVE = five_of_68(_SHAPE)


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """How a self-blend is drawn.

    `ratios` are the opacities to choose from, 1 = the source fully replaces the target.
    `strength` ≥ 0 multiplies how far source and target are pulled apart in colour, sharpness and
    position: 1 for training, above it for a forgery that people can see.
    """

    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Blend:
    """A genuine picture, its forged twin and the opacity between them.

    `real` and `fake` are uint8 RGB of the input's size; `mask` is float32 in [0, 1]: the share of
    the source in `fake`. Where `mask` is 0 both pictures are equal. `real` may differ from the
    input in colour and sharpness, so that no such change can give the label away.
    """

    real: Image
    fake: Image
    mask: Mask


def fit_shape(landmarks: Sequence[Point]) -> Floats:
    """Place the canonical face on five points; return 68 + 5 forehead points (73, 2), in pixels.

    An affine least-squares fit follows heads that are turned; where it would distort the face
    beyond belief (points almost on a line) a similarity is used instead.

    Raises:
        ValueError: There are not five finite points.
    """
    target = np.asarray(landmarks, dtype=np.float64)
    if target.shape != (5, 2) or not np.isfinite(target).all():
        raise ValueError(f"five finite landmarks (5, 2) are needed, got shape {target.shape}")
    centre = _FIVE.mean(0)
    source, moved = _FIVE - centre, target - target.mean(0)
    affine = np.linalg.lstsq(source, moved, rcond=None)[0]
    similarity = _similarity(source, moved)
    ratio = np.linalg.det(affine) / max(np.linalg.det(similarity), 1e-9)
    chosen = affine if 0.4 < ratio < 2.5 else similarity
    placed: Floats = (_POINTS - centre) @ chosen + target.mean(0)
    return placed


def _similarity(source: Floats, target: Floats) -> Floats:
    # least squares over [[a, b], [-b, a]], the rotations with scale that cannot mirror a face
    norm = (source**2).sum()
    a = (source * target).sum() / norm
    b = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum() / norm
    return np.array([[a, b], [-b, a]])


def self_blend(
    image: Image,
    landmarks: Sequence[Point],
    rng: np.random.Generator,
    settings: BlendSettings | None = None,
) -> Blend:
    """Blend a picture's face with a changed copy of itself; everything is drawn from `rng`.

    Args:
        image: uint8 RGB (H, W, 3), with one face of interest.
        landmarks: Five points in the picture's pixels, in the order of `types.Face`.
        rng: The only source of chance: the same state gives the same blend.
        settings: Opacities and strength; the training defaults where None.

    Returns:
        The genuine picture, its twin and the mask. Where the face lies outside the picture the
        mask is 0 everywhere and the twin is equal: callers that need a forgery must look.

    Raises:
        ValueError: The picture or the landmarks have another shape than stated.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an RGB uint8 picture is needed, got {image.dtype} {image.shape}")
    settings = settings or BlendSettings()
    shape = fit_shape(landmarks)
    side = _face_side(shape)
    hulls = _draw_hulls(shape, side, rng)
    changed = _change(image, settings.strength, rng)
    source, target = (changed, image) if rng.random() < 0.5 else (image, changed)
    move = _draw_move(shape, side, settings.strength, rng)
    height, width = image.shape[:2]
    moved = cv2.warpAffine(
        source, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    mask = _soft_mask(hulls, move, side, (height, width), rng)
    mask *= settings.ratios[int(rng.integers(len(settings.ratios)))]
    return Blend(real=target, fake=_mix(_image(moved), target, mask), mask=mask)


def _face_side(shape: Floats) -> float:
    extent = shape[:68].max(0) - shape[:68].min(0)
    return float(max(extent.max(), 1.0))


def _draw_hulls(shape: Floats, side: float, rng: np.random.Generator) -> list[Hull]:
    jittered = (shape + rng.normal(0, 0.012 * side, shape.shape)).astype(np.float32)
    variant = _CHOICES[int(rng.integers(len(_CHOICES)))]
    if variant == "components":
        kept = [part for part in _COMPONENTS if rng.random() < 0.7] or list(_COMPONENTS)
    else:
        kept = list(_VARIANTS[variant])
    hulls = [_floats(cv2.convexHull(jittered[part])).reshape(-1, 2) for part in kept]
    if variant in ("components", "mouth"):
        # parts are small: without this, softening would leave next to nothing of them
        grown = 1 + rng.uniform(0.1, 0.5)
        hulls = [(hull - hull.mean(0)) * grown + hull.mean(0) for hull in hulls]
    return hulls


def _draw_move(
    shape: Floats, side: float, strength: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    # the paper's ±3 % and ±1.5 % are of a picture about twice as wide as the face
    scale = 1 + rng.uniform(-0.05, 0.05) * strength
    shift = rng.uniform(-1, 1, 2) * np.array([0.04, 0.02]) * side * strength
    centre = shape[:68].mean(0)
    move = np.array([[scale, 0, 0], [0, scale, 0]], dtype=np.float64)
    move[:, 2] = centre - scale * centre + shift
    return move


def _soft_mask(
    hulls: list[Hull],
    move: NDArray[np.float64],
    side: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Mask:
    height, width = size
    # half resolution: a soft mask has no finer detail, and blurs cost a quarter
    small = np.zeros((max(2, height // 2), max(2, width // 2)), dtype=np.uint8)
    ratio = np.array([small.shape[1] / width, small.shape[0] / height])
    limit = 4.0 * max(height, width)
    for hull in hulls:
        placed = np.clip((hull @ move[:, :2].T + move[:, 2]) * ratio, -limit, limit)
        cv2.fillConvexPoly(small, np.round(placed * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    hard: Mask = small.astype(np.float32) / np.float32(255)
    small_side = float(side * ratio.mean())
    soft = _soften(_elastic(hard, small_side, rng), small_side, rng)
    mask = _floats(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR))
    # opacities under half a grey level change no pixel; 0 makes "equal outside the mask" exact
    mask[mask < 0.002] = 0
    return np.clip(mask, 0, 1, out=mask)


def _elastic(mask: Mask, side: float, rng: np.random.Generator) -> Mask:
    height, width = mask.shape
    # 1/8 of the picture's resolution is 1/4 of the mask's
    coarse = (max(2, height // 4), max(2, width // 4), 2)
    field = rng.standard_normal(coarse, dtype=np.float32)
    field = _floats(cv2.GaussianBlur(field, (5, 5), 0.9))
    field *= side * rng.uniform(0.01, 0.06)
    field = _floats(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC))
    field[..., 0] += np.arange(width, dtype=np.float32)
    field[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return _floats(cv2.remap(mask, field[..., 0], field[..., 1], cv2.INTER_LINEAR))


def _soften(mask: Mask, side: float, rng: np.random.Generator) -> Mask:
    # two blurs: the first, cut at its plateau, erodes; the second makes the soft boundary.
    # The paper's kernels of 5 to 25 pixels belong to a face of about 130 pixels.
    unit = min(side, 4096.0) / 130
    first, second = (_odd(rng.uniform(5, 25) * unit) for _ in range(2))
    sigma = rng.uniform(5, 45) * unit
    blurred = cv2.GaussianBlur(mask, (first, first), 0)
    peak = float(blurred.max())
    if peak < 0.02:
        return np.zeros_like(mask)
    core = (blurred >= 0.995 * peak).astype(np.float32)
    soft = _floats(cv2.GaussianBlur(core, (second, second), sigma))
    soft /= max(float(soft.max()), 1e-6)
    return soft


def _odd(value: float) -> int:
    return 2 * int(value / 2) + 1


def _change(image: Image, strength: float, rng: np.random.Generator) -> Image:
    changed = _colour(image, strength, rng)
    if rng.random() < 0.5:
        return _coarser(changed, strength, rng)
    amount = rng.uniform(0.2, 0.6) * strength
    blurred = cv2.GaussianBlur(changed, (3, 3), 0)
    return _image(cv2.addWeighted(changed, 1 + amount, blurred, -amount, 0))


def _colour(image: Image, strength: float, rng: np.random.Generator) -> Image:
    levels = np.arange(256, dtype=np.float32)[:, None]
    contrast = 1 + rng.uniform(-0.1, 0.1) * strength
    brightness = rng.uniform(-0.1, 0.1) * 255 * strength
    shift = rng.uniform(-20, 20, 3) * strength if rng.random() < 0.3 else np.zeros(3)
    table = np.clip((levels - 128) * contrast + 128 + brightness + shift, 0, 255)
    changed = cv2.LUT(image, np.rint(table).astype(np.uint8)[None])
    if rng.random() < 0.5:
        # saturation: away from or towards the grey of each pixel
        share = float(1 + rng.uniform(-0.3, 0.3) * strength)
        grey = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        changed = cv2.addWeighted(changed, share, grey, 1 - share, 0)
    return _image(changed)


def _coarser(image: Image, strength: float, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    factor = 1 + (rng.uniform(1.3, 4.0) - 1) * max(strength, 0.0)
    small = (max(2, round(width / factor)), max(2, round(height / factor)))
    down = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA)[int(rng.integers(3))]
    up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.integers(2))]
    coarse = cv2.resize(image, small, interpolation=down)
    return _image(cv2.resize(coarse, (width, height), interpolation=up))


def _mix(source: Image, target: Image, mask: Mask) -> Image:
    fake = cv2.blendLinear(source, target, mask, 1 - mask)
    # blendLinear divides by the weights' sum plus 1e-5; this keeps the equality exact
    return np.where(mask[..., None] > 0, fake, target)


# OpenCV's annotations promise any number type; these name the one that was put in, without a copy


def _image(pixels: NDArray[Any]) -> Image:
    return np.asarray(pixels, dtype=np.uint8)


def _floats(values: NDArray[Any]) -> Mask:
    return np.asarray(values, dtype=np.float32)
