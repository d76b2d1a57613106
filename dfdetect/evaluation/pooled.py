"""Scores of several weights of one recipe, each on people it never saw, as those of the recipe.

With few videos a fixed test split leaves too few people to measure on. In cross-fitting every
person is tested once, by weights that trained without them (`split.strategy=fold:K/N`); all scores
together measure the recipe. Logits of different weights differ in their zero and spread, so what is
measured on them together is, if anything, lower than what each weights would reach alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.scoring.score_table import ScoreTable

TRAIN = "train"
WEIGHTS_OF = "weights of "


@dataclass(frozen=True, slots=True)
class Overlap:
    """Videos that two runs hold, by their ids or by the SHA-256 of their bytes (`column`)."""

    first: str
    second: str
    column: str
    names: tuple[str, ...]


def first_overlap(named: Sequence[tuple[str, Videos]]) -> Overlap | None:
    """Return the first overlap of some labelled videos, by id before by bytes, or None."""
    for column in ("video_id", "sha256"):
        before: dict[str, str] = {}
        for label, videos in named:
            mine = {str(value) for value in videos.column(column).to_pylist() if value}
            if twice := tuple(sorted(mine & before.keys())):
                return Overlap(before[twice[0]], label, column, twice)
            before |= dict.fromkeys(mine, label)
    return None


def pooled(runs: Sequence[ScoredRun], labels: Sequence[str]) -> ScoredRun:
    """Return the scores of several runs as one run.

    A method counts as trained on where any of the weights learned from it. There is no common
    calibration and no common threshold.

    Args:
        runs: Two or more, of one network, with no video in common.
        labels: What sentences and hashes call each run.

    Raises:
        UsageError: The runs are of different networks, hold a video twice, or one was scored on
            videos of its own train split.
    """
    if len(runs) < 2:
        raise UsageError("pooling takes the scores of two or more runs: runs=[FOLDER,FOLDER]")
    named = list(zip(labels, runs, strict=True))
    _require_alike(named)
    _require_unseen(named)
    videos = Videos.joined([run.videos for run in runs])
    learned = [run.trained_on.parts for run in runs if run.trained_on is not None]
    everything = tuple(sorted({part for parts in learned for part in parts}))
    rules = {run.split_rule for run in runs}
    return ScoredRun(
        name=runs[0].name,
        scores=_joined([run.scores for run in runs]),
        videos=Videos.of(sorted(videos, key=lambda row: row.video_id)),
        unit=runs[0].unit,
        trained_on=TrainedOn(everything) if len(learned) == len(runs) else None,
        oracle="; ".join(dict.fromkeys(run.oracle for run in runs if run.oracle)),
        parents=tuple(_parents(named)),
        frames=runs[0].frames,
        split_rule=rules.pop() if len(rules) == 1 else "",
        network=runs[0].network,
        notes=(
            f"scores of {len(runs)} weights of one recipe, each on videos that it was not trained "
            f"on: {', '.join(labels)}",
            *dict.fromkeys(note for run in runs for note in run.notes),
        ),
    )


def _require_alike(named: Sequence[tuple[str, ScoredRun]]) -> None:
    for (first, one), (second, other) in pairwise(named):
        for what in ("network", "unit", "frames"):
            if getattr(one, what) != getattr(other, what):
                raise UsageError(
                    f"{first} and {second} are scores of another {what}, whose logits mean "
                    "something else; pool weights of one recipe"
                )
        if not one.network or other.ranked_only:
            raise UsageError(
                f"{first if not one.network else second} does not say which network gave its "
                "scores; score it again with `dfdetect evaluate checkpoint=FILE crops=[FOLDER]`"
            )


def _require_unseen(named: Sequence[tuple[str, ScoredRun]]) -> None:
    for label, run in named:
        if n := run.videos.column("split").to_pylist().count(TRAIN):
            raise UsageError(
                f"{label} has scores of {n} videos of its detector's train split; evaluate "
                "protocol.split=test of the fold that it was trained without"
            )
    if overlap := first_overlap([(label, run.videos) for label, run in named]):
        raise UsageError(
            f"{overlap.first} and {overlap.second} both hold a video ({overlap.column} "
            f"{overlap.names[0][:80]}); pool runs of different folds"
        )


def _parents(named: Sequence[tuple[str, ScoredRun]]) -> list[tuple[str, str]]:
    parents = []
    for label, run in named:
        told = dict(run.parents)
        parents += [(f"{role} of {label}", told[role]) for role in ("weights", "scores")]
    return parents


def _joined(tables: Sequence[ScoreTable]) -> ScoreTable:
    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
        return np.concatenate([getattr(table, name) for table in tables])

    return ScoreTable.from_columns(
        np.concatenate([np.asarray(table.video_ids)[table.video] for table in tables]),
        column("track_id"),
        column("frame_index"),
        column("time_s"),
        column("logit"),
        np.concatenate([np.asarray(table.statuses)[table.status] for table in tables]),
    )
