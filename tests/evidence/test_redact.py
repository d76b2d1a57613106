from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.evidence.redact import CELLS, COVER_SCALE, covered_area, obscure
from dfdetect.faces.finder import CascadeFinder, FaceFinder, create_finder
from dfdetect.types import FaceBox, Frame, Image

STILL_PX = 360


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    # far below what the analysis accepts: it should not find even the hint of a face
    found = create_finder("onnx", min_confidence=0.5)
    assert isinstance(found, CascadeFinder)
    return found


def shrunk(image: Image, finder: FaceFinder) -> tuple[Image, FaceBox]:
    scale = STILL_PX / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    box = finder.find(Frame(0, 0.0, image))[0].box
    return small, FaceBox(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)


def test_the_finder_finds_nothing(portrait: Image, finder: FaceFinder) -> None:
    small, box = shrunk(portrait, finder)
    assert finder.find(Frame(0, 0.0, small)), "the test needs a face to begin with"
    for seed in ("one", "two", "three"):
        hidden = obscure(small, [box], seed)
        for zoom in (1, 2, 4):
            zoomed = cv2.resize(hidden, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
            assert finder.find(Frame(0, 0.0, zoomed)) == ()


def test_a_face_that_was_missed_is_hidden_as_well(portrait: Image, finder: FaceFinder) -> None:
    small, _ = shrunk(portrait, finder)
    assert finder.find(Frame(0, 0.0, obscure(small, [], "seed"))) == ()


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(-40, 160),
    y=st.floats(-40, 120),
    side=st.floats(0, 200),
    seed=st.text(max_size=5),
    noise=st.integers(0, 2**32 - 1),
)
def test_nothing_of_a_face_is_left(x: float, y: float, side: float, seed: str, noise: int) -> None:
    rng = np.random.default_rng(noise)
    image = rng.integers(0, 256, (120, 160, 3), np.uint8)
    box = FaceBox(x, y, x + side, y + side * 1.2)
    other = image.copy()
    x0, y0, x1, y1 = covered_area(box, 160, 120)
    other[y0:y1, x0:x1] = rng.integers(0, 256, other[y0:y1, x0:x1].shape, np.uint8)
    # two pictures that differ in the face alone become one and the same
    assert np.array_equal(obscure(image, [box], seed), obscure(other, [box], seed))


def test_the_covered_area_is_the_box_times_1_3() -> None:
    x0, y0, x1, y1 = covered_area(FaceBox(100, 100, 200, 300), 1000, 1000)
    assert (x1 - x0, y1 - y0) == (100 * COVER_SCALE, 200 * COVER_SCALE)
    assert covered_area(FaceBox(-50, -50, 2000, 2000), 1000, 800) == (0, 0, 1000, 800)
    x0, y0, x1, y1 = covered_area(FaceBox(5000, 5000, 6000, 6000), 1000, 800)
    assert (x1 - x0) * (y1 - y0) == 0


def test_the_mosaic_has_at_most_eight_cells_a_side(portrait: Image) -> None:
    hidden = obscure(portrait, [FaceBox(176, 64, 272, 192)], "seed")
    x0, y0, x1, y1 = covered_area(FaceBox(176, 64, 272, 192), 512, 512)
    area = hidden[y0:y1, x0:x1].astype(int)
    # below the bar over the eyes
    rows = (np.abs(np.diff(area[:, area.shape[1] // 2, 0])) > 0).sum()
    columns = (np.abs(np.diff(area[-3, :, 0])) > 0).sum()
    assert rows <= CELLS + 1  # the bar adds two edges and hides at least one
    assert columns < CELLS


def test_equal_seeds_give_equal_pictures(portrait: Image) -> None:
    box = FaceBox(170, 60, 280, 200)
    assert np.array_equal(obscure(portrait, [box], "a"), obscure(portrait, [box], "a"))
    assert not np.array_equal(obscure(portrait, [box], "a"), obscure(portrait, [box], "b"))


def test_the_picture_given_is_not_altered(portrait: Image) -> None:
    copy = portrait.copy()
    obscure(portrait, [FaceBox(170, 60, 280, 200)], "seed")
    assert np.array_equal(copy, portrait)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (3, 500)])
def test_tiny_and_narrow_pictures(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 77, np.uint8)
    assert obscure(image, [FaceBox(0, 0, 5, 5)], "seed").shape == image.shape


@pytest.mark.shared
def test_people_of_equal_pose_cannot_be_told_apart(shared_data: Path, finder: FaceFinder) -> None:
    """Match each adult's smile against all neutral faces: clear, then obscured."""
    folder = shared_data / "faces" / "london"
    sets = [sorted(folder.glob(f"*_{kind}.jpg"))[:40] for kind in ("neutral", "smiling")]
    clear: list[list[Image]] = [[], []]
    hidden: list[list[Image]] = [[], []]
    for number, paths in enumerate(sets):
        for path in paths:
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            small, box = shrunk(image, finder)
            x0, y0, x1, y1 = covered_area(box, small.shape[1], small.shape[0])
            result = obscure(small, [box], f"{path.name}")
            assert finder.find(Frame(0, 0.0, result)) == ()
            clear[number].append(cv2.resize(small[y0:y1, x0:x1], (48, 48)))
            hidden[number].append(cv2.resize(result[y0:y1, x0:x1], (48, 48)))
    people = len(sets[0])
    assert people == 40
    assert hits(clear[0], clear[1]) > people * 0.6, "the matcher must be able to match"
    # by chance one of 40 is right; five or more would come about in 4 of 1,000 trials
    assert hits(hidden[0], hidden[1]) < 5


def hits(gallery: list[Image], probes: list[Image]) -> int:
    """Count probes whose best normalised correlation is with the picture of equal number."""

    def standard(images: list[Image]) -> np.ndarray:
        rows = np.stack([image.astype(float).ravel() for image in images])
        rows -= rows.mean(axis=1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    best = (standard(probes) @ standard(gallery).T).argmax(axis=1)
    return int((best == np.arange(len(probes))).sum())
