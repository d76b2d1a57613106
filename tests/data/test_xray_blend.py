"""Blends of two faces: only the face changes hands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfdetect.data.blend import five_of_68
from dfdetect.data.opacity import xray_of
from dfdetect.data.xray_blend import (
    match_colours,
    normalised,
    xray_blend,
)
from tests.blend_measures import face_81, textured

FACE = face_81(128)[:68]


# partners


@given(st.floats(0.2, 5), st.floats(-1.4, 1.4), st.floats(-500, 500), st.floats(-500, 500))
def test_place_size_and_turn_do_not_count(scale: float, angle: float, x: float, y: float) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    moved = FACE @ np.array([[c, s], [-s, c]]) + [x, y]
    one, other = normalised(np.stack([FACE, moved]), FACE)
    assert np.abs(one - other).max() < 1e-9
    assert np.sqrt((one**2).sum(axis=1).mean()) == pytest.approx(1)


# colours


def test_colours_take_the_mean_and_spread_of_the_other() -> None:
    image, reference = textured(64, 1), (textured(64, 2) // 2 + 60).astype(np.uint8)
    mask = np.ones((32, 32), np.float32)
    before, after, wanted = (
        cv2.cvtColor(each, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(float)
        for each in (image, match_colours(image, reference, mask), reference)
    )
    assert np.abs(before.mean(0) - wanted.mean(0)).max() > 5
    # colours beyond RGB are cut off on the way back
    assert np.abs(after.mean(0) - wanted.mean(0)).max() < 3
    assert np.abs(after.std(0) - wanted.std(0)).max() < 4


def test_flat_colours_and_empty_masks_do_no_harm() -> None:
    flat = np.full((16, 16, 3), 90, np.uint8)
    textured_one = textured(16)
    assert np.array_equal(match_colours(flat, textured_one, np.zeros((8, 8), np.float32)), flat)
    changed = match_colours(flat, textured_one, np.ones((8, 8), np.float32))
    assert np.ptp(changed.reshape(-1, 3), axis=0).max() == 0


# blends


@pytest.mark.parametrize("count", [5, 68, 81])
@pytest.mark.parametrize("seed", range(4))
def test_the_face_is_the_other_s_and_the_rest_stays(count: int, seed: int) -> None:
    background, foreground = textured(128, 3), textured(200, 4)
    face, other = face_81(128), face_81(200, 0.6)
    if count == 5:
        face, other = five_of_68(face), five_of_68(other)
    face, other = face[:count], other[:count]
    kept = background.copy(), foreground.copy()
    blend, again = (
        xray_blend(background, face, foreground, other, np.random.default_rng(seed))
        for _ in range(2)
    )
    assert np.array_equal(blend.fake, again.fake)
    assert np.array_equal(background, kept[0])
    assert np.array_equal(foreground, kept[1])
    assert blend.method == ("xray-5pt" if count == 5 else "xray")
    assert blend.real is background
    assert 0 <= blend.mask.min() <= blend.mask.max() <= 1
    outside = blend.mask == 0
    assert 0.3 < outside.mean() < 0.95
    assert np.array_equal(blend.fake[outside], background[outside])
    assert (blend.fake != background).any(axis=2)[blend.mask > 0.5].mean() > 0.9
    assert np.array_equal(blend.xray, xray_of(blend.mask))
    assert blend.xray.max() > 0.9, "there is a seam"
    assert blend.xray[64, 64] < 0.1, "the middle of the face is no seam"


def test_masks_vary_in_shape_and_softness() -> None:
    image, face = textured(128), face_81(128)[:68]
    masks = [
        xray_blend(image, face, image, face, np.random.default_rng(seed)).mask for seed in range(60)
    ]
    seams = [float(xray_of(mask).sum()) for mask in masks]
    areas = [float(mask.sum()) for mask in masks]
    assert np.percentile(seams, 90) > 2 * np.percentile(seams, 10)
    assert np.ptp(areas) > 0.05 * np.mean(areas)
    # the hull of the landmarks and the pixels that its edge touches, in a picture of half the size
    hull = cv2.contourArea(cv2.convexHull(face.astype(np.float32)))
    assert 0.95 < np.mean(areas) / hull < 1.15


def test_what_the_foreground_does_not_cover_is_not_forged() -> None:
    background, face = textured(128), face_81(128)[:68]
    half: NDArray[np.uint8] = textured(128, 5)[:, 64:]
    blend = xray_blend(background, face, half, face - [64, 0], np.random.default_rng(0))
    assert blend.mask[:, :40].max() == 0
    assert blend.mask[64, 90] > 0.5


def test_other_shapes_are_refused() -> None:
    image = textured(32)
    with pytest.raises(ValueError, match="RGB uint8"):
        xray_blend(image[..., 0], FACE, image, FACE, np.random.default_rng(0))
    with pytest.raises(ValueError, match="5, 68 or 81"):
        xray_blend(image, FACE[:60], image, FACE, np.random.default_rng(0))
