"""Options of augmentation: masks follow pictures, frames are treated alike, and covers cover."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfdetect.data.augment import (
    NO_AUGMENT,
    AugmentSettings,
    augment,
    augment_clip,
    augment_masked,
    draw_treatment,
)
from dfdetect.data.blend import five_of_68
from dfdetect.data.occlusion import PARTS, Rectangle, erased_pixels, part_pixels
from dfdetect.data.recode import h264
from dfdetect.errors import UsageError
from tests.blend_measures import face_81, textured

CROP = textured(120)
FACE = face_81(120, 0.6)
EVERYTHING = AugmentSettings(
    rotate=0.5, rgb_shift=0.5, codec=0.5, cutout=0.5, erase=0.5, scale_high=1.8, shift=0.1
)


def only(**told: float) -> AugmentSettings:
    return dataclasses.replace(NO_AUGMENT, **told)


def drawn(told: AugmentSettings, seed: int = 0, **more: object) -> NDArray[np.uint8]:
    return augment(CROP, 1.0, 120, np.random.default_rng(seed), told, **more)  # type: ignore[arg-type]


# masks


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(40, 130))
def test_a_mask_lies_where_its_picture_is_white(seed: int, size: int) -> None:
    mask = np.zeros((120, 120), np.float32)
    mask[30:80, 20:70] = 1
    picture = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    told = only(scale_low=0.9, scale_high=1.6, shift=0.1, flip=0.5, rotate=0.6, rotate_high=20)
    image, moved = augment_masked(picture, mask, 1.6, size, np.random.default_rng(seed), told)
    assert moved.shape == image.shape[:2] == (size, size)
    assert moved.dtype == np.float32
    # a turn brings a mirrored rim into the picture, which was not forged there
    inner = slice(size // 4, -size // 4)
    difference = np.abs(image[..., 0] / 255.0 - moved)[inner, inner]
    assert difference.max() < 0.02


def test_masked_pictures_are_those_without_a_mask() -> None:
    mask = np.ones((120, 120), np.float32)
    for seed in range(15):
        alone = augment(CROP, 1.6, 96, np.random.default_rng(seed), EVERYTHING, FACE)
        image, moved = augment_masked(
            CROP, mask, 1.6, 96, np.random.default_rng(seed), EVERYTHING, FACE
        )
        assert np.array_equal(alone, image)
        assert 0 <= moved.min() <= moved.max() <= 1


def test_what_is_covered_is_not_forged() -> None:
    mask = np.ones((120, 120), np.float32)
    rng = np.random.default_rng(1)
    _, moved = augment_masked(CROP, mask, 1.0, 120, rng, only(cutout=1, erase=1), FACE)
    treatment = draw_treatment(np.random.default_rng(1), only(cutout=1, erase=1))
    assert treatment.part is not None
    assert treatment.hole is not None
    hidden = part_pixels(FACE, treatment.part, 120) | erased_pixels(treatment.hole, 120)
    assert np.array_equal(moved == 0, hidden)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        augment_masked(
            CROP, np.zeros((60, 60), np.float32), 1, 60, np.random.default_rng(0), only()
        )


# clips


def test_frames_of_a_clip_get_one_treatment() -> None:
    still = dataclasses.replace(EVERYTHING, codec=0.0)
    for seed in range(15):
        alone = augment(CROP, 1.6, 96, np.random.default_rng(seed), still, FACE)
        frames = augment_clip(
            [CROP, CROP.copy(), CROP], 1.6, 96, np.random.default_rng(seed), still, [FACE] * 3
        )
        assert all(np.array_equal(alone, frame) for frame in frames)


def test_a_clip_is_encoded_as_one_clip() -> None:
    crops = [np.roll(CROP, n, axis=1) for n in range(4)]
    told = only(codec=1, codec_low=35, codec_high=35)
    frames = augment_clip(crops, 1.0, 120, np.random.default_rng(0), told)
    expected = h264(crops, 35)
    assert all(np.array_equal(*pair) for pair in zip(frames, expected, strict=True))
    alone = [augment(crop, 1.0, 120, np.random.default_rng(0), told) for crop in crops]
    assert not np.array_equal(alone[2], frames[2]), "later frames are predicted from earlier ones"


# H.264


@pytest.mark.parametrize("shape", [(64, 64, 3), (63, 50, 3), (17, 95, 3)])
def test_a_codec_loses_more_at_higher_factors(shape: tuple[int, int, int]) -> None:
    picture = cv2.GaussianBlur(CROP, (0, 0), 2)[: shape[0], : shape[1]]
    errors = []
    for crf in (5, 30, 48):
        (coded,) = h264([picture], crf)
        assert coded.shape == shape
        errors.append(np.abs(coded.astype(int) - picture).mean())
    assert errors[0] < 5, "colours come back as they were"
    assert errors[0] < errors[1] < errors[2]


def test_nothing_and_unequal_frames() -> None:
    assert h264([], 23) == []
    with pytest.raises(ValueError, match="several sizes"):
        h264([CROP, CROP[:64]], 23)


# covers


@pytest.mark.parametrize("part", PARTS)
def test_parts_cover_their_landmarks_and_little_else(part: str) -> None:
    covered = part_pixels(FACE, part, 120)
    inside = {
        "left eye": FACE[36:42], "right eye": FACE[42:48], "eyes": FACE[36:48],
        "nose": FACE[27:36], "mouth": FACE[48:68],
    }[part]  # fmt: skip
    for x, y in np.rint(inside).astype(int):
        assert covered[y, x]
    assert covered.mean() < 0.1
    assert not covered[[0, -1]].any()


@pytest.mark.parametrize("seed", range(8))
def test_cut_outs_follow_the_face_through_mirror_turn_and_region(seed: int) -> None:
    # a picture that is white where the part is: the cut-out must hide all of it
    told = only(cutout=1, flip=0.5, rotate=0.8, rotate_high=25, scale_low=0.9, scale_high=1.5)
    part = draw_treatment(np.random.default_rng(seed), told).part
    assert part is not None
    white = part_pixels(FACE, part, 120)
    shrunk = cv2.erode(white.astype(np.uint8), np.ones((3, 3), np.uint8))
    picture = np.repeat(shrunk[..., None] * np.uint8(255), 3, axis=2)
    rng = np.random.default_rng(seed)
    hidden = augment(picture, 1.6, 100, rng, told, FACE)
    assert (hidden > 200).mean() < 0.001
    shown = augment(
        picture, 1.6, 100, np.random.default_rng(seed), dataclasses.replace(told, cutout=0), FACE
    )
    assert (shown > 200).mean() > 0.002


def test_five_points_are_enough_for_cut_outs() -> None:
    changed = drawn(only(cutout=1), landmarks=five_of_68(FACE)) != CROP
    assert 0.003 < changed.any(axis=2).mean() < 0.1


def test_cut_outs_without_landmarks_are_refused() -> None:
    with pytest.raises(UsageError, match=r"landmarks=true or set augment\.cutout=0"):
        drawn(only(cutout=0.1))


def test_erased_rectangles_are_as_large_as_allowed() -> None:
    rng = np.random.default_rng(0)
    holes = [Rectangle.drawn(rng.random(6), 0.2) for _ in range(200)]
    areas = [erased_pixels(hole, 100).mean() for hole in holes]
    assert 0.01 < min(areas) < 0.04
    assert 0.15 < max(areas) < 0.22
    shapes = [hole.width / hole.height for hole in holes]
    assert 0.28 < min(shapes) < 0.4
    assert 2.5 < max(shapes) < 3.5
    changed = (drawn(only(erase=1), 3) != CROP).any(axis=2)
    assert 0.015 < changed.mean() < 0.22
    assert len(np.unique(drawn(only(erase=1), 3)[changed], axis=0)) == 1


# the rest


def test_turning_keeps_the_middle_and_can_be_undone() -> None:
    told = only(rotate=1, rotate_high=10)
    angles = [draw_treatment(np.random.default_rng(seed), told).angle or 0.0 for seed in range(40)]
    assert 8 < max(abs(angle) for angle in angles) <= 10
    seed = int(np.argmax(angles))
    turned, angle = drawn(told, seed).astype(float), angles[seed]
    turn = cv2.getRotationMatrix2D((59.5, 59.5), -angle, 1.0)
    back = cv2.warpAffine(turned, turn, (120, 120))
    smooth = [
        cv2.GaussianBlur(each.astype(float), (0, 0), 3)[30:90, 30:90] for each in (back, CROP)
    ]
    assert np.abs(smooth[0] - smooth[1]).mean() < 2


def test_channels_shift_by_themselves() -> None:
    shifted = drawn(only(rgb_shift=1), 1).astype(int) - CROP
    middle = (CROP > 30) & (CROP < 225)
    steps = [np.unique(shifted[..., c][middle[..., c]]) for c in range(3)]
    assert all(len(step) == 1 for step in steps)
    assert len({int(step[0]) for step in steps}) == 3
    assert max(abs(int(step[0])) for step in steps) <= 20


def test_blur_covers_its_range_and_zero_is_no_blur() -> None:
    assert np.array_equal(drawn(only(blur=1, blur_low=0, blur_high=0)), CROP)
    told = only(blur=1, blur_low=2.0, blur_high=3.0)
    sigmas = [draw_treatment(np.random.default_rng(seed), told).sigma for seed in range(50)]
    assert all(sigma is not None and 2 <= sigma <= 3 for sigma in sigmas)


def test_options_that_are_off_change_nothing() -> None:
    off = AugmentSettings()
    ranges = dataclasses.replace(
        off, rotate_high=90, rgb_shift_high=99, codec_low=1, codec_high=50, erase_high=0.9
    )
    for seed in range(20):
        assert np.array_equal(drawn(off, seed), drawn(ranges, seed, landmarks=FACE))


@pytest.mark.parametrize("kind", ["none", "platform", "flip", "deepfakebench", "wang2020", "sbi"])
def test_every_recipe_names_its_source(project_root: Path, kind: str) -> None:
    lines = (project_root / "configs" / "augment" / f"{kind}.yaml").read_text().splitlines()
    comment = " ".join(line for line in lines if line.startswith("#"))
    assert "ource: " in comment
