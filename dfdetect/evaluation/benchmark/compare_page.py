"""Comparisons of detectors on disk: a table, and a page with a sentence for every pair."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from dfdetect.data.tables import TableContract, TableHeader, write_table
from dfdetect.evaluation.benchmark.compare import Comparison, ComparisonRow
from dfdetect.evaluation.benchmark.result_tables import method_words
from dfdetect.evaluation.benchmark.tables import (
    Cell,
    Column,
    Table,
    markdown_table,
    markdown_text,
    p_words,
    signed,
    with_interval,
)
from dfdetect.evaluation.runs import HELD_OUT, SEEN, UNKNOWN
from dfdetect.provenance import RunRecord, environment, sha256_value, written_whole

COMPARISON = TableContract(
    name="comparison",
    version=1,
    schema=pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in (
                "dataset", "method", "a", "b", "exposure_a", "exposure_b", "protocol", "unit",
            )),
            *(pa.field(name, pa.float64()) for name in (
                "auc_a", "auc_a_low", "auc_a_high", "auc_b", "auc_b_low", "auc_b_high",
                "difference", "ci_low", "ci_high", "p_value", "p_holm",
            )),
            *(pa.field(name, pa.int64(), nullable=False) for name in (
                "n_real", "n_fake", "n_only_a", "n_only_b", "n_unscored", "n_conflicting",
            )),
            pa.field("sentence", pa.string(), nullable=False),
        ]
    ),
    repair="dfdetect benchmark compare FOLDER FOLDER",
)  # fmt: skip


def write_comparison(result: Comparison, out: Path, command: str) -> None:
    """Write `comparison.parquet`, `.csv` and `.md`, and `run.json`, each whole or not at all."""
    config_hash = sha256_value(dict(result.settings))
    names = COMPARISON.schema.names
    columns = {name: [getattr(row, name) for row in result.rows] for name in names}
    header = TableHeader(config_hash, result.parents, (("settings", dict(result.settings)),))
    table = pa.table(columns, schema=COMPARISON.schema)
    write_table(out / "comparison.parquet", table, COMPARISON, header)
    with written_whole(out / "comparison.csv") as part, part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in result.rows)
    with written_whole(out / "comparison.md") as part:
        part.write_text(comparison_markdown(result), encoding="utf-8")
    record = RunRecord(command, config_hash, None, result.parents, environment())
    record.write(out / "run.json")


def comparison_markdown(result: Comparison) -> str:
    """Return the comparisons as a page: what both trained on is never beside what neither saw."""
    mark = f" (oracle: {', '.join(name for name, _ in result.oracles)})" if result.oracles else ""
    lines = [f"# Paired comparison{markdown_text(mark)}", ""]
    for title, kept in _groups(result.rows):
        lines += [markdown_table(_table(title + mark, kept), 2), ""]
        lines += [*(f"- {markdown_text(row.sentence)}" for row in kept), ""]
    tested = sum(row.p_value is not None for row in result.rows)
    lines += [
        "## What the numbers mean",
        "",
        "AUC by video; intervals of single AUCs and of differences are DeLong's, 95 %, not widened "
        "for the number of comparisons. p is DeLong's test for paired curves, on videos that both "
        f"scored, each taken for independent of the others, though an original and the fakes made "
        f"of it show one person. Holm's correction is over all comparisons of this call that gave "
        f"a p ({tested}), methods and totals alike; the sentences call a difference one where it "
        f"leaves p below {result.alpha:g}. Of an AUC of 0 or 1, which DeLong's variance takes for "
        "certain, the interval is that of as many won pairs as the smaller class has videos. "
        "Left out are videos that only one of the two was given, that one of them could not score, "
        "and that the two manifests describe differently.",
        "",
        *(f"- {markdown_text(note)}" for note in result.notes),
        *(f"- Oracle: {markdown_text(name)}: {markdown_text(why)}" for name, why in result.oracles),
        "",
        "| what | value |",
        "|---|---|",
        *(f"| {markdown_text(name)} | {markdown_text(str(value))} |"
          for name, value in (*result.settings, *result.parents)),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _groups(rows: Sequence[ComparisonRow]) -> list[tuple[str, list[ComparisonRow]]]:
    titles = {
        (HELD_OUT, HELD_OUT): "Held out: neither detector trained on these fakes",
        (SEEN, SEEN): "In distribution: both detectors trained on these fakes",
    }
    groups: dict[str, list[ComparisonRow]] = {title: [] for title in titles.values()}
    for row in rows:
        both = (row.exposure_a, row.exposure_b)
        title = titles.get(both, "Not alike: the detectors were trained on these fakes differently")
        if UNKNOWN in both:
            title = "Unknown: what a detector was trained on is not on record"
        groups.setdefault(title, []).append(row)
    return [(title, kept) for title, kept in groups.items() if kept]


def _table(title: str, rows: Sequence[ComparisonRow]) -> Table:
    columns = (
        Column("dataset"), Column("method"), Column("A"), Column("B"),
        Column("AUC of A (95 %)", True), Column("AUC of B (95 %)", True),
        Column("A − B (95 %)", True), Column("p", True), Column("p, Holm", True),
        Column("genuine + fake", True), Column("left out", True),
    )  # fmt: skip
    return Table(title, columns, tuple(_cells(row) for row in rows), n_heads=4)


def _cells(row: ComparisonRow) -> tuple[Cell, ...]:
    left_out = row.n_only_a + row.n_only_b + row.n_unscored + row.n_conflicting
    numbers = ["no number"] * 3 + ["–"] * 2
    if row.auc_a is not None and row.auc_b is not None and row.difference is not None:
        numbers = [
            with_interval(row.auc_a, row.auc_a_low, row.auc_a_high),
            with_interval(row.auc_b, row.auc_b_low, row.auc_b_high),
            f"{signed(row.difference)} ({signed(row.ci_low or 0)} to {signed(row.ci_high or 0)})",
            p_words(row.p_value),
            p_words(row.p_holm),
        ]
    parts = (
        ("only A", row.n_only_a), ("only B", row.n_only_b), ("unscored", row.n_unscored),
        ("conflicting", row.n_conflicting),
    )  # fmt: skip
    told = ", ".join(f"{n:,} {why}" for why, n in parts if n)
    texts = [
        row.dataset, method_words(row.method), row.a, row.b, *numbers,
        f"{row.n_real:,} + {row.n_fake:,}", f"{left_out:,}" + (f" ({told})" if told else ""),
    ]  # fmt: skip
    return tuple(Cell(text) for text in texts)
