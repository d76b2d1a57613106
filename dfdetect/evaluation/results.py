"""What an evaluation found: a row a number, on disk as tables and as a readable page."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dfdetect.data.tables import TableContract, TableHeader, read_table, write_table
from dfdetect.evaluation.run_files import REPAIR, write_run
from dfdetect.evaluation.runs import UNKNOWN, ScoredRun
from dfdetect.provenance import RunRecord, environment, written_whole

ALL = "all"
"""The method of a row over all methods of a dataset."""
CLEAN = "clean"
"""The condition of clips as they came."""

RESULTS = TableContract(
    name="results",
    version=2,
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
            pa.field("condition", pa.string(), nullable=False),
            pa.field("exposure", pa.string(), nullable=False),
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
    video. `method` is `all` for several methods together. `condition` says what was done to the
    clips before faces were looked for, `clean` for nothing; `exposure` whether such fakes were
    trained on: `seen`, `held-out`, `mixed` where methods differ, or `unknown`.
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
    condition: str = CLEAN
    exposure: str = UNKNOWN

    def interval(self, digits: int) -> str:
        """Return ` (low – high)`, to stand behind the value, or '' where there is no interval."""
        if self.ci_low is None or self.ci_high is None:
            return ""
        return f" ({self.ci_low:.{digits}f} – {self.ci_high:.{digits}f})"


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """All that an evaluation found, and the scored run that it measured.

    `undefined` says in sentences which parts have no numbers and why, `notes` by which definitions
    the others were found. `settings` lists what was asked for, `config_hash` is its SHA-256.
    `n_unsound` counts videos that no track showed in enough faces.
    """

    rows: tuple[ResultRow, ...]
    run: ScoredRun
    undefined: tuple[str, ...]
    notes: tuple[str, ...]
    n_unsound: int
    settings: tuple[tuple[str, str | int | float], ...]
    config_hash: str

    @property
    def n_skipped_by_status(self) -> tuple[tuple[str, int], ...]:
        """How many rows have no score, by why."""
        return self.run.scores.n_by_status()

    @property
    def oracle(self) -> str:
        """What the weights say of having been selected on the split they are measured on, or ''."""
        return self.run.oracle

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
            f"AUC by video {row.value:.3f}{row.interval(3)}, "
            f"{row.n_real} genuine and {row.n_fake} fake, {row.n_skipped} skipped"
            for row in self.rows
            if (row.metric, row.unit) == ("auc", "video")
        )


def write_results(result: EvaluationResult, out: Path, command: str = "dfdetect evaluate") -> None:
    """Write the run's scores and videos, `results.parquet`, `.csv`, `.md` and `run.json`.

    Each file is written whole or not at all. Equal results give equal tables; `run.json` names
    the environment.
    """
    settings = dict(result.settings)
    write_run(result.run, out, settings)
    facts: tuple[tuple[str, object], ...] = (
        ("settings", settings),
        ("n_skipped_by_status", dict(result.n_skipped_by_status)),
        ("undefined", list(result.undefined)),
        ("notes", list(result.notes)),
        ("n_unsound", result.n_unsound),
    )
    header = TableHeader(result.config_hash, result.run.parents, facts)
    write_rows(result.rows, out / "results.parquet", header)
    with written_whole(out / "results.csv") as part, part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(RESULTS.schema.names)
        writer.writerows(dataclasses.astuple(row) for row in result.rows)
    with written_whole(out / "results.md") as part:
        part.write_text(markdown(result), encoding="utf-8")
    seed = settings.get("seed")
    record = RunRecord(
        command,
        result.config_hash,
        None if seed is None else int(seed),
        result.run.parents,
        environment(),
    )
    record.write(out / "run.json")


def write_rows(rows: Sequence[ResultRow], path: Path, header: TableHeader) -> None:
    """Write a table of results, whole or not at all."""
    columns = {name: [getattr(row, name) for row in rows] for name in RESULTS.schema.names}
    write_table(path, pa.table(columns, schema=RESULTS.schema), RESULTS, header)


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
    if result.notes:
        lines += ["Definitions:", "", *(f"- {_cell(note)}" for note in result.notes), ""]
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
        *(f"| {role} sha256 | {digest} |" for role, digest in result.run.parents),
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
        interval = row.interval(4).strip(" ()") or "not known"
        lines.append(
            f"| {_cell(row.method)} | {row.metric} | {row.value:.4f} | {interval} | {row.n_real} "
            f"| {row.n_fake} | {row.n_skipped} |"
        )
    return lines


def _cell(text: str) -> str:
    return text.replace("<", "\\<").replace("|", "\\|").replace("\n", " ")
