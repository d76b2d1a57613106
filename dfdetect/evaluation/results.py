"""The two tables of an evaluation on disk: scores, a row a face; results, a row a number."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dfdetect.data.tables import TableContract, TableHeader, read_table, write_table
from dfdetect.detectors.base import ORACLE
from dfdetect.provenance import RunRecord, environment, written_whole
from dfdetect.types import FaceScore

ALL = "all"
"""The method of a row over all methods of a dataset."""

REPAIR = "dfdetect evaluate crops=[FOLDER] out=FOLDER"

SCORES = TableContract(
    name="scores",
    version=1,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("track_id", pa.int32(), nullable=False),
            pa.field("frame_index", pa.int64(), nullable=False),
            pa.field("time_s", pa.float64(), nullable=False),
            pa.field("logit", pa.float64(), nullable=False),
            pa.field("p_fake", pa.float64(), nullable=False),
        ]
    ),
    repair=REPAIR,
)

RESULTS = TableContract(
    name="results",
    version=1,
    schema=pa.schema(
        [
            pa.field("detector", pa.string(), nullable=False),
            pa.field("protocol", pa.string(), nullable=False),
            pa.field("dataset", pa.string(), nullable=False),
            pa.field("method", pa.string(), nullable=False),
            pa.field("metric", pa.string(), nullable=False),
            pa.field("unit", pa.string(), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
            pa.field("ci_low", pa.float64()),
            pa.field("ci_high", pa.float64()),
            pa.field("n_real", pa.int64(), nullable=False),
            pa.field("n_fake", pa.int64(), nullable=False),
            pa.field("n_skipped", pa.int64(), nullable=False),
        ]
    ),
    repair=REPAIR,
)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One number: a metric of one detector on one method of one dataset, counted by one unit.

    `unit` is `frame` (a face in a frame), `clip` (where clips are judged), `track` or `video`;
    `n_real`, `n_fake` and `n_skipped` count that unit, and what was skipped had no usable face (of
    clips: a track that is shorter than one). The interval is None where a class has a single
    video. `method` is `all` for several methods together.
    """

    detector: str
    protocol: str
    dataset: str
    method: str
    metric: str
    unit: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n_real: int
    n_fake: int
    n_skipped: int


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """All that an evaluation found, and what it came from.

    `undefined` says in sentences which parts have no numbers and why. `parents` are pairs of a
    role (weights, crops, manifest) and a SHA-256, `config_hash` that of the settings, which
    `settings` lists. `n_unsound` counts videos that no track showed in enough faces.
    """

    rows: tuple[ResultRow, ...]
    scores: tuple[FaceScore, ...]
    undefined: tuple[str, ...]
    n_skipped_by_status: tuple[tuple[str, int], ...]
    n_unsound: int
    parents: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str | int | float], ...]
    config_hash: str

    @property
    def oracle(self) -> str:
        """What the weights say of having been selected on the split they are measured on, or ''."""
        return str(dict(self.settings).get(ORACLE, ""))

    def value(
        self,
        metric: str,
        unit: str = "video",
        method: str | None = None,
        dataset: str | None = None,
    ) -> ResultRow:
        """Return the row of one number; without `method`, of all methods of the dataset together.

        Raises:
            KeyError: There is none, or several datasets have one and `dataset` is not given.
        """
        found = [
            row
            for row in self.rows
            if (row.metric, row.unit) == (metric, unit)
            and dataset in (None, row.dataset)
            and method in (None, row.method)
        ]
        if method is None and len(found) > 1:
            # a dataset with a single method has no row for all of them
            found = [row for row in found if row.method == ALL]
        if len(found) != 1:
            raise KeyError(
                f"{len(found)} rows have metric {metric} by {unit}, method {method}, dataset "
                f"{dataset}"
            )
        return found[0]

    def headline(self) -> tuple[str, ...]:
        """Return a line for each dataset and method: its AUC by video, with interval and counts."""
        return tuple(
            f"{_mark(self)}{row.dataset}, {row.method}: "
            f"AUC by video {row.value:.3f}{_interval(row, 3)}, "
            f"{row.n_real} genuine and {row.n_fake} fake, {row.n_skipped} skipped"
            for row in self.rows
            if (row.metric, row.unit) == ("auc", "video")
        )


def write_results(result: EvaluationResult, out: Path, command: str = "dfdetect evaluate") -> None:
    """Write `scores.parquet`, `results.parquet`, `.csv` and `.md`, and `run.json` into a folder.

    Each file is written whole or not at all. Equal results give equal tables; `run.json` names
    the environment.
    """
    facts: tuple[tuple[str, object], ...] = (
        ("settings", dict(result.settings)),
        ("n_skipped_by_status", dict(result.n_skipped_by_status)),
    )
    header = TableHeader(result.config_hash, result.parents, facts)
    columns = {
        name: [getattr(score, name) for score in result.scores] for name in SCORES.schema.names
    }
    write_table(out / "scores.parquet", pa.table(columns, schema=SCORES.schema), SCORES, header)
    columns = {name: [getattr(row, name) for row in result.rows] for name in RESULTS.schema.names}
    more = (("undefined", list(result.undefined)), ("n_unsound", result.n_unsound))
    header = dataclasses.replace(header, facts=(*facts, *more))
    write_table(out / "results.parquet", pa.table(columns, schema=RESULTS.schema), RESULTS, header)
    with written_whole(out / "results.csv") as part, part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(RESULTS.schema.names)
        writer.writerows(dataclasses.astuple(row) for row in result.rows)
    with written_whole(out / "results.md") as part:
        part.write_text(markdown(result), encoding="utf-8")
    seed = dict(result.settings).get("seed")
    record = RunRecord(
        command,
        result.config_hash,
        None if seed is None else int(seed),
        result.parents,
        environment(),
    )
    record.write(out / "run.json")


def read_scores(path: Path) -> tuple[tuple[FaceScore, ...], TableHeader]:
    """Read the face scores of an evaluation.

    Raises:
        ContractError: The file is missing or no scores table of this version.
    """
    table, header = read_table(path, SCORES)
    columns = [table.column(name).to_pylist() for name in SCORES.schema.names]
    return tuple(FaceScore(*cells) for cells in zip(*columns, strict=True)), header


def read_results(path: Path) -> tuple[tuple[ResultRow, ...], TableHeader]:
    """Read the results of an evaluation.

    Raises:
        ContractError: The file is missing or no results table of this version.
    """
    table, header = read_table(path, RESULTS)
    columns = [table.column(name).to_pylist() for name in RESULTS.schema.names]
    return tuple(ResultRow(*cells) for cells in zip(*columns, strict=True)), header


def markdown(result: EvaluationResult) -> str:
    """Return the results as a readable page: one table a dataset and unit, then what they mean."""
    lines = [f"# Results{f' (oracle: {_cell(result.oracle)})' if result.oracle else ''}", ""]
    places = dict.fromkeys((row.dataset, row.unit) for row in result.rows)
    for dataset, unit in places:
        rows = [row for row in result.rows if (row.dataset, row.unit) == (dataset, unit)]
        lines += [f"## {_mark(result)}{_cell(dataset)}, by {unit}", "", *_table(rows), ""]
    lines += [
        "EER is interpolated where FNR = FPR; `eer_nearest` is the FPR at the nearest ROC point. "
        "AP counts fakes as positive and depends on their share. `accuracy` and "
        "`balanced_accuracy` cut at p_fake 0.5, `balanced_accuracy_lr1` where the calibration "
        "gives a likelihood ratio of 1. Log-loss in nats, Cllr in bits, ECE over 15 bins of equal "
        "mass. p_fake is the uncalibrated sigmoid. Skipped: no usable face.",
        "",
    ]
    if result.undefined:
        lines += ["Without numbers:", "", *(f"- {_cell(text)}" for text in result.undefined), ""]
    skipped = ", ".join(f"{n} {status}" for status, n in result.n_skipped_by_status) or "none"
    lines += [
        f"Rows of the crop store without a usable face: {skipped}. "
        f"Videos whose longest track has too few faces: {result.n_unsound}.",
        "",
        "| what | value |",
        "|---|---|",
        *(f"| {name} | {_cell(str(value))} |" for name, value in result.settings),
        f"| config sha256 | {result.config_hash} |",
        *(f"| {role} sha256 | {digest} |" for role, digest in result.parents),
        "",
    ]
    return "\n".join(lines)


def _mark(result: EvaluationResult) -> str:
    return "oracle: " if result.oracle else ""


def _table(rows: Sequence[ResultRow]) -> list[str]:
    lines = [
        "| method | metric | value | 95 % interval | real | fake | skipped |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        interval = _interval(row, 4).strip(" ()") or "not known"
        lines.append(
            f"| {_cell(row.method)} | {row.metric} | {row.value:.4f} | {interval} | {row.n_real} "
            f"| {row.n_fake} | {row.n_skipped} |"
        )
    return lines


def _interval(row: ResultRow, digits: int) -> str:
    if row.ci_low is None or row.ci_high is None:
        return ""
    return f" ({row.ci_low:.{digits}f} – {row.ci_high:.{digits}f})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
