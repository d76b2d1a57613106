"""The published recipe for 68 landmarks: its masks, and that a plain version draws the same."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfdetect.data import published_blend
from dfdetect.data.blend import BlendSettings, self_blend
from dfdetect.data.face_shape import WITH_FOREHEAD, face_side, placed_shape
from dfdetect.data.opacity import xray_of
from dfdetect.data.published_blend import elastic, region_hulls
from dfdetect.types import Image
from scripts.plain_blend import plain_self_blend
from tests.blend_measures import MEASURES, differ, face_81, textured

GREY = np.full((64, 48, 3), 128, np.uint8)
coordinates = st.floats(-1e4, 1e4, allow_nan=False)
N_DRAWS = 250


@pytest.fixture(scope="module")
def image() -> Image:
    return textured(256)


@pytest.fixture(scope="module")
def face() -> NDArray[np.float64]:
    return face_81(256)


def area(region: str, shape: NDArray[np.float64], *, forehead: bool = True) -> float:
    canvas = np.zeros((256, 256), np.uint8)
    for hull in region_hulls(shape, region, forehead=forehead):
        cv2.fillConvexPoly(canvas, np.rint(hull).astype(np.int32), 1)
    return float(canvas.sum())


def test_each_mask_is_as_large_as_its_description_says(face: NDArray[np.float64]) -> None:
    full = area("full", face)
    assert area("extended", face) > 1.02 * area("components", face), "brows pushed up the forehead"
    assert area("whole", face) > 1.1 * area("whole", face, forehead=False) >= 1.1 * full * 0.99
    whole = cv2.contourArea(cv2.convexHull(face[:68].astype(np.float32)))
    assert area("whole", face, forehead=False) == pytest.approx(whole, rel=0.05)


@pytest.mark.parametrize(("count", "method"), [(5, "sbi-5pt"), (68, "sbi"), (81, "sbi")])
def test_the_method_says_which_landmarks_were_there(
    image: Image, face: NDArray[np.float64], count: int, method: str
) -> None:
    five = np.stack([face[36:42].mean(0), face[42:48].mean(0), face[30], face[48], face[54]])
    points = five if count == 5 else face[:count]
    told = BlendSettings(recipe="published")
    blend = self_blend(image, points, np.random.default_rng(0), told)
    assert blend.method == method
    assert blend.region in published_blend.REGIONS
    assert np.array_equal(blend.xray, xray_of(blend.mask))


def test_landmarks_and_recipes_that_do_not_exist_are_refused(image: Image) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="5, 68 or 81"):
        self_blend(image, np.zeros((67, 2)), rng)
    with pytest.raises(ValueError, match="5, 68 or 81"):
        self_blend(image, np.full((68, 2), np.nan), rng)
    with pytest.raises(ValueError, match="no recipe 'best'"):
        self_blend(image, face_81(256), rng, BlendSettings(recipe="best"))
    with pytest.raises(ValueError, match="for five"):
        self_blend(image, face_81(256), rng, BlendSettings(recipe="varied"))


@pytest.mark.parametrize("seed", range(20))
def test_pictures_are_equal_outside_the_mask(
    image: Image, face: NDArray[np.float64], seed: int
) -> None:
    before = image.copy()
    blend = self_blend(image, face, np.random.default_rng(seed))
    again = self_blend(image, face, np.random.default_rng(seed))
    assert np.array_equal(image, before)
    assert np.array_equal(blend.fake, again.fake)
    assert np.array_equal(blend.mask, again.mask)
    assert 0 <= blend.mask.min() <= blend.mask.max() <= 1
    outside = blend.mask == 0
    assert outside.any()
    assert np.array_equal(blend.real[outside], blend.fake[outside])
    assert (blend.real != blend.fake).any(axis=2)[~outside].mean() > 0.1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5),
    st.integers(0, 2**32 - 1),
    st.floats(0, 4),
)
def test_no_landmarks_can_break_it(
    points: list[tuple[float, float]], seed: int, strength: float
) -> None:
    told = BlendSettings(strength=strength, recipe="published")
    blend = self_blend(GREY, points, np.random.default_rng(seed), told)
    assert np.isfinite(blend.mask).all()
    assert np.array_equal(blend.real[blend.mask == 0], blend.fake[blend.mask == 0])


def test_regions_and_opacities_come_in_equal_shares(
    image: Image, face: NDArray[np.float64]
) -> None:
    blends = [self_blend(image, face, np.random.default_rng(seed)) for seed in range(200)]
    regions = [blend.region for blend in blends]
    assert all(30 < regions.count(region) < 70 for region in published_blend.REGIONS)
    untouched = np.mean([np.array_equal(blend.real, image) for blend in blends])
    assert 0.4 < untouched < 0.6


# distributions, against every step done plainly at full resolution


@pytest.fixture(scope="module")
def both(image: Image, face: NDArray[np.float64]) -> tuple[list[object], list[object]]:
    def drawn(make: Callable[..., object], start: int) -> list[object]:
        return [make(image, face, np.random.default_rng(start + n)) for n in range(N_DRAWS)]

    return drawn(plain_self_blend, 0), drawn(self_blend, 1_000_000)


@pytest.mark.parametrize("name", MEASURES)
def test_the_plain_version_draws_from_the_same_distribution(
    both: tuple[list[object], list[object]], name: str
) -> None:
    plain, fast = ([MEASURES[name](blend) for blend in blends] for blends in both)
    assert not differ(name, plain, fast)


def test_the_elastic_field_has_the_plain_one_s_size_and_grain(
    image: Image, face: NDArray[np.float64]
) -> None:
    fields = [plain_self_blend(image, face, np.random.default_rng(n)).field for n in range(12)]
    plain = np.stack(fields)[:, 16:-16, 16:-16]
    ramp = np.tile(np.arange(256, dtype=np.float32), (256, 1))
    told = published_blend.ELASTIC_STD
    fast = np.stack(
        [
            (elastic(ramp, 128.0, np.random.default_rng(n), told) - ramp)[16:-16, 16:-16]
            for n in range(24)
        ]
    )
    assert fast.std() == pytest.approx(plain.std(), rel=0.1)
    assert fast.mean() == pytest.approx(0, abs=0.1)
    for lag in (4, 8, 16):
        ours = (fast[:, :, lag:] * fast[:, :, :-lag]).mean() / fast.var()
        theirs = (plain[:, :, lag:] * plain[:, :, :-lag]).mean() / plain.var()
        assert ours == pytest.approx(theirs, abs=0.1)


def test_the_displacement_grows_with_the_face() -> None:
    ramp = np.tile(np.arange(256, dtype=np.float32), (256, 1))
    spread = [
        np.std([
            (elastic(ramp, side, np.random.default_rng(n), 1.2) - ramp)[32:-32, 32:-32]
            for n in range(12)
        ])
        for side in (64.0, 128.0)
    ]  # fmt: skip
    assert spread[1] / spread[0] == pytest.approx(2, rel=0.15)


def test_a_shape_of_five_points_is_the_canonical_one(face: NDArray[np.float64]) -> None:
    assert placed_shape(face).shape == (81, 2)
    five = np.stack([face[36:42].mean(0), face[42:48].mean(0), face[30], face[48], face[54]])
    fitted = placed_shape([(float(x), float(y)) for x, y in five])
    assert fitted.shape == WITH_FOREHEAD.shape
    assert np.abs(fitted[:68] - face[:68]).max() < 1e-6 * face_side(face)
