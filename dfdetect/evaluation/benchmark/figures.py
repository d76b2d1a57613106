"""What a benchmark draws: which videos share a figure, and the figures for each exposure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dfdetect.evaluation.benchmark.drawings import Drawing
from dfdetect.evaluation.benchmark.panels import Panel
from dfdetect.evaluation.benchmark.plots import (
    MOST_BARS,
    MOST_LINES,
    Bar,
    Line,
    RocLine,
    draw_bars,
    draw_det,
    draw_reliability,
    draw_roc,
    draw_severity,
)
from dfdetect.evaluation.benchmark.result_tables import (
    EXPOSURE_WORDS,
    ORDER,
    ROBUSTNESS,
    metric_words,
    of_exposure,
    oracle_mark,
    worst_first,
)
from dfdetect.evaluation.benchmark.roc_curves import reliability, roc_curve
from dfdetect.evaluation.benchmark.severity_tables import place_words
from dfdetect.evaluation.benchmark.tables import with_interval
from dfdetect.evaluation.results import ALL, ResultRow
from dfdetect.evaluation.robustness.curves import CurvePoint
from dfdetect.scoring.aggregate import sigmoid
from dfdetect.visible import visible


def all_figures(
    panels: Sequence[Panel],
    rows: Sequence[ResultRow],
    points: Sequence[CurvePoint],
    protocol: str,
    oracles: Mapping[str, str],
    *,
    seed: int = 0,
) -> dict[str, list[Drawing]]:
    """Return the figures of a benchmark by exposure, and under `robustness`, as they are shown."""
    named = [one.detector for found in (rows, points) for one in found]
    # a detector has one colour in all figures
    places = {name: place for place, name in enumerate(dict.fromkeys(named))}
    shown = [row for row in rows if row.protocol == protocol]
    bars = bar_figures(shown, protocol, oracles, places)
    curves = curve_figures(panels, shown, protocol, oracles, places, seed=seed)
    found = {one: [*bars.get(one, []), *curves.get(one, [])] for one in ORDER}
    found[ROBUSTNESS] = severity_figures(points, oracles, places)
    return {part: drawings for part, drawings in found.items() if drawings}


def curve_figures(
    panels: Iterable[Panel],
    rows: Sequence[ResultRow],
    protocol: str,
    oracles: Mapping[str, str],
    places: Mapping[str, int],
    *,
    seed: int = 0,
) -> dict[str, list[Drawing]]:
    """Return ROC, DET and calibration figures by exposure; detectors of equal videos share one."""
    groups: dict[tuple[str, str, tuple[str, ...], int], list[Panel]] = {}
    for panel in panels:
        sheet = places[panel.detector] // MOST_LINES
        key = (panel.exposure, panel.dataset, panel.methods, sheet)
        groups.setdefault(key, []).append(panel)
    drawings: dict[str, list[Drawing]] = {}
    names: set[str] = set()
    for (exposure, dataset, methods, _), members in groups.items():
        shown = sorted(members, key=lambda panel: (panel.auc, panel.detector))
        lines = [_roc_line(panel, rows, places[panel.detector] % MOST_LINES, seed)
                 for panel in shown]  # fmt: skip
        stem = _stem(f"{dataset}-{exposure}", names)
        title = _panel_title(shown, protocol, dataset, exposure, methods)
        title = visible(oracle_mark(oracles, [one.detector for one in shown]) + title)
        drawings.setdefault(exposure, []).extend(_three(shown, lines, stem, title))
    return drawings


def _roc_line(panel: Panel, rows: Sequence[ResultRow], place: int, seed: int) -> RocLine:
    curve = roc_curve(panel.labels, panel.logits, seed=seed)
    ends: tuple[float | None, float | None] = (curve.auc_low, curve.auc_high)
    for row in rows:
        own = (row.detector, row.dataset, row.metric, row.unit)
        same = own == (panel.detector, panel.dataset, "auc", "video")
        # the interval that tables print, where they have a row of just these videos
        if same and (row.n_real, row.n_fake) == panel.counts and abs(row.value - panel.auc) < 1e-9:
            ends = (row.ci_low, row.ci_high)
    return RocLine(visible(panel.detector), f"AUC {with_interval(panel.auc, *ends)}", curve, place)


def _three(
    panels: Sequence[Panel], lines: Sequence[RocLine], stem: str, title: str
) -> list[Drawing]:
    found = [
        draw_roc(lines, f"roc-{stem}", f"ROC by video. {title}"),
        draw_det(lines, f"det-{stem}", f"DET by video. {title}"),
    ]
    stated = [
        (line.name, line.place, reliability(panel.labels, sigmoid(panel.logits)))
        for panel, line in zip(panels, lines, strict=True)
        if not panel.ranked_only
    ]
    if stated:
        share = np.mean([panel.labels.mean() for panel in panels])
        found.append(
            draw_reliability(stated, f"calibration-{stem}",
                             f"Calibration by video, {share:.0%} of them fake. {title}")
        )  # fmt: skip
    return found


def _panel_title(
    panels: Sequence[Panel], protocol: str, dataset: str, exposure: str, methods: tuple[str, ...]
) -> str:
    kinds = methods[0] if len(methods) == 1 else f"{len(methods)} methods"
    real, fake = (spread_of(column) for column in zip(*(one.counts for one in panels), strict=True))
    return (
        f"{dataset}, {kinds}, {EXPOSURE_WORDS[exposure]}, protocol {protocol}: "
        f"n = {real} genuine and {fake} fake"
    )


def bar_figures(
    rows: Sequence[ResultRow],
    protocol: str,
    oracles: Mapping[str, str],
    places: Mapping[str, int],
) -> dict[str, list[Drawing]]:
    """Return figures of AUC by method for each exposure and test set, the worst method first."""
    drawings: dict[str, list[Drawing]] = {}
    names: set[str] = set()
    for exposure in ORDER:
        kept = [
            row
            for row in of_exposure(rows, exposure)
            if (row.metric, row.unit, row.protocol) == ("auc", "video", protocol)
            and row.method != ALL
        ]
        by_place = {(row.dataset, row.method, row.detector): row for row in kept}
        chosen = [by_place[key] for key in worst_first(kept, protocol)]
        for start in range(0, len(chosen), MOST_BARS):
            shown = chosen[start : start + MOST_BARS]
            several = len({row.dataset for row in chosen}) > 1
            bars = [
                Bar(visible(f"{row.dataset}, {row.method}" if several else row.method),
                    visible(row.detector), row.value, row.ci_low, row.ci_high,
                    places[row.detector] % MOST_LINES)
                for row in shown
            ]  # fmt: skip
            where = "" if several else f"{chosen[0].dataset}, "
            real, fake = (
                spread_of(getattr(row, name) for row in shown) for name in ("n_real", "n_fake")
            )
            title = (
                f"{oracle_mark(oracles, [row.detector for row in shown])}AUC by video and method, "
                f"{where}{EXPOSURE_WORDS[exposure]}, protocol {protocol}: "
                f"n = {real} genuine and {fake} fake for each method"
            )
            stem = _stem(f"methods-{exposure}", names)
            drawings.setdefault(exposure, []).append(
                draw_bars(bars, stem, visible(title), "AUC by video")
            )
    return drawings


def severity_figures(
    points: Sequence[CurvePoint], oracles: Mapping[str, str], places: Mapping[str, int]
) -> list[Drawing]:
    """Return figures of what damage costs, a figure for each place and metric, held-out first."""
    groups: dict[tuple[str, str, str, str, int], list[CurvePoint]] = {}
    for point in sorted(points, key=lambda one: (*ORDER, "").index(one.exposure)):
        sheet = places[point.detector] // MOST_LINES
        key = (point.exposure, point.dataset, point.method, point.metric, sheet)
        groups.setdefault(key, []).append(point)
    drawings, names = [], set[str]()
    for (*place, metric, _), members in groups.items():
        panels = _severity_panels(members, places)
        if not panels:
            continue
        n = spread_of(one.n_videos for one in members)
        unit = metric_words(metric)
        title = (
            f"{oracle_mark(oracles, [one.detector for one in members])}{unit} against severity. "
            f"{place_words((place[0], place[1], place[2]))}: n = {n} videos"
        )
        stem = _stem(f"severity-{metric}-{place[1]}-{place[0]}", names)
        chance = 0.5 if metric == "auc" else None
        drawings.append(draw_severity(panels, stem, visible(title), unit, chance=chance))
    return drawings


def _severity_panels(
    points: Sequence[CurvePoint], places: Mapping[str, int]
) -> list[tuple[str, list[Line]]]:
    clean = {point.detector: point for point in points if point.severity == 0}
    families: dict[str, dict[str, list[CurvePoint]]] = {}
    for point in points:
        if point.severity:
            families.setdefault(point.family, {}).setdefault(point.detector, []).append(point)
    worst = {
        family: max(point.badness for found in members.values() for point in found)
        for family, members in families.items()
    }
    panels = []
    for family in sorted(families, key=lambda name: (-worst[name], name)):
        lines = []
        for detector in sorted(families[family]):
            found = sorted(families[family][detector], key=lambda one: one.severity or 0)
            found = [clean[detector], *found] if detector in clean else found
            lines.append(
                Line(visible(detector), places[detector] % MOST_LINES,
                     tuple(float(one.severity or 0) for one in found),
                     tuple(one.value for one in found), tuple(one.ci_low for one in found),
                     tuple(one.ci_high for one in found))
            )  # fmt: skip
        panels.append((visible(family), lines))
    return panels


def spread_of(values: Iterable[int]) -> str:
    """Return a count, or the least and the most of several counts, as text.

    Example:
        >>> spread_of([178, 178]), spread_of([1178, 176])
        ('178', '176–1,178')
    """
    found = sorted(set(values))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,}–{found[-1]:,}"


def _stem(text: str, taken: set[str]) -> str:
    """Return a file's stem of plain letters that no other figure of its kind has."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "figure"
    stem, count = plain, 1
    while stem in taken:
        count += 1
        stem = f"{plain}-{count}"
    taken.add(stem)
    return stem
