"""Scores in columns by frame, track and video: as by objects, bit for bit."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.errors import UsageError
from dfdetect.scoring.aggregate import AGGREGATES, VIDEO_RULES, track_scores, video_scores
from dfdetect.scoring.score_table import ScoreTable, SkippedScore
from dfdetect.scoring.units import UnitScores, unit_scores
from dfdetect.types import FaceScore

VIDEOS = ("a", "b", "c/1")
NOT_EXTRACTED = "not_extracted"


@st.composite
def tables(draw: st.DrawFn) -> ScoreTable:
    keys = st.tuples(st.sampled_from(VIDEOS), st.integers(0, 2), st.integers(0, 20))
    logits = st.floats(-40, 40) | st.sampled_from([-1.0, 0.0, 1.0])
    scored = draw(st.dictionaries(keys, logits, max_size=40))
    lost = draw(st.sets(keys, max_size=10)) - scored.keys()
    named = {video for video, _, _ in (*scored, *lost)}
    return ScoreTable.of(
        [FaceScore(*key, key[2] / 25, logit, 0.5) for key, logit in scored.items()],
        [
            *(SkippedScore(video, "too_small", track, frame) for video, track, frame in lost),
            *(SkippedScore(video, NOT_EXTRACTED) for video in VIDEOS if video not in named),
        ],
    )


def by_name(table: ScoreTable, unit: UnitScores) -> list[tuple[str, float]]:
    names = [table.video_ids[place] for place in unit.video.tolist()]
    return list(zip(names, unit.logit.tolist(), strict=True))


@settings(max_examples=80)
@given(
    tables(), st.sampled_from(sorted(AGGREGATES)), st.sampled_from(VIDEO_RULES), st.integers(1, 9)
)
def test_units_are_those_of_objects(
    table: ScoreTable, aggregate: str, rule: str, min_faces: int
) -> None:
    frames, tracks, videos = unit_scores(table, aggregate, rule, min_faces)
    faces = list(table.faces())
    assert by_name(table, frames) == [(face.video_id, face.logit) for face in faces]
    assert by_name(table, tracks) == [
        (video_id, track.logit)
        for video_id in VIDEOS
        for track in track_scores([one for one in faces if one.video_id == video_id], aggregate)
    ]
    assert by_name(table, videos) == [
        (video.video_id, video.logit) for video in video_scores(faces, aggregate, rule, min_faces)
    ]


@settings(max_examples=40)
@given(tables())
def test_what_was_lost_is_counted(table: ScoreTable) -> None:
    columns = (table.video, table.track_id, table.frame_index, table.status)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    frames, tracks, videos = unit_scores(table, "mean_logit", "highest_track", 8)
    n_lost = Counter(video for video, _, frame, status in rows if status and frame >= 0)
    assert frames.n_skipped.tolist() == [n_lost[video] for video in range(3)]
    seen = {(video, track) for video, track, _, _ in rows if track >= 0}
    judged = {(video, track) for video, track, _, status in rows if not status}
    unjudged = Counter(video for video, _ in seen - judged)
    assert tracks.n_skipped.tolist() == [unjudged[video] for video in range(3)]
    with_score = {video for video, _ in judged}
    assert videos.n_skipped.tolist() == [int(video not in with_score) for video in range(3)]


@pytest.mark.parametrize("aggregate", sorted(AGGREGATES))
def test_long_tracks_of_many_lengths(aggregate: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [1, 2, 7, 8, 9, 32, 127, 128, 129, 300, 300, 1000]
    video = np.repeat(np.arange(len(sizes)), sizes)
    frame = np.concatenate([np.arange(size) for size in sizes])
    table = ScoreTable.coded(
        tuple(f"v{number:02d}" for number in range(len(sizes))), video, np.zeros_like(video),
        frame, frame / 25, rng.normal(0, 3, video.size), np.zeros_like(video), ("ok",),
    )  # fmt: skip
    _, tracks, videos = unit_scores(table, aggregate, "all_faces", 8)
    expected = [one.logit for one in video_scores(list(table.faces()), aggregate, "all_faces")]
    assert tracks.logit.tolist() == videos.logit.tolist() == expected


def test_clips_lose_tracks() -> None:
    table = ScoreTable.of(
        [FaceScore("a", 0, 0, 0.0, 1.0, 0.7), FaceScore("a", 0, 8, 0.3, 3.0, 0.9)],
        [
            SkippedScore("a", "short_track", 1),
            SkippedScore("a", "too_small", 0, 4),
            SkippedScore("b", "no_face", -1, 2),
        ],
    )
    clips, tracks, videos = unit_scores(table, "mean_logit", "highest_track", 1, "clip")
    assert [clips.unit, clips.logit.tolist(), clips.n_skipped.tolist()] == [
        "clip",
        [1.0, 3.0],
        [1, 0],
    ]
    assert tracks.n_skipped.tolist() == [1, 0]
    assert (videos.logit.tolist(), videos.n_skipped.tolist()) == ([2.0], [0, 1])


class TestScoresOfWholeVideos:
    def test_there_is_no_other_unit(self) -> None:
        table = ScoreTable.of(
            [FaceScore("b", -1, -1, 0.0, 1.5, 0.8)], [SkippedScore("a", "missing")]
        )
        (videos,) = unit_scores(table, "max", "all_faces", 8, "video")
        assert by_name(table, videos) == [("b", 1.5)]
        assert videos.n_skipped.tolist() == [1, 0]

    def test_two_scores_of_one_video_are_refused(self) -> None:
        table = ScoreTable.of([FaceScore("b", -1, frame, 0.0, 1.5, 0.8) for frame in (0, 1)])
        with pytest.raises(ValueError, match="several scores of one video"):
            unit_scores(table, "max", "all_faces", 8, "video")


def test_unknown_names_are_answered() -> None:
    table = ScoreTable.of([])
    with pytest.raises(UsageError, match="did you mean 'mean_logit'"):
        unit_scores(table, "mean_logits", "all_faces", 1)
    with pytest.raises(UsageError, match="highest_track, all_faces"):
        unit_scores(table, "max", "loudest", 1)


def test_nothing_in_nothing_out() -> None:
    for rule in VIDEO_RULES:
        for unit in unit_scores(ScoreTable.of([]), "max", rule, 1):
            assert (unit.logit.size, unit.video.size, unit.n_skipped.size) == (0, 0, 0)
