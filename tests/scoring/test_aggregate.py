"""Faces → tracks → videos: values by hand, and what must not matter."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from dfdetect.errors import UsageError
from dfdetect.scoring.aggregate import (
    AGGREGATES,
    aggregate_logits,
    sigmoid,
    track_scores,
    video_scores,
)
from dfdetect.types import FaceScore

logits_lists = st.lists(st.floats(-50, 50), min_size=1, max_size=20)


def face(video: str, track: int, frame: int, value: float) -> FaceScore:
    return FaceScore(video, track, frame, frame / 10, value, float(expit(value)))


def faces(video: str, track: int, values: list[float]) -> list[FaceScore]:
    return [face(video, track, frame, value) for frame, value in enumerate(values)]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean_logit", 1.0),
        ("median_logit", 0.5),
        ("max", 4.0),
        ("top_third", 3.0),
        ("mean_p", logit(np.mean(expit([-1.0, 0.0, 1.0, 2.0, 4.0, 0.0])))),
    ],
)
def test_values_by_hand(method: str, expected: float) -> None:
    found = aggregate_logits([-1.0, 0.0, 1.0, 2.0, 4.0, 0.0], method)
    assert found == pytest.approx(expected)


def test_every_aggregate_has_a_case_above() -> None:
    marks = test_values_by_hand.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in marks[0].args[1]} == set(AGGREGATES)


@pytest.mark.parametrize("method", sorted(AGGREGATES))
class TestEveryAggregate:
    @given(values=logits_lists)
    def test_lies_between_the_extremes(self, method: str, values: list[float]) -> None:
        found = aggregate_logits(values, method)
        assert min(values) - 1e-6 <= found <= max(values) + 1e-6

    @given(values=logits_lists, random=st.randoms(use_true_random=False))
    def test_order_does_not_change_a_bit(self, method: str, values: list[float], random) -> None:
        shuffled = random.sample(values, len(values))
        assert aggregate_logits(shuffled, method) == aggregate_logits(values, method)

    @given(values=logits_lists, which=st.integers(0, 19), step=st.floats(0, 20))
    def test_never_falls_when_a_face_rises(
        self, method: str, values: list[float], which: int, step: float
    ) -> None:
        higher = list(values)
        higher[which % len(values)] += step
        assert aggregate_logits(higher, method) >= aggregate_logits(values, method) - 1e-9

    def test_extreme_logits_stay_finite(self, method: str) -> None:
        for value in (-5000.0, 5000.0):
            assert math.isfinite(aggregate_logits([value, value], method))

    def test_refuses_nothing_and_nan(self, method: str) -> None:
        with pytest.raises(ValueError, match="no faces"):
            aggregate_logits([], method)
        with pytest.raises(ValueError, match="not finite"):
            aggregate_logits([0.0, math.nan], method)


def test_unknown_names_are_answered() -> None:
    with pytest.raises(UsageError, match="did you mean 'mean_logit'"):
        aggregate_logits([0.0], "mean_logits")
    with pytest.raises(UsageError, match="highest_track, all_faces"):
        video_scores(faces("v", 0, [0.0]), rule="loudest")


def test_sigmoid_is_scipys() -> None:
    x = np.array([-800.0, -40.0, -1.0, 0.0, 1e-9, 3.0, 40.0, 800.0])
    np.testing.assert_allclose(sigmoid(x), expit(x), rtol=1e-12)


def test_tracks_come_sorted_with_their_counts() -> None:
    found = track_scores([*faces("v", 2, [3.0]), *faces("v", 0, [1.0, 2.0])])
    assert [(track.track_id, track.n_faces, track.logit) for track in found] == [
        (0, 2, 1.5),
        (2, 1, 3.0),
    ]
    assert found[0].p_fake == pytest.approx(expit(1.5))


def test_tracks_of_two_videos_are_refused() -> None:
    with pytest.raises(ValueError, match="several videos"):
        track_scores([*faces("a", 0, [0.0]), *faces("b", 0, [0.0])])


class TestVideo:
    def test_highest_track_with_enough_faces_decides(self) -> None:
        scores = [
            *faces("v", 0, [1.0] * 8),
            *faces("v", 1, [2.0] * 8),
            *faces("v", 2, [9.0] * 7),  # seen too briefly to decide
        ]
        (found,) = video_scores(scores, min_faces=8)
        assert (found.track_id, found.logit, found.n_faces, found.n_tracks) == (1, 2.0, 8, 3)
        assert found.is_sound

    def test_without_a_sound_track_the_longest_ones_decide(self) -> None:
        scores = [
            *faces("v", 0, [1.0] * 3),
            *faces("v", 1, [2.0] * 3),
            *faces("v", 2, [9.0]),
        ]
        (found,) = video_scores(scores, min_faces=8)
        assert (found.track_id, found.logit, found.is_sound) == (1, 2.0, False)

    def test_all_faces_weigh_alike_for_comparability(self) -> None:
        scores = [*faces("v", 0, [0.0] * 3), *faces("v", 1, [4.0])]
        (found,) = video_scores(scores, rule="all_faces")
        assert (found.track_id, found.logit, found.n_faces) == (None, 1.0, 4)

    def test_videos_with_one_folder_name_stay_apart(self) -> None:
        # four FaceForensics++ methods have a clip 000_003: one video a method, not one in all
        scores = [
            one
            for method, value in (("Deepfakes", 1.0), ("FaceSwap", -1.0))
            for one in faces(f"ffpp/{method}/c23/000_003", 0, [value])
        ]
        assert [found.logit for found in video_scores(scores)] == [1.0, -1.0]

    def test_equal_tracks_are_settled_by_the_lower_id(self) -> None:
        scores = [*faces("v", 1, [1.0]), *faces("v", 0, [1.0])]
        assert video_scores(scores)[0].track_id == 0

    def test_no_order_of_faces_changes_anything(self) -> None:
        scores = [*faces("v", 0, [0.1, 0.7]), *faces("v", 1, [0.3]), *faces("u", 0, [0.2])]
        expected = video_scores(scores)
        for order in itertools.permutations(scores):
            assert video_scores(order) == expected

    def test_nothing_in_nothing_out(self) -> None:
        assert video_scores([]) == ()
        assert track_scores([]) == ()
