"""Landmarks of files: taken to the crop they are of, and refused where they are of another face."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dfdetect.data.crops import CropStore
from dfdetect.data.face_shape import face_side, fit_shape, five_of_68
from dfdetect.data.landmarks import LandmarkFile
from dfdetect.data.loading import CropDataset
from dfdetect.data.shapes import LIMIT, Shapes, misfit, shapes_of
from dfdetect.data.shards import CropRow
from dfdetect.faces.crop import crop_landmarks
from dfdetect.types import CropPolicy, Face, FaceBox, Image, Point
from tests.stores import BOX, LANDMARKS, SCALE, clip_row, make_store, write_store

SHAPE = fit_shape(LANDMARKS)[:68]
"""The 68 points of the portrait's face, in the portrait's pixels."""
SIDE = face_side(SHAPE)
SQUARE = CropPolicy("square", SCALE, 96)


def file_of(*faces: tuple[str, int | None, NDArray[np.float64]]) -> LandmarkFile:
    positions = {(name, frame): n for n, (name, frame, _) in enumerate(faces)}
    return LandmarkFile(np.stack([points for _, _, points in faces]), positions)


def five(shape: NDArray[np.float64]) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in five_of_68(shape))


def row_of(name: str, video: str, move: float, policy: CropPolicy = SQUARE) -> CropRow:
    """Return a crop of the portrait's face `move` pixels to the right, in frame 0 of a video."""
    shape = SHAPE + np.array([move, 0])
    box = replace(BOX, x0=BOX.x0 + move, x1=BOX.x1 + move)
    if policy.name == "whole":
        box = FaceBox(0, 0, 512, 512)
    face = Face(0, 0.0, box, five(shape), 1.0)
    return CropRow(
        crop_id=name, video_id=video, track_id=0, frame_index=0, time_s=0.0, status="ok", box=box,
        landmarks=crop_landmarks(face, policy), points=face.landmarks, confidence=1.0,
    )  # fmt: skip


def store_of(folder: Path, picture: Image, *rows: CropRow) -> CropStore:
    videos = [clip_row(name) for name in sorted({row.video_id for row in rows})]
    return write_store(folder, videos, [(row, picture) for row in rows])


@pytest.fixture
def picture(portrait: Image) -> Image:
    return np.ascontiguousarray(portrait[:96, :96])


@pytest.fixture
def crowd(tmp_path: Path, picture: Image) -> CropStore:
    """One frame that shows two people, far from each other."""
    rows = (row_of("left", "v", 0.0), row_of("right", "v", 2 * SIDE))
    return store_of(tmp_path / "crowd", picture, *rows)


def test_points_are_numbered_as_the_crops_are(tmp_path: Path, portrait: Image) -> None:
    one = make_store(tmp_path / "one", portrait, "one", n_videos=2)
    other = make_store(tmp_path / "other", portrait, "other", n_videos=2)
    wanted = {}
    for number, row in enumerate((*one.usable("train"), *other.usable("train"))):
        if number % 3:
            wanted[row.crop_id] = fit_shape(row.landmarks)[:68] + number / 100
    file = file_of(*((name, None, points) for name, points in wanted.items()))
    shapes = shapes_of([one, other], "train", [file])
    names = [row.crop_id for store in (one, other) for row in store.usable("train")]
    assert len(names) == len(shapes.n_points) == len(CropDataset([one, other], "train"))
    assert (shapes.n_given, shapes.n_refused) == (len(wanted), 0)
    for number, name in enumerate(names):
        found = shapes.of([number])
        assert (found is not None) == (name in wanted)
        if found is not None:
            assert np.abs(found[0] - wanted[name]).max() < 1e-4


@pytest.mark.parametrize("name", ["square", "aligned", "whole"])
def test_points_of_a_frame_arrive_in_the_crop(tmp_path: Path, picture: Image, name: str) -> None:
    policy = CropPolicy(name, SCALE, 96)
    row = row_of("a", "v", 0.0, policy)
    folder = store_of(tmp_path / name, picture, row).folder
    record = {"name": name, "scale": policy.scale, "size": policy.size}
    (folder / "extract.json").write_text(json.dumps({"cutter": {"policy": record}}))
    shapes = shapes_of([CropStore.open(folder)], "train", [file_of(("v", 0, SHAPE))])
    found = shapes.of([0])
    assert found is not None
    assert np.abs(five_of_68(found[0]) - np.array(row.landmarks)).max() < 1e-3


def test_each_face_of_a_frame_gets_its_own_points(crowd: CropStore) -> None:
    right = SHAPE + np.array([2 * SIDE, 0])
    only = shapes_of([crowd], "train", [file_of(("v", 0, right))])
    assert only.n_points.tolist() == [0, 68]
    assert only.n_refused == 0
    # a file holds one face a frame, so the second one is in another
    both = shapes_of([crowd], "train", [file_of(("v", 0, right)), file_of(("v", 0, SHAPE))])
    assert both.n_points.tolist() == [68, 68]
    for number, row in enumerate(crowd.crops):
        found = both.of([number])
        assert found is not None
        assert misfit(found[0], row.landmarks) < 0.01


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (SHAPE + np.array([SIDE, 0]), "somebody between the two"),
        (SHAPE + np.array([0, 0.3 * SIDE]), "beside the face"),
        (SHAPE / 2, "of a frame of half the size"),
        ((SHAPE - SHAPE.mean(0)) * 2 + SHAPE.mean(0), "twice as large"),
    ],
)
def test_points_of_no_face_in_the_frame_are_refused_and_counted(
    crowd: CropStore, points: NDArray[np.float64], reason: str
) -> None:
    shapes = shapes_of([crowd], "train", [file_of(("v", 0, points))])
    assert (shapes.n_given, shapes.n_refused) == (0, 1), reason


def test_points_that_name_a_crop_are_held_against_it_too(crowd: CropStore) -> None:
    left, right = (fit_shape(row.landmarks)[:68] for row in crowd.crops)
    frame = (("left", None, SHAPE), ("right", None, right), ("absent", None, left))
    shapes = shapes_of([crowd], "train", [file_of(*frame)])
    # those of the first are in the frame's pixels; nobody asks for those of an unknown crop
    assert shapes.n_points.tolist() == [0, 68]
    assert shapes.n_refused == 1


def test_without_five_points_nothing_can_be_checked(tmp_path: Path, picture: Image) -> None:
    row = row_of("a", "v", 0.0)
    store = store_of(tmp_path / "blind", picture, replace(row, landmarks=(), points=()))
    file = file_of(("a", None, fit_shape(row.landmarks)[:68]))
    assert shapes_of([store], "train", [file]).n_refused == 1


def test_what_names_a_crop_is_surer_than_what_names_its_frame(crowd: CropStore) -> None:
    named = fit_shape(crowd.crops[0].landmarks)[:68] + 2
    by_frame, by_crop = file_of(("v", 0, SHAPE)), file_of(("left", None, named))
    for files in ([by_frame, by_crop], [by_crop, by_frame]):
        found = shapes_of([crowd], "train", files).of([0])
        assert found is not None
        assert np.abs(found[0] - named).max() < 1e-4


def test_crops_share_points_only_where_all_have_as_many(crowd: CropStore) -> None:
    left, right = (fit_shape(row.landmarks) for row in crowd.crops)
    right = np.concatenate([right[:68], np.tile(right[70], (13, 1))])
    files = [file_of(("left", None, left[:68])), file_of(("right", None, right))]
    shapes = shapes_of([crowd], "train", files)
    assert shapes.n_points.tolist() == [68, 81]
    assert shapes.of([0, 1]) is None
    pair = shapes.of([1, 1])
    assert pair is not None
    assert [len(points) for points in pair] == [81, 81]
    clips = np.array([[0, 0], [0, 1], [1, 1]])
    assert shapes.have(clips).tolist() == [True, False, True]
    assert not Shapes.none(2).have(clips).any()


def test_the_measure_is_in_sides_of_the_face() -> None:
    for scale in (0.5, 1.0, 3.0):
        shape = SHAPE * scale
        off = misfit(shape + np.array([LIMIT * SIDE * scale, 0]), five(shape))
        assert off == pytest.approx(LIMIT, rel=0.1)


def test_other_splits_get_nothing(tmp_path: Path, portrait: Image) -> None:
    store = make_store(tmp_path / "toy", portrait, n_videos=2)
    file = file_of(*((r.crop_id, None, fit_shape(r.landmarks)[:68]) for r in store.usable("val")))
    shapes = shapes_of([store], "train", [file])
    assert (shapes.n_given, shapes.n_refused) == (0, 0)
    assert shapes_of([store], "val", [file]).n_given == len(store.usable("val"))
