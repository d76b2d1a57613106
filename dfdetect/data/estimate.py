"""How long an extraction will take and how much disk, told from a few videos cut for real."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.crops import OnProgress, expected_frames, extract_crops
from dfdetect.data.engines import LocalEngine, Result, Task
from dfdetect.data.manifest import Manifest
from dfdetect.data.pieces import Piece, Tally
from dfdetect.data.schedule import originals_of
from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy

_N_RESAMPLED = 2000
_QUANTILES = (0.05, 0.95)

Measured = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate, and the 90 % interval that the spread of the sample leaves."""

    value: float
    low: float
    high: float

    def divided(self, by: float) -> Range:
        """Return the range of a share of it."""
        return Range(self.value / by, self.low / by, self.high / by)


@dataclass(frozen=True, slots=True)
class ExtractEstimate:
    """What an extraction will cost, told from `n_sampled` of its `n_videos` videos.

    `worker_seconds` are those of all workers together, loading the finder left out; `n_bytes` is
    the size of the store. `n_by_status` are the rows of the sampled videos.
    """

    n_videos: int
    n_sampled: int
    worker_seconds: Range
    n_bytes: Range
    n_by_status: tuple[tuple[str, int], ...]

    def seconds(self, workers: int) -> Range:
        """Return how long it takes on so many free cores, which must not wait for the disk."""
        return self.worker_seconds.divided(max(1, min(workers, self.n_videos)))


def estimate_extraction(
    manifest: Manifest,
    data_root: Path,
    policy: CropPolicy,
    sampler: FrameSampler,
    finder: str | None = "onnx",
    faces: str = "largest",
    *,
    landmarks: bool = True,
    min_side_px: float = 0.0,
    reuse_boxes: bool = False,
    finder_options: Sequence[tuple[str, Any]] = (),
    n_sampled: int = 8,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> ExtractEstimate:
    """Cut some videos into a temporary folder and tell from them what all of them will cost.

    They are spread over methods and durations and depend on the manifest and `seed` alone; with
    `reuse_boxes` their originals are cut as well, and not counted. Time is told from durations,
    disk from the frames to be sampled; the intervals come from drawing the sample again.

    Raises:
        UsageError: As `extract_crops`; or there is nothing to sample.
    """
    if n_sampled < 1 or not len(manifest.rows):
        raise UsageError(
            f"cannot sample {n_sampled} of {len(manifest.rows)} videos; give 1 or more"
        )
    chosen = sample_places(manifest.rows, n_sampled, seed)
    originals = originals_of(manifest.rows)[chosen] if reuse_boxes else chosen
    needed = np.union1d(chosen, originals[originals >= 0])
    meter = _Meter()
    with TemporaryDirectory(prefix="dfdetect-estimate-") as folder:
        extract_crops(
            dataclasses.replace(manifest, rows=manifest.rows.take(needed)),
            data_root,
            Path(folder),
            policy,
            sampler,
            finder,
            faces,
            landmarks=landmarks,
            min_side_px=min_side_px,
            reuse_boxes=reuse_boxes,
            finder_options=finder_options,
            engine=meter,
            progress=progress,
        )
    pieces = [meter.pieces[place] for place in np.searchsorted(needed, chosen).tolist()]
    return _estimate(manifest.rows, chosen, pieces, expected_frames(manifest.rows, sampler), seed)


def sample_places(videos: Videos, n_sampled: int, seed: int) -> NDArray[np.int64]:
    """Return the places of some videos, ascending, spread evenly over methods and durations."""
    table = videos.table.select(["method", "duration_s", "video_id"])
    columns = [np.asarray(table.column(name).to_pylist()) for name in reversed(table.column_names)]
    order = np.lexsort(columns)
    n = min(n_sampled, len(order))
    # equal steps from a random start: every method gets its share, of short and long ones
    start = np.random.default_rng(seed).random()
    steps = np.floor((np.arange(n) + start) * len(order) / n).astype(np.int64)
    return np.sort(order[steps])


@dataclass(slots=True)
class _Meter:
    """An engine that keeps what it hands out."""

    pieces: dict[int, Piece] = field(default_factory=dict)

    def run(self, work: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        for piece in LocalEngine().run(work, tasks):
            if isinstance(piece, Piece):
                self.pieces[piece.place] = piece
            yield piece


def _estimate(
    videos: Videos,
    chosen: NDArray[np.int64],
    pieces: Sequence[Piece],
    frames: NDArray[np.int64],
    seed: int,
) -> ExtractEstimate:
    durations = np.asarray(videos.column("duration_s").to_numpy(), dtype=np.float64)
    seconds = np.array([piece.seconds for piece in pieces])
    n_bytes = np.array([piece.n_bytes for piece in pieces], dtype=np.float64)
    rng = np.random.default_rng(seed)
    draws = [np.arange(len(chosen)), *rng.integers(0, len(chosen), (_N_RESAMPLED, len(chosen)))]
    tally = sum((piece.tally for piece in pieces), Tally())
    return ExtractEstimate(
        n_videos=len(videos),
        n_sampled=len(chosen),
        worker_seconds=_range(
            [_by_line(durations, durations[chosen[draw]], seconds[draw]) for draw in draws]
        ),
        n_bytes=_range(
            [n_bytes[draw].sum() * frames.sum() / frames[chosen[draw]].sum() for draw in draws]
        ),
        n_by_status=tally.n_by_status,
    )


def _by_line(everywhere: Measured, x: Measured, y: Measured) -> float:
    """Return the sum over all videos of a line through the sampled ones, falling nowhere."""
    spread = x - x.mean()
    slope = (spread @ y) / (spread @ spread) if spread.any() else 0.0
    base = y.mean() - slope * x.mean()
    if slope < 0:
        slope, base = 0.0, y.mean()
    elif base < 0:
        slope, base = (x @ y) / (x @ x), 0.0
    return float(base * len(everywhere) + slope * everywhere.sum())


def _range(estimates: Sequence[float]) -> Range:
    # the first is that of the sample itself, the others of what was drawn from it
    low, high = np.quantile(estimates[1:], _QUANTILES)
    return Range(float(estimates[0]), float(min(low, estimates[0])), float(max(high, estimates[0])))
