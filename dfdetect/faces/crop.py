"""A face and a frame → the square picture a detector sees, and how usable the face is.

Crops come from the full-resolution frame and keep the aspect ratio; where a square reaches beyond
the frame it is filled by reflection. Pixel centres are whole numbers: the first pixel's is (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.errors import UsageError
from dfdetect.types import CropPolicy, Face, FaceBox, FaceQuality, Image, Point

# Five points of a frontal face in a 112 × 112 picture (ArcFace, Deng et al. 2019, as used by
# DeepfakeBench): eyes, nose tip, mouth corners, each pair from the picture's left.
ARCFACE_SIZE = 112
ARCFACE_POINTS: tuple[Point, ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)

POLICIES = ("square", "aligned", "whole")

SHARPNESS_SIZE = 128  # the size at which faces are compared for blur

# A square beyond the frame is assembled pixel by pixel; a larger one is thinned out to this first,
# which bounds the memory and costs nothing that a detector's input size would show.
LARGEST_ASSEMBLED = 4096
LARGEST_COORDINATE = 1e9  # pixels; beyond it a box is nonsense, and so is NaN


def square_crop(image: Image, box: FaceBox, scale: float, size: int) -> Image:
    """Cut a square of the box's longer side × `scale` around its centre, resized to `size`.

    Only the pixels of the square are read. Shrinking averages areas, growing is bicubic.

    Args:
        image: The frame, H×W×3 uint8.
        box: The face, in the frame's pixels; it may lie beyond the frame.
        scale: Side of the square over the box's longer side, above 0.
        size: Side of the result in pixels.

    Returns:
        A new uint8 array, size × size × 3.

    Raises:
        ValueError: The image is empty, the box is not finite, or scale or size is not positive.

    Example:
        >>> square_crop(np.zeros((40, 60, 3), np.uint8), FaceBox(-9, 3, 12, 30), 1.3, 32).shape
        (32, 32, 3)
    """
    if size < 1:
        raise ValueError(f"a crop needs a size of at least 1 pixel, not {size}")
    x, y, side = _square(box, scale)
    return _resized(_cut(image, x, y, side, side), size, size)


def aligned_crop(image: Image, landmarks: Sequence[Point], scale: float, size: int) -> Image:
    """Turn, scale and shift a face so that its five points fall on ArcFace's template.

    The template is shrunk about the crop's centre by `scale`: at 1.0 it fills the crop as in
    ArcFace, at 1.3 a margin of 15 % of that is left on each side, as in DeepfakeBench.

    Args:
        image: The frame, H×W×3 uint8.
        landmarks: The face's five points in the frame's pixels.
        scale: How much more than the template's picture is shown, above 0.
        size: Side of the result in pixels.

    Returns:
        A new uint8 array, size × size × 3.

    Raises:
        ValueError: The points coincide or are not finite, or scale or size is not positive.
    """
    forward = _alignment(landmarks, scale, size)
    inverse = cv2.invertAffineTransform(forward)
    # the four corners of the crop say which part of the frame is needed, with a pixel to spare
    last = size - 1
    corners = inverse @ np.array([[0, last, 0, last], [0, 0, last, last], [1, 1, 1, 1]])
    x, y = (math.floor(v) - 1 for v in corners.min(axis=1))
    width, height = (
        math.ceil(v) + 2 - start for v, start in zip(corners.max(axis=1), (x, y), strict=True)
    )
    part = _cut(image, x, y, width, height)
    # bilinear warping skips pixels when it shrinks, so areas are averaged beforehand
    shrink = max(1.0, math.hypot(inverse[0, 0], inverse[1, 0]))
    reduced = _resized(part, max(1, round(width / shrink)), max(1, round(height / shrink)))
    factor = np.array([reduced.shape[1] / width, reduced.shape[0] / height])
    # frame → reduced part, with pixel centres at whole numbers on both sides
    inverse = inverse * factor[:, None]
    inverse[:, 2] += (0.5 - np.array([x, y])) * factor - 0.5
    warped = cv2.warpAffine(
        reduced,
        inverse,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, dtype=np.uint8)


def check_policy(policy: CropPolicy) -> None:
    """Raise when no face can be cut out by a policy.

    Raises:
        UsageError: Its name is unknown, its scale is not above 0 or its size not 1 to 4096.
    """
    if policy.name not in POLICIES:
        raise _unknown(policy)
    if not 0 < policy.scale < math.inf:
        raise UsageError(f"a crop of scale {policy.scale} shows nothing; give a scale above 0")
    if not 1 <= policy.size <= LARGEST_ASSEMBLED:
        raise UsageError(
            f"a crop cannot be {policy.size} pixels wide; give a size of 1 to {LARGEST_ASSEMBLED}"
        )


def crop_face(image: Image, face: Face, policy: CropPolicy) -> Image:
    """Cut a face out as a detector's crop policy wants it.

    `whole` takes all of a picture that was cropped before, filled up to a square by reflection;
    its `scale` has no meaning.

    Raises:
        UsageError: There is no such policy.
    """
    if policy.name == "square":
        return square_crop(image, face.box, policy.scale, policy.size)
    if policy.name == "aligned":
        return aligned_crop(image, face.landmarks, policy.scale, policy.size)
    if policy.name == "whole":
        height, width = image.shape[:2]
        return square_crop(image, FaceBox(0, 0, width, height), 1.0, policy.size)
    raise _unknown(policy)


def crop_landmarks(face: Face, policy: CropPolicy) -> tuple[Point, ...]:
    """Return where a face's points lie in the crop that `crop_face` makes of it.

    Args:
        face: The face; for the policy `whole` its box must be the whole picture.
        policy: The policy the crop was made with.

    Returns:
        The points in the crop's pixels; they may lie outside it. Empty where the face has none.

    Raises:
        UsageError: There is no such policy.
    """
    if not face.landmarks:
        return ()
    if policy.name == "aligned":
        forward = _alignment(face.landmarks, policy.scale, policy.size)
        points = np.asarray(face.landmarks) @ forward[:, :2].T + forward[:, 2]
        return tuple((float(x), float(y)) for x, y in points)
    if policy.name not in ("square", "whole"):
        raise _unknown(policy)
    left, top, side = _square(face.box, policy.scale if policy.name == "square" else 1.0)
    factor = policy.size / side
    return tuple(
        ((x - left + 0.5) * factor - 0.5, (y - top + 0.5) * factor - 0.5) for x, y in face.landmarks
    )


def face_quality(image: Image, face: Face) -> FaceQuality:
    """Measure how usable a face is for judging.

    Sharpness is the variance of the Laplacian of the luma (0 to 255) of the face at 128 × 128
    pixels. Yaw is where the nose's foot falls on the line between the eyes, -1 at the left eye, 0
    in the middle, 1 at the right eye: above 0 the face is turned to the picture's right.

    Args:
        image: The frame the face is in.
        face: A face with its five points.
    """
    crop = square_crop(image, face.box, 1.0, SHARPNESS_SIZE)
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    (left_x, left_y), (right_x, right_y), (nose_x, nose_y) = face.landmarks[:3]
    along_x, along_y = right_x - left_x, right_y - left_y
    eyes = math.hypot(along_x, along_y)
    if eyes > 0:
        foot = ((nose_x - left_x) * along_x + (nose_y - left_y) * along_y) / eyes**2
        yaw = min(1.0, max(-1.0, 2 * foot - 1))
    else:  # both eyes at one place are seen from the side
        yaw = math.copysign(1.0, nose_x - left_x)
    return FaceQuality(
        side_px=face.box.side,
        inter_eye_px=eyes,
        sharpness=float(cv2.Laplacian(luma, cv2.CV_64F).var()),
        yaw=yaw,
        confidence=face.confidence,
    )


def similarity(source: Sequence[Point], target: Sequence[Point]) -> NDArray[np.float64]:
    """Return the rotation, scale and shift, 2×3, that bring `source` closest to `target`.

    Least squares after Umeyama, "Least-squares estimation of transformation parameters between
    two point patterns", 1991, equations 34 to 43; never a mirror image.

    Raises:
        ValueError: The points of `source` coincide or a coordinate is not finite.

    Example:
        >>> similarity([(0, 0), (1, 0), (0, 1)], [(5, 5), (7, 5), (5, 7)]).round(6) + 0.0
        array([[2., 0., 5.],
               [0., 2., 5.]])
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    spread = ((a - mean_a) ** 2).sum() / len(a)
    if not (np.isfinite(a).all() and np.isfinite(b).all() and spread > 0):
        raise ValueError("a similarity needs finite points that do not all coincide")
    u, d, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a) / len(a))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = (u * sign) @ vt * ((d * sign).sum() / spread)
    return np.column_stack([turn, mean_b - turn @ mean_a])


def _alignment(landmarks: Sequence[Point], scale: float, size: int) -> NDArray[np.float64]:
    """Return the similarity from the frame to the aligned crop."""
    if not scale > 0 or size < 1:
        raise ValueError(f"a crop needs a positive scale and size, not {scale} and {size}")
    if len(landmarks) != len(ARCFACE_POINTS):
        raise ValueError(f"alignment needs five points, not {len(landmarks)}")
    template = np.asarray(ARCFACE_POINTS) * (size / ARCFACE_SIZE)
    shrunk = (template + size * (scale - 1) / 2) / scale
    return similarity(landmarks, [(float(x), float(y)) for x, y in shrunk])


def _square(box: FaceBox, scale: float) -> tuple[int, int, int]:
    """Return the left, top and side in whole pixels of the square around a box."""
    (x, y), side = box.centre, box.side * scale
    if not (max(abs(x), abs(y), abs(side)) < LARGEST_COORDINATE and scale > 0):
        raise ValueError(f"cannot cut {box} at scale {scale}: both must be finite, scale above 0")
    pixels = max(1, round(side))
    return round(x - pixels / 2), round(y - pixels / 2), pixels


def _cut(image: Image, x: int, y: int, width: int, height: int) -> Image:
    """Return a part of the image, reflected where it reaches beyond."""
    rows, columns = image.shape[:2]
    if rows == 0 or columns == 0:
        raise ValueError("cannot cut a face out of an empty picture")
    if min(x, y) >= 0 and x + width <= columns and y + height <= rows:
        return image[y : y + height, x : x + width]
    along_y, along_x = _mirrored(y, height, rows), _mirrored(x, width, columns)
    top, left = along_y.min(), along_x.min()
    # the slice first, so that the copies are as small as the part
    part = image[top : along_y.max() + 1, left : along_x.max() + 1]
    mirrored = part.take(along_y - top, axis=0).take(along_x - left, axis=1)
    return np.asarray(mirrored, dtype=np.uint8)


def _mirrored(start: int, length: int, limit: int) -> NDArray[np.int64]:
    """Return which of `limit` pixels stand at `start`, `start` + 1, …: 2 1 | 0 1 2 3 | 2 1 0."""
    period = max(1, 2 * (limit - 1))  # a single pixel repeats itself
    samples = min(length, LARGEST_ASSEMBLED)
    places = ((np.arange(samples) + 0.5) * (length / samples)).astype(np.int64)
    folded = (start % period + places) % period
    return np.minimum(folded, period - folded) % limit


def _resized(image: Image, width: int, height: int) -> Image:
    """Return a resized copy: averaged areas to shrink, bicubic to grow."""
    if image.shape[:2] == (height, width):
        return np.array(image, dtype=np.uint8, order="C")
    shrinks = width < image.shape[1] or height < image.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)


def _unknown(policy: CropPolicy) -> UsageError:
    return UsageError(f"unknown crop policy {policy.name!r}; use {', '.join(POLICIES)}")
