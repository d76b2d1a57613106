"""Scores → rows of results: every metric, by dataset, method and unit, with its interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.videos import Videos
from dfdetect.evaluation.parts import Part, parts_of
from dfdetect.evaluation.results import CLEAN, ResultRow
from dfdetect.evaluation.runs import MIXED, UNKNOWN, TrainedOn
from dfdetect.scoring import counted
from dfdetect.scoring.aggregate import sigmoid
from dfdetect.scoring.bootstrap import Sample, interval_of_unanimous, replicates
from dfdetect.scoring.counted import Counted, ScoreCounts
from dfdetect.scoring.units import UnitScores
from dfdetect.types import FAKE, REAL, Calibration

LEVEL = 0.95

# logits, not probabilities: far ones would be rounded to ties
RANKING: Mapping[str, Counted] = {
    "auc": counted.roc_auc,
    "eer": counted.eer,
    "eer_nearest": counted.eer_nearest,
    "ap": counted.average_precision,
    "pauc_fpr10": partial(counted.partial_auc, max_fpr=0.10),
    "tpr_at_fpr0_1": partial(counted.tpr_at_fpr, max_fpr=0.001),
    "tpr_at_fpr1": partial(counted.tpr_at_fpr, max_fpr=0.01),
    "tpr_at_fpr5": partial(counted.tpr_at_fpr, max_fpr=0.05),
    "tpr_at_fpr10": partial(counted.tpr_at_fpr, max_fpr=0.10),
}
OF_PROBABILITY: Mapping[str, Counted] = {
    "accuracy": counted.accuracy,
    "balanced_accuracy": counted.balanced_accuracy,
    "log_loss": counted.log_loss,
    "brier": counted.brier,
    "ece": counted.ece,
}
OF_LOG_LR: Mapping[str, Counted] = {
    "cllr": counted.cllr,
    "balanced_accuracy_lr1": partial(counted.balanced_accuracy, threshold=0.0),
}
# of what a logit exceeds the plan's threshold by
AT_THRESHOLD: Mapping[str, Counted] = {
    "accuracy_val": partial(counted.accuracy, threshold=0.0),
    "balanced_accuracy_val": partial(counted.balanced_accuracy, threshold=0.0),
}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """How to measure.

    Attributes:
        detector: Its name in the rows.
        protocol: Its name in the rows.
        calibration: What metrics of likelihood ratios need; None leaves them out.
        threshold: The logit above which it says fake, chosen on validation data; None leaves the
            accuracies at it out.
        n_bootstrap: Resamples; 0 gives no intervals.
        seed: Of the resampling.
        condition: What was done to the clips before faces were looked for.
        trained_on: What the detector learned from; None where nobody says.
        ranked_only: Scores are no logits, so that metrics of probabilities have no meaning.
        methods: The parts that are measured, by the method in their rows; () for all.
    """

    detector: str
    protocol: str
    calibration: Calibration | None
    threshold: float | None
    n_bootstrap: int
    seed: int
    condition: str = CLEAN
    trained_on: TrainedOn | None = None
    ranked_only: bool = False
    methods: tuple[str, ...] = ()


def measure(
    units: Sequence[UnitScores], videos: Videos, plan: MeasurePlan
) -> tuple[tuple[ResultRow, ...], tuple[str, ...]]:
    """Return every number, and a sentence for each part that has none.

    The fakes of each method, and all together where there are several, stand against all genuine
    videos of their dataset; datasets are never pooled. Intervals are a percentile bootstrap that
    draws whole videos within each class, among those that have a score. Metrics of one part that
    rest on the same videos share their resamples, and samples of more than 32,768 distinct scores
    are resampled as `scoring.bootstrap.replicates` says; values are always exact. Of an AUC of 0
    or 1, on which all resamples agree, the interval is that of `interval_of_unanimous`.

    Args:
        units: Scores of these videos by each unit; positions are rows of `videos`.
        videos: The manifest's rows, sorted by id.
        plan: How to measure, and the names for the rows.
    """
    labels = videos.column("label").to_numpy().astype(np.int64)
    # once for all parts: they are then found sorted
    units = [_sorted(unit) for unit in units]
    rows: list[ResultRow] = []
    undefined: list[str] = []
    for part in parts_of(videos):
        if plan.methods and part.method not in plan.methods:
            continue
        chosen = [_of_part(unit, part, labels) for unit in units]
        undefined += [one.why_not for one in chosen if one.why_not]
        intervals = _intervals([one for one in chosen if not one.why_not], plan)
        rows += [row for one in chosen if not one.why_not for row in _rows(one, intervals, plan)]
    return tuple(rows), tuple(undefined)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """The scores of one unit in one part; `drawn` are the videos that have any, sorted."""

    part: Part
    unit: str
    sample: Sample
    drawn: Ints
    n_skipped: int

    @property
    def n_real(self) -> int:
        return self.sample.labels.size - self.n_fake

    @property
    def n_fake(self) -> int:
        return int(self.sample.labels.sum())

    @property
    def why_not(self) -> str:
        if self.n_real and self.n_fake:
            return ""
        return (
            f"{self.part.dataset}, {self.part.method}, by {self.unit}: {self.n_real} genuine and "
            f"{self.n_fake} fake items with a usable face, but both are needed"
        )


def _sorted(unit: UnitScores) -> UnitScores:
    order = np.argsort(unit.logit, kind="stable")[::-1]
    return dataclasses.replace(unit, video=unit.video[order], logit=unit.logit[order])


def _of_part(unit: UnitScores, part: Part, labels: Ints) -> _Measured:
    chosen = part.members[unit.video]
    video = unit.video[chosen]
    present = np.bincount(video, minlength=labels.size) > 0
    # genuine videos are numbered first, each class by id
    real, fake = (np.flatnonzero(present & (labels == label)) for label in (REAL, FAKE))
    number = np.empty(labels.size, dtype=np.int64)
    drawn = np.concatenate((real, fake))
    number[drawn] = np.arange(drawn.size)
    sample = Sample(labels[video], unit.logit[chosen], number[video], (real.size, fake.size))
    n_skipped = int(unit.n_skipped[part.members].sum())
    return _Measured(part, unit.unit, sample, drawn, n_skipped)


def _rows(
    one: _Measured, intervals: Mapping[_Measured, Floats], plan: MeasurePlan
) -> Iterator[ResultRow]:
    counts = ScoreCounts.of_sample(one.sample.labels, one.sample.scores)
    numbers = {name: float(values[0]) for name, values in _numbers(counts, plan)}
    limits: Sequence[tuple[float | None, float | None]] = [(None, None)] * len(numbers)
    if one in intervals:
        limits = [(float(low), float(high)) for low, high in intervals[one].T]
    exposure = _exposure(one.part, plan.trained_on)
    for (name, value), (low, high) in zip(numbers.items(), limits, strict=True):
        if name == "auc" and low is not None:
            low, high = interval_of_unanimous(value, one.sample.n_clusters, LEVEL) or (low, high)
        yield ResultRow(
            plan.detector, plan.protocol, one.part.dataset, one.part.method, name, one.unit,
            value, low, high, one.n_real, one.n_fake, one.n_skipped, plan.condition, exposure,
        )  # fmt: skip


def _intervals(several: Sequence[_Measured], plan: MeasurePlan) -> dict[_Measured, Floats]:
    """Return the lower and upper ends of every number, where no class has a single video."""

    def numbers(counts: ScoreCounts) -> Floats:
        return np.stack([values for _, values in _numbers(counts, plan)])

    found: dict[_Measured, Floats] = {}
    waiting = [one for one in several if one.sample.has_spread] if plan.n_bootstrap else []
    while waiting:
        together = [one for one in waiting if np.array_equal(one.drawn, waiting[0].drawn)]
        waiting = [one for one in waiting if one not in together]
        samples = [one.sample for one in together]
        rows = replicates(samples, numbers, plan.n_bootstrap, plan.seed, cuts=_cuts(plan))
        for one, values in zip(together, rows, strict=True):
            found[one] = np.percentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=1)
    return found


def _numbers(counts: ScoreCounts, plan: MeasurePlan) -> Iterator[tuple[str, Floats]]:
    logits = counts.scores
    inputs = [(RANKING, logits)]
    if not plan.ranked_only:
        inputs.append((OF_PROBABILITY, sigmoid(logits)))
    if plan.calibration is not None:
        inputs.append((OF_LOG_LR, _log_lrs(plan.calibration, logits)))
    if plan.threshold is not None:
        inputs.append((AT_THRESHOLD, logits - plan.threshold))
    for functions, values in inputs:
        same = counts.scored_as(values)
        for name, function in functions.items():
            yield name, function(same)


def _log_lrs(calibration: Calibration, logits: Floats) -> Floats:
    """Return `calibrate.log_likelihood_ratio` of every logit."""
    limits = math.log(calibration.lr_min), math.log(calibration.lr_max)
    return np.clip(calibration.slope * logits + calibration.intercept, *limits)


def _cuts(plan: MeasurePlan) -> tuple[float, ...]:
    """Return the logits at which some number counts items as fake."""
    cuts = [0.0]
    if plan.threshold is not None:
        cuts.append(plan.threshold)
    if plan.calibration is not None and plan.calibration.slope > 0:
        cuts.append(-plan.calibration.intercept / plan.calibration.slope)
    return tuple(cuts)


def _exposure(part: Part, trained_on: TrainedOn | None) -> str:
    if trained_on is None:
        return UNKNOWN
    found = {trained_on.exposure(part.stem, method) for method in part.methods}
    return found.pop() if len(found) == 1 else MIXED
