"""Scores → rows of results: every metric, by dataset, method and unit, with its interval."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.shards import OK, CropRow
from dfdetect.data.videos import ManifestRow
from dfdetect.evaluation.results import ALL, ResultRow
from dfdetect.scoring import metrics
from dfdetect.scoring.aggregate import VideoScore, sigmoid, track_scores
from dfdetect.scoring.calibrate import log_likelihood_ratio
from dfdetect.types import FAKE, REAL, Calibration, FaceScore

LEVEL = 0.95
FRAME, CLIP = "frame", "clip"

# logits, not probabilities: far ones would be rounded to ties
RANKING: Mapping[str, metrics.Metric] = {
    "auc": metrics.roc_auc,
    "eer": metrics.eer,
    "eer_nearest": metrics.eer_nearest,
    "ap": metrics.average_precision,
    "pauc_fpr10": partial(metrics.partial_auc, max_fpr=0.10),
    "tpr_at_fpr1": partial(metrics.tpr_at_fpr, max_fpr=0.01),
    "tpr_at_fpr5": partial(metrics.tpr_at_fpr, max_fpr=0.05),
    "tpr_at_fpr10": partial(metrics.tpr_at_fpr, max_fpr=0.10),
}
OF_PROBABILITY: Mapping[str, metrics.Metric] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
    "ece": metrics.ece,
}
OF_LOG_LR: Mapping[str, metrics.Metric] = {
    "cllr": metrics.cllr,
    "balanced_accuracy_lr1": partial(metrics.balanced_accuracy, threshold=0.0),
}


@dataclass(frozen=True, slots=True)
class Samples:
    """What is measured by one unit: a video id and a logit an item; `skipped` are video ids too.

    `skipped` names the video of every item that had no usable face.
    """

    unit: str
    video_ids: tuple[str, ...]
    logits: tuple[float, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """How to measure: names for the rows, the calibration for LR metrics, and the bootstrap."""

    detector: str
    protocol: str
    calibration: Calibration | None
    n_bootstrap: int
    seed: int


def gather_samples(
    scores: Sequence[FaceScore],
    videos_scored: Sequence[VideoScore],
    rows: Sequence[CropRow],
    video_ids: Collection[str],
    aggregate: str,
    unit: str = FRAME,
) -> tuple[Samples, ...]:
    """Return the samples by frame (or clip), track and video, and what each of them lost.

    Args:
        scores: One a usable face, or a clip of them.
        videos_scored: One a video with a score.
        rows: All rows of the crop stores for these videos, usable or not.
        video_ids: All videos of the split.
        aggregate: How faces become a track.
        unit: What one score is of, `FRAME` or `CLIP`; every track without a clip is one lost.
    """
    by_video: dict[str, list[FaceScore]] = defaultdict(list)
    for face in scores:
        by_video[face.video_id].append(face)
    tracks = [
        (video_id, track)
        for video_id, faces in by_video.items()
        for track in track_scores(faces, aggregate)
    ]
    usable = {(face.video_id, face.track_id) for face in scores}
    seen = {(row.video_id, row.track_id) for row in rows if row.track_id >= 0}
    unscored = tuple(video_id for video_id, _ in sorted(seen - usable))
    unusable = tuple(row.video_id for row in rows if row.status != OK)
    return (
        Samples(
            unit,
            tuple(face.video_id for face in scores),
            tuple(face.logit for face in scores),
            unusable if unit == FRAME else unscored,
        ),
        Samples(
            "track",
            tuple(video_id for video_id, _ in tracks),
            tuple(track.logit for _, track in tracks),
            unscored,
        ),
        Samples(
            "video",
            tuple(video.video_id for video in videos_scored),
            tuple(video.logit for video in videos_scored),
            tuple(sorted(set(video_ids) - by_video.keys())),
        ),
    )


def measure(
    samples: Sequence[Samples], videos: Mapping[str, ManifestRow], plan: MeasurePlan
) -> tuple[tuple[ResultRow, ...], tuple[str, ...]]:
    """Return every number, and a sentence for each part that has none.

    The fakes of each method, and all together where there are several, stand against all genuine
    videos of their dataset; datasets are never pooled.
    """
    rows: list[ResultRow] = []
    undefined: list[str] = []
    for dataset, method, members in _parts(videos):
        for sample in samples:
            chosen = np.array([video_id in members for video_id in sample.video_ids], dtype=bool)
            ids = np.array(sample.video_ids)[chosen]
            labels = np.array([videos[video_id].label for video_id in ids.tolist()], dtype=np.int64)
            n_fake = int(labels.sum())
            n_real = labels.size - n_fake
            if not (n_real and n_fake):
                undefined.append(
                    f"{dataset}, {method}, by {sample.unit}: {n_real} genuine and {n_fake} fake "
                    "items with a usable face, but both are needed"
                )
                continue
            n_skipped = sum(video_id in members for video_id in sample.skipped)
            found = _numbers(labels, np.array(sample.logits)[chosen], ids, plan)
            rows.extend(
                ResultRow(
                    plan.detector, plan.protocol, dataset, method, metric, sample.unit, value,
                    None if interval is None else interval.low,
                    None if interval is None else interval.high,
                    n_real, n_fake, n_skipped,
                )
                for metric, value, interval in found
            )  # fmt: skip
    return tuple(rows), tuple(undefined)


_Number = tuple[str, float, metrics.Interval | None]


def _numbers(
    labels: NDArray[np.int64],
    logits: NDArray[np.float64],
    groups: NDArray[np.str_],
    plan: MeasurePlan,
) -> list[_Number]:
    inputs = [(RANKING, logits), (OF_PROBABILITY, sigmoid(logits))]
    if plan.calibration is not None:
        ratios = [log_likelihood_ratio(plan.calibration, logit) for logit in logits.tolist()]
        inputs.append((OF_LOG_LR, np.array(ratios)))
    has_spread = min(np.unique(groups[labels == label]).size for label in (REAL, FAKE)) > 1
    numbers: list[_Number] = []
    for functions, values in inputs:
        for name, function in functions.items():
            interval = None
            if has_spread:
                interval = metrics.bootstrap_ci(
                    function, labels, values, groups, plan.n_bootstrap, plan.seed, LEVEL
                )
            numbers.append((name, function(labels, values), interval))
    return numbers


def _parts(videos: Mapping[str, ManifestRow]) -> list[tuple[str, str, frozenset[str]]]:
    """Return (dataset, method, ids of its fakes and of all genuine videos beside them)."""
    compressions: dict[str, set[str]] = defaultdict(set)
    for row in videos.values():
        compressions[row.dataset].add(row.compression)
    by_dataset: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in videos.values():
        several = len(compressions[row.dataset]) > 1
        name = f"{row.dataset}/{row.compression or 'uncompressed'}" if several else row.dataset
        by_dataset[name].append(row)
    parts = []
    for dataset, members in sorted(by_dataset.items()):
        genuine = {row.video_id for row in members if row.label == REAL}
        fakes = Counter(row.method for row in members if row.label == FAKE)
        if len(fakes) != 1:
            parts.append((dataset, ALL, frozenset(row.video_id for row in members)))
        for method in sorted(fakes):
            own = {row.video_id for row in members if row.label == FAKE and row.method == method}
            parts.append((dataset, method, frozenset(genuine | own)))
    return parts
