"""Scored runs on disk: a row a face, scored or skipped, and beside it the videos they are of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cattrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfdetect.data.tables import TableContract, TableHeader, read_table, write_table
from dfdetect.data.videos import MANIFEST, Videos
from dfdetect.errors import ContractError
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.provenance import sha256_file, sha256_value
from dfdetect.scoring.aggregate import sigmoid
from dfdetect.scoring.score_table import SCORED, ScoreTable
from dfdetect.types import Calibration

REPAIR = "dfdetect evaluate crops=[FOLDER] out=FOLDER"
SCORES_FILE, VIDEOS_FILE = "scores.parquet", "videos.parquet"

SCORES = TableContract(
    name="scores",
    version=2,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("track_id", pa.int64(), nullable=False),
            pa.field("frame_index", pa.int64(), nullable=False),
            pa.field("time_s", pa.float64(), nullable=False),
            pa.field("logit", pa.float64()),
            pa.field("p_fake", pa.float64()),
            pa.field("status", pa.string(), nullable=False),
        ]
    ),
    repair=REPAIR,
)


def write_run(run: ScoredRun, folder: Path, settings: dict[str, Any] | None = None) -> None:
    """Write `scores.parquet` and `videos.parquet`, each whole or not at all.

    Args:
        run: The scores and all that is known of where they come from.
        folder: Where to; made where it is missing.
        settings: What they were made with, whose hash the tables state.
    """
    header = TableHeader(sha256_value(settings or {}), run.parents, _facts(run, settings))
    write_table(folder / VIDEOS_FILE, run.videos.table, MANIFEST, header)
    write_table(folder / SCORES_FILE, _as_arrow(run.scores), SCORES, header)


def read_run(path: Path) -> ScoredRun:
    """Read what `write_run` wrote: a folder, or the `scores.parquet` in it.

    Raises:
        ContractError: A file is missing, of another contract or version, or the two are not of the
            same videos.
    """
    folder = path if path.is_dir() else path.parent
    scores = path / SCORES_FILE if path.is_dir() else path
    table, header = read_table(scores, SCORES)
    videos, _ = read_table(folder / VIDEOS_FILE, dataclasses.replace(MANIFEST, repair=REPAIR))
    facts = dict(header.facts)
    fitted, learned = facts.get("calibration"), facts.get("trained_on")
    try:
        return ScoredRun(
            name=facts["name"],
            scores=_from_arrow(table),
            videos=Videos(videos),
            unit=facts["unit"],
            trained_on=None if learned is None else cattrs.structure(learned, TrainedOn),
            calibration=None if fitted is None else cattrs.structure(fitted, Calibration),
            threshold=facts["threshold"],
            oracle=facts["oracle"],
            parents=(*header.parents, ("scores", sha256_file(scores))),
            frames=facts["frames"],
            split_rule=facts["split_rule"],
            ranked_only=facts["ranked_only"],
            notes=tuple(facts["notes"]),
            # scores from before this was said do without it
            network=tuple((str(name), str(value)) for name, value in facts.get("network", ())),
        )
    except (KeyError, TypeError, ValueError, cattrs.BaseValidationError) as error:
        raise ContractError(
            f"{scores} and {folder / VIDEOS_FILE} do not hold a scored run "
            f"({type(error).__name__}: {error}); make them again with `{REPAIR}`"
        ) from error


def _facts(run: ScoredRun, settings: dict[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    fitted, learned = run.calibration, run.trained_on
    return (
        ("name", run.name),
        ("unit", run.unit),
        ("frames", run.frames),
        ("threshold", run.threshold),
        ("oracle", run.oracle),
        ("split_rule", run.split_rule),
        ("ranked_only", run.ranked_only),
        ("notes", list(run.notes)),
        ("network", [list(pair) for pair in run.network]),
        ("calibration", None if fitted is None else dataclasses.asdict(fitted)),
        ("trained_on", None if learned is None else dataclasses.asdict(learned)),
        ("settings", settings or {}),
    )


def _as_arrow(scores: ScoreTable) -> pa.Table:
    def named(codes: Any, names: tuple[str, ...]) -> pa.Array:
        places = pa.array(codes, type=pa.int32())
        return pa.DictionaryArray.from_arrays(places, pa.array(names, pa.string())).cast(
            pa.string()
        )

    none = scores.status != 0
    return pa.table(
        {
            "video_id": named(scores.video, scores.video_ids),
            "track_id": scores.track_id,
            "frame_index": scores.frame_index,
            "time_s": scores.time_s,
            "logit": pa.array(scores.logit, mask=none),
            "p_fake": pa.array(sigmoid(np.where(none, 0.0, scores.logit)), mask=none),
            "status": named(scores.status, scores.statuses),
        },
        schema=SCORES.schema,
    )


def _from_arrow(table: pa.Table) -> ScoreTable:
    def coded(name: str) -> tuple[Any, list[str]]:
        column = table.column(name).combine_chunks()
        names = sorted(pc.unique(column).to_pylist())
        return pc.index_in(column, pa.array(names, pa.string())).to_numpy(), names

    video, video_ids = coded("video_id")
    status, statuses = coded("status")
    logit = pc.fill_null(table.column("logit"), np.nan).to_numpy()
    track, frame, time = (
        table.column(name).to_numpy() for name in ("track_id", "frame_index", "time_s")
    )
    return ScoreTable.coded(
        tuple(video_ids), video, track, frame, time, logit, status, statuses or [SCORED]
    )
