"""Our numbers beside published ones: the difference, whether it means anything, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dfdetect.evaluation.benchmark.result_tables import (
    ORDER,
    TITLES,
    method_words,
    metric_words,
    of_exposure,
    oracle_mark,
    worst_first,
)
from dfdetect.evaluation.benchmark.tables import (
    Cell,
    Column,
    Notes,
    Table,
    number,
    signed,
    with_interval,
)
from dfdetect.evaluation.published.numbers import (
    PAPER,
    RECALLED,
    SECONDARY,
    UNKNOWN_LEVEL,
    PublishedNumber,
    find_published,
    published_numbers,
)
from dfdetect.evaluation.results import ResultRow


@dataclass(frozen=True, slots=True)
class Naming:
    """What the registry calls our detectors, where names differ, and what they were measured on.

    `compressions` holds that of a detector's dataset that has a single one.
    """

    published_as: Mapping[str, str]
    compressions: Mapping[tuple[str, str], str]

    def detector(self, row: ResultRow) -> str:
        """Return the registry's name of a row's detector."""
        return self.published_as.get(row.detector, row.detector)

    def compression(self, row: ResultRow) -> str | None:
        """Return the compression of a row's videos; None where its dataset's name tells it."""
        return self.compressions.get((row.detector, row.dataset)) or None


HEADS = ("dataset", "method", "detector", "protocol", "metric")


def published_tables_beside(
    rows: Sequence[ResultRow],
    protocols: Sequence[str],
    naming: Naming,
    oracles: Mapping[str, str],
    notes: Notes,
) -> list[Table]:
    """Return, for each exposure, the rows that others have published a number for.

    Args:
        rows: Results of all detectors under all protocols.
        protocols: The first decides the order.
        naming: Under which names to look.
        oracles: Detectors whose titles must say that they are oracles, and why.
        notes: Takes a footnote for every definition that stands behind a published number.
    """
    known = {one.detector for one in published_numbers()}
    metrics = {one.metric for one in published_numbers()}
    columns = [Column(name) for name in HEADS]
    columns += [Column("ours (95 %)", True), Column("published", True), Column("Δ", True),
                Column("in words")]  # fmt: skip
    tables = []
    for exposure in ORDER:
        kept = [
            row
            for row in of_exposure(rows, exposure)
            if row.metric in metrics and naming.detector(row) in known
        ]
        place = {key: rank for rank, key in enumerate(worst_first(kept, protocols[0]))}
        kept.sort(key=lambda row: place[row.dataset, row.method, row.detector])
        body, shown = [], []
        for row in kept:
            for theirs in _matching(row, naming):
                marks = notes.numbers([note_of(theirs)])
                body.append(_cells(row, theirs, marks))
                shown.append(row.detector)
        if body:
            title = (
                f"{oracle_mark(oracles, shown)}Beside published numbers (Δ is ours less theirs). "
                f"{TITLES[exposure]}"
            )
            tables.append(Table(title, tuple(columns), tuple(body), n_heads=len(HEADS)))
    return tables


def _matching(row: ResultRow, naming: Naming) -> tuple[PublishedNumber, ...]:
    # where nobody says what one score is of, the footnote says that
    units = (row.unit, UNKNOWN_LEVEL) if row.unit == "video" else (row.unit,)
    return tuple(
        theirs
        for unit in units
        for theirs in find_published(
            naming.detector(row), row.dataset, row.method, row.metric, unit, naming.compression(row)
        )
    )


def _cells(row: ResultRow, theirs: PublishedNumber, marks: tuple[int, ...]) -> tuple[Cell, ...]:
    kind = "" if theirs.kind == PAPER else " (re-run)"
    texts = (
        row.dataset, method_words(row.method), row.detector, row.protocol,
        f"{metric_words(row.metric)} by {row.unit}",
        with_interval(row.value, row.ci_low, row.ci_high),
    )  # fmt: skip
    return (
        *(Cell(text) for text in texts),
        Cell(number(theirs.value, min(theirs.digits, 4)) + kind, marks),
        Cell(signed(row.value - theirs.value)),
        Cell(difference_words(row, theirs)),
    )


def difference_words(row: ResultRow, theirs: PublishedNumber) -> str:
    """Return whether a difference from a published number is more than is to be expected."""
    parts = []
    gap = abs(row.value - theirs.value)
    if row.ci_low is None or row.ci_high is None:
        parts.append("ours has no interval")
    elif row.ci_low <= theirs.value <= row.ci_high:
        parts.append("theirs is inside our interval")
    else:
        parts.append("theirs is outside our interval")
    if theirs.at_least is not None:
        verb = "reaches" if row.value >= theirs.at_least else "does not reach"
        parts.append(f"ours {verb} the {number(theirs.at_least)} that counts as reproduced")
    if theirs.tolerance is None:
        parts.append("no tolerance is on record")
    else:
        # a difference of exactly the tolerance is within it, whatever rounding does
        side = "within" if gap <= theirs.tolerance + 1e-9 else "beyond"
        parts.append(f"{side} the tolerance of ±{number(theirs.tolerance, 2)}")
    if theirs.status == RECALLED:
        parts.append("theirs is recalled, not read, and proves nothing")
    if theirs.selected_on_test:
        parts.append("theirs was selected on test sets")
    return "; ".join(parts)


def note_of(theirs: PublishedNumber) -> str:
    """Return a footnote: where a published number is from and by which definitions."""
    level = "not said" if theirs.unit == UNKNOWN_LEVEL else theirs.unit
    frames = "not said" if theirs.frames_per_video is None else str(theirs.frames_per_video)
    parts = [
        f"{theirs.title}, table {theirs.table}: {theirs.source}",
        f"level: {level}",
        f"aggregation of faces: {theirs.aggregate or 'not said'}",
        f"frames a video: {frames}",
        f"trained on: {theirs.trained_on or 'not said'}",
        f"weights selected: {theirs.selection or 'not said'}",
        f"compression: {theirs.compression or 'not said'}",
    ]
    if theirs.status == SECONDARY:
        parts.append("seen in a secondary source only")
    if theirs.status == RECALLED:
        parts.append("recalled from the paper and not checked")
    if theirs.note:
        parts.append(theirs.note.rstrip("."))
    return "; ".join(parts) + "."
