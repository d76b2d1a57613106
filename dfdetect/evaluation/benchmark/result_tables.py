"""Rows of results → tables for readers: trained-on and held-out fakes apart, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from typing_extensions import Self

from dfdetect.evaluation.benchmark.tables import Cell, Column, Notes, Table, with_interval
from dfdetect.evaluation.results import ALL, CLEAN, ResultRow
from dfdetect.evaluation.robustness.curves import FOUND
from dfdetect.evaluation.runs import HELD_OUT, MIXED, SEEN, UNKNOWN, VIDEO

ORDER = (HELD_OUT, MIXED, UNKNOWN, SEEN)
TITLES: Mapping[str, str] = {
    HELD_OUT: "Held out: kinds of fakes that the detector was not trained on",
    MIXED: "Mixed: several kinds of fakes together, some of which the detector was trained on",
    UNKNOWN: "Unknown: it is not on record what the detector was trained on",
    SEEN: "In distribution: kinds of fakes that the detector was trained on",
}
EXPOSURE_WORDS: Mapping[str, str] = {
    HELD_OUT: "held out",
    MIXED: "mixed",
    UNKNOWN: "exposure unknown",
    SEEN: "in distribution",
}
AUCS, PUBLISHED, OTHERS, ROBUSTNESS = "auc", "published", "other metrics", "robustness"
RULES = "protocols"
"""The kinds of tables of a benchmark; figures of the last stand under its name too."""
UNITS = ("video", "track", "frame", "clip")
FEW = 10
FEW_VIDEOS = (
    f"Fewer than {FEW} genuine or fake videos stand behind this number: resamples cannot see "
    "beyond so few, and an honest interval would be wider than this one"
)
NO_SPREAD = (
    "All resamples give this very number, so that its interval says nothing of how it would be "
    "with other videos"
)
A_TABLE = 3
METRICS: Mapping[str, str] = {
    "auc": "AUC",
    "eer": "EER",
    "eer_nearest": "EER, nearest point",
    "ap": "AP",
    "pauc_fpr10": "partial AUC, FPR up to 10 %",
    "tpr_at_fpr0_1": "TPR at 0.1 % FPR",
    "tpr_at_fpr1": "TPR at 1 % FPR",
    "tpr_at_fpr5": "TPR at 5 % FPR",
    "tpr_at_fpr10": "TPR at 10 % FPR",
    "accuracy": "accuracy at 0.5",
    "balanced_accuracy": "balanced accuracy at 0.5",
    "accuracy_val": "accuracy, validation threshold",
    "balanced_accuracy_val": "balanced accuracy, validation threshold",
    "log_loss": "log-loss (nats)",
    "brier": "Brier score",
    "ece": "ECE",
    "cllr": "Cllr (bits)",
    "balanced_accuracy_lr1": "balanced accuracy at LR 1",
    FOUND: "share of frames with a face",
}

Covered = Mapping[tuple[str, str, str, str], tuple[int, int]]
"""(detector, protocol, dataset, method) → videos with a score, and all of them."""


def metric_words(metric: str) -> str:
    """Return a metric's name as tables print it."""
    return METRICS.get(metric, metric.replace("_", " "))


def method_words(method: str) -> str:
    """Return a method's name as tables print it."""
    return "all methods" if method == ALL else method


def oracle_mark(oracles: Mapping[str, str], detectors: Sequence[str]) -> str:
    """Return what a title says of detectors that were selected on what they are measured on."""
    named = [name for name in dict.fromkeys(detectors) if name in oracles]
    return f"Oracle ({'; '.join(f'{name}: {oracles[name]}' for name in named)}): " if named else ""


def worst_first(rows: Sequence[ResultRow], protocol: str) -> list[tuple[str, str, str]]:
    """Return (dataset, method, detector) of some rows of one metric, in the order to show them.

    Methods go by the lowest number that any detector has there, totals over methods after them;
    detectors within a method by their own. The protocol named decides where it has a number.
    """
    values: dict[tuple[str, str, str], float] = {}
    for row in rows:
        key = (row.dataset, row.method, row.detector)
        if key not in values or row.protocol == protocol:
            values[key] = row.value
    lowest: dict[tuple[str, str], float] = {}
    for (dataset, method, _), value in values.items():
        lowest[dataset, method] = min(value, lowest.get((dataset, method), value))
    return sorted(
        values, key=lambda key: (key[1] == ALL, lowest[key[:2]], key[:2], values[key], key[2])
    )


def of_exposure(rows: Sequence[ResultRow], exposure: str) -> list[ResultRow]:
    """Return the rows of clips as they came, of fakes of one exposure."""
    return [row for row in rows if row.exposure == exposure and row.condition == CLEAN]


def auc_tables(
    rows: Sequence[ResultRow],
    protocols: Sequence[str],
    covered: Covered,
    oracles: Mapping[str, str],
    notes: Notes,
    definitions: Mapping[str, Sequence[str]],
) -> list[Table]:
    """Return a table of AUC for each exposure and unit, with the protocols side by side.

    Args:
        rows: Results of all detectors under all protocols.
        protocols: In the order of their columns; the first decides the order of the rows.
        covered: Videos with a score, of all.
        oracles: Detectors whose titles must say that they are oracles, and why.
        notes: Takes the footnotes.
        definitions: The footnotes of each protocol, for its headings.
    """
    marks = {one: notes.numbers(definitions.get(one, ())) for one in protocols}
    doubts = Doubts.of(rows, notes)
    tables = []
    for exposure in ORDER:
        for unit in UNITS:
            kept = [
                row
                for row in of_exposure(rows, exposure)
                if row.metric == "auc" and row.unit == unit
            ]
            if kept:
                title = (
                    f"{oracle_mark(oracles, [row.detector for row in kept])}AUC by {unit}. "
                    f"{TITLES[exposure]}"
                )
                table = _side_by_side(title, kept, protocols, covered, (marks, doubts))
                tables.append(replace(table, part=exposure))
    return tables


def _side_by_side(
    title: str,
    rows: Sequence[ResultRow],
    protocols: Sequence[str],
    covered: Covered,
    noted: tuple[Mapping[str, tuple[int, ...]], Doubts],
) -> Table:
    marks, doubts = noted
    found = {(row.dataset, row.method, row.detector, row.protocol): row for row in rows}
    shown = [one for one in protocols if any(row.protocol == one for row in rows)]
    columns = [Column("dataset"), Column("method"), Column("detector")]
    for one in shown:
        columns += [
            Column("AUC (95 %)", True, marks[one], one),
            Column("genuine + fake, skipped", True, group=one),
            Column("videos with a score", True, group=one),
        ]
    body = []
    for key in worst_first(rows, protocols[0]):
        cells = [Cell(key[0]), Cell(method_words(key[1])), Cell(key[2])]
        for one in shown:
            row = found.get((*key, one))
            cells += [Cell("–")] * 3 if row is None else _auc_cells(row, covered, doubts)
        body.append(tuple(cells))
    return Table(title, tuple(columns), tuple(body), n_heads=3)


def _auc_cells(row: ResultRow, covered: Covered, doubts: Doubts) -> list[Cell]:
    scored = covered.get((row.detector, row.protocol, row.dataset, row.method))
    return [
        number_cell(row, doubts),
        Cell(f"{row.n_real:,} + {row.n_fake:,}, {row.n_skipped:,}"),
        Cell("not known" if scored is None else share_words(*scored)),
    ]


@dataclass(frozen=True, slots=True)
class Doubts:
    """Which intervals mean less than they say, for marks beside them.

    Attributes:
        few: (detector, protocol, dataset, method) of fewer than `FEW` videos of a class.
        notes: Takes the footnotes.
    """

    few: frozenset[tuple[str, str, str, str]]
    notes: Notes

    @classmethod
    def of(cls, rows: Sequence[ResultRow], notes: Notes) -> Self:
        """Return the doubts about some rows, judged by those by video among them."""
        few = frozenset(
            (row.detector, row.protocol, row.dataset, row.method)
            for row in rows
            if row.unit == VIDEO and min(row.n_real, row.n_fake) < FEW
        )
        return cls(few, notes)

    def marks(self, row: ResultRow) -> tuple[int, ...]:
        """Return the numbers of the footnotes of a number."""
        if row.ci_low is None:
            return ()
        texts = []
        if (row.detector, row.protocol, row.dataset, row.method) in self.few:
            texts.append(FEW_VIDEOS)
        if row.ci_low == row.ci_high:
            texts.append(NO_SPREAD)
        return self.notes.numbers(texts)


def number_cell(row: ResultRow, doubts: Doubts) -> Cell:
    """Return a number with its interval, and marks where that means less than it says."""
    return Cell(with_interval(row.value, row.ci_low, row.ci_high), doubts.marks(row))


def share_words(part: int, whole: int) -> str:
    """Return a share in percent that is never rounded up to all.

    Example:
        >>> share_words(9999, 10000), share_words(10, 10), share_words(0, 0)
        ('99.9 %', '100 %', '0.0 %')
    """
    tenths = 1000 * part // whole if whole else 0
    return "100 %" if whole and part == whole else f"{tenths / 10:.1f} %"


def other_tables(
    rows: Sequence[ResultRow],
    protocols: Sequence[str],
    oracles: Mapping[str, str],
    notes: Notes,
) -> list[Table]:
    """Return tables of all other metrics by video, a few metrics in each."""
    doubts = Doubts.of(rows, notes)
    tables = []
    for exposure in ORDER:
        kept = [row for row in of_exposure(rows, exposure) if row.unit == "video"]
        found = {(row.dataset, row.method, row.detector, row.protocol, row.metric): row
                 for row in kept}  # fmt: skip
        metrics = [one for one in dict.fromkeys(row.metric for row in kept) if one != "auc"]
        keys = [
            (*key, protocol)
            for key in worst_first([row for row in kept if row.metric == "auc"], protocols[0])
            for protocol in protocols
            if (*key, protocol, "auc") in found
        ]
        mark = oracle_mark(oracles, [row.detector for row in kept])
        for start in range(0, len(metrics) if keys else 0, A_TABLE):
            chosen = metrics[start : start + A_TABLE]
            heads = ("dataset", "method", "detector", "protocol")
            columns = [Column(name) for name in heads]
            columns += [Column(f"{metric_words(one)} (95 %)", True) for one in chosen]
            columns.append(Column("genuine + fake, skipped", True))
            body = tuple(_other_cells(found, key, chosen, doubts) for key in keys)
            names = ", ".join(metric_words(one) for one in chosen)
            title = f"{mark}{names} by video. {TITLES[exposure]}"
            tables.append(Table(title, tuple(columns), body, n_heads=len(heads)))
    return tables


def _other_cells(
    found: Mapping[tuple[str, str, str, str, str], ResultRow],
    key: tuple[str, str, str, str],
    metrics: Sequence[str],
    doubts: Doubts,
) -> tuple[Cell, ...]:
    dataset, method, detector, protocol = key
    heads = (dataset, method_words(method), detector, protocol)
    numbers = [found.get((*key, metric)) for metric in metrics]
    cells = [Cell("–") if row is None else number_cell(row, doubts) for row in numbers]
    place = (*key, "auc")
    auc = found[place]
    counts = f"{auc.n_real:,} + {auc.n_fake:,}, {auc.n_skipped:,}"
    return (*map(Cell, heads), *cells, Cell(counts))
