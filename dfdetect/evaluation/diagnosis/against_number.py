"""Why our number is not the published one: what is said of both first, then what may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dfdetect.evaluation.diagnosis.cause_words import (
    cause_of,
    causes_of,
    conclusion_of,
    interval_of,
    is_inside,
)
from dfdetect.evaluation.diagnosis.causes import CHECKPOINT, STATED, TRIED
from dfdetect.evaluation.diagnosis.diagnosis import (
    EXPLAINED,
    PARTLY,
    UNEXPLAINED,
    WITHIN,
    Cause,
    Diagnosis,
    signed,
)
from dfdetect.evaluation.diagnosis.trials import NOTHING, Trial, rank, trials_after
from dfdetect.evaluation.published.numbers import RECALLED, UNKNOWN_LEVEL, VERIFIED, PublishedNumber
from dfdetect.scoring.metrics import Interval

MOST_LEFT = 0.5  # the share of a gap that may be left of it by what is called a cause


def diagnose_number(blank: Diagnosis, start: Trial, published: PublishedNumber) -> Diagnosis:
    """Return the diagnosis of a published number; `blank` has the numbers already."""
    singles = trials_after(start)
    stated = [one for one in singles if one.changes[-1].evidence == STATED]
    if reason := _reproduced(start, published, blank.interval):
        notes = tuple(f"Definitions differ: {cause_of(start, one).sentence}" for one in stated)
        return dataclasses.replace(
            blank, verdict=WITHIN, conclusion=f"{reason} There is nothing to explain.",
            remainder=start.gap, notes=(*notes, *_reservations(start, published)),
        )  # fmt: skip
    path, tried = _path_of_number(start, singles, stated)
    end = path[-1] if path else start
    others = tuple(
        cause_of(path[-2] if len(path) > 1 else start, one)
        for one in tried
        if one.is_exact and abs(one.gap - end.gap) > NOTHING
    )
    settled = end.is_exact or bool(
        path and _reproduced(end, published, interval_of(end.case.ours, end.ours))
    )
    found = causes_of(start, path)
    if not settled:
        found += _their_selection(end, published)
    notes = _reservations(start, published)
    if path and path[-1].changes[-1].evidence == TRIED:
        near = len({round(one.gap, 9) for one in tried if one.is_exact})
        notes = (
            f"{len(tried)} changes that nobody stated were tried; {near} of the numbers that they "
            "give meet the published digits. A single number cannot tell such causes from chance.",
            *notes,
        )
    verdict = EXPLAINED if settled else PARTLY if path else UNEXPLAINED
    return dataclasses.replace(
        blank, verdict=verdict, conclusion=conclusion_of(verdict, start, end), causes=found,
        others=others, remainder=end.gap, notes=notes,
    )  # fmt: skip


def _path_of_number(
    start: Trial, singles: Sequence[Trial], stated: Sequence[Trial]
) -> tuple[tuple[Trial, ...], list[Trial]]:
    """Return the best one or two changes, stated ones first, and what was tried for the last."""
    candidates: list[tuple[Trial, ...]] = [(one,) for one in stated]
    for one in stated:
        further = trials_after(one)
        candidates += [(one, two) for two in further if two.changes[-1].evidence == STATED]
    path = min(candidates, key=lambda each: rank(each[-1]), default=())
    if path and abs(path[-1].gap) >= abs(start.gap):
        path = ()
    if len(path) == 2 or (path and path[-1].is_exact):
        return path, []
    end = path[-1] if path else start
    further = trials_after(end) if path else list(singles)
    tried = [one for one in further if one.changes[-1].evidence == TRIED]
    best = min(tried, key=rank, default=None)
    if best is not None and (best.is_exact or abs(best.gap) < MOST_LEFT * abs(end.gap)):
        return (*path, best), tried
    return path, tried


def _reproduced(trial: Trial, published: PublishedNumber, interval: Interval | None) -> str:
    """Return why a number counts as reproduced, or ''."""
    if published.tolerance is not None and abs(trial.gap) <= published.tolerance + NOTHING:
        return f"The gap is within the {published.tolerance:g} that count as reproduced."
    if published.at_least is not None and trial.ours.value >= published.at_least:
        return f"Ours is at least {published.at_least:g}, which counts as reproduced."
    if is_inside(interval, published.value):
        return "The published number lies inside the interval of ours."
    return ""


def _their_selection(end: Trial, published: PublishedNumber) -> tuple[Cause, ...]:
    if not published.selected_on_test:
        return ()
    sentence = (
        f"Theirs was selected on what it is measured on: {published.selection}. Scores of one "
        f"checkpoint cannot undo that; {signed(end.gap)} is left, to it or to other weights."
    )
    return (Cause(CHECKPOINT, sentence, end.gap, end.gap, None, False, STATED),)


def _reservations(start: Trial, published: PublishedNumber) -> tuple[str, ...]:
    """Return what makes a published number less than a reference."""
    notes = []
    if published.status != VERIFIED:
        how = "recalled and not checked" if published.status == RECALLED else "read elsewhere"
        notes.append(f"The published number was {how}: do not take it for a bar.")
    if published.unit == UNKNOWN_LEVEL:
        notes.append("Whether frames or videos were measured is not said with it.")
    ours = sorted(set(start.case.ours.compressions.tolist()) - {""})
    if published.compression and ours and published.compression not in ours:
        notes.append(
            f"Ours is of {', '.join(ours)}, theirs of {published.compression}: these are other "
            "videos, whatever else agrees."
        )
    return (*notes, f"Source: {published.source}.", *([published.note] if published.note else []))
