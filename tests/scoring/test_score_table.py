"""Scores in columns hold what the objects held, in one order, whatever order they came in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.scoring.score_table import SCORED, ScoreTable, SkippedScore
from dfdetect.types import FaceScore


def face(video_id: str, track: int, frame: int, logit: float) -> FaceScore:
    return FaceScore(video_id, track, frame, frame / 25, logit, float(1 / (1 + np.exp(-logit))))


places = st.tuples(st.sampled_from(["a", "b/ü", "c"]), st.integers(0, 2), st.integers(0, 9))
faces = st.dictionaries(places, st.floats(-30, 30), min_size=1).map(
    lambda found: [face(*place, logit) for place, logit in found.items()]
)


@given(faces, st.randoms())
def test_faces_come_back_sorted_whatever_their_order(found: list[FaceScore], rnd: object) -> None:
    table = ScoreTable.of(found)
    shuffled = list(found)
    rnd.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ScoreTable.of(shuffled) == table
    wanted = sorted(found, key=lambda one: (one.video_id, one.track_id, one.frame_index))
    for made, one in zip(table.faces(), wanted, strict=True):
        assert made.p_fake == pytest.approx(one.p_fake, rel=1e-12)
        assert (made.video_id, made.track_id, made.frame_index, made.time_s, made.logit) == (
            one.video_id, one.track_id, one.frame_index, one.time_s, one.logit,
        )  # fmt: skip


def test_what_has_no_score_is_counted_by_why() -> None:
    table = ScoreTable.of(
        [face("b", 0, 1, 2.0)],
        [
            SkippedScore("b", "no_face", -1, 2, 0.1),
            SkippedScore("a", "not_extracted"),
            SkippedScore("b", "no_face", -1, 3, 0.2),
        ],
    )
    assert table.video_ids == ("a", "b")
    assert (len(table), table.n_scored) == (4, 1)
    assert table.n_by_status() == (("no_face", 2), ("not_extracted", 1))
    assert table.statuses[0] == SCORED
    assert [one.video_id for one in table.scored().faces()] == ["b"]
    assert table.scored().video_ids == ("a", "b")


def test_some_videos_leave_the_others_behind() -> None:
    table = ScoreTable.of(
        [face("a", 0, 0, 1.0), face("b", 0, 0, 2.0), face("c", 1, 4, 3.0)],
        [SkippedScore("c", "no_face", -1, 7)],
    )
    part = table.of_videos(["c", "unheard of", "a"])
    assert part.video_ids == ("a", "c")
    assert part == ScoreTable.of(
        [face("a", 0, 0, 1.0), face("c", 1, 4, 3.0)], [SkippedScore("c", "no_face", -1, 7)]
    )
    assert part != table


@pytest.mark.parametrize(
    ("logit", "status", "what"),
    [
        ([1.0], ["no_face"], "finite logit"),
        ([np.nan], [SCORED], "finite logit"),
        ([np.inf], [SCORED], "finite logit"),
        ([1.0, 2.0], [SCORED], "differ in length"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(
    logit: list[float], status: list[str], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        ScoreTable.from_columns(["a"], [0], [0], [0.0], logit, status)


def test_positions_need_sorted_distinct_ids() -> None:
    for names in (("b", "a"), ("a", "a")):
        with pytest.raises(ValueError, match="sorted and distinct"):
            ScoreTable.coded(names, [0, 1], [0, 0], [0, 0], [0, 0], [1, 1], [0, 0], [SCORED])


def test_an_empty_table_is_a_table() -> None:
    assert len(ScoreTable.of([])) == 0
    assert list(ScoreTable.of([]).faces()) == []
