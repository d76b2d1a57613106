"""Self-blends: what must be equal, what must differ, and how large the forged region may be."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfdetect.data.blend import (
    CANONICAL_68,
    BlendSettings,
    fit_shape,
    five_of_68,
    self_blend,
)
from dfdetect.types import Image
from tests.stores import face_crop

GREY = np.full((64, 48, 3), 128, np.uint8)
coordinates = st.floats(-1e4, 1e4, allow_nan=False)
five_points = st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5)


@pytest.fixture(scope="module")
def face(portrait: Image) -> tuple[Image, tuple[tuple[float, float], ...]]:
    return face_crop(portrait, 256)


# the canonical shape


def test_canonical_face_is_its_own_mirror_image() -> None:
    shape = np.array(CANONICAL_68)
    assert shape.shape == (68, 2)
    mirrored = {(round(-x, 3) + 0.0, y) for x, y in shape}
    assert {(x + 0.0, y) for x, y in shape} == mirrored


def test_eye_centres_are_one_unit_apart() -> None:
    five = five_of_68(np.array(CANONICAL_68))
    assert five[1, 0] - five[0, 0] == pytest.approx(1.0, abs=2e-3)
    assert (five[0] + five[1]) / 2 == pytest.approx(0.0, abs=2e-3)


@given(
    st.floats(5, 500),
    st.floats(-3.1, 3.1),
    st.floats(-300, 300),
    st.floats(-300, 300),
)
def test_fit_recovers_any_similarity(scale: float, angle: float, x: float, y: float) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    placed = np.array(CANONICAL_68) @ np.array([[c, s], [-s, c]]) + [x, y]
    fitted = fit_shape([tuple(point) for point in five_of_68(placed)])
    assert np.abs(fitted[:68] - placed).max() < 1e-6 * max(scale, abs(x), abs(y), 1)


@pytest.mark.shared
def test_fit_to_five_points_lies_near_68_hand_placed_ones(shared_data: Path) -> None:
    with (shared_data / "faces" / "youtube_faces_keypoints.csv").open() as stream:
        rows = list(csv.reader(stream))[1:]
    errors = []
    for row in rows:
        shape = np.array(row[1:], dtype=float).reshape(68, 2)
        five = five_of_68(shape)
        fitted = fit_shape([tuple(point) for point in five])[:68]
        eyes = np.hypot(*(five[1] - five[0]))
        errors.append(np.hypot(*(fitted - shape).T).mean() / eyes)
    # in distances between the eyes; turned heads are among them
    assert np.median(errors) < 0.12


@pytest.mark.parametrize("points", [[(0.0, 0.0)] * 4, [(0.0, float("nan"))] * 5])
def test_anything_but_five_finite_points_is_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="five finite landmarks"):
        fit_shape(points)


# what a blend promises


@pytest.mark.parametrize("seed", range(25))
def test_pictures_are_equal_outside_the_mask_and_differ_inside(
    face: tuple[Image, tuple[tuple[float, float], ...]], seed: int
) -> None:
    image, points = face
    blend = self_blend(image, points, np.random.default_rng(seed))
    assert blend.mask.dtype == np.float32
    assert blend.mask.shape == image.shape[:2]
    assert 0 <= blend.mask.min() <= blend.mask.max() <= 1
    outside = blend.mask == 0
    assert np.array_equal(blend.real[outside], blend.fake[outside])
    assert (blend.real != blend.fake).any(axis=2)[~outside].mean() > 0.1
    assert outside[:8].all(), "the picture's edge is no part of a face"


def test_the_same_state_gives_the_same_blend(
    face: tuple[Image, tuple[tuple[float, float], ...]],
) -> None:
    image, points = face
    first, again = (self_blend(image, points, np.random.default_rng(7)) for _ in range(2))
    other = self_blend(image, points, np.random.default_rng(8))
    assert np.array_equal(first.fake, again.fake)
    assert np.array_equal(first.real, again.real)
    assert not np.array_equal(first.fake, other.fake)


def test_the_input_is_left_alone(face: tuple[Image, tuple[tuple[float, float], ...]]) -> None:
    image, points = face
    before = image.copy()
    for seed in range(10):
        self_blend(image, points, np.random.default_rng(seed))
    assert np.array_equal(image, before)


def test_regions_are_of_believable_size_and_softness(
    face: tuple[Image, tuple[tuple[float, float], ...]],
) -> None:
    image, points = face
    masks = [
        self_blend(image, points, np.random.default_rng(seed), BlendSettings(ratios=(1.0,))).mask
        for seed in range(200)
    ]
    shape = fit_shape(points)[:68]
    face_area = float(np.prod(shape.max(0) - shape.min(0)))
    areas = np.array([mask.sum() / face_area for mask in masks])
    assert areas.min() > 0.005
    assert areas.max() < 1.3
    assert np.ptp(np.percentile(areas, [10, 90])) > 0.3, "from parts to whole faces"
    widths = np.array([_boundary_width(mask) for mask in masks])
    assert np.percentile(widths, 2) > 1
    assert np.percentile(widths, 98) < 0.35 * np.sqrt(face_area)


def _boundary_width(mask: NDArray[np.float32]) -> float:
    # pixels between 10 % and 90 % of the peak, over the length of the half-way contour
    soft = ((mask > 0.1 * mask.max()) & (mask < 0.9 * mask.max())).sum()
    inside = (mask > 0.5 * mask.max()).astype(np.int8)
    contour = np.abs(np.diff(inside, axis=0)).sum() + np.abs(np.diff(inside, axis=1)).sum()
    return float(soft / max(contour, 1))


def test_opacity_comes_from_the_stated_ratios(
    face: tuple[Image, tuple[tuple[float, float], ...]],
) -> None:
    image, points = face
    peaks = {
        round(float(self_blend(image, points, np.random.default_rng(seed)).mask.max()), 1)
        for seed in range(60)
    }
    assert peaks <= {0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0}
    assert {0.5, 1.0} <= peaks


def test_both_the_source_and_the_target_get_changed(
    face: tuple[Image, tuple[tuple[float, float], ...]],
) -> None:
    image, points = face
    untouched = [
        np.array_equal(self_blend(image, points, np.random.default_rng(seed)).real, image)
        for seed in range(60)
    ]
    assert 0.25 < np.mean(untouched) < 0.75


def test_a_demonstration_is_more_visible_than_training(
    face: tuple[Image, tuple[tuple[float, float], ...]],
) -> None:
    image, points = face

    def difference(strength: BlendSettings | None) -> float:
        blends = (self_blend(image, points, np.random.default_rng(s), strength) for s in range(40))
        return float(np.mean([np.abs(b.real.astype(int) - b.fake).mean() for b in blends]))

    assert difference(BlendSettings(ratios=(1.0,), strength=3.0)) > 2 * difference(None)


@settings(max_examples=150, deadline=None)
@given(five_points, st.integers(0, 2**32 - 1))
def test_no_landmarks_can_break_it(points: list[tuple[float, float]], seed: int) -> None:
    blend = self_blend(GREY, points, np.random.default_rng(seed))
    assert np.isfinite(blend.mask).all()
    assert 0 <= blend.mask.min() <= blend.mask.max() <= 1
    assert np.array_equal(blend.real[blend.mask == 0], blend.fake[blend.mask == 0])


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 7, 3), (9, 300, 3)])
def test_odd_picture_sizes_keep_their_size(shape: tuple[int, int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    points = [(2.0, 2.0), (6.0, 2.0), (4.0, 4.0), (2.0, 6.0), (6.0, 6.0)]
    blend = self_blend(image, points, np.random.default_rng(0))
    assert blend.real.shape == blend.fake.shape == shape


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_another_kind_of_picture_is_refused(image: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="RGB uint8"):
        self_blend(image, [(0.0, 0.0)] * 5, np.random.default_rng(0))  # type: ignore[arg-type]
