"""Points of robustness curves → tables: a table for each test set and exposure, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dfdetect.evaluation.benchmark.result_tables import (
    EXPOSURE_WORDS,
    FEW,
    FEW_VIDEOS,
    NO_SPREAD,
    ORDER,
    method_words,
    metric_words,
    oracle_mark,
)
from dfdetect.evaluation.benchmark.tables import Cell, Column, Notes, Table, with_interval
from dfdetect.evaluation.robustness.curves import FOUND, CurvePoint

Place: TypeAlias = tuple[str, str, str]
"""(exposure, dataset, method): points of one never share a table or a figure with another's."""


def severity_tables(
    points: Sequence[CurvePoint], oracles: Mapping[str, str], notes: Notes
) -> list[Table]:
    """Return what each kind of damage costs, held-out fakes first, the worst kind first in each.

    The share of frames with a face, which is of no kind of fakes alone, stands beside the numbers
    of its detector and test set, or in a table of its own where there are none.
    """
    tables = []
    for place, members in by_place(points).items():
        metrics = list(dict.fromkeys(point.metric for point in members))
        found = {(one.condition, one.detector, one.metric): one for one in members}
        # AUC is what the worst case is told by, where it was measured
        order = sorted(members, key=lambda one: (metrics.index(one.metric) if one.metric != "auc"
                                                 else -1))  # fmt: skip
        columns = [Column("condition"), Column("detector")]
        columns += [Column(f"{metric_words(one)} (95 %)", True) for one in metrics]
        columns.append(Column("videos, skipped", True))
        body = []
        for key in dict.fromkeys((one.condition, one.detector) for one in order):
            numbers = [found.get((*key, metric)) for metric in metrics]
            one = next(one for one in numbers if one is not None)
            counts = Cell(f"{one.n_videos:,}, {one.n_skipped:,}")
            cells = [_point_cell(number, notes) for number in numbers]
            body.append((Cell(key[0]), Cell(key[1]), *cells, counts))
        mark = oracle_mark(oracles, [one.detector for one in members])
        title = f"{mark}Robustness by video. {place_words(place)}"
        tables.append(Table(title, tuple(columns), tuple(body), n_heads=2))
    return tables


def by_place(points: Sequence[CurvePoint]) -> dict[Place, list[CurvePoint]]:
    """Return points by where they belong, those of found faces with each place of their clips."""
    groups: dict[Place, list[CurvePoint]] = {}
    for point in points:
        if point.metric != FOUND:
            place = (point.exposure, point.dataset, point.method)
            groups.setdefault(place, []).append(point)
    shown = {(one.detector, one.dataset) for members in groups.values() for one in members}
    faces = [point for point in points if point.metric == FOUND]
    for (_, dataset, _), members in groups.items():
        detectors = {one.detector for one in members}
        members += [one for one in faces if one.dataset == dataset and one.detector in detectors]
    for point in faces:
        if (point.detector, point.dataset) not in shown:
            place = (point.exposure, point.dataset, point.method)
            groups.setdefault(place, []).append(point)
    # what is of no exposure comes last
    return dict(sorted(groups.items(), key=lambda one: (*ORDER, "").index(one[0][0])))


def place_words(place: Place) -> str:
    """Return where points belong, as titles say it."""
    exposure, dataset, method = place
    known = f", {EXPOSURE_WORDS[exposure]}" if exposure else ""
    return f"{dataset}, {method_words(method)}{known}"


def _point_cell(point: CurvePoint | None, notes: Notes) -> Cell:
    if point is None:
        return Cell("–")
    texts = []
    # of so few videos one class has fewer than FEW
    if point.n_videos < 2 * FEW and point.metric != FOUND:
        texts.append(FEW_VIDEOS)
    if point.ci_low is not None and point.ci_low == point.ci_high:
        texts.append(NO_SPREAD)
    shown = with_interval(point.value, point.ci_low, point.ci_high)
    return Cell(shown, notes.numbers(texts))
