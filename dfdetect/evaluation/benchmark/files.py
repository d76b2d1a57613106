"""What a benchmark leaves behind: tables for machines and papers, figures, a page, a record."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from dfdetect.data.tables import TableHeader, write_table
from dfdetect.evaluation.benchmark.benchmark import BenchmarkResult
from dfdetect.evaluation.benchmark.page import render_page
from dfdetect.evaluation.benchmark.tables import (
    latex_notes,
    latex_table,
    latex_text,
    markdown_table,
    markdown_text,
)
from dfdetect.evaluation.results import RESULTS
from dfdetect.provenance import RunRecord, environment, written_whole

FIGURES = "figures"
PAGE = "benchmark.html"


def write_benchmark(result: BenchmarkResult, out: Path) -> None:
    """Write all files of a benchmark into a folder, each whole or not at all.

    `results.parquet` and `.csv` hold every number; `results.md`, `results.tex` and
    `benchmark.html` show them to readers; `figures` holds the drawings as SVG, `run.json` the
    command, the seed and the hashes. Equal results give equal files but for `run.json` and the
    page, which name the environment.
    """
    names = RESULTS.schema.names
    columns = {name: [getattr(row, name) for row in result.rows] for name in names}
    facts = (
        ("settings", dict(result.settings)),
        ("undefined", list(result.undefined)),
        ("left_out", list(result.left_out)),
    )
    header = TableHeader(result.config_hash, result.parents, facts)
    write_table(out / "results.parquet", pa.table(columns, schema=RESULTS.schema), RESULTS, header)
    with written_whole(out / "results.csv") as part, part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in result.rows)
    for _, drawings in result.drawings:
        for drawing in drawings:
            _write(out / FIGURES / f"{drawing.name}.svg", drawing.svg)
    _write(out / "results.md", benchmark_markdown(result))
    _write(out / "results.tex", benchmark_latex(result))
    record = RunRecord(
        result.plan.command, result.config_hash, result.plan.seed, result.parents, environment()
    )
    _write(out / PAGE, render_page(result, record))
    record.write(out / "run.json")


def benchmark_markdown(result: BenchmarkResult) -> str:
    """Return all tables and notes as Markdown."""
    lines = [f"# {markdown_text(result.plan.title)}", ""]
    for _, tables in result.tables:
        for table in tables:
            lines += [markdown_table(table, level=2), ""]
    for heading, texts in sentences(result):
        lines += [f"## {heading}", "", *(f"- {markdown_text(text)}" for text in texts), ""]
    lines += ["## Definitions", ""]
    lines += [f"{n}. {markdown_text(text)}" for n, text in enumerate(result.definitions, 1)]
    lines += ["", "## Where the numbers come from", "", "| what | value |", "|---|---|"]
    lines += [
        f"| {markdown_text(name)} | {markdown_text(str(value))} |"
        for name, value in (*result.settings, *result.parents)
    ]
    return "\n".join([*lines, ""])


def benchmark_latex(result: BenchmarkResult) -> str:
    """Return all tables as LaTeX to be read into a paper by input."""
    opening = [
        r"% \input this file in a document that loads booktabs, longtable and fontenc (T1);",
        r"% the widest tables want A4 with margins of 1 cm; raised numbers are of its list.",
        "",
    ]
    tables = [latex_table(table) for _, tables in result.tables for table in tables]
    told = [
        rf"\paragraph{{{latex_text(heading)}}} {latex_text(' '.join(map(as_sentence, texts)))}"
        + "\n"
        for heading, texts in sentences(result)
    ]
    return "\n".join([*opening, *tables, *told, latex_notes(result.definitions)])


def sentences(result: BenchmarkResult) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield what has no number under a heading each, where there is any."""
    for heading, texts in (
        ("Oracles", [f"{name} was selected on what it is measured on: {why}"
                     for name, why in result.oracles]),
        ("Too few videos with a score", result.low_coverage),
        ("Without numbers", result.undefined),
        ("Not in this design", result.left_out),
    ):  # fmt: skip
        if texts:
            yield heading, texts


def as_sentence(text: str) -> str:
    """Return a text that ends in a full stop."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _write(path: Path, text: str) -> None:
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
