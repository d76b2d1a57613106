"""When each person is seen, and how each sampled face scored, as stretches and as a drawing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from dfdetect.inference.wording import clock
from dfdetect.types import Analysis, Calibration, ScoredFace, Span, TrackAnalysis

WIDTH, MIDDLE, REACH, AXIS_Y, HEIGHT = 480.0, 32.0, 28.0, 66.0, 88.0
UNJUDGED_BOX = 12.0
LEAST_BAR = 1.5  # a score at the balance point still shows that the face was looked at
TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MOST_TICKS = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One sampled face: a bar up (leans to manipulated) or down (leans to authentic).

    A face that was not judged is a box on the line, which leans to neither side.
    """

    x: float
    y: float
    width: float
    height: float
    leans_fake: bool
    usable: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the clip in which the person was not seen, in drawing units."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Tick:
    """One mark of the time axis: `x` in drawing units, and the time as a player shows it."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The drawing of one person's scores over the whole clip, in units of a 480-wide picture."""

    bars: tuple[Bar, ...]
    gaps: tuple[Gap, ...]
    ticks: tuple[Tick, ...]
    n_leaning_fake: int
    width: float = WIDTH
    height: float = HEIGHT
    middle: float = MIDDLE
    axis_y: float = AXIS_Y


def find_spans(
    sampled: Sequence[tuple[int, float]], faces: Sequence[ScoredFace]
) -> tuple[Span, ...]:
    """Return the stretches in which every sampled frame shows the person.

    Args:
        sampled: All frames that were looked at, as (index, seconds), in order of time.
        faces: The person's faces, at most one a frame, in order of time.

    Returns:
        Stretches in order; one that holds a single frame starts and ends at the same time.
    """
    seen = {scored.face.frame_index for scored in faces}
    spans: list[Span] = []
    run: list[float] = []
    for index, time_s in (*sampled, (-1, math.inf)):
        if index in seen:
            run.append(time_s)
        elif run:
            spans.append(Span(run[0], run[-1], len(run)))
            run = []
    return tuple(spans)


def lean(calibration: Calibration, logit: float) -> float:
    """Return how far one face leans, in [-1, 1]: above 0 to manipulated, below 0 to authentic.

    It is the calibrated log likelihood ratio, as a share of the most extreme value that the
    calibration set supports on that side. One face is weak evidence, so no number is printed.
    """
    log_ratio = calibration.slope * logit + calibration.intercept
    limit = math.log(calibration.lr_max if log_ratio > 0 else 1 / calibration.lr_min)
    return 0.0 if limit <= 0 else max(-1.0, min(1.0, log_ratio / limit))


def draw(analysis: Analysis, track: TrackAnalysis) -> Chart:
    """Lay out one person's timeline over the whole clip.

    Args:
        analysis: The clip, whose sampled frames give the widths of the bars and the gaps.
        track: The person.
    """
    cells = _cells(analysis.sampled, analysis.video.duration_s)
    last = max((end for _, end in cells.values()), default=0.0)
    times = tick_times(last)
    fine = any(time_s % 1 for time_s in times)
    unit = WIDTH / last if last > 0 else 0.0
    bars = tuple(
        _bar(cells[scored.face.frame_index], unit, analysis.detector.calibration, scored, good)
        for scored, good in zip(track.faces, track.usable, strict=True)
    )
    seen = {scored.face.frame_index for scored in track.faces}
    empty = [cell for index, cell in cells.items() if index not in seen]
    return Chart(
        bars=bars,
        gaps=_joined(empty, unit),
        ticks=tuple(Tick(time_s * unit, clock(time_s, fine)) for time_s in times),
        n_leaning_fake=sum(bar.leans_fake for bar in bars),
    )


def tick_times(end_s: float) -> tuple[float, ...]:
    """Return at most nine round times from 0 to the end of a clip, in seconds.

    Example:
        >>> tick_times(41.0)
        (0.0, 10.0, 20.0, 30.0, 40.0)
    """
    if end_s <= 0:
        return (0.0,)
    fits = (step for step in TICK_STEPS_S if end_s / step <= MOST_TICKS)
    step = next(fits, 3600.0 * math.ceil(end_s / 3600 / MOST_TICKS))
    return tuple(round(float(number * step), 6) for number in range(int(end_s / step + 1e-9) + 1))


def _cells(
    sampled: Sequence[tuple[int, float]], duration_s: float
) -> dict[int, tuple[float, float]]:
    times = [time_s for _, time_s in sampled]
    if not times:
        return {}
    middles = [(a + b) / 2 for a, b in itertools.pairwise(times)]
    edges = [0.0, *middles, max(duration_s, times[-1])]
    spans = itertools.pairwise(edges)
    return {index: span for (index, _), span in zip(sampled, spans, strict=True)}


def _bar(
    cell: tuple[float, float],
    unit: float,
    calibration: Calibration,
    scored: ScoredFace,
    usable: bool,
) -> Bar:
    leaning = lean(calibration, scored.score.logit)
    height = max(LEAST_BAR, abs(leaning) * REACH) if usable else UNJUDGED_BOX
    top = MIDDLE - height if leaning > 0 else MIDDLE
    x, width = cell[0] * unit, (cell[1] - cell[0]) * unit
    gutter = min(1.0, width * 0.15)
    return Bar(
        x=x + gutter / 2,
        y=top if usable else MIDDLE - height / 2,
        width=max(width - gutter, 0.5),
        height=height,
        leans_fake=usable and leaning > 0,
        usable=usable,
    )


def _joined(cells: Sequence[tuple[float, float]], unit: float) -> tuple[Gap, ...]:
    joined: list[tuple[float, float]] = []
    for start, end in cells:
        if joined and math.isclose(joined[-1][1], start):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(Gap(start * unit, (end - start) * unit) for start, end in joined)
