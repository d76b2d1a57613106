"""Scores that others made, in a CSV or Parquet file of theirs → a scored run like ours."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.tables import content_hash
from dfdetect.data.videos import Videos
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.join import EXAMPLES, Join, join_videos
from dfdetect.evaluation.runs import FRAME, VIDEO, ScoredRun
from dfdetect.evaluation.score_columns import ColumnMap, ScoreColumns, read_score_columns, shown
from dfdetect.provenance import sha256_file
from dfdetect.scoring.metrics import delong_variance, roc_auc
from dfdetect.scoring.score_table import NO_TRACK, SCORED, ScoreTable
from dfdetect.types import FAKE, REAL

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NOT_SCORED = "not_scored"
"""The status of a video of the manifest that the file has no row of."""
NO_SCORE = "no_score"
"""The status of a row whose score is empty or NaN."""

POLARITIES = ("unstated", "fake", "real")
LABELS = ("agree", "manifest")

REVERSED_AUC = 0.35
MANY_ERRORS = 3.0
"""So many standard errors below one half are no accident."""
SURE_LOGIT = 16.0


def imported_scores(
    path: Path,
    manifest: Videos,
    columns: ColumnMap,
    polarity: str,
    name: str,
    labels: str = "agree",
) -> ScoredRun:
    """Return a scored run of the videos of a manifest from anybody's file of scores.

    Which video a row is of says `join.join_videos`. Rows of other videos are counted and left out;
    a video without a row gets one of status `not_scored`, a row without a score `no_score`.

    A probability p becomes the logit ln p − ln(1 − p). Those of 0 and 1, which have none, become
    one logit beyond all others on their side, and beyond 16, so that the order of scores stays.

    Args:
        path: A CSV or Parquet file; a row a face, or a row a video where there is no frame column.
        manifest: The videos that are to be measured, such as those of the split `test`.
        columns: What its columns are called.
        polarity: What high scores say: `fake`, `real`, or `unstated`, which takes them for fake
            and refuses scores that plainly mean the opposite: an AUC by video below 0.35, and
            below one half by more than three standard errors.
        name: What tables call the run.
        labels: `agree` refuses a file whose labels or splits contradict the manifest's;
            `manifest` goes by the manifest and notes how many do.

    Raises:
        ContractError: The file or the manifest is faulty, names are ambiguous, a row stands there
            twice, or labels contradict the manifest.
        UsageError: A column or an option is unknown, or the polarity is the other one.
    """
    for option, value, known in (("polarity", polarity, POLARITIES), ("labels", labels, LABELS)):
        if value not in known:
            raise UsageError(f"unknown {option}={value}; choose one of {', '.join(known)}")
    videos = _sorted(manifest)
    read = read_score_columns(path, columns)
    joined = join_videos(path, read.keys, videos)
    rows = _Rows.of(path, read, joined, videos)
    notes = _join_notes(path, read, joined, videos)
    notes += _contradictions(path, read, rows, videos, labels)
    logit, said = _logits(path, rows, columns, polarity)
    notes += said
    table = _table(path, rows, logit, read, videos)
    notes += _polarity_notes(path, table, videos, polarity)
    if columns.scale == "any":
        notes.append(
            "Only the order of the scores means something, so that there are no figures of "
            "probabilities"
        )
    return ScoredRun(
        name=name,
        scores=table,
        videos=videos,
        unit=VIDEO if columns.frame is None else FRAME,
        parents=(("scores", sha256_file(path)), ("manifest", content_hash(videos.table))),
        ranked_only=columns.scale == "any",
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of known videos: where they stand in the file, their video, and their score."""

    row: Ints = field(repr=False)
    video: Ints = field(repr=False)
    score: Floats = field(repr=False)

    @classmethod
    def of(cls, path: Path, read: ScoreColumns, joined: Join, videos: Videos) -> _Rows:
        video = joined.place[read.key]
        row = np.flatnonzero(video >= 0)
        if not row.size:
            there = ", ".join(
                shown(one) for one in videos.column("video_id").to_pylist()[:EXAMPLES]
            )
            raise ContractError(
                f"{path} names no video of the manifest: it has "
                f"{', '.join(shown(one) for one in joined.unknown)}, the manifest {there}; name "
                "the column of video ids, file names or paths"
            )
        return cls(row, video[row], read.score[row])


def _sorted(manifest: Videos) -> Videos:
    names = manifest.column("video_id").to_pylist()
    if not names:
        raise UsageError("the manifest has no videos (of this split); name another")
    order = sorted(range(len(names)), key=names.__getitem__)
    for first, second in pairwise(order):
        if names[first] == names[second]:
            raise ContractError(
                f"the manifest has {shown(names[first])} more than once; index its videos again"
            )
    return manifest.take(np.array(order, np.int64))


def _join_notes(path: Path, read: ScoreColumns, joined: Join, videos: Videos) -> list[str]:
    notes = [
        f"Scores of {path.name}: {len(read.keys)} names, of which {joined.n_exact} are video ids, "
        f"{joined.n_by_path} were told by their path and {joined.n_by_stem} by their file name"
    ]
    stray = joined.place[read.key] < 0
    if stray.any():
        n_names = int(np.count_nonzero(joined.place < 0))
        examples = ", ".join(shown(one) for one in joined.unknown)
        notes.append(
            f"{np.count_nonzero(stray)} rows of {n_names} names that mean no video of the manifest "
            f"are left out (the first: {examples})"
        )
    absent = len(videos) - np.unique(joined.place[joined.place >= 0]).size
    if absent:
        notes.append(f"{absent} of {len(videos)} videos have no row, and count as not scored")
    return notes


def _contradictions(
    path: Path, read: ScoreColumns, rows: _Rows, videos: Videos, labels: str
) -> list[str]:
    notes = []
    if read.label is not None:
        truth = videos.column("label").to_numpy().astype(np.int64)
        notes += _compared(path, "label", rows, read.label[rows.row], truth, videos, labels)
    if read.split is not None:
        known = list(read.splits)
        wanted = videos.column("split").to_pylist()
        # a video without a split contradicts nothing
        codes = [known.index(each) if each in known else -1 for each in wanted]
        theirs = read.split[rows.row]
        ours = np.array(codes, np.int64)
        silent = np.array([each is None for each in wanted], dtype=bool)[rows.video]
        some = _Rows(rows.row[~silent], rows.video[~silent], rows.score[~silent])
        notes += _compared(path, "split", some, theirs[~silent], ours, videos, labels)
    return notes


def _compared(
    path: Path, what: str, rows: _Rows, theirs: Ints, ours: Ints, videos: Videos, labels: str
) -> list[str]:
    wrong = theirs != ours[rows.video]
    if not wrong.any():
        return [f"The {what}s of the file are the manifest's"]
    names = videos.column("video_id").to_pylist()
    which = np.unique(rows.video[wrong])
    n_videos = np.unique(rows.video).size
    examples = ", ".join(shown(names[place]) for place in which[:EXAMPLES].tolist())
    said = f"the file has another {what} than the manifest for {which.size} of {n_videos} videos"
    if labels == "manifest":
        return [f"T{said[1:]} (the first: {examples}); the manifest's counts"]
    all_turned = what == "label" and bool(wrong.all())
    cause = "; every label is the opposite one, so that 0 may be fake there" if all_turned else ""
    raise ContractError(
        f"{path}: {said} ({examples}){cause}; correct one of them, or say labels=manifest"
    )


def _logits(path: Path, rows: _Rows, columns: ColumnMap, polarity: str) -> tuple[Floats, list[str]]:
    score, notes = rows.score, []
    if columns.scale == "probability":
        beyond = np.flatnonzero((score < 0) | (score > 1))
        if beyond.size:
            raise ContractError(
                f"{path} has {score[beyond[0]]:g} in column {columns.score!r} of row "
                f"{rows.row[beyond[0]] + 1}, which is no probability; say columns.scale=logit, or "
                "any where only their order means something"
            )
        with np.errstate(divide="ignore"):
            score = np.log(score) - np.log1p(-score)
        inside = score[np.isfinite(score)]
        low = min(float(inside.min(initial=0.0)), -SURE_LOGIT) - 1
        high = max(float(inside.max(initial=0.0)), SURE_LOGIT) + 1
        n_sure = int(np.count_nonzero(np.isinf(score)))
        if n_sure:
            notes.append(
                f"{n_sure} probabilities are 0 or 1 and count as logits of {low:.4g} or {high:.4g}"
            )
        score = np.clip(score, low, high)
    if polarity == "real":
        notes.append("High scores said genuine in the file, and are turned round")
        score = -score
    return score, notes


def _table(
    path: Path, rows: _Rows, logit: Floats, read: ScoreColumns, videos: Videos
) -> ScoreTable:
    by_video = read.frame is None
    whole = np.full(rows.row.size, NO_TRACK, np.int64)
    frame = whole if read.frame is None else read.frame[rows.row]
    track = whole if by_video else np.zeros_like(whole)
    track = track if read.track is None else read.track[rows.row]
    fps = videos.column("fps").to_numpy()[rows.video]
    time = np.divide(np.maximum(frame, 0), fps, out=np.zeros(frame.size), where=fps > 0)
    time = time if read.time is None else read.time[rows.row]
    absent = np.setdiff1d(np.arange(len(videos)), rows.video)
    status = np.where(np.isnan(logit), 1, 0)
    ids = tuple(videos.column("video_id").to_pylist())
    table = ScoreTable.coded(
        ids,
        np.concatenate([rows.video, absent]),
        np.concatenate([track, np.full(absent.size, NO_TRACK)]),
        np.concatenate([frame, np.full(absent.size, -1)]),
        np.concatenate([time, np.zeros(absent.size)]),
        np.concatenate([logit, np.full(absent.size, np.nan)]),
        np.concatenate([status, np.full(absent.size, 2)]),
        (SCORED, NO_SCORE, NOT_SCORED),
    )
    _refuse_twice(path, table, by_video=by_video)
    return table


def _refuse_twice(path: Path, table: ScoreTable, *, by_video: bool) -> None:
    # with no frame column every row is of a whole video
    keys = (table.video,) if by_video else (table.video, table.frame_index, table.track_id)
    same = np.all([column[1:] == column[:-1] for column in keys], axis=0)
    places = np.flatnonzero(same)
    if places.size:
        one = int(places[0])
        where = "" if by_video else f", frame {table.frame_index[one]}, track {table.track_id[one]}"
        repair = (
            "name the column of frame numbers (columns.frame=…), or give one score a video"
            if by_video
            else "name the column that tells faces of one frame apart (columns.track=…), or remove "
            "one"
        )
        raise ContractError(
            f"{path} has {places.size} rows that stand there already (the first: "
            f"{shown(table.video_ids[table.video[one]])}{where}); {repair}"
        )


def _polarity_notes(path: Path, table: ScoreTable, videos: Videos, polarity: str) -> list[str]:
    scored = table.scored()
    n_scores = np.bincount(scored.video, minlength=len(videos))
    total = np.bincount(scored.video, scored.logit, minlength=len(videos))
    has = n_scores > 0
    mean, label = total[has] / n_scores[has], videos.column("label").to_numpy()[has]
    n_real, n_fake = (int(np.count_nonzero(label == each)) for each in (REAL, FAKE))
    if min(n_real, n_fake) < 2:
        return ["Too few videos to see from the scores whether high ones say fake"]
    auc, error = roc_auc(label, mean), math.sqrt(delong_variance(label, mean))
    # where classes lie apart DeLong's variance is 0, however few videos there are, so that it is
    # held at that of scores which say nothing (Mann and Whitney, 1947)
    error = max(error, math.sqrt((n_real + n_fake + 1) / (12 * n_real * n_fake)))
    told = f"AUC {auc:.3f} over {mean.size} videos, standard error {error:.3f}"
    if polarity == "unstated" and auc < REVERSED_AUC and 0.5 - auc > MANY_ERRORS * error:
        raise UsageError(
            f"the scores of {path} rank genuine videos above fakes ({told}): high scores seem to "
            "say genuine; say polarity=real, or polarity=fake if this is what they mean"
        )
    if 0.5 - auc > error:
        return [
            f"WARNING: the scores rank genuine videos above fakes ({told}); look whether high "
            "scores say genuine (polarity=real)"
        ]
    return []
