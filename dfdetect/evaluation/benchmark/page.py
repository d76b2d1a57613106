"""A benchmark as one page that loads nothing: tables, figures, definitions and hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2

from dfdetect.evaluation.benchmark.drawings import Drawing, inline
from dfdetect.evaluation.benchmark.result_tables import (
    AUCS,
    ORDER,
    OTHERS,
    PUBLISHED,
    ROBUSTNESS,
    RULES,
    TITLES,
)
from dfdetect.evaluation.benchmark.tables import Table, ranges
from dfdetect.evaluation.protocols.designs import DESIGNS
from dfdetect.provenance import RunRecord
from dfdetect.visible import visible

if TYPE_CHECKING:
    from dfdetect.evaluation.benchmark.benchmark import BenchmarkResult

LEADS = {
    "held-out": "These numbers are nearest to what the detector meets in use.",
    "mixed": "Totals over kinds that were trained on and kinds that were not hide which is which.",
    "unknown": "Where training is not on record, nobody can say whether these fakes were new.",
    "seen": "These numbers say little about fakes of other kinds.",
}

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FigureView:
    """A figure: its drawing, safe to stand in a page as it is, and its caption."""

    svg: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence, and what stands under them."""

    id: str
    title: str
    lead: str
    tables: tuple[Table, ...]
    figures: tuple[FigureView, ...]


@dataclass(frozen=True, slots=True)
class BenchmarkPage:
    """The whole page, in the order in which it is read."""

    title: str
    lead: str
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    undefined: tuple[str, ...]
    left_out: tuple[str, ...]
    definitions: tuple[str, ...]
    settings: Facts
    parents: Facts
    environment: Facts
    command: str


def render_page(result: BenchmarkResult, record: RunRecord) -> str:
    """Return the page as one HTML document without scripts or remote assets; all text escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dfdetect.evaluation.benchmark"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.filters["ranges"] = ranges
    page = build_page(result, record)
    return environment.get_template("benchmark.html.j2").render(page=page)


def build_page(result: BenchmarkResult, record: RunRecord) -> BenchmarkPage:
    """Put a benchmark into the order and the words of the page."""
    settings = dict(result.settings)
    detectors = list(dict.fromkeys(row.detector for row in result.rows))
    sets = list(dict.fromkeys(row.dataset for row in result.rows))
    return BenchmarkPage(
        title=result.plan.title,
        lead=(
            f"{_count(len(detectors), 'detector')} on {_count(len(sets), 'test set')}, by "
            f"{_count(len(str(settings['protocols']).split(', ')), 'protocol')}: "
            f"{settings['protocols']}. {_design(str(settings['design']))}"
        ),
        warnings=(
            *(f"Oracle: {name} was selected on what it is measured on ({why})."
              for name, why in result.oracles),
            *(f"Low coverage: {text}." for text in result.low_coverage),
        ),
        sections=tuple(_sections(result)),
        undefined=result.undefined,
        left_out=result.left_out,
        definitions=result.definitions,
        settings=tuple((name, str(value)) for name, value in result.settings),
        parents=result.parents,
        environment=(
            ("dfdetect", record.environment.dfdetect),
            ("python", record.environment.python),
            ("system", f"{record.environment.system}, {record.environment.machine}"),
            *record.environment.packages,
        ),
        command=record.command,
    )  # fmt: skip


def _sections(result: BenchmarkResult) -> list[Section]:
    tables = dict(result.tables)
    drawings = dict(result.drawings)
    sections = [
        Section(
            "part-protocols", "By which rules",
            "All protocols count the same scores: where their columns differ, these rules made the "
            "difference and not the detector.",
            tables[RULES], (),
        )
    ]  # fmt: skip
    for exposure in ORDER:
        own = tuple(table for table in tables.get(AUCS, ()) if table.part == exposure)
        if own:
            figures = _figures(drawings.get(exposure, ()))
            sections.append(
                Section(f"part-{exposure}", TITLES[exposure], LEADS[exposure], own, figures)
            )
    for kind, title, lead in (
        (PUBLISHED, "Beside published numbers",
         "A difference counts for something where it is larger than both our interval and the "
         "spread that independent re-runs of the same weights show."),
        (ROBUSTNESS, "When clips are damaged or shared",
         "The clips were damaged before faces were looked for; the worst kind stands first, and "
         "fakes that were trained on stand apart from those that were not."),
        (OTHERS, "Other measures, by video",
         "EER, log-loss, Brier score, ECE and Cllr are better when low, the others when high. "
         "The same measures by track and by frame are in results.csv and results.parquet."),
    ):  # fmt: skip
        figures = _figures(drawings.get(kind, ()))
        if tables.get(kind) or figures:
            sections.append(
                Section(
                    f"part-{kind.replace(' ', '-')}", title, lead, tables.get(kind, ()), figures
                )
            )
    return sections


def _figures(drawings: Sequence[Drawing]) -> tuple[FigureView, ...]:
    return tuple(FigureView(inline(one), one.title, one.text) for one in drawings)


def _design(name: str) -> str:
    if name in DESIGNS:
        return f"Shown are {DESIGNS[name]} ({name})."
    return "Every detector was measured on all videos that it has scores of."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
