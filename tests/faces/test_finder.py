"""The finders on a public-domain portrait, on faceless pictures and against each other."""

from __future__ import annotations

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dfdetect.errors import UsageError
from dfdetect.faces.agreement import Agreement, compare
from dfdetect.faces.finder import FINDERS, MIN_CONFIDENCE, FaceFinder, create_finder
from dfdetect.types import FaceBox, Frame

# marked by hand in the portrait
FACE = FaceBox(182, 60, 267, 177)
EYES_NOSE_MOUTH = ((203.5, 101.5), (246.5, 103), (225, 127), (203.5, 140), (244, 141))


@pytest.fixture(scope="module")
def onnx() -> FaceFinder:
    return create_finder()


@pytest.fixture(scope="module")
def facenet() -> FaceFinder:
    return create_finder("facenet")


def frame_of(image: np.ndarray) -> Frame:
    return Frame(7, 0.28, np.ascontiguousarray(image))


def group_photo(portrait: np.ndarray) -> np.ndarray:
    """The portrait five times at different sizes, once mirrored, on a 1080p picture."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    head = portrait[:320, 60:380]
    places = ((900, 40, 60), (620, 80, 1020), (420, 600, 560), (300, 700, 60), (240, 760, 1560))
    for rank, (side, y, x) in enumerate(places):
        small = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
        small = small[:, ::-1] if rank == 2 else small
        image[y : y + side, x : x + side] = small[: 1080 - y]
    return image


@pytest.mark.parametrize("name", ["onnx", "facenet"])
def test_the_portrait_is_one_face_with_points_where_they_are(
    name: str, portrait: np.ndarray
) -> None:
    (face,) = create_finder(name).find(frame_of(portrait))
    assert (face.frame_index, face.time_s) == (7, 0.28)
    assert face.confidence > 0.99
    assert face.quality is None
    for found, marked in zip(face.landmarks, EYES_NOSE_MOUTH, strict=True):
        assert math.dist(found, marked) < 4
    assert face.box.iou(FACE) > 0.85


def test_both_finders_agree_on_a_group(
    onnx: FaceFinder, facenet: FaceFinder, portrait: np.ndarray
) -> None:
    frame = frame_of(group_photo(portrait))
    wanted, found = facenet.find(frame), onnx.find(frame)
    agreement = compare(wanted, found)
    assert agreement.n_wanted == 5
    assert agreement.recall == 1.0
    assert agreement.mean_iou >= 0.88
    assert agreement.n_extra == 0
    for face in found:
        twin = max(wanted, key=lambda other: other.box.iou(face.box))
        apart = [math.dist(a, b) for a, b in zip(face.landmarks, twin.landmarks, strict=True)]
        assert max(apart) < 0.06 * twin.box.side


@pytest.mark.parametrize("factor", [0.3, 0.5, 1.0, 2.5])
def test_both_finders_agree_at_every_resolution(
    onnx: FaceFinder, facenet: FaceFinder, portrait: np.ndarray, factor: float
) -> None:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    frame = frame_of(cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=how))
    agreement = compare(facenet.find(frame), onnx.find(frame), min_side_px=20)
    assert (agreement.n_wanted, agreement.n_found) == (1, 1)
    assert agreement.mean_iou >= 0.85


@pytest.mark.parametrize("name", ["onnx", "facenet"])
@pytest.mark.parametrize(
    "shape", [(540, 960), (1, 1), (16, 16), (19, 300), (20, 20), (1, 700), (13, 2000)]
)
def test_pictures_without_a_face(name: str, shape: tuple[int, int]) -> None:
    finder = create_finder(name)
    rng = np.random.default_rng(0)
    for image in (
        np.zeros((*shape, 3), np.uint8),
        np.full((*shape, 3), 255, np.uint8),
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
    ):
        assert finder.find(frame_of(image)) == ()
        assert finder.find_near(frame_of(image), FaceBox(2, 2, 30, 40)) == ()


def test_things_are_not_faces(onnx: FaceFinder) -> None:
    from skimage import data

    for thing in (data.coffee(), data.rocket(), data.chelsea()):  # a cup, a rocket, a cat
        assert onnx.find(frame_of(thing)) == ()


@pytest.mark.parametrize("name", ["onnx", "facenet"])
def test_faces_come_largest_first_and_clear(name: str, portrait: np.ndarray) -> None:
    faces = create_finder(name).find(frame_of(group_photo(portrait)))
    areas = [face.box.area for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert min(face.confidence for face in faces) >= MIN_CONFIDENCE


def test_the_least_confidence_is_an_option(portrait: np.ndarray) -> None:
    frame = frame_of(portrait)
    assert len(create_finder("onnx", min_confidence=0.99).find(frame)) == 1
    assert create_finder("onnx", min_confidence=1.1).find(frame) == ()


@pytest.mark.parametrize("name", ["onnx", "facenet"])
def test_a_region_holds_the_face_next_to_the_box(name: str, portrait: np.ndarray) -> None:
    finder = create_finder(name)
    frame = frame_of(group_photo(portrait))
    for face in finder.find(frame):
        side = face.box.side
        moved = FaceBox(
            face.box.x0 + 0.4 * side,
            face.box.y0 - 0.3 * side,
            face.box.x1 + 0.6 * side,
            face.box.y1 - 0.2 * side,
        )
        near = finder.find_near(frame, moved)
        assert max(other.box.iou(face.box) for other in near) > 0.8
        for other in near:
            assert math.dist(other.box.centre, moved.centre) < 2.5 * moved.side


@pytest.mark.parametrize("name", ["onnx", "facenet"])
@pytest.mark.parametrize(
    "box",
    [
        FaceBox(-900, -900, -800, -800),
        FaceBox(5000, 20, 5100, 120),
        FaceBox(300, 300, 300, 300),
        FaceBox(-2000, -2000, 3000, 3000),
    ],
)
def test_odd_regions_are_searched_without_complaint(
    name: str, box: FaceBox, portrait: np.ndarray
) -> None:
    for face in create_finder(name).find_near(frame_of(portrait), box):
        assert face.confidence >= MIN_CONFIDENCE


def test_a_face_cut_off_by_the_edge(onnx: FaceFinder, portrait: np.ndarray) -> None:
    (whole,) = onnx.find(frame_of(portrait))
    (cut,) = onnx.find(frame_of(portrait[75:, 200:]))
    assert cut.box.x1 + 200 == pytest.approx(whole.box.x1, abs=10)
    assert cut.box.y1 + 75 == pytest.approx(whole.box.y1, abs=15)


def test_equal_frames_give_equal_faces(portrait: np.ndarray) -> None:
    frame = frame_of(group_photo(portrait))
    first, second = create_finder(), create_finder()
    box = first.find(frame)[0].box
    assert first.find(frame) == second.find(frame) == first.find(frame)
    assert first.find_near(frame, box) == second.find_near(frame, box)


def test_frames_are_left_as_they_are(onnx: FaceFinder, portrait: np.ndarray) -> None:
    image = group_photo(portrait)
    image.flags.writeable = False
    before = image.copy()
    onnx.find(Frame(0, 0.0, image))
    onnx.find_near(Frame(0, 0.0, image), FaceBox(100, 100, 300, 300))
    np.testing.assert_array_equal(image, before)


def test_names_and_options_are_checked() -> None:
    assert FINDERS.names() == ("facenet", "onnx")
    with pytest.raises(UsageError, match="did you mean 'onnx'"):
        create_finder("onx")
    with pytest.raises(UsageError, match="no option 'devise'; its options: min_confidence, device"):
        create_finder("facenet", devise="cuda")


def test_the_default_finder_runs_without_torch(portrait: np.ndarray) -> None:
    program = """
import sys
import numpy as np
from dfdetect.faces import crop, track
from dfdetect.faces.finder import create_finder
from dfdetect.types import Frame
tracker = track.FaceTracker(create_finder())
tracker.update(Frame(0, 0.0, np.zeros((90, 160, 3), np.uint8)))
heavy = {"torch", "torchvision", "facenet_pytorch", "timm", "lightning", "sklearn", "scipy",
         "pandas", "matplotlib", "pyarrow", "hydra", "omegaconf"}
print(sorted(heavy & set(sys.modules)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_agreement_counts_each_face_once(onnx: FaceFinder, portrait: np.ndarray) -> None:
    (face,) = onnx.find(frame_of(portrait))
    assert compare([face, face], [face]) == Agreement(2, (1.0,), 1, 0)
    assert compare([face], [face, face]) == Agreement(1, (1.0,), 2, 0)
    assert compare([], [face]) == Agreement(0, (), 1, 1)
    assert compare([face], [], min_side_px=1000) == Agreement()


def test_agreement_of_nothing_is_undefined() -> None:
    with pytest.raises(ValueError, match="recall is undefined"):
        _ = Agreement().recall
    with pytest.raises(ValueError, match="IoU is undefined"):
        _ = Agreement(1).mean_iou
