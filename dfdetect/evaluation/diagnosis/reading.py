"""One number read from a run's scores, and how far two such readings agree video by video."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from dfdetect.errors import UsageError
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import FRAME, VIDEO, ScoredRun
from dfdetect.scoring import metrics
from dfdetect.scoring.aggregate import MIN_FACES, sigmoid
from dfdetect.scoring.score_table import ScoreTable
from dfdetect.scoring.units import unit_scores
from dfdetect.types import FAKE, REAL

CLOSE = 1e-6
"""Two logits are one where they differ by no more than this share of 1 + the logit."""

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Names: TypeAlias = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """What was done to scores before they were stored; the fields apply in this order.

    A logit becomes `scale` · logit + `offset`; `squashed`: its probability stands for it;
    `decimals` and `bits` (16, 32 or 64) are what probabilities were rounded to; nothing leaves
    [`low`, `high`].

    Example:
        >>> ScoreMap(decimals=1)(np.array([0.1, 0.3])).round(3).tolist()
        [0.0, 0.405]
    """

    scale: float = 1.0
    offset: float = 0.0
    squashed: bool = False
    decimals: int | None = None
    bits: int | None = None
    low: float = -np.inf
    high: float = np.inf

    def __call__(self, logits: Floats) -> Floats:
        """Return the logits as they would have been stored; NaN stays NaN."""
        found = self.scale * logits + self.offset
        if self.squashed:
            found = sigmoid(found)
        if self.decimals is not None or self.bits is not None:
            p = sigmoid(found)
            if self.decimals is not None:
                p = np.round(p, self.decimals)
            if self.bits is not None:
                kind = {16: np.float16, 32: np.float32, 64: np.float64}[self.bits]
                p = p.astype(kind).astype(np.float64)
            with np.errstate(divide="ignore"):
                found = np.log(p) - np.log1p(-p)
        # a logit is finite, whatever it was rounded to
        return np.clip(found, max(self.low, -1e3), min(self.high, 1e3))


@dataclass(frozen=True, slots=True)
class Reading:
    """How a number is read from scores.

    Attributes:
        metric: A name in `METRICS`.
        unit: What is counted: `frame` (or clip), `track` or `video`.
        aggregate: How faces become a track or video (`scoring.AGGREGATES`).
        video_rule: How tracks become a video (`scoring.VIDEO_RULES`).
        min_faces: Faces that a track needs to decide on a video.
        threshold: The logit above which an item is called fake, for accuracies.
        base_rate: The share of fakes that average precision is told for; None: as it is.
        missing: The logit of a video without any score; None leaves it out.
        score_map: What is done to the scores of units before they are measured.
    """

    metric: str = "auc"
    unit: str = VIDEO
    aggregate: str = "mean_logit"
    video_rule: str = "highest_track"
    min_faces: int = MIN_FACES
    threshold: float = 0.0
    base_rate: float | None = None
    missing: float | None = None
    score_map: ScoreMap | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One of two parties: scores, labels and facts of V videos, and how its number is read.

    `who` is `ours` or `theirs`, `rows` what a row of the table is of, `threshold` the logit that
    was chosen on validation data, `oracle` why it was selected on what it is measured on.
    """

    who: str
    table: ScoreTable = field(repr=False)
    labels: Ints = field(repr=False)
    datasets: Names = field(repr=False)
    methods: Names = field(repr=False)
    compressions: Names = field(repr=False)
    hashes: Names = field(repr=False)
    rows: str
    reading: Reading
    threshold: float | None = None
    oracle: str = ""

    @classmethod
    def of(cls, who: str, run: ScoredRun, reading: Reading, dataset: str, method: str) -> Self:
        """Return the part of a run that a number is of: genuine videos and the method's fakes.

        Raises:
            UsageError: The run has no genuine or no fake video of that dataset and method.
        """
        columns = ("label", "dataset", "method", "compression", "sha256")
        label, *facts = (run.videos.column(name).to_pylist() for name in columns)
        labels = np.array(label, dtype=np.int64)
        datasets, methods, compressions, hashes = (np.array(each, dtype=np.str_) for each in facts)
        side = cls(
            who, run.scores, labels, datasets, methods, compressions, hashes, run.unit,
            reading if run.unit != VIDEO else dataclasses.replace(reading, unit=VIDEO),
            run.threshold, run.oracle,
        )  # fmt: skip
        chosen = datasets == dataset
        if method != ALL:
            chosen &= (labels == REAL) | (methods == method)
        if set(labels[chosen].tolist()) != {REAL, FAKE}:
            raise UsageError(
                f"{who} ({run.name}) has no genuine or no fake video of {dataset}, {method}; it "
                f"has {', '.join(sorted(set(datasets.tolist())))} with "
                f"{', '.join(sorted(set(methods.tolist())))}"
            )
        return side if chosen.all() else side.of_videos(chosen)

    @property
    def names(self) -> Names:
        """The ids of the videos."""
        return np.array(self.table.video_ids, dtype=np.str_)

    @property
    def n_rows(self) -> Ints:
        """How many scored rows each video has."""
        scored = self.table.video[self.table.status == 0]
        return np.bincount(scored, minlength=len(self.table.video_ids))

    def read_as(self, **changes: object) -> Self:
        """Return the same scores, read in another way."""
        reading = dataclasses.replace(self.reading, **changes)  # type: ignore[arg-type]
        return dataclasses.replace(self, reading=reading)

    def of_videos(self, kept: Mask) -> Self:
        """Return some of the videos, by a mask."""
        return dataclasses.replace(
            self,
            table=self.table.of_videos(self.names[kept].tolist()),
            **{name: getattr(self, name)[kept] for name in _FACTS},
        )

    def of_rows(self, kept: Mask) -> Self:
        """Return all videos, with some of the rows."""
        return dataclasses.replace(self, table=self.table.take(kept))

    def scored_as(self, logits: Floats) -> Self:
        """Return the same rows with other logits; rows without a score may get one."""
        status = np.where(np.isfinite(logits), 0, self.table.status).astype(np.int16)
        return dataclasses.replace(
            self, table=dataclasses.replace(self.table, logit=logits, status=status)
        )

    def merged(self) -> Self:
        """Return what is left where the last part of a video's id is all that is known of it.

        The rows of videos of one such name are one video's, which is fake where all of them are.
        """
        names = np.array([name.rpartition("/")[2] for name in self.table.video_ids], dtype=np.str_)
        keys, first, places = np.unique(names, return_index=True, return_inverse=True)
        table = self.table
        labels = np.ones(keys.size, dtype=np.int64)
        np.minimum.at(labels, places, self.labels)
        joined = ScoreTable.coded(
            tuple(keys.tolist()), places[table.video], table.track_id, table.frame_index,
            table.time_s, table.logit, table.status, table.statuses,
        )  # fmt: skip
        facts = {name: getattr(self, name)[first] for name in _FACTS if name != "labels"}
        side = dataclasses.replace(self, table=joined, labels=labels, **facts)
        if self.rows != VIDEO or keys.size == names.size:
            return side
        # several scores of one video are averaged as those of faces are
        return dataclasses.replace(side, rows=FRAME).read_as(unit=VIDEO, video_rule="all_faces")


_FACTS = ("labels", "datasets", "methods", "compressions", "hashes")


@dataclass(frozen=True, slots=True)
class View:
    """A number, and the scores behind it: U videos, each with a run of rising scores.

    Those of video u are `scores[starts[u]:starts[u + 1]]`. `value` is NaN where the metric is
    undefined.
    """

    value: float
    names: Names = field(repr=False)
    labels: Ints = field(repr=False)
    starts: Ints = field(repr=False)
    scores: Floats = field(repr=False)

    @property
    def sizes(self) -> Ints:
        """How many scores each video has."""
        return np.diff(self.starts)

    @property
    def means(self) -> Floats:
        """The mean score of each video."""
        return np.add.reduceat(self.scores, self.starts[:-1]) / self.sizes

    @property
    def counts(self) -> str:
        """How many items were counted, in words."""
        n_fake = int(np.sum(self.sizes[self.labels == FAKE]))
        return f"{self.scores.size - n_fake} genuine and {n_fake} fake"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the scores behind two numbers are the same, video by video.

    `n_shared` of `n_all` videos are in both; of those so many have one label, equally many
    scores, and equal scores. `correlation` is of the ranks of their mean scores, 0 where it is
    undefined.
    """

    n_all: int
    n_shared: int
    n_same_label: int
    n_same_size: int
    n_same_scores: int
    correlation: float

    @property
    def distance(self) -> float:
        """A sum of the shares that differ; 0 where everything is the same."""
        shared = max(self.n_shared, 1)
        parts = (self.n_same_label, self.n_same_size, self.n_same_scores)
        same = self.n_shared / max(self.n_all, 1) + sum(part / shared for part in parts)
        return 4 - same + (0.0 if self.is_same else (1 - self.correlation) / 2)

    @property
    def is_same(self) -> bool:
        """Whether videos, labels and scores are the same."""
        counts = (self.n_shared, self.n_same_label, self.n_same_scores)
        return all(count == self.n_all for count in counts)


def read(side: Side) -> View:
    """Read a side's number and what is behind it.

    Raises:
        UsageError: The table has no such unit, or no metric, aggregate or rule has that name.
    """
    how = side.reading
    unit = side.rows if how.unit == FRAME else how.unit
    found = {
        one.unit: one
        for one in unit_scores(side.table, how.aggregate, how.video_rule, how.min_faces, side.rows)
    }
    if unit not in found:
        raise UsageError(f"{side.who} has no scores by {unit}, but by {', '.join(sorted(found))}")
    videos, logits = found[unit].video, found[unit].logit
    if how.score_map is not None:
        logits = how.score_map(logits)
    if how.missing is not None:
        absent = np.flatnonzero(side.n_rows == 0)
        videos = np.concatenate((videos, absent))
        logits = np.concatenate((logits, np.full(absent.size, how.missing)))
    order = np.lexsort((logits, videos))
    videos, logits = videos[order], logits[order]
    present, starts = np.unique(videos, return_index=True)
    return View(
        value=value_of(side.labels[videos], logits, how),
        names=side.names[present],
        labels=side.labels[present],
        starts=np.append(starts, logits.size).astype(np.int64),
        scores=logits,
    )


def agreement(a: View, b: View) -> Agreement:
    """Return how far the scores behind two numbers are the same."""
    shared, in_a, in_b = np.intersect1d(a.names, b.names, assume_unique=True, return_indices=True)
    same_size = a.sizes[in_a] == b.sizes[in_b]
    first, second = (_spread(view, places[same_size]) for view, places in ((a, in_a), (b, in_b)))
    differs = np.abs(a.scores[first] - b.scores[second]) > CLOSE * (1 + np.abs(b.scores[second]))
    owner = np.repeat(np.flatnonzero(same_size), a.sizes[in_a][same_size])
    same = same_size.copy()
    same[owner[differs]] = False
    return Agreement(
        n_all=a.names.size + b.names.size - shared.size,
        n_shared=int(shared.size),
        n_same_label=int(np.sum(a.labels[in_a] == b.labels[in_b])),
        n_same_size=int(np.sum(same_size)),
        n_same_scores=int(np.sum(same)),
        correlation=_rank_correlation(a.means[in_a], b.means[in_b]),
    )


def average_precision_at(labels: Ints, scores: Floats, base_rate: float) -> float:
    """Average precision where a share `base_rate` of the items were fake, positive = fake.

    Σ ΔTPR · precision with precision = b·TPR / (b·TPR + (1 − b)·FPR), over distinct scores.

    Example:
        >>> labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
        >>> round(average_precision_at(labels, scores, 0.5), 4)
        0.8333
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    tpr = np.cumsum(labels[order] == FAKE)[last] / np.sum(labels == FAKE)
    fpr = np.cumsum(labels[order] == REAL)[last] / np.sum(labels == REAL)
    precision = base_rate * tpr / (base_rate * tpr + (1 - base_rate) * fpr)
    return float(np.sum(np.diff(tpr, prepend=0.0) * precision))


_OF_LOGITS: Mapping[str, Callable[[Ints, Floats], float]] = {
    "auc": metrics.roc_auc,
    "eer": metrics.eer,
    "eer_nearest": metrics.eer_nearest,
    "ap": metrics.average_precision,
    **{
        f"tpr_at_fpr{percent}": partial(metrics.tpr_at_fpr, max_fpr=percent / 100)
        for percent in (1, 5, 10)
    },
}
_OF_PROBABILITIES: Mapping[str, Callable[[Ints, Floats], float]] = {
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
    "ece": metrics.ece,
}
_OF_DECISIONS: Mapping[str, Callable[[Ints, Floats, float], float]] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
}
METRICS = (*_OF_LOGITS, *_OF_PROBABILITIES, *_OF_DECISIONS)
"""The metrics that a reading can be of."""


def value_of(labels: Ints, logits: Floats, how: Reading) -> float:
    """Return a metric of some items; NaN where they are of one class.

    Raises:
        UsageError: No metric has that name.
    """
    if how.metric not in METRICS:
        raise UsageError(f"unknown metric {how.metric!r}; known: {', '.join(METRICS)}")
    if set(labels.tolist()) != {REAL, FAKE}:
        return float("nan")
    if how.metric == "ap" and how.base_rate is not None:
        return average_precision_at(labels, logits, how.base_rate)
    if how.metric in _OF_DECISIONS:
        return _OF_DECISIONS[how.metric](labels, logits, how.threshold)
    if how.metric in _OF_PROBABILITIES:
        return _OF_PROBABILITIES[how.metric](labels, sigmoid(logits))
    return _OF_LOGITS[how.metric](labels, logits)


def _spread(view: View, places: NDArray[np.intp]) -> Ints:
    """Return the positions of all scores of some videos, one video after the other."""
    sizes = view.sizes[places]
    ends = np.cumsum(sizes)
    within = np.arange(int(sizes.sum())) - np.repeat(ends - sizes, sizes)
    return np.asarray(np.repeat(view.starts[places], sizes) + within, dtype=np.int64)


def _rank_correlation(a: Floats, b: Floats) -> float:
    if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])
