"""Crops against brute force: pad everything, slice, resize."""

from __future__ import annotations

import math
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform, warp

from dfdetect.errors import UsageError
from dfdetect.faces.crop import (
    ARCFACE_POINTS,
    aligned_crop,
    crop_face,
    crop_landmarks,
    face_quality,
    similarity,
    square_crop,
)
from dfdetect.types import CropPolicy, Face, FaceBox

# the portrait's face, marked by hand
BOX = FaceBox(182, 60, 267, 177)
POINTS = ((203.5, 101.5), (246.5, 103.0), (225.0, 127.0), (203.5, 140.0), (244.0, 141.0))


def face_at(box: FaceBox = BOX, points: tuple[tuple[float, float], ...] = POINTS) -> Face:
    return Face(0, 0.0, box, points, 0.99)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def brute_force(image: np.ndarray, box: FaceBox, scale: float, size: int) -> np.ndarray:
    side = max(1, round(box.side * scale))
    x, y = box.centre
    left, top = round(x - side / 2), round(y - side / 2)
    before = max(0, -left, -top)
    after = max(0, left + side - image.shape[1], top + side - image.shape[0])
    padded = np.pad(image, ((before, after), (before, after), (0, 0)), mode="reflect")
    cut = padded[top + before :, left + before :][:side, :side]
    if side == size:
        return cut
    how = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(cut), (size, size), interpolation=how)


@pytest.mark.parametrize(
    "box",
    [
        FaceBox(20, 10, 60, 40),  # inside
        FaceBox(-15, 10, 25, 40),  # over the left edge
        FaceBox(70, 40, 130, 100),  # over the corner
        FaceBox(-60, -60, -20, -20),  # wholly outside
        FaceBox(95, 20, 215, 140),  # padding larger than the picture
        FaceBox(-400, -300, 500, 400),  # the picture many times over
        FaceBox(10.4, 10.6, 41.2, 50.9),  # between pixels
        FaceBox(5, 5, 5, 5),  # nothing
    ],
)
@pytest.mark.parametrize(("scale", "size"), [(1.0, 40), (1.3, 32), (2.0, 128)])
def test_square_crop_equals_padding_everything_first(box: FaceBox, scale: float, size: int) -> None:
    image = noise(60, 100)
    np.testing.assert_array_equal(
        square_crop(image, box, scale, size), brute_force(image, box, scale, size)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (2, 9)])
def test_tiny_pictures_are_repeated(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    box = FaceBox(-3, -2, 9, 10)
    np.testing.assert_array_equal(square_crop(image, box, 1.0, 12), brute_force(image, box, 1, 12))


@settings(max_examples=150, deadline=None)
@given(
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
    width=st.floats(0, 400),
    height=st.floats(0, 400),
    scale=st.floats(0.1, 3),
    size=st.integers(1, 96),
    picture=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
def test_any_box_gives_a_square_of_the_pictures_own_pixels(
    x: float,
    y: float,
    width: float,
    height: float,
    scale: float,
    size: int,
    picture: tuple[int, int],
) -> None:
    image = np.full((*picture, 3), 77, np.uint8)
    image[::2] = (10, 200, 90)
    before = image.copy()
    crop = square_crop(image, FaceBox(x, y, x + width, y + height), scale, size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    assert crop.flags.c_contiguous
    crop[:] = 0  # the result is its own memory
    np.testing.assert_array_equal(image, before)


@settings(max_examples=40, deadline=None)
@given(
    radius=st.integers(25, 60),
    stretch=st.floats(0.5, 2.0),
    dx=st.floats(-20, 20),
    dy=st.floats(-20, 20),
    size=st.sampled_from([64, 112, 224]),
)
def test_a_circle_stays_a_circle(
    radius: int, stretch: float, dx: float, dy: float, size: int
) -> None:
    image = np.zeros((400, 500, 3), np.uint8)
    cv2.circle(image, (250, 200), radius, (255, 255, 255), -1)
    # the box is not square, the circle's picture must be round all the same
    box = FaceBox(250 + dx - 60 * stretch, 200 + dy - 60, 250 + dx + 60 * stretch, 200 + dy + 60)
    crop = square_crop(image, box, 1.6, size)
    across = np.flatnonzero(crop[..., 0].max(axis=0) > 127)
    down = np.flatnonzero(crop[..., 0].max(axis=1) > 127)
    factor = size / round(box.side * 1.6)
    assert abs(np.ptp(across) - np.ptp(down)) <= 2
    assert np.ptp(across) + 1 == pytest.approx((2 * radius + 1) * factor, abs=2)


def test_only_the_needed_pixels_are_read() -> None:
    image = np.zeros((4320, 7680, 3), np.uint8)
    tracemalloc.start()
    square_crop(image, FaceBox(-50, 4200, 150, 4400), 1.3, 224)
    aligned_crop(image, [(x + 7600, y) for x, y in POINTS], 1.3, 224)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # the picture itself has 100 million bytes


def test_a_monstrous_box_is_bounded_in_memory() -> None:
    tracemalloc.start()
    crop = square_crop(noise(90, 120), FaceBox(-4e5, -4e5, 4e5, 4e5), 1.0, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crop.shape == (64, 64, 3)
    assert peak < 200_000_000


@pytest.mark.parametrize(
    ("box", "scale", "size"),
    [
        (FaceBox(0, 0, math.nan, 9), 1.0, 8),
        (FaceBox(0, 0, math.inf, 9), 1.0, 8),
        (BOX, 0.0, 8),
        (BOX, math.nan, 8),
        (BOX, 1.0, 0),
    ],
)
def test_nonsense_is_refused(box: FaceBox, scale: float, size: int) -> None:
    with pytest.raises(ValueError, match=r"cannot cut|a crop needs"):
        square_crop(noise(20, 20), box, scale, size)


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="empty picture"):
        square_crop(np.zeros((0, 5, 3), np.uint8), BOX, 1.0, 8)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=5, max_size=5, unique=True
    ),
    target=st.lists(
        st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=5, max_size=5, unique=True
    ),
)
def test_similarity_equals_scikit_image(
    points: list[tuple[float, float]], target: list[tuple[float, float]]
) -> None:
    spread = np.ptp(np.asarray(points), axis=0)
    if spread.min() < 1e-3 or np.ptp(np.asarray(target), axis=0).min() < 1e-3:
        return  # points on one line have no single best rotation
    wanted = SimilarityTransform()
    if hasattr(SimilarityTransform, "from_estimate"):
        wanted = SimilarityTransform.from_estimate(np.asarray(points), np.asarray(target))
    else:
        wanted.estimate(np.asarray(points), np.asarray(target))
    got = similarity(points, target)

    def error(matrix: np.ndarray) -> float:
        moved = np.asarray(points) @ matrix[:2, :2].T + matrix[:2, 2]
        return float(((moved - np.asarray(target)) ** 2).sum())

    # where two rotations fit equally well, either is right: the error decides
    assert error(got) == pytest.approx(error(wanted.params), rel=1e-6, abs=1e-6)


def test_similarity_recovers_a_known_motion() -> None:
    turn = np.deg2rad(31)
    matrix = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    target = np.asarray(POINTS) @ matrix.T + (5, -9)
    got = similarity(POINTS, [(float(x), float(y)) for x, y in target])
    np.testing.assert_allclose(got, np.column_stack([matrix, (5, -9)]), atol=1e-9)


def test_coinciding_points_have_no_similarity() -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarity([(3, 3)] * 5, POINTS)


@pytest.mark.parametrize("scale", [1.0, 1.3, 2.0])
def test_aligned_crop_equals_a_direct_warp(portrait: np.ndarray, scale: float) -> None:
    size = 112
    template = (np.asarray(ARCFACE_POINTS) + 112 * (scale - 1) / 2) / scale
    matrix = similarity(POINTS, [(float(x), float(y)) for x, y in template])
    smooth = cv2.GaussianBlur(portrait, (0, 0), 2)  # so that the way of averaging hardly matters
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    wanted = warp(smooth, SimilarityTransform(inverse), output_shape=(size, size), mode="reflect")
    got = aligned_crop(smooth, POINTS, scale, size)
    difference = np.abs(got.astype(float) - 255 * wanted)
    assert difference.mean() < 1.0
    assert np.quantile(difference, 0.99) < 8


def test_aligned_crop_of_a_large_face_averages(portrait: np.ndarray) -> None:
    fine = noise(3000, 3000)
    points = [(x * 12 - 1000, y * 12) for x, y in POINTS]
    crop = aligned_crop(fine, points, 1.3, 112)
    # skipping pixels would leave the noise's spread of 74, averaging ten by ten removes it
    assert crop.std() < 20


def test_aligned_crop_beyond_the_picture(portrait: np.ndarray) -> None:
    shifted = [(x - 230, y - 90) for x, y in POINTS]
    crop = aligned_crop(portrait[90:, 230:], shifted, 1.3, 96)
    assert crop.shape == (96, 96, 3)
    inside = aligned_crop(portrait, POINTS, 1.3, 96)
    # to the right of the nose and below it, both see the same face
    difference = np.abs(crop[48:90, 60:90].astype(int) - inside[48:90, 60:90])
    assert difference.mean() < 3


@pytest.mark.parametrize(
    "policy",
    [
        CropPolicy("square", 1.3, 224),
        CropPolicy("square", 1.0, 64),
        CropPolicy("aligned", 1.3, 112),
        CropPolicy("aligned", 1.0, 256),
    ],
)
def test_landmarks_follow_the_crop(policy: CropPolicy) -> None:
    pixels = [(round(x), round(y)) for x, y in POINTS]
    face = face_at(points=tuple((float(x), float(y)) for x, y in pixels))
    for (x, y), wanted in zip(pixels, crop_landmarks(face, policy), strict=True):
        image = np.zeros((400, 400, 3), np.uint8)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        crop = crop_face(image, face, policy)[..., 0].astype(float)
        rows, columns = np.mgrid[: policy.size, : policy.size]
        centre = (columns * crop).sum() / crop.sum(), (rows * crop).sum() / crop.sum()
        assert centre == pytest.approx(wanted, abs=0.35)


def test_landmarks_of_a_picture_cropped_before() -> None:
    image = np.zeros((100, 80, 3), np.uint8)
    image[68:73, 38:43] = 255
    face = face_at(FaceBox(0, 0, 80, 100), ((40.0, 70.0),) * 5)
    policy = CropPolicy("whole", 1.3, 200)
    crop = crop_face(image, face, policy)[..., 0].astype(float)
    rows, columns = np.mgrid[:200, :200]
    centre = (columns * crop).sum() / crop.sum(), (rows * crop).sum() / crop.sum()
    assert crop_landmarks(face, policy)[0] == pytest.approx(centre, abs=0.35)
    assert crop_landmarks(face, policy)[0] == pytest.approx((100.5, 140.5), abs=1e-9)


def test_aligned_landmarks_lie_on_the_template() -> None:
    points = crop_landmarks(face_at(), CropPolicy("aligned", 1.0, 112))
    distances = [math.dist(a, b) for a, b in zip(points, ARCFACE_POINTS, strict=True)]
    assert max(distances) < 6


def test_a_face_without_points_has_none_in_its_crop() -> None:
    assert crop_landmarks(face_at(points=()), CropPolicy("aligned")) == ()


def test_unknown_policy_is_answered(portrait: np.ndarray) -> None:
    policy = CropPolicy("oval")
    with pytest.raises(UsageError, match="use square, aligned, whole"):
        crop_face(portrait, face_at(), policy)
    with pytest.raises(UsageError, match="use square, aligned, whole"):
        crop_landmarks(face_at(), policy)


def test_alignment_needs_five_points(portrait: np.ndarray) -> None:
    with pytest.raises(ValueError, match="five points"):
        aligned_crop(portrait, POINTS[:3], 1.0, 64)


def test_blur_lowers_sharpness_and_nothing_else(portrait: np.ndarray) -> None:
    sharp = face_quality(portrait, face_at())
    levels = [
        face_quality(cv2.GaussianBlur(portrait, (0, 0), sigma), face_at()) for sigma in (1, 2, 4)
    ]
    spreads = [sharp.sharpness, *(quality.sharpness for quality in levels)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < spreads[0] / 20
    assert {(q.side_px, q.inter_eye_px, q.yaw, q.confidence) for q in (sharp, *levels)} == {
        (117, math.dist(*POINTS[:2]), sharp.yaw, 0.99)
    }


def test_sharpness_is_measured_at_one_size(portrait: np.ndarray) -> None:
    doubled = cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    twice = face_at(FaceBox(364, 120, 534, 354), tuple((2 * x, 2 * y) for x, y in POINTS))
    once = face_quality(portrait, face_at())
    again = face_quality(doubled, twice)
    # doubling and halving blurs a little by itself
    assert once.sharpness / 2 < again.sharpness < once.sharpness
    assert again.inter_eye_px == pytest.approx(2 * once.inter_eye_px)


@pytest.mark.parametrize(
    ("nose_x", "yaw"), [(150, 0.0), (175, 0.5), (125, -0.5), (260, 1.0), (40, -1.0)]
)
def test_yaw_is_where_the_nose_points(nose_x: float, yaw: float) -> None:
    points = ((100.0, 100.0), (200.0, 100.0), (nose_x, 150.0), (120.0, 200.0), (180.0, 200.0))
    quality = face_quality(noise(300, 300), face_at(FaceBox(80, 60, 220, 240), points))
    assert quality.yaw == pytest.approx(yaw)


def test_yaw_ignores_roll() -> None:
    turn = np.deg2rad(25)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = tuple((float(x), float(y)) for x, y in (np.asarray(POINTS) - 200) @ matrix.T + 200)
    image = noise(400, 400)
    upright = face_quality(image, face_at()).yaw
    assert face_quality(image, face_at(points=turned)).yaw == pytest.approx(upright)


def test_eyes_at_one_place_mean_profile() -> None:
    points = ((100.0, 100.0), (100.0, 100.0), (60.0, 130.0), (80.0, 160.0), (80.0, 160.0))
    assert face_quality(noise(300, 300), face_at(points=points)).yaw == -1.0
