"""How far an exported detector is from the one it was made from: logits, AUC by video, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dfdetect.detectors.base import LoadedDetector
from dfdetect.detectors.score import CropBatch, score
from dfdetect.scoring.aggregate import MIN_FACES, video_scores
from dfdetect.scoring.metrics import Interval, bootstrap_ci, roc_auc
from dfdetect.types import FAKE, REAL, FaceScore

Progress: TypeAlias = Callable[[int, int], None]
Labels: TypeAlias = NDArray[np.int64]

# at a time, and so often in turn
TIMED_FACES, TIMED_ROUNDS = 16, 9


@dataclass(frozen=True, slots=True)
class Subject:
    """What a video counts as: the dataset it is measured in, and its label (1 = fake)."""

    dataset: str
    label: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval (bootstrap over videos); None where a class has one video."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class AucParity:
    """The AUC by video on one dataset before and after, and the drop (above 0: it got worse).

    The drop's interval is over videos that are drawn for both at once.
    """

    dataset: str
    n_real: int
    n_fake: int
    before: Estimate
    after: Estimate
    drop: Estimate


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds a crop (or a clip), medians of rounds that took turns, one thread each.

    `speedup` is the median over rounds of how often the exported one answers meanwhile.
    """

    before_ms: float
    after_ms: float
    speedup: float
    batch: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared, and every figure of it.

    `source` says what the items are: "made-up" pictures, or the split whose real crops they are.
    Differences are of logits: the largest size, the same relative where a logit exceeds 1, the
    mean size, the mean with its sign, and the largest of a video's logit (None without videos).
    `undefined` names datasets without both classes.
    """

    source: str
    n_items: int
    n_videos: int
    max_difference: float
    max_relative: float
    mean_difference: float
    mean_shift: float
    max_video_difference: float | None
    aucs: tuple[AucParity, ...]
    undefined: tuple[str, ...]
    timing: Timing

    @property
    def worst_drop(self) -> AucParity | None:
        """The dataset whose AUC falls most."""
        return max(self.aucs, key=lambda one: one.drop.value, default=None)


def made_up_parity(
    before: LoadedDetector, after: LoadedDetector, crops: NDArray[np.uint8]
) -> Parity:
    """Compare on crops that show nobody: only logits and time can be told.

    Args:
        before: What it was made from.
        after: What was exported.
        crops: uint8, as `LoadedDetector.logits` takes them.
    """
    logits = before.logits(crops), after.logits(crops)
    timing = measure_time(before, after, crops)
    return _parity("made-up", logits, timing, 0, None, (), ())


def real_parity(
    before: LoadedDetector,
    after: LoadedDetector,
    batches: Iterable[CropBatch],
    videos: dict[str, Subject],
    source: str,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Parity:
    """Compare on real crops: both see the same batches, one after the other.

    Faces become videos as `dfdetect evaluate` does it; datasets are never pooled.

    Args:
        before: What it was made from.
        after: What was exported.
        batches: Crops, or clips, of one split.
        videos: What each video of these crops counts as.
        source: What the crops are, in words.
        n_bootstrap: Resamples of videos for each interval.
        seed: Of the resampling.
        progress: Called with the number of items compared so far.

    Raises:
        UntrustedCheckpoint, ContractError: As `score`.
    """
    scores: tuple[list[FaceScore], list[FaceScore]] = ([], [])
    sample: list[NDArray[np.uint8]] = []
    for batch in batches:
        for found, detector in zip(scores, (before, after), strict=True):
            found.extend(score(detector, [batch]))
        if sum(map(len, sample)) < TIMED_FACES:
            sample.append(batch.images)
        if progress is not None:
            progress(len(scores[0]))
    timing = measure_time(before, after, np.concatenate(sample))
    logits = tuple(np.array([one.logit for one in found], np.float32) for found in scores)
    by_video = tuple(_by_video(found, before) for found in scores)
    ids = sorted(by_video[0])
    old, new = (np.array([one[video] for video in ids]) for one in by_video)
    aucs, undefined = _aucs([videos[video] for video in ids], old, new, n_bootstrap, seed)
    furthest = float(np.abs(new - old).max())
    return _parity(source, (logits[0], logits[1]), timing, len(ids), furthest, aucs, undefined)


def measure_time(before: LoadedDetector, after: LoadedDetector, crops: NDArray[np.uint8]) -> Timing:
    """Time both detectors in turns on the same crops; torch gets one thread meanwhile."""
    import torch

    # a clip is as much work as its frames
    batch = crops[: max(1, TIMED_FACES // before.header.frames)]
    times: tuple[list[float], list[float]] = ([], [])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(TIMED_ROUNDS + 1):
            for spent, detector in zip(times, (before, after), strict=True):
                start = time.perf_counter()
                detector.logits(batch)
                # the first round warms up
                if number:
                    spent.append(1000 * (time.perf_counter() - start) / len(batch))
    finally:
        torch.set_num_threads(threads)
    speedup = median(old / new for old, new in zip(*times, strict=True))
    return Timing(median(times[0]), median(times[1]), speedup, len(batch), TIMED_ROUNDS)


def _parity(
    source: str,
    logits: tuple[NDArray[np.float32], NDArray[np.float32]],
    timing: Timing,
    n_videos: int,
    furthest_video: float | None,
    aucs: tuple[AucParity, ...],
    undefined: tuple[str, ...],
) -> Parity:
    before, after = (each.astype(np.float64) for each in logits)
    shift = after - before
    return Parity(
        source=source,
        n_items=len(before),
        n_videos=n_videos,
        max_difference=float(np.abs(shift).max()),
        max_relative=float((np.abs(shift) / np.maximum(np.abs(before), 1)).max()),
        mean_difference=float(np.abs(shift).mean()),
        mean_shift=float(shift.mean()),
        max_video_difference=furthest_video,
        aucs=aucs,
        undefined=undefined,
        timing=timing,
    )


def _by_video(scores: Sequence[FaceScore], detector: LoadedDetector) -> dict[str, float]:
    calibration = detector.header.calibration
    how = calibration.aggregate if calibration else "mean_logit"
    min_faces = -(-MIN_FACES // detector.header.frames)
    return {one.video_id: one.logit for one in video_scores(scores, how, min_faces=min_faces)}


def _aucs(
    subjects: Sequence[Subject],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    n_bootstrap: int,
    seed: int,
) -> tuple[tuple[AucParity, ...], tuple[str, ...]]:
    found, undefined = [], []
    datasets = np.array([one.dataset for one in subjects])
    all_labels = np.array([one.label for one in subjects], np.int64)
    for dataset in sorted(set(datasets.tolist())):
        here = datasets == dataset
        labels, old, new = all_labels[here], before[here], after[here]
        n_real, n_fake = (int((labels == label).sum()) for label in (REAL, FAKE))
        if not (n_real and n_fake):
            undefined.append(dataset)
            continue
        estimates = (
            _estimate(labels, logits, n_bootstrap, seed) for logits in ([old], [new], [old, new])
        )
        found.append(AucParity(dataset, n_real, n_fake, *estimates))
    return tuple(found), tuple(undefined)


def _estimate(
    labels: Labels, logits: Sequence[NDArray[np.float64]], n_bootstrap: int, seed: int
) -> Estimate:
    """The AUC of one list of logits, or how much lower the second's is than the first's."""

    def value(drawn: Labels, places: NDArray[np.float64]) -> float:
        of = places.astype(np.int64)
        first, *second = (roc_auc(drawn, each[of]) for each in logits)
        return first - second[0] if second else first

    # videos are drawn by their places, so that both lists are drawn alike
    places = np.arange(len(labels), dtype=np.float64)
    interval = None
    if min((labels == REAL).sum(), (labels == FAKE).sum()) > 1:
        interval = bootstrap_ci(value, labels, places, n=n_bootstrap, seed=seed)
    return Estimate(value(labels, places), interval)
