"""Columns of face scores → scores of frames, tracks and videos, by the rules of `aggregate`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dfdetect.errors import UsageError
from dfdetect.scoring.aggregate import AGGREGATES, VIDEO_RULES
from dfdetect.scoring.score_table import ScoreTable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UnitScores:
    """K scores of one unit (frames, clips, tracks or videos) of V videos.

    Attributes:
        unit: What one score is of.
        video: (K,) positions in the table's `video_ids`, never falling.
        logit: (K,) positive leans to fake.
        n_skipped: (V,) items of this unit that each video lost. Of clips a track without any is
            one lost.
    """

    unit: str
    video: Ints = field(repr=False)
    logit: Floats = field(repr=False)
    n_skipped: Ints = field(repr=False)


def unit_scores(
    table: ScoreTable, aggregate: str, video_rule: str, min_faces: int, unit: str = "frame"
) -> tuple[UnitScores, ...]:
    """Return the scores by frame (or clip), by track and by video, and what each of them lost.

    They are those of `track_scores` and `video_scores`. A row of a whole video without a score
    (no track and no frame) is a lost video, not a lost frame.

    Args:
        table: Rows of faces, of clips of them, or of whole videos.
        aggregate: How faces become a track: a name in `AGGREGATES`.
        video_rule: How tracks become a video: one of `VIDEO_RULES`.
        min_faces: Rows that a track needs to decide on a video.
        unit: What a row is of; of a table by `video` there are scores by video only.

    Raises:
        UsageError: No aggregate or rule has that name.
        ValueError: A table by video has several scores of one video.

    Example:
        >>> table = ScoreTable.from_columns(
        ...     ["a", "a", "a"], [0, 0, 1], [0, 9, 9], [0, 1, 1], [1.0, 3.0, -1.0], ["ok"] * 3)
        >>> [(one.unit, one.logit.tolist()) for one in unit_scores(table, "mean_logit",
        ...     "highest_track", 2)]
        [('frame', [1.0, 3.0, -1.0]), ('track', [2.0, -1.0]), ('video', [2.0])]
    """
    if video_rule not in VIDEO_RULES:
        raise UsageError(f"unknown video rule {video_rule!r}; known: {', '.join(VIDEO_RULES)}")
    AGGREGATES.get(aggregate)
    scored, n_videos = table.scored(), len(table.video_ids)
    has_score = np.bincount(scored.video, minlength=n_videos) > 0
    lost_videos = (~has_score).astype(np.int64)
    if unit == "video":
        if len(scored) > np.count_nonzero(has_score):
            raise ValueError("a table of scores by video has several scores of one video")
        return (UnitScores(unit, scored.video, scored.logit, lost_videos),)
    starts, sizes = _runs(scored.video, scored.track_id)
    tracks = scored.video[starts]
    logits = _aggregated(scored.logit, starts, sizes, aggregate)
    lost_tracks = _lost_tracks(table, n_videos)
    is_lost = (table.status != 0) & (table.frame_index >= 0)
    lost_frames = np.bincount(table.video[is_lost], minlength=n_videos)
    if video_rule == "all_faces":
        begins, counts = _runs(scored.video)
        by_video = _aggregated(scored.logit, begins, counts, aggregate)
    else:
        by_video = _highest(tracks, logits, sizes, min_faces)
    n_lost = lost_frames if unit == "frame" else lost_tracks
    return (
        UnitScores(unit, scored.video, scored.logit, n_lost),
        UnitScores("track", tracks, logits, lost_tracks),
        UnitScores("video", np.flatnonzero(has_score), by_video, lost_videos),
    )


def _runs(*columns: Ints) -> tuple[Ints, Ints]:
    """Return where runs of equal rows begin, and how long they are."""
    if not columns[0].size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    changes = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    starts = np.flatnonzero(np.append(True, changes))
    return starts, np.diff(np.append(starts, columns[0].size))


def _aggregated(logits: Floats, starts: Ints, sizes: Ints, aggregate: str) -> Floats:
    how = AGGREGATES.get(aggregate)
    found = np.empty(starts.size)
    if not starts.size:
        return found
    # runs of one length are a matrix; there are few lengths, as frames are sampled by a rule
    order = np.argsort(sizes, kind="stable")
    lengths, firsts = np.unique(sizes[order], return_index=True)
    for length, which in zip(lengths.tolist(), np.split(order, firsts[1:]), strict=True):
        rows = np.sort(logits[starts[which][:, None] + np.arange(length)], axis=-1)
        found[which] = how(rows)
    return found


def _highest(tracks: Ints, logits: Floats, sizes: Ints, min_faces: int) -> Floats:
    """Return the highest logit of each video's tracks with enough faces, or of its longest."""
    starts, n_tracks = _runs(tracks)
    if not starts.size:
        return np.empty(0)
    longest = np.repeat(np.maximum.reduceat(sizes, starts), n_tracks)
    enough = sizes >= np.minimum(min_faces, longest)
    return np.asarray(np.maximum.reduceat(np.where(enough, logits, -np.inf), starts))


def _lost_tracks(table: ScoreTable, n_videos: int) -> Ints:
    starts, _ = _runs(table.video, table.track_id)
    if not starts.size:
        return np.zeros(n_videos, np.int64)
    is_lost = np.add.reduceat((table.status == 0).astype(np.int64), starts) == 0
    is_lost &= table.track_id[starts] >= 0
    return np.bincount(table.video[starts[is_lost]], minlength=n_videos)
