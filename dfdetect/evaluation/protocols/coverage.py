"""How many videos have a score, and what becomes of those that have none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.videos import Videos
from dfdetect.errors import LowCoverage
from dfdetect.scoring.score_table import ScoreTable
from dfdetect.scoring.units import UnitScores
from dfdetect.types import FAKE

if TYPE_CHECKING:
    from dfdetect.evaluation.protocols.protocol import Protocol, ProtocolView

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

AS_MISSING, AS_CHANCE, AS_REAL, AS_FAKE = "as-missing", "as-chance", "as-real", "as-fake"

POLICIES: Mapping[str, str] = {
    AS_MISSING: "stand in no number",
    AS_CHANCE: "count as videos of logit 0, a probability of one half",
    AS_REAL: (
        "count as genuine: one logit below the lowest of their test set, and at -1 or below, so "
        "that they rank below every video with a score, ties among themselves, and every "
        "probability is finite"
    ),
    AS_FAKE: (
        "count as fake: one logit above the highest of their test set, and at 1 or above, so that "
        "they rank above every video with a score, ties among themselves, and every probability "
        "is finite"
    ),
}
"""What becomes of the videos without any score."""

_OF_A_SET: Mapping[str, Callable[[Floats], float]] = {
    AS_CHANCE: lambda logits: 0.0,  # noqa: ARG005
    AS_REAL: lambda logits: float(np.min(logits, initial=0.0)) - 1,
    AS_FAKE: lambda logits: float(np.max(logits, initial=0.0)) + 1,
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of one method of a test set has a score: videos, and rows (faces or clips)."""

    dataset: str
    method: str
    label: int
    n_videos: int
    n_scored: int
    n_rows: int
    n_rows_scored: int


@dataclass(frozen=True, slots=True)
class VideoSets:
    """Which test set a video belongs to: its dataset, or one compression of it where it has more.

    Attributes:
        code: V positions in `names`.
        names: `dataset`, or `dataset/compression`.
        datasets: The dataset of each name.
    """

    code: Ints
    names: tuple[str, ...]
    datasets: tuple[str, ...]


def sets_of(videos: Videos) -> VideoSets:
    """Return the test sets that some videos make up; datasets are never pooled."""
    dataset = videos.column("dataset").to_pylist()
    compression = videos.column("compression").to_pylist()
    pairs = sorted(set(zip(dataset, compression, strict=True)))
    n_of = {name: sum(each == name for each, _ in pairs) for name, _ in pairs}
    place = {pair: number for number, pair in enumerate(pairs)}
    return VideoSets(
        np.array([place[pair] for pair in zip(dataset, compression, strict=True)], np.int64),
        tuple(f"{name}/{how or 'uncompressed'}" if n_of[name] > 1 else name for name, how in pairs),
        tuple(name for name, _ in pairs),
    )


def coverage_of(table: ScoreTable, videos: Videos) -> tuple[Coverage, ...]:
    """Return how much of every method of every test set has a score, sorted by both.

    Args:
        table: The rows, scored or skipped, of V videos.
        videos: The V videos in the same order.
    """
    sets = sets_of(videos)
    n_rows = np.bincount(table.video, minlength=len(videos))
    n_scored = np.bincount(table.video[table.status == 0], minlength=len(videos))
    grouped = pa.table(
        {
            "set": pa.array(sets.code),
            "method": videos.column("method"),
            "label": videos.column("label"),
            "scored": pa.array((n_scored > 0).astype(np.int64)),
            "rows": pa.array(n_rows),
            "rows_scored": pa.array(n_scored),
        }
    )
    counted = grouped.group_by(["set", "method", "label"]).aggregate(
        [([], "count_all"), ("scored", "sum"), ("rows", "sum"), ("rows_scored", "sum")]
    )
    names = ("set", "method", "label", "count_all", "scored_sum", "rows_sum", "rows_scored_sum")
    cells = zip(*(counted.column(name).to_pylist() for name in names), strict=True)
    return tuple(Coverage(sets.names[place], *others) for place, *others in sorted(cells))


def require_coverage(view: ProtocolView, protocol: Protocol) -> None:
    """Raise where too few videos have a score; what there is has been written before.

    Raises:
        LowCoverage: A class of a test set has a score for fewer than `protocol.min_coverage` of
            its videos; the sentence names every such class with its counts.
    """
    classes: dict[tuple[str, int], tuple[int, int]] = {}
    for part in view.coverage:
        scored, n_videos = classes.get((part.dataset, part.label), (0, 0))
        classes[part.dataset, part.label] = scored + part.n_scored, n_videos + part.n_videos
    low = [
        f"{dataset}: {scored} of {n} {'fake' if label == FAKE else 'genuine'} videos"
        for (dataset, label), (scored, n) in sorted(classes.items())
        if scored < protocol.min_coverage * n
    ]
    if low:
        lowest = int(100 * min(scored / n for scored, n in classes.values())) / 100
        raise LowCoverage(
            f"too few videos have a score, wanted {protocol.min_coverage:.0%} of every class "
            f"({'; '.join(low)}); see why rows were skipped, or say "
            f"protocol.min_coverage={lowest:.2f}"
        )


def with_policy(unit: UnitScores, videos: Videos, policy: str) -> UnitScores:
    """Return the scores by video, and for each video without one the score that a policy gives it.

    `n_skipped` stays as it was: what is counted in is still told to have been skipped.

    Args:
        unit: Scores by video; `n_skipped` tells which of those without one count.
        videos: All V videos.
        policy: A name in `POLICIES`; each says where its scores lie.
    """
    n_scores = np.bincount(unit.video, minlength=len(videos))
    absent = np.flatnonzero((n_scores == 0) & (unit.n_skipped > 0))
    if policy == AS_MISSING or not absent.size:
        return unit
    code = sets_of(videos).code
    of_score, of_absent = code[unit.video], code[absent]
    logits = np.empty(absent.size)
    for place in np.unique(of_absent):
        logits[of_absent == place] = _OF_A_SET[policy](unit.logit[of_score == place])
    order = np.argsort(video := np.concatenate([unit.video, absent]), kind="stable")
    logit = np.concatenate([unit.logit, logits])
    return UnitScores(unit.unit, video[order], logit[order], unit.n_skipped)


def files_under_several_ids(videos: Videos) -> tuple[tuple[str, ...], ...]:
    """Return the ids of every file (equal bytes) that stands under more than one, sorted."""
    digests = videos.column("sha256").combine_chunks()
    counted = pc.value_counts(digests)
    several = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    # an empty hash is one that nobody took
    rows = pc.and_(pc.is_in(digests, value_set=several), pc.not_equal(digests, ""))
    ids: dict[str, list[str]] = {}
    part = videos.table.filter(rows)
    for digest, name in zip(
        part.column("sha256").to_pylist(), part.column("video_id").to_pylist(), strict=True
    ):
        ids.setdefault(digest, []).append(name)
    return tuple(sorted(tuple(sorted(names)) for names in ids.values()))
