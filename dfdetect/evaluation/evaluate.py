"""A detector and crop stores, or scores that are there already → results under a protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfdetect.detectors.base import ORACLE, LoadedDetector
from dfdetect.errors import UsageError
from dfdetect.evaluation.measure import LEVEL
from dfdetect.evaluation.measured import measured
from dfdetect.evaluation.protocols.coverage import require_coverage
from dfdetect.evaluation.protocols.protocol import PLAIN, Protocol
from dfdetect.evaluation.results import EvaluationResult, write_results
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.provenance import sha256_value

if TYPE_CHECKING:
    from dfdetect.data.crops import CropStore
    from dfdetect.evaluation.scored import Progress


def evaluate(
    store: CropStore | Sequence[CropStore],
    detector: LoadedDetector,
    split: str | None = "test",
    *,
    out: Path | None = None,
    protocol: Protocol = PLAIN,
    n_bootstrap: int = 2000,
    seed: int = 0,
    batch_size: int = 64,
    command: str = "dfdetect evaluate",
    progress: Progress | None = None,
) -> EvaluationResult:
    """Score every usable crop of a split and measure the detector, with intervals over videos.

    It is `score_stores`, then `evaluate_run`.

    Args:
        store: One crop store or several, whose crops the detector's preprocessing fits.
        detector: As `load_detector` returns it.
        split: Which videos are measured; None: all that the protocol takes.
        out: Where to write the files of `write_results`; None writes nothing.
        protocol: By which definitions.
        n_bootstrap: Resamples.
        seed: Of the resampling.
        batch_size: Crops judged together.
        command: What `run.json` says was run.
        progress: Called with the number of crops scored and of all crops.

    Raises:
        UsageError: The split has no usable crop (or no clip), no dataset in it has both classes,
            or the protocol refuses the run.
        ContractError: The crops were cut by another policy than the detector's, or two stores
            hold one video.
        LowCoverage: Fewer videos have a score than the protocol demands; what there is is written.
    """
    # looking at pictures takes libraries that scores on disk do without
    from dfdetect.evaluation.scored import score_stores

    run = score_stores(store, detector, split, batch_size=batch_size, progress=progress)
    return evaluate_run(
        run,
        split,
        out=out,
        protocol=protocol,
        n_bootstrap=n_bootstrap,
        seed=seed,
        command=command,
    )


def evaluate_run(
    run: ScoredRun,
    split: str | None,
    *,
    out: Path | None = None,
    protocol: Protocol = PLAIN,
    n_bootstrap: int = 2000,
    seed: int = 0,
    command: str = "dfdetect evaluate",
) -> EvaluationResult:
    """Measure scores that are there already, with intervals over videos.

    For each dataset (and compression, where it has several) the fakes of each method, and all of
    them together, stand against all genuine videos; datasets are never pooled. Every face, track
    and video bears its video's label. Intervals are a percentile bootstrap that draws whole
    videos within each class. What has no usable face is not scored, but counted as skipped.

    Args:
        run: The scores of one split.
        split: The name of the split that the scores are of; None: of several.
        out: Where to write the files of `write_results`; None writes nothing.
        protocol: By which definitions.
        n_bootstrap: Resamples.
        seed: Of the resampling.
        command: What `run.json` says was run.

    Raises:
        UsageError: No dataset has both classes, or the protocol refuses the run.
        LowCoverage: Fewer videos have a score than the protocol demands; what there is is written.
    """
    if split is not None and protocol.split is not None:
        protocol = dataclasses.replace(protocol, split=split)
    found = measured(run, protocol, n_bootstrap, seed)
    if not found.rows:
        raise UsageError(f"nothing can be measured of {run.name}: {'; '.join(found.undefined)}")
    settings = _settings(run, split, protocol, n_bootstrap, seed)
    result = EvaluationResult(
        rows=found.rows,
        run=run,
        undefined=found.undefined,
        notes=found.whole.notes,
        n_unsound=_n_unsound(run, protocol.min_faces),
        settings=settings,
        config_hash=sha256_value(dict(settings)),
    )
    if out is not None:
        write_results(result, out, command)
    require_coverage(found.whole, protocol)
    return result


def _settings(
    run: ScoredRun, split: str | None, protocol: Protocol, n_bootstrap: int, seed: int
) -> tuple[tuple[str, str | int | float], ...]:
    told = dataclasses.asdict(protocol)
    told["aggregate"] = run.aggregate_under(protocol.aggregate)
    switched = [name for name, value in told.pop("quirks").items() if value not in (False, 0, None)]
    said = [
        (name, value)
        for name, value in told.items()
        if name not in ("name", "split") and value is not None
    ]
    return (
        ("detector", run.name),
        ("protocol", protocol.name),
        ("split", split or protocol.split or "all"),
        *((name, value if isinstance(value, int | float) else str(value)) for name, value in said),
        *((("quirks", ", ".join(switched)),) if switched else ()),
        ("n_bootstrap", n_bootstrap),
        ("seed", seed),
        ("level", LEVEL),
        *((("frames", run.frames),) if run.frames > 1 else ()),
        *(((ORACLE, run.oracle),) if run.oracle else ()),
    )


def _n_unsound(run: ScoredRun, min_faces: int) -> int:
    """Return how many videos with a score have no track of enough faces (or clips of them)."""
    table = run.scores.scored()
    if not len(table):
        return 0
    tracks, sizes = np.unique(np.stack([table.video, table.track_id]), axis=1, return_counts=True)
    longest = np.zeros(len(table.video_ids), dtype=np.int64)
    np.maximum.at(longest, tracks[0], sizes)
    needed = -(-min_faces // run.frames)
    return int(np.count_nonzero((longest > 0) & (longest < needed)))
