"""Tracks over moving, crossing, leaving and look-alike faces; a real face on made backgrounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest

from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.faces.track import FaceTracker, TrackRules
from dfdetect.types import Face, FaceBox, Frame

WIDTH, HEIGHT = 960, 540
Place = tuple[int, int]


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return create_finder("onnx")


@pytest.fixture(scope="module")
def anna(portrait: np.ndarray) -> np.ndarray:
    """A head of 160 × 160 px whose face box measures about 80 px."""
    return cv2.resize(portrait[20:270, 100:350], (160, 160), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def bea(anna: np.ndarray) -> np.ndarray:
    """Somebody of another colouring, looking the other way."""
    mirrored = np.ascontiguousarray(anna[:, ::-1])
    lab = cv2.cvtColor(mirrored, cv2.COLOR_RGB2Lab).astype(int)
    lab += (-40, 12, -25)
    return cv2.cvtColor(lab.clip(0, 255).astype(np.uint8), cv2.COLOR_Lab2RGB)


def studio(seed: int) -> np.ndarray:
    """A smooth background, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def picture(people: Sequence[tuple[np.ndarray, Place]], background: int = 0) -> np.ndarray:
    image = studio(background)
    for head, (x, y) in people:
        image[y : y + head.shape[0], x : x + head.shape[1]] = head
    return image


def tracked(
    finder: FaceFinder,
    images: Sequence[np.ndarray],
    step_s: float = 0.4,
    rules: TrackRules | None = None,
) -> FaceTracker:
    tracker = FaceTracker(finder, rules)
    for number, image in enumerate(images):
        tracker.update(Frame(10 * number, step_s * number, image))
    return tracker


def seen_at(tracker: FaceTracker) -> list[list[int]]:
    """For each track the numbers of the frames it is in."""
    return [[face.frame_index // 10 for face in track.faces] for track in tracker.tracks]


def test_one_moving_face_is_one_track_found_mostly_in_regions(
    finder: FaceFinder, anna: np.ndarray
) -> None:
    images = [picture([(anna, (200 + 12 * i, 150 + 5 * i))]) for i in range(16)]
    tracker = tracked(finder, images)
    assert seen_at(tracker) == [list(range(16))]
    assert tracker.n_full_searches == 4
    assert tracker.n_region_searches == 12
    centres = [face.box.centre for face in tracker.tracks[0].faces]
    steps = np.diff(np.asarray(centres), axis=0)
    np.testing.assert_allclose(steps, np.tile((12, 5), (15, 1)), atol=6)


def test_a_walker_is_one_track(finder: FaceFinder, anna: np.ndarray) -> None:
    images = [picture([(anna, (x, 150))]) for x in (20, 200, 370, 560, 740)]
    assert seen_at(tracked(finder, images)) == [[0, 1, 2, 3, 4]]


def test_faces_carry_their_quality(finder: FaceFinder, anna: np.ndarray) -> None:
    found = FaceTracker(finder).update(Frame(0, 0.0, picture([(anna, (300, 200))])))
    (track_id, face), *rest = found
    assert rest == []
    assert track_id == 0
    assert face.quality is not None
    assert face.quality.side_px == face.box.side
    assert face.quality.confidence == face.confidence > 0.95
    assert 20 < face.quality.inter_eye_px < 50


def test_ids_count_from_the_pictures_left(finder: FaceFinder, anna: np.ndarray) -> None:
    small = cv2.resize(anna, (110, 110), interpolation=cv2.INTER_AREA)
    image = picture([(anna, (700, 100)), (small, (60, 300)), (anna, (380, 250))])
    found = FaceTracker(finder).update(Frame(0, 0.0, image))
    assert [track_id for track_id, _ in found] == [0, 1, 2]
    lefts = [face.box.x0 for _, face in found]
    assert lefts == sorted(lefts)


def test_look_alikes_side_by_side_stay_apart(finder: FaceFinder, anna: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    images = [
        picture([(anna, (x, 150)), (anna, (x + 170, 160))])
        for x in 300 + rng.integers(-25, 26, size=12)
    ]
    tracker = tracked(finder, images)
    assert seen_at(tracker) == [list(range(12))] * 2
    for left, right in zip(*(track.faces for track in tracker.tracks), strict=True):
        assert right.box.x0 - left.box.x0 == pytest.approx(170, abs=15)


def test_look_alikes_that_cross_keep_their_ids(finder: FaceFinder, anna: np.ndarray) -> None:
    passing = [
        picture([(anna, (x, 60)), (anna, (700 - x, 300))]) for x in (100, 200, 300, 400, 500, 600)
    ]
    head = np.ascontiguousarray(anna[22:120, 28:126])
    # from the second frame to the third they exactly change places
    swapping = [picture([(head, (x, 200)), (head, (660 - x, 200))]) for x in (180, 280, 380, 480)]
    for images in (passing, swapping):
        tracker = tracked(finder, images)
        assert [len(track.faces) for track in tracker.tracks] == [len(images)] * 2
        right, left = ([face.box.x0 for face in track.faces] for track in tracker.tracks)
        assert right == sorted(right)
        assert left == sorted(left, reverse=True)


def test_different_people_that_cross_keep_their_ids(
    finder: FaceFinder, anna: np.ndarray, bea: np.ndarray
) -> None:
    images = [picture([(anna, (x, 200)), (bea, (600 - x, 200))]) for x in (100, 200, 400, 500)]
    tracker = tracked(finder, images)
    assert [len(track.faces) for track in tracker.tracks] == [4, 4]
    lefts = [face.box.x0 for face in tracker.tracks[0].faces]
    assert lefts == sorted(lefts)


def test_somebody_else_after_a_cut_is_a_new_track(
    finder: FaceFinder, anna: np.ndarray, bea: np.ndarray
) -> None:
    images = [picture([(anna, (400, 180))], 0)] * 4 + [picture([(bea, (400, 180))], 1)] * 4
    assert seen_at(tracked(finder, images)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_somebody_else_at_the_same_place_without_a_cut_is_a_new_track(
    finder: FaceFinder, anna: np.ndarray, bea: np.ndarray
) -> None:
    images = [picture([(anna, (400, 180))])] * 4 + [picture([(bea, (400, 180))])] * 4
    assert seen_at(tracked(finder, images)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_same_face_elsewhere_after_a_cut_is_a_new_track(
    finder: FaceFinder, anna: np.ndarray
) -> None:
    images = [picture([(anna, (100, 180))], 0)] * 3 + [picture([(anna, (650, 180))], 1)] * 3
    assert seen_at(tracked(finder, images)) == [[0, 1, 2], [3, 4, 5]]


def test_a_cut_is_searched_whole(finder: FaceFinder, anna: np.ndarray) -> None:
    before, after = picture([(anna, (100, 180))], 0), picture([(anna, (650, 180))], 1)
    tracker = tracked(finder, [before, before, after], rules=TrackRules(key_every=100))
    assert (tracker.n_full_searches, tracker.n_region_searches) == (2, 1)


def test_a_background_that_changes_keeps_the_track(finder: FaceFinder, anna: np.ndarray) -> None:
    images = [picture([(anna, (400, 180))], background=i // 2) for i in range(8)]
    assert seen_at(tracked(finder, images)) == [list(range(8))]


def test_a_face_that_leaves_and_returns_is_a_new_track(
    finder: FaceFinder, anna: np.ndarray
) -> None:
    there, gone = picture([(anna, (400, 180))]), picture([])
    images = [there] * 3 + [gone] * 3 + [there] * 3
    assert seen_at(tracked(finder, images)) == [[0, 1, 2], [6, 7, 8]]


def test_one_missed_frame_does_not_end_a_track(finder: FaceFinder, anna: np.ndarray) -> None:
    there, gone = picture([(anna, (400, 180))]), picture([])
    images = [there, there, gone, there, there]
    assert seen_at(tracked(finder, images)) == [[0, 1, 3, 4]]


def test_after_one_missed_frame_somebody_else_is_not_the_same(
    finder: FaceFinder, anna: np.ndarray, bea: np.ndarray
) -> None:
    images = [picture([(anna, (400, 180))]), picture([]), picture([(bea, (430, 180))])]
    assert seen_at(tracked(finder, images)) == [[0], [2]]


def test_far_apart_in_time_a_track_needs_place_and_look(
    finder: FaceFinder, anna: np.ndarray, bea: np.ndarray
) -> None:
    here, elsewhere = picture([(anna, (400, 180))]), picture([(anna, (100, 180))])
    other = picture([(bea, (400, 180))])
    assert seen_at(tracked(finder, [here, here, here], step_s=20)) == [[0, 1, 2]]
    assert seen_at(tracked(finder, [here, elsewhere], step_s=20)) == [[0], [1]]
    assert seen_at(tracked(finder, [here, other], step_s=20)) == [[0], [1]]


def test_far_apart_in_time_every_frame_is_searched_whole(
    finder: FaceFinder, anna: np.ndarray
) -> None:
    tracker = tracked(finder, [picture([(anna, (400, 180))])] * 5, step_s=20)
    assert (tracker.n_full_searches, tracker.n_region_searches) == (5, 0)


def test_somebody_who_comes_in_is_found_by_the_next_key_frame(
    finder: FaceFinder, anna: np.ndarray
) -> None:
    alone = picture([(anna, (100, 180))])
    joined = picture([(anna, (100, 180)), (anna, (650, 200))])
    tracker = tracked(finder, [alone, alone, *[joined] * 6], rules=TrackRules(key_every=4))
    assert seen_at(tracker)[0] == list(range(8))
    assert 2 <= seen_at(tracker)[1][0] <= 4


def test_equal_clips_give_equal_tracks(anna: np.ndarray, bea: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    images = [
        picture([(anna, (int(a), 60)), (bea, (int(b), 60)), (anna, (int(a), 300))], i // 5)
        for i, (a, b) in enumerate(rng.integers((100, 400), (250, 600), size=(12, 2)))
    ]
    first = tracked(create_finder("onnx"), images)
    second = tracked(create_finder("onnx"), images)
    assert first.tracks == second.tracks
    assert first.n_region_searches == second.n_region_searches


def test_frames_of_different_sizes_are_cuts(finder: FaceFinder, anna: np.ndarray) -> None:
    image = picture([(anna, (400, 180))])
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert seen_at(tracked(finder, [image, half])) == [[0], [1]]


def test_frames_must_come_in_order(finder: FaceFinder) -> None:
    tracker = FaceTracker(finder)
    tracker.update(Frame(5, 0.5, studio(0)))
    with pytest.raises(ValueError, match="frame 5 cannot follow frame 5"):
        tracker.update(Frame(5, 0.6, studio(0)))


def test_no_face_at_all(finder: FaceFinder) -> None:
    tracker = tracked(finder, [studio(i) for i in range(4)])
    assert tracker.tracks == ()
    assert tracker.n_full_searches == 4


class Scripted:
    """A finder that answers as told, to reach what real pictures do not."""

    def __init__(
        self,
        whole: Callable[[int], Sequence[tuple[FaceBox, float]]],
        near: Callable[[int], Sequence[tuple[FaceBox, float]]],
    ) -> None:
        self.whole, self.near = whole, near

    def find(self, frame: Frame) -> tuple[Face, ...]:
        return self._faces(frame, self.whole(frame.index // 10))

    def find_near(self, frame: Frame, box: FaceBox) -> tuple[Face, ...]:
        return self._faces(frame, self.near(frame.index // 10))

    @staticmethod
    def _faces(frame: Frame, answers: Sequence[tuple[FaceBox, float]]) -> tuple[Face, ...]:
        points = ((1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (3.0, 3.0))
        return tuple(
            Face(frame.index, frame.time_s, box, points, confidence) for box, confidence in answers
        )


HERE = FaceBox(100, 100, 180, 200)
THERE = FaceBox(500, 100, 580, 200)


def test_a_doubtful_face_starts_no_track_but_continues_one() -> None:
    never = Scripted(lambda i: [(HERE, 0.93)], lambda i: [(HERE, 0.93)])
    assert tracked(never, [studio(0)] * 5).tracks == ()
    after_one = Scripted(lambda i: [(HERE, 0.99 if i == 0 else 0.93)], lambda i: [(HERE, 0.93)])
    assert seen_at(tracked(after_one, [studio(0)] * 5)) == [[0, 1, 2, 3, 4]]


def test_a_region_that_fails_brings_the_whole_frame() -> None:
    finder = Scripted(lambda i: [(HERE, 1.0)], lambda i: [])
    tracker = tracked(finder, [studio(0)] * 4, rules=TrackRules(key_every=100))
    assert seen_at(tracker) == [[0, 1, 2, 3]]
    assert (tracker.n_full_searches, tracker.n_region_searches) == (4, 3)


def test_another_face_in_a_region_brings_the_whole_frame() -> None:
    beside = FaceBox(200, 100, 280, 200)
    finder = Scripted(
        lambda i: [(HERE, 1.0), (beside, 0.99)] if i else [(HERE, 1.0)],
        lambda i: [(HERE, 1.0), (beside, 0.99)],
    )
    tracker = tracked(finder, [studio(0)] * 3, rules=TrackRules(key_every=100))
    assert seen_at(tracker) == [[0, 1, 2], [1, 2]]
    assert tracker.n_full_searches == 2


def test_what_two_regions_find_is_one_face() -> None:
    shifted = FaceBox(103, 98, 183, 199)
    finder = Scripted(
        lambda i: [(HERE, 1.0), (THERE, 1.0)],
        lambda i: [(HERE, 0.98), (shifted, 0.99), (THERE, 1.0)],
    )
    tracker = tracked(finder, [studio(0)] * 3, rules=TrackRules(key_every=100))
    assert seen_at(tracker) == [[0, 1, 2]] * 2
    assert tracker.n_full_searches == 1
    assert tracker.tracks[0].faces[1].box == shifted  # the surer of the two


def test_a_crowd_is_searched_whole() -> None:
    crowd = [(FaceBox(100 * i, 50, 100 * i + 60, 120), 1.0) for i in range(6)]
    tracker = tracked(Scripted(lambda i: crowd, lambda i: []), [studio(0)] * 3)
    assert len(tracker.tracks) == 6
    assert (tracker.n_full_searches, tracker.n_region_searches) == (3, 0)


def test_a_face_that_grows_too_much_is_somebody_else() -> None:
    boxes = [HERE, FaceBox(60, 50, 220, 250)]
    finder = Scripted(lambda i: [(boxes[i], 1.0)], lambda i: [])
    assert seen_at(tracked(finder, [studio(0)] * 2)) == [[0], [1]]


def test_ties_go_to_the_lower_id_and_then_the_left() -> None:
    middle = FaceBox(300, 100, 380, 200)
    left, right = FaceBox(240, 100, 320, 200), FaceBox(360, 100, 440, 200)
    flat = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    one_of_two = Scripted(lambda i: [[(right, 1.0), (left, 1.0)], [(middle, 1.0)]][i], lambda i: [])
    assert seen_at(tracked(one_of_two, [flat] * 2)) == [[0, 1], [0]]
    two_of_one = Scripted(lambda i: [[(middle, 1.0)], [(right, 1.0), (left, 1.0)]][i], lambda i: [])
    tracker = tracked(two_of_one, [flat] * 2)
    assert tracker.tracks[0].faces[1].box == left
    assert tracker.tracks[1].faces[0].box == right
