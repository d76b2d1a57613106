"""Differences in how a number was read from scores: level, aggregation, scale, definition."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from dfdetect.evaluation.diagnosis.causes import (
    AGGREGATION,
    LEVEL,
    METRIC,
    SCALE,
    SEEN,
    STATED,
    THRESHOLD,
    TRIED,
    Case,
    Change,
    places_of,
)
from dfdetect.evaluation.diagnosis.reading import (
    CLOSE,
    Floats,
    Ints,
    Reading,
    ScoreMap,
    Side,
    read,
)
from dfdetect.evaluation.published.numbers import UNKNOWN_LEVEL
from dfdetect.evaluation.runs import FRAME, VIDEO
from dfdetect.scoring.aggregate import AGGREGATES, MIN_FACES, sigmoid
from dfdetect.types import FAKE, REAL

RULES = (("all_faces", MIN_FACES), ("highest_track", MIN_FACES), ("highest_track", 1))
IN_WORDS = {
    "mean_logit": "the mean logit",
    "median_logit": "the median logit",
    "mean_p": "the mean probability",
    "max": "the highest score",
    "top_third": "the mean of the highest third",
}


def level(case: Case) -> Iterator[Change]:
    """Yield the reading by the other side's unit."""
    for side, other in case.directions():
        if side.rows == VIDEO:
            continue
        if other is not None:
            units: tuple[str, ...] = (other.reading.unit,)
        else:
            said = case.published.unit if case.published else UNKNOWN_LEVEL
            units = (FRAME, VIDEO) if said == UNKNOWN_LEVEL else (said,)
        for unit in units:
            if unit != side.reading.unit:
                yield Change(
                    LEVEL,
                    f"{side.who} is read by {side.reading.unit}, the other side by {unit}",
                    f"with {side.who} by {unit}",
                    case.having(side.read_as(unit=unit)),
                    STATED if len(units) == 1 else TRIED,
                )


def aggregation(case: Case) -> Iterator[Change]:
    """Yield other ways from faces to a track or video."""
    for side, other in case.directions():
        if side.rows == VIDEO or side.reading.unit == FRAME:
            continue
        own = (side.reading.aggregate, side.reading.video_rule, side.reading.min_faces)
        if other is not None and other.rows != VIDEO:
            theirs = other.reading
            ways = [(theirs.aggregate, theirs.video_rule, theirs.min_faces)]
            evidence = STATED
        else:
            said = case.published.aggregate if case.published else None
            names = [said] if said else list(AGGREGATES)
            ways = [(name, *rule) for rule in RULES for name in names]
            evidence = STATED if said else TRIED
        for way in ways:
            if way != own and not (other is not None and other.reading.unit == FRAME):
                aggregate, rule, min_faces = way
                yield Change(
                    AGGREGATION,
                    f"{side.who} makes a video from {_in_words(*own)}, the other side from "
                    f"{_in_words(*way)}",
                    f"with {side.who} from {_in_words(*way)}",
                    case.having(
                        side.read_as(aggregate=aggregate, video_rule=rule, min_faces=min_faces)
                    ),
                    evidence,
                )


def scale(case: Case) -> Iterator[Change]:
    """Yield what rounding, saturation and a mistaken scale make of the scores."""
    if case.theirs is None:
        words = "with probabilities of two decimals"
        yield _stored(case, case.ours, ScoreMap(decimals=2), words, by_row=True)
        return
    for side, other in case.directions():
        if other is None or not len(other.table):
            continue
        logits = other.table.logit[other.table.status == 0]
        low, high = float(logits.min()), float(logits.max())
        by_row = side.rows == other.rows
        for score_map, words in _maps(logits, low, high):
            yield _stored(case, side, score_map, words, by_row)
    fitted = _straight_line(case)
    if fitted is not None:
        words = f"with {fitted.scale:.4g} · logit {fitted.offset:+.4g} for our logit"
        yield _stored(case, case.ours, fitted, words, by_row=True)


def threshold(case: Case) -> Iterator[Change]:
    """Yield other thresholds for accuracies."""
    ours = case.ours
    if ours.reading.metric not in ("accuracy", "balanced_accuracy"):
        return
    if case.theirs is not None:
        wanted = [(case.theirs.reading.threshold, "their threshold", STATED)]
    else:
        wanted = [(0.0, "p = 0.5", TRIED)]
        if ours.threshold is not None:
            wanted.append((ours.threshold, "the threshold chosen on val", TRIED))
        wanted.append((_best_threshold(ours), "the best threshold on these very videos", TRIED))
    for logit, words, evidence in wanted:
        if logit != ours.reading.threshold:
            own = ours.reading.threshold
            yield Change(
                THRESHOLD,
                f"ours says fake above a logit of {own:.4g}, the other side above {logit:.4g}",
                f"with {words}",
                case.having(ours.read_as(threshold=logit)),
                evidence,
                of_numbers=True,
            )


def metric(case: Case) -> Iterator[Change]:
    """Yield other definitions of the metric."""
    ours = case.ours
    own = ours.reading
    if case.theirs is not None:
        theirs = case.theirs.reading
        wanted = [(dataclasses.replace(own, metric=theirs.metric), theirs.metric, STATED)]
        rate = float(np.mean(case.theirs.labels == FAKE))
        if own.metric == theirs.metric == "ap" and theirs.base_rate != own.base_rate:
            rate = rate if theirs.base_rate is None else theirs.base_rate
            wanted = [(_at_rate(own, rate), f"{rate:.0%} of fakes", STATED)]
    else:
        swaps = {"eer": "eer_nearest", "eer_nearest": "eer", "accuracy": "balanced_accuracy"}
        wanted = [
            (dataclasses.replace(own, metric=name), name, TRIED)
            for name in (swaps.get(own.metric),)
            if name is not None
        ]
        if own.metric == "ap":
            wanted += [(_at_rate(own, rate), f"{rate:.0%} of fakes", TRIED) for rate in (0.5, 0.8)]
    for reading, words, evidence in wanted:
        if reading != own:
            what = own.metric if own.metric != "ap" else "ap at our share of fakes"
            yield Change(
                METRIC,
                f"ours is {what}, the other side {words}",
                f"with {words}",
                case.having(dataclasses.replace(ours, reading=reading)),
                evidence,
                of_numbers=True,
            )


def _in_words(aggregate: str, rule: str, min_faces: int) -> str:
    what = IN_WORDS.get(aggregate, aggregate)
    if rule == "all_faces":
        return f"{what} of all its faces"
    enough = f"of {min_faces} faces or more" if min_faces > 1 else "however short"
    return f"{what} of its highest track ({enough})"


def _at_rate(reading: Reading, rate: float) -> Reading:
    return dataclasses.replace(reading, base_rate=rate)


def _stored(case: Case, side: Side, score_map: ScoreMap, words: str, by_row: bool) -> Change:
    changed = (
        side.scored_as(score_map(side.table.logit)) if by_row else side.read_as(score_map=score_map)
    )
    return Change(
        SCALE,
        "the scores were stored on another scale or with fewer digits",
        words if side.who == "ours" else f"{words} (in theirs)",
        case.having(changed),
        SEEN if score_map.decimals is not None and case.theirs is not None else TRIED,
    )


def _maps(logits: Floats, low: float, high: float) -> Iterator[tuple[ScoreMap, str]]:
    p = sigmoid(logits)
    for decimals in range(1, 5):
        # what was cut off at an end is no round number
        inside = (logits > low) & (logits < high)
        if np.all(np.abs(p - np.round(p, decimals))[inside] < 1e-9) and inside.any():
            one = ScoreMap(decimals=decimals, low=low, high=high)
            yield one, f"with probabilities of {decimals} decimals"
            break
    for bits in (16, 32, 64):
        yield ScoreMap(bits=bits, low=low, high=high), f"with probabilities of {bits} bits"
    if low >= 0 and high <= 1:
        yield ScoreMap(squashed=True), "with probabilities taken for logits"
    if np.sum(logits == low) > 1 or np.sum(logits == high) > 1:
        yield ScoreMap(low=low, high=high), f"with logits cut off at {low:.4g} and {high:.4g}"


def _straight_line(case: Case) -> ScoreMap | None:
    """Return the line from our scores to theirs, where all shared scores are on one."""
    if case.theirs is None:
        return None
    a, b = read(case.ours), read(case.theirs)
    mine, other = places_of(a.names, b.names)
    if mine.size < 3:
        return None
    x, y = a.means[mine], b.means[other]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    slope, offset = np.polyfit(x, y, 1)
    fits = np.all(np.abs(slope * x + offset - y) <= CLOSE * (1 + np.abs(y)))
    trivial = abs(slope - 1) < 1e-9 and abs(offset) < 1e-9
    return ScoreMap(float(slope), float(offset)) if fits and not trivial else None


def _best_threshold(side: Side) -> float:
    view = read(side)
    labels: Ints = np.repeat(view.labels, view.sizes)
    order = np.argsort(view.scores)
    falling = view.scores[order]
    # those up to a place are called genuine, those after it fake
    right = (
        np.cumsum(labels[order] == REAL) + np.sum(labels == FAKE) - np.cumsum(labels[order] == FAKE)
    )
    last_of_tie = np.append(np.diff(falling) > 0, True)
    return float(falling[np.argmax(np.where(last_of_tie, right, -1))])
