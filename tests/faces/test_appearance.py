"""Looks of faces and frames: equal is 1, other colours and layouts are less."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.faces.appearance import FaceLook, FrameLook
from dfdetect.types import FaceBox

BOX = FaceBox(182, 60, 267, 177)


def test_a_face_is_like_itself_moved_and_dimmed(portrait: np.ndarray) -> None:
    look = FaceLook.of(portrait, BOX)
    assert look.likeness(look) == pytest.approx(1, abs=1e-5)
    moved = FaceBox(BOX.x0 + 4, BOX.y0 - 3, BOX.x1 + 4, BOX.y1 - 3)
    assert look.likeness(FaceLook.of(portrait, moved)) > 0.85
    dimmed = (portrait * 0.9).astype(np.uint8)
    assert look.likeness(FaceLook.of(dimmed, BOX)) > 0.75


def test_another_part_of_the_picture_is_not_like_the_face(portrait: np.ndarray) -> None:
    look = FaceLook.of(portrait, BOX)
    for box in (FaceBox(330, 30, 440, 170), FaceBox(60, 300, 170, 440)):
        assert look.likeness(FaceLook.of(portrait, box)) < 0.6


@settings(max_examples=50, deadline=None)
@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    other=st.tuples(*[st.integers(0, 255)] * 3),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_likeness_is_symmetric_and_at_most_one_for_any_colour(
    colour: tuple[int, int, int], other: tuple[int, int, int], shape: tuple[int, int]
) -> None:
    one, two = np.zeros((2, *shape, 3), np.uint8)
    one[:], two[:] = colour, other
    box = FaceBox(-5, 3, 40, 60)
    for a, b in (
        (FaceLook.of(one, box), FaceLook.of(two, box)),
        (FrameLook.of(one), FrameLook.of(two)),
    ):
        assert a.likeness(b) == b.likeness(a) <= 1 + 1e-5
        assert a.likeness(a) == pytest.approx(1, abs=1e-5)


def test_frames_of_one_shot_are_alike_and_a_cut_is_not(portrait: np.ndarray) -> None:
    look = FrameLook.of(portrait)
    shifted = np.roll(portrait, 9, axis=1)
    assert look.likeness(FrameLook.of(shifted)) > 0.9
    assert look.likeness(FrameLook.of(np.ascontiguousarray(portrait[::-1]))) < 0.8
    grey = np.full_like(portrait, 128)
    assert look.likeness(FrameLook.of(grey)) < 0.5


def test_frames_of_another_size_are_not_alike(portrait: np.ndarray) -> None:
    half = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    assert FrameLook.of(portrait).likeness(FrameLook.of(half)) == 0
