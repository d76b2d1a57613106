"""Trials of changes as sentences: what differs, and what is left without it."""

from __future__ import annotations

from functools import partial

import numpy as np

from dfdetect.evaluation.diagnosis.causes import share
from dfdetect.evaluation.diagnosis.diagnosis import EXPLAINED, PARTLY, WEIGHTS, Cause, signed
from dfdetect.evaluation.diagnosis.reading import Side, View, value_of
from dfdetect.evaluation.diagnosis.trials import NOTHING, Trial
from dfdetect.scoring.bootstrap import interval_of_unanimous
from dfdetect.scoring.metrics import Interval, bootstrap_ci


def causes_of(start: Trial, path: tuple[Trial, ...]) -> tuple[Cause, ...]:
    """Return the changes of a path of trials as causes."""
    before = (start, *path)
    return tuple(cause_of(one, two, start) for one, two in zip(before, path, strict=False))


def cause_of(before: Trial, after: Trial, start: Trial | None = None) -> Cause:
    """Return the last change of a trial as a cause, in words; `start` is the whole gap's case."""
    whole = abs((start or before).gap)
    closed = None if whole <= NOTHING else (abs(before.gap) - abs(after.gap)) / whole
    change = after.changes[-1]
    finding = change.finding[0].upper() + change.finding[1:]
    remedy = change.remedy[0].upper() + change.remedy[1:]
    sentence = (
        f"{finding}. {remedy}, ours is {after.ours.value:.4f} instead of "
        f"{before.ours.value:.4f} and theirs {after.their_value:.4f}"
        f"{_instead(before.their_value, after.their_value)} ({after.ours.counts})"
        f"{_agreeing(after)}."
    )
    return Cause(
        change.cause, sentence, before.gap, after.gap, closed, after.is_exact, change.evidence
    )


def conclusion_of(verdict: str, start: Trial, end: Trial) -> str:
    """Return a verdict as a sentence."""
    gap, left = signed(start.gap), signed(end.gap)
    if verdict == EXPLAINED and end.is_exact:
        return "The gap is explained: without what follows both agree."
    if verdict == EXPLAINED:
        return (
            f"The gap is explained: without what follows {left} is left of {gap}, which is noise."
        )
    if verdict == PARTLY and abs(end.gap) < abs(start.gap) - NOTHING:
        return f"The gap is explained in part: without what follows {left} is left of {gap}."
    if verdict == PARTLY:
        return (
            f"What follows is a difference, but not what makes the gap: it is {gap} with it and "
            f"{left} without."
        )
    if verdict == WEIGHTS:
        return (
            f"No way of counting explains the gap of {gap}: the scores themselves differ, as those "
            "of other weights do."
        )
    return f"Nothing that was tried explains the gap of {gap}."


def interval_of(side: Side, view: View, n_bootstrap: int = 1000, seed: int = 0) -> Interval | None:
    """Return the 95 % interval of a number over videos; None where a class has one video."""
    if min(np.sum(view.labels == label) for label in (0, 1)) < 2:
        return None
    n_fake = int(np.sum(view.labels == 1))
    if side.reading.metric == "auc" and (
        ends := interval_of_unanimous(view.value, (view.labels.size - n_fake, n_fake))
    ):
        return Interval(*ends)
    owner = np.repeat(np.arange(view.names.size), view.sizes)
    metric = partial(value_of, how=side.reading)
    return bootstrap_ci(metric, view.labels[owner], view.scores, owner, n_bootstrap, seed)


def is_inside(interval: Interval | None, value: float) -> bool:
    """Return whether an interval holds a value."""
    return interval is not None and interval.low <= value <= interval.high


def _instead(before: float, after: float) -> str:
    return "" if abs(before - after) <= NOTHING else f" instead of {before:.4f}"


def _agreeing(trial: Trial) -> str:
    if trial.found is None:
        return ""
    same = share(trial.found.n_same_scores, trial.found.n_all)
    return f"; the scores of {same} videos then agree"
