"""Shapes of faces: the canonical 68 points, how they are placed, and the regions they bound.

Points are (x, y) in pixels with y downwards, in the order of the iBUG 68-point scheme; points
beyond the 68 lie on the forehead, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfdetect.data.opacity import Floats
from dfdetect.types import Point

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
WITH_FOREHEAD = np.concatenate([_SHAPE, _FOREHEAD])

JAW = tuple(range(17))
BROWS = tuple(range(17, 27))
NOSE = tuple(range(27, 36))
EYES = tuple(range(36, 48))
LIPS = tuple(range(48, 68))
N_POINTS = 68
RAISED = tuple(range(68, 78))
"""Positions of the raised brows in what `with_raised_brows` returns."""

# what each brow point is raised away from: the nearest points of the eye below it
EYE_BELOW = (
    (36, 36), (37, 37), (37, 38), (38, 38), (39, 39),
    (42, 42), (43, 43), (43, 44), (44, 44), (45, 45),
)  # fmt: skip


def _parts(brows: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    left, right = brows[:5], brows[5:]
    foot = (27, *range(31, 36), 8)
    return (
        (*range(9), left[0]),
        (*range(8, 17), right[-1]),
        (*left[:3], 8),
        (*right[-3:], 8),
        (*left[2:], *right[:3], 8),
        (*left, *foot),
        (*right, *foot),
        NOSE,
    )


PUBLISHED_REGIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "full": ((*JAW, *LIPS), (27, 28, 29, 30, 33), (*BROWS, 0, 16, 27, 33)),
    "extended": _parts(RAISED),
    "components": _parts(BROWS),
    "whole": (),
}
"""The four masks of self-blended images, each a union of convex hulls given by positions in what
`with_raised_brows` returns; `whole` is the hull of all points, forehead included."""


def with_raised_brows(shape: Floats) -> Floats:
    """Return 68 points, 10 brow points raised by half of the distance to the eye, the forehead.

    Args:
        shape: (N, 2) with N ≥ 68; points beyond the 68 lie on the forehead.
    """
    below = shape[np.array(EYE_BELOW)].mean(axis=1)
    raised = 1.5 * shape[17:27] - 0.5 * below
    return np.concatenate([shape[:N_POINTS], raised, shape[N_POINTS:]])


def placed_shape(landmarks: Sequence[Point] | Floats) -> Floats:
    """Return the shape of a face: 68 or 81 points as they are, five by fitting the canonical one.

    Returns:
        (N, 2) float64: 68 points, then those of the forehead (13 of 81, 5 where it was fitted).

    Raises:
        ValueError: There are neither 5, 68 nor 81 finite points.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape == (5, 2):
        return fit_shape([(float(x), float(y)) for x, y in points])
    if points.shape not in ((68, 2), (81, 2)) or not np.isfinite(points).all():
        raise ValueError(f"5, 68 or 81 finite landmarks are needed, got shape {points.shape}")
    return points


def five_of_68(shape: Floats) -> Floats:
    """Return the five points that a finder gives, computed from a 68-point shape (68, 2).

    Eye centres are means of the six points around each eye; then nose tip and mouth corners.
    """
    return np.stack([shape[36:42].mean(0), shape[42:48].mean(0), shape[30], shape[48], shape[54]])


FIVE = five_of_68(_SHAPE)


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
    centre = FIVE.mean(0)
    source, moved = FIVE - centre, target - target.mean(0)
    affine = np.linalg.lstsq(source, moved, rcond=None)[0]
    similarity = _similarity(source, moved)
    ratio = np.linalg.det(affine) / max(np.linalg.det(similarity), 1e-9)
    chosen = affine if 0.4 < ratio < 2.5 else similarity
    placed: Floats = (WITH_FOREHEAD - centre) @ chosen + target.mean(0)
    return placed


def _similarity(source: Floats, target: Floats) -> Floats:
    # least squares over [[a, b], [-b, a]], the rotations with scale that cannot mirror a face
    norm = (source**2).sum()
    a = (source * target).sum() / norm
    b = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum() / norm
    return np.array([[a, b], [-b, a]])


def face_side(shape: Floats) -> float:
    """Return the longer side of the box around the 68 points in pixels, at least 1."""
    extent = shape[:68].max(0) - shape[:68].min(0)
    return float(max(extent.max(), 1.0))
