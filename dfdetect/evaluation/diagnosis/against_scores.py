"""Why two files of scores give other numbers: what makes the very scores agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dfdetect.evaluation.diagnosis.cause_words import cause_of, causes_of, conclusion_of, is_inside
from dfdetect.evaluation.diagnosis.causes import CHECKPOINT, SEEN, TRIED, places_of
from dfdetect.evaluation.diagnosis.diagnosis import (
    EXPLAINED,
    PARTLY,
    UNEXPLAINED,
    WEIGHTS,
    WITHIN,
    Cause,
    Diagnosis,
    signed,
)
from dfdetect.evaluation.diagnosis.trials import RELATED, Trial, best_path, trials_after
from dfdetect.scoring.comparison import PairedDeLong, paired_delong

SURPRISING = 0.05  # the p-value from which on a gap is noise


def diagnose_scores(blank: Diagnosis, start: Trial) -> Diagnosis:
    """Return the diagnosis of two files of scores; `blank` has the numbers already."""
    if start.is_exact:
        return dataclasses.replace(
            blank,
            conclusion="Scores and numbers are the same "
            f"({start.ours.counts}): there is nothing to explain.",
        )
    singles = trials_after(start)
    path = best_path(start, singles)
    end = path[-1] if path else start
    found = causes_of(start, path)
    notes: tuple[str, ...] = ()
    if not end.is_exact:
        weights = _checkpoint(end)
        found += () if weights is None else (weights,)
        notes = () if weights is not None else (_unexplained(end),)
    unsettled = PARTLY if path else WEIGHTS if found else UNEXPLAINED
    verdict = EXPLAINED if end.is_exact else unsettled
    noise = "" if end.is_exact else _noise(blank, start)
    return dataclasses.replace(
        blank, verdict=WITHIN if noise else verdict,
        conclusion=noise or conclusion_of(verdict, start, end), causes=found,
        others=_rivals(start, path, singles), remainder=end.gap, notes=notes,
    )  # fmt: skip


def _rivals(start: Trial, path: tuple[Trial, ...], singles: Sequence[Trial]) -> tuple[Cause, ...]:
    if len(path) != 1 or not path[0].is_exact:
        return ()
    own = path[0].changes[0].cause
    # that two lists have a part in common explains nothing where the files show what was done
    return tuple(
        cause_of(start, one)
        for one in singles
        if one.is_exact and one.changes[0].cause != own and one.changes[0].evidence != SEEN
    )


def _checkpoint(end: Trial) -> Cause | None:
    """Return that the weights differ, where scores are related but nothing makes them equal."""
    found = end.found
    assert found is not None  # noqa: S101 — only scores are compared here
    is_other = found.n_shared >= 10 and found.n_same_scores * 2 < found.n_shared
    if not is_other or found.correlation < RELATED:
        return None
    chosen = " ".join(
        f"{side.who.capitalize()} was selected on what it is measured on ({side.oracle})."
        for side in (end.case.ours, end.case.theirs)
        if side is not None and side.oracle
    )
    test = _paired(end)
    tested = "" if test is None else f" A paired DeLong test gives p = {test.p_value:.2g}."
    sentence = (
        f"The scores of the {found.n_shared} shared videos rise and fall together (rank "
        f"correlation {found.correlation:.2f}), but nothing that was tried makes them equal "
        f"({found.n_same_scores} are): other weights, another rule to choose the checkpoint, or "
        f"other crops. Compare the SHA-256 of weights and crops.{tested}"
        f"{' ' if chosen else ''}{chosen}"
    )
    return Cause(CHECKPOINT, sentence, end.gap, end.gap, None, False, TRIED)


def _paired(end: Trial) -> PairedDeLong | None:
    """Return the test of both AUCs on the shared videos, None where it is undefined."""
    ours, theirs = end.ours, end.theirs
    if theirs is None or end.case.ours.reading.metric != "auc":
        return None
    mine, other = places_of(ours.names, theirs.names)
    labels = ours.labels[mine]
    if min(np.sum(labels == 0), np.sum(labels == 1)) < 2:
        return None
    try:
        return paired_delong(labels, ours.means[mine], theirs.means[other])
    except ValueError:  # no spread to judge by
        return None


def _noise(blank: Diagnosis, start: Trial) -> str:
    """Return why a gap between two files of scores is no more than noise, or ''."""
    found = start.found
    assert found is not None  # noqa: S101 — only scores are compared here
    same = found.n_all == found.n_same_label == found.n_same_size == start.ours.scores.size
    test = _paired(start) if same else None
    # on the same videos the difference is known better than either number
    if test is not None and test.p_value >= SURPRISING:
        low, high = test.interval.low, test.interval.high
        return (
            f"The gap is no more than noise (95 % interval of the difference {signed(low)} to "
            f"{signed(high)}) and needs no explanation, though the scores are not the same."
        )
    if test is None and is_inside(blank.interval, start.their_value):
        return (
            "Their number lies inside the interval of ours: the gap needs no explanation, though "
            "the scores are not the same."
        )
    return ""


def _unexplained(end: Trial) -> str:
    found = end.found
    assert found is not None  # noqa: S101 — only scores are compared here
    return (
        f"Unexplained remainder: {signed(end.gap)}. Of {found.n_all} videos {found.n_shared} are "
        f"shared, {found.n_same_scores} with equal scores; the rank correlation is "
        f"{found.correlation:.2f}. These look like scores of different detectors or videos."
    )
