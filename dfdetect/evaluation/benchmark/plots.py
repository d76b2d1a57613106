"""Figures of a benchmark as SVG: every curve with its band, every bar with its interval.

Text stays text, so that a reader can search and enlarge it; equal input gives equal bytes. Colours
are those of Okabe & Ito, told apart with any colour vision, and letters on the lines tell them
apart in grey. Nothing here keeps state, and no display is needed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dfdetect.evaluation.benchmark.drawings import INK, PAPER, Drawing, finished
from dfdetect.evaluation.benchmark.roc_curves import Bin, RocCurve

GREY = "#878d99"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LETTERS = "ABCDEF"
MOST_LINES = len(COLOURS)
MOST_BARS = 48
WIDTH = 4.2  # inches: its text can still be read on a telephone
ROW = 0.19
LONGEST_NAME = 34
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), "-", "--")
RATES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
PERCENT = ("0.01", "0.1", "1", "5", "20", "50", "80", "95")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dfdetect",
    # a name with two dollar signs is a name, not a formula
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "path.simplify": False,
}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RocLine:
    """One detector's curve, what its key says of it, and its place among the colours."""

    name: str
    value: str
    curve: RocCurve
    place: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One number with its interval (None where not known) under the name of its group."""

    group: str
    name: str
    value: float
    low: float | None
    high: float | None
    place: int


@dataclass(frozen=True, slots=True)
class Line:
    """One detector's numbers at rising severities, 0 for clips as they came."""

    name: str
    place: int
    severities: tuple[float, ...]
    values: tuple[float, ...]
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]


def draw_roc(lines: Sequence[RocLine], name: str, title: str) -> Drawing:
    """Return ROC curves with their bands, at most `MOST_LINES`."""
    with mpl.rc_context(STYLE):
        figure, axes = _sheet(title, 3.6, len(lines))
        axes.plot((0, 1), (0, 1), color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        axes.text(0.62, 0.57, "chance", color=GREY, rotation=45, va="top", ha="center")
        for rank, line in enumerate(lines):
            curve = line.curve
            _band(axes, curve.grid, curve.low, curve.high, line.place)
            _curve(axes, curve.fpr, curve.tpr, line.place)
            _letter(axes, *_on_ray(curve.fpr, curve.tpr, (1, 0), rank, len(lines)), line.place)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_xlabel("false-positive rate (share of genuine videos flagged)")
        axes.set_ylabel("true-positive rate (share of fakes flagged)")
        _key(figure, [(line.place, f"{_short(line.name)}  {line.value}") for line in lines])
        return finished(figure, name, title, f"ROC curves with 95 % bands. {_said(lines)}")


def draw_det(lines: Sequence[RocLine], name: str, title: str) -> Drawing:
    """Return the same curves as error against error on normal-deviate scales (DET)."""
    least = min(0.5 / max(line.curve.n_real, line.curve.n_fake) for line in lines)
    least = min(max(least, RATES[0]), 0.04)
    with mpl.rc_context(STYLE):
        figure, axes = _sheet(title, 3.6, len(lines))
        ends = (_deviate([least])[0], _deviate([0.97])[0])
        axes.plot(ends, (_deviate([1 - least])[0], _deviate([0.03])[0]), color=GREY, linewidth=1,
                  linestyle=(0, (4, 3)))  # fmt: skip
        axes.text(0, 0, "chance", color=GREY, rotation=-45, ha="left", va="bottom",
                  rotation_mode="anchor")  # fmt: skip
        for rank, line in enumerate(lines):
            curve = line.curve
            x, y = _deviate(curve.fpr), _deviate(1 - curve.tpr)
            low, high = _deviate(1 - curve.high), _deviate(1 - curve.low)
            _band(axes, _deviate(curve.grid), low, high, line.place)
            _curve(axes, x, y, line.place)
            _letter(axes, *_on_ray(x, y, (ends[0], ends[0]), rank, len(lines)), line.place)
        ticks = [rate for rate in RATES if rate >= least]
        marks = PERCENT[-len(ticks) :]
        axes.set_xticks(_deviate(ticks), marks)
        axes.set_yticks(_deviate(ticks), marks)
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.set_xlabel("genuine videos flagged (%)")
        axes.set_ylabel("fakes missed (%)")
        _key(figure, [(line.place, f"{_short(line.name)}  {line.value}") for line in lines])
        return finished(
            figure, name, title,
            f"Detection error trade-off with 95 % bands; lower left is better. {_said(lines)}",
        )  # fmt: skip


def draw_reliability(
    panels: Sequence[tuple[str, int, Sequence[Bin]]], name: str, title: str
) -> Drawing:
    """Return, for each detector, the share of fakes beside the probability that it stated.

    A panel is a name, a place among the colours, and bins.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure, spread = _panels(title, rows, columns, 3.6 if columns == 1 else 2.3)
        for cell, (axes, (label, place, bins)) in enumerate(zip(spread, panels, strict=False)):
            axes.plot((0, 1), (0, 1), color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            x, y = [one.p for one in bins], [one.share for one in bins]
            below = [one.share - one.low for one in bins]
            above = [one.high - one.share for one in bins]
            axes.errorbar(x, y, yerr=(below, above), fmt="o", markersize=3.5, linewidth=1.1,
                          color=COLOURS[place], capsize=2)  # fmt: skip
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            axes.set_title(_short(label, 24), fontsize=9, loc="left")
            if cell % columns == 0:
                axes.set_ylabel("share of fakes")
            if cell + columns >= len(panels):
                axes.set_xlabel("mean p_fake in the bin")
        for axes in spread[len(panels) :]:
            axes.set_visible(False)
        return finished(
            figure, name, title,
            "Share of fakes in bins of equally many videos against the probability that the "
            "detector stated, with 95 % intervals; on the dashed line they agree.",
        )  # fmt: skip


def draw_bars(bars: Sequence[Bar], name: str, title: str, unit: str) -> Drawing:
    """Return a bar a number, from chance (0.5) outwards, in the order given, with intervals."""
    shown = list(bars[:MOST_BARS])
    names = list(dict.fromkeys(bar.name for bar in bars))
    tops, y, group = [], 0.0, None
    for bar in shown:
        y += 1.9 if bar.group != group and len(names) > 1 else 1.0
        group = bar.group
        tops.append(y)
    with mpl.rc_context(STYLE):
        figure, axes = _sheet(title, 0.75 + ROW * (y + 0.5), 0)
        for top, bar in zip(tops, shown, strict=True):
            _bar(axes, top, bar)
        heads = [top for top, bar, before in zip(tops, shown, [None, *shown], strict=False)
                 if len(names) > 1 and (before is None or before.group != bar.group)]  # fmt: skip
        for top in heads:
            group = shown[tops.index(top)].group
            axes.text(0, top - 0.95, _short(group), fontweight="bold", va="center",
                      transform=axes.get_yaxis_transform(), fontsize=8.5)  # fmt: skip
        lowest = min([0.5, *(bar.value if bar.low is None else bar.low for bar in shown)])
        axes.axvline(0.5, color=GREY, linewidth=1)
        axes.set(xlim=(lowest - 0.03, 1.13), ylim=(y + 0.8, 0.2 if not heads else -0.6))
        axes.set_xticks([tick for tick in (0, 0.25, 0.5, 0.75, 1.0) if tick > lowest - 0.03])
        labels = [bar.name if len(names) > 1 else bar.group for bar in shown]
        axes.set_yticks(tops, [_short(label, 24) for label in labels], fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{unit} (line: chance)")
        said = "; ".join(f"{bar.group}, {bar.name}: {bar.value:.3f}" for bar in shown[:6])
        rest = f"; and {len(bars) - 6} more" if len(bars) > 6 else ""
        return finished(figure, name, title, f"Worst first, with 95 % intervals: {said}{rest}.")


def draw_severity(
    panels: Sequence[tuple[str, Sequence[Line]]],
    name: str,
    title: str,
    unit: str,
    *,
    chance: float | None = None,
) -> Drawing:
    """Return a panel for each kind of damage: a number against its severity, with bands.

    Args:
        panels: Pairs of a kind of damage and the lines of the detectors, in the order to show.
        name: The file's stem.
        title: Above the figure.
        unit: What the number is, for the axis.
        chance: What guessing scores, marked by a dashed line.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    names = {line.name: line.place for _, lines in panels for line in lines}
    with mpl.rc_context(STYLE):
        figure, spread = _panels(title, rows, columns, 2.6 if columns == 1 else 1.8, len(names))
        span = _span(panels, chance)
        for place, (axes, (label, lines)) in enumerate(zip(spread, panels, strict=False)):
            if chance is not None:
                axes.axhline(chance, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            for line in lines:
                _severity_line(axes, line)
            _end_letters(axes, lines, span)
            steps = sorted({step for line in lines for step in line.severities})
            axes.set_xticks(steps, ["clean" if step == 0 else f"{step:g}" for step in steps],
                            fontsize=8)  # fmt: skip
            axes.set(ylim=span, xlim=(min(steps) - 0.3, max(steps) + 0.8))
            axes.set_title(_short(label, 24), fontsize=9, loc="left")
            if place % columns == 0:
                axes.set_ylabel(unit)
            if place + columns >= len(panels):
                axes.set_xlabel("severity")
        for axes in spread[len(panels) :]:
            axes.set_visible(False)
        _key(figure, sorted((place, _short(one)) for one, place in names.items()))
        kinds = ", ".join(label for label, _ in panels)
        return finished(
            figure, name, title,
            f"{unit} against severity, 95 % intervals, the kind that costs most first: {kinds}.",
        )  # fmt: skip


def _sheet(title: str, height: float, n_key: int) -> tuple[Figure, Axes]:
    figure, spread = _panels(title, 1, 1, height, n_key)
    return figure, spread[0]


def _panels(
    title: str, rows: int, columns: int, height: float, n_key: int = 0
) -> tuple[Figure, list[Axes]]:
    heading = textwrap.wrap(title, 50, break_on_hyphens=False)[:4]
    head = 0.19 * len(heading) + 0.1
    foot = ROW * n_key + (0.08 if n_key else 0.02)
    tall = head + rows * height + foot
    figure = Figure(figsize=(WIDTH, tall), layout="constrained")
    figure.get_layout_engine().set(rect=(0, foot / tall, 1, 1 - (head + foot) / tall))  # type: ignore[union-attr,call-arg]
    figure.text(0.015, 1 - 0.06 / tall, "\n".join(heading), fontweight="bold", va="top",
                fontsize=9.5)  # fmt: skip
    spread = figure.subplots(rows, columns, squeeze=False)
    for axes in spread.flat:
        axes.grid(color=GREY, alpha=0.3, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, list(spread.flat)


def _key(figure: Figure, lines: Sequence[tuple[int, str]]) -> None:
    tall = figure.get_figheight()
    for row, (place, text) in enumerate(lines):
        y = (ROW * (len(lines) - row) - 0.07) / tall
        figure.text(0.035, y, LETTERS[place], **_disc(place))
        figure.text(0.075, y, text, va="center", fontsize=8.5)


def _disc(place: int) -> dict[str, Any]:
    return {
        # neither is quite ink or paper, which `inline` changes and which stand on colour here
        "color": "#fefefe" if place == 0 else "#010101",
        "ha": "center",
        "va": "center",
        "fontsize": 7.5,
        "bbox": {"boxstyle": "circle,pad=0.18", "fc": COLOURS[place], "ec": "none"},
    }


def _letter(axes: Axes, x: float, y: float, place: int) -> None:
    axes.text(x, y, LETTERS[place], zorder=5, clip_on=True, **_disc(place))


def _on_ray(
    x: Floats, y: Floats, origin: tuple[float, float], place: int, n: int
) -> tuple[float, float]:
    """Return the point of a polyline that a ray meets, so that letters do not crowd."""
    wanted = np.pi / 2 * (0.25 + 0.5 * (place + 0.5) / n)
    t = np.linspace(0, 1, 8)[:, None]
    dense_x = (x[:-1] + (x[1:] - x[:-1]) * t).T.ravel()
    dense_y = (y[:-1] + (y[1:] - y[:-1]) * t).T.ravel()
    angles = np.arctan2(dense_y - origin[1], np.abs(dense_x - origin[0]))
    nearest = int(np.argmin(np.abs(angles - wanted)))
    return float(dense_x[nearest]), float(dense_y[nearest])


def _curve(axes: Axes, x: Floats, y: Floats, place: int) -> None:
    axes.plot(x, y, color=COLOURS[place], linewidth=1.6, linestyle=DASHES[place])


def _band(axes: Axes, x: Floats, low: Floats, high: Floats, place: int) -> None:
    axes.fill_between(x, low, high, color=COLOURS[place], alpha=0.16, linewidth=0)


def _bar(axes: Axes, top: float, bar: Bar) -> None:
    colour = COLOURS[bar.place]
    axes.barh(top, bar.value - 0.5, left=0.5, height=0.72, color=colour, alpha=0.85)
    end = bar.value
    if bar.low is not None and bar.high is not None:
        axes.plot((bar.low, bar.high), (top, top), color=INK, linewidth=1.2)
        end = max(bar.high, bar.value)
    axes.text(max(end, 0.5) + 0.012, top, f"{bar.value:.3f}", va="center", fontsize=8)


def _severity_line(axes: Axes, line: Line) -> None:
    x = np.array(line.severities)
    y = np.array(line.values)
    low, high = (
        np.array([value if end is None else end for value, end in zip(y, ends, strict=True)])
        for ends in (line.lows, line.highs)
    )
    axes.fill_between(x, low, high, color=COLOURS[line.place], alpha=0.16, linewidth=0)
    axes.plot(x, y, color=COLOURS[line.place], linewidth=1.5, linestyle=DASHES[line.place],
              marker="o", markersize=2.5)  # fmt: skip


def _end_letters(axes: Axes, lines: Sequence[Line], span: tuple[float, float]) -> None:
    """Write each line's letter behind its end, pushed up where letters would cover each other."""
    step, least = 0.11 * (span[1] - span[0]), -np.inf
    for line in sorted(lines, key=lambda one: one.values[-1]):
        least = max(line.values[-1], least + step)
        _letter(axes, line.severities[-1] + 0.45, least, line.place)


def _span(
    panels: Sequence[tuple[str, Sequence[Line]]], chance: float | None
) -> tuple[float, float]:
    found = [] if chance is None else [chance]
    for _, lines in panels:
        for line in lines:
            found += [
                value for value in (*line.values, *line.lows, *line.highs) if value is not None
            ]
    margin = 0.05 * (max(found) - min(found)) or 0.05
    return min(found) - margin, max(found) + margin


def _deviate(rates: Sequence[float] | Floats) -> Floats:
    # beyond what any plot shows; 0 and 1 have no finite deviate
    inside = np.clip(np.asarray(rates, dtype=np.float64), 1e-6, 1 - 1e-6)
    normal = NormalDist()
    return np.array([normal.inv_cdf(rate) for rate in inside.tolist()])


def _short(text: str, most: int = LONGEST_NAME) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _said(lines: Sequence[RocLine]) -> str:
    return "; ".join(f"{line.name}: {line.value}" for line in lines) + "."
