"""Undo differences one by one and two by two, and see when scores and numbers agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dfdetect.evaluation.diagnosis import causes_of_data, causes_of_reading
from dfdetect.evaluation.diagnosis.causes import KEYS, POLARITY, TRIED, Case, Change
from dfdetect.evaluation.diagnosis.reading import Agreement, View, agreement, read

PROPOSERS: tuple[Callable[[Case], Iterator[Change]], ...] = (
    causes_of_data.labels,
    causes_of_data.polarity,
    causes_of_data.video_keys,
    causes_of_data.duplicates,
    causes_of_data.compression,
    causes_of_data.skipped,
    causes_of_data.videos,
    causes_of_data.frames,
    causes_of_reading.level,
    causes_of_reading.aggregation,
    causes_of_reading.scale,
    causes_of_reading.threshold,
    causes_of_reading.metric,
)
"""Of causes that explain equally much the first wins, so the more particular ones come first."""

NOTHING = 1e-9
NOTICEABLE = 0.02  # what of the scores a cause that was merely tried must bring to agree
RELATED = 0.3  # rank correlation of scores that may be of one method with other weights
BEAM = 2  # changes of each cause that a second one is sought for
PAIRS_UP_TO_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Trial:
    """A case after some changes: both numbers, and how far the scores behind them agree."""

    case: Case = field(repr=False)
    ours: View
    theirs: View | None
    their_value: float
    found: Agreement | None
    changes: tuple[Change, ...] = ()

    @property
    def distance(self) -> float:
        """How far the scores differ, or without theirs the numbers."""
        return abs(self.gap) if self.found is None else self.found.distance

    @property
    def gap(self) -> float:
        """Our number minus theirs."""
        return self.ours.value - self.their_value

    @property
    def is_exact(self) -> bool:
        """Whether scores and numbers are the same, or the published digits are."""
        published = self.case.published
        if published is not None:
            return abs(self.gap) <= 0.5 * 10.0**-published.digits + NOTHING
        return self.distance <= NOTHING and abs(self.gap) <= NOTHING


def trial_of(case: Case, changes: tuple[Change, ...] = ()) -> Trial:
    """Read both numbers of a case."""
    ours = read(case.ours)
    if case.theirs is None:
        assert case.published is not None  # noqa: S101 — a case has one of the two
        value = case.published.value
        return Trial(case, ours, None, value, None, changes)
    theirs = read(case.theirs)
    return Trial(case, ours, theirs, theirs.value, agreement(ours, theirs), changes)


def trials_after(start: Trial) -> list[Trial]:
    """Return a trial of every further change that leaves a case two numbers.

    Changes of a cause that was removed already are not tried again.
    """
    used = {change.cause for change in start.changes}
    found = []
    for proposer in PROPOSERS:
        for change in proposer(start.case):
            if change.cause in used:
                continue
            trial = trial_of(change.case, (*start.changes, change))
            if not math.isnan(trial.gap):
                found.append(trial)
    return found


def rank(trial: Trial) -> tuple[bool, float, float]:
    """Return what trials are sorted by: all agrees, then scores are near, then numbers are."""
    return not trial.is_exact, round(trial.distance, 9), round(abs(trial.gap), 9)


def is_supported(trial: Trial, before: Trial) -> bool:
    """Whether the last change of a trial explains something beyond chance, given both scores.

    What was merely tried must make scores equal; only a sign shows in their order as well, and
    only a key in the names that both have.
    """
    change = trial.changes[-1]
    if trial.is_exact:
        return True
    if change.of_numbers:
        return abs(trial.gap) < abs(before.gap) - NOTHING
    if change.evidence != TRIED or trial.found is None or before.found is None:
        return trial.distance < before.distance - NOTHING
    now, then = trial.found, before.found
    gains = [now.n_same_scores / now.n_all - then.n_same_scores / then.n_all]
    if change.cause == KEYS:
        gains.append(now.n_shared / now.n_all - then.n_shared / then.n_all)
    if change.cause == POLARITY:
        gains.append(min(now.correlation, -then.correlation) - RELATED)
    return max(gains) > NOTICEABLE


def best_path(start: Trial, singles: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return the trials of the one or two changes that explain most, given both scores.

    Args:
        start: The case as it is.
        singles: What `trials_after` returned for it.
    """
    good = sorted((one for one in singles if is_supported(one, start)), key=rank)
    if good and good[0].is_exact:
        return (good[0],)
    pair = _pair(start)
    if pair is not None:
        return pair
    # no two together settle it: the best one, and what helps most beside it
    if not good:
        return ()
    seconds = [one for one in trials_after(good[0]) if is_supported(one, good[0])]
    return (good[0], *sorted(seconds, key=rank)[:1])


def _pair(start: Trial) -> tuple[Trial, Trial] | None:
    """Return the trials of two changes after which all agrees, or None."""
    small = trial_of(_thinned(start.case))
    for first in _beam(small):
        for second in trials_after(first):
            if second.is_exact:
                keys = [change.key for change in second.changes]
                found = _repeated(start, keys) if small.case is not start.case else (first, second)
                if found is not None and found[1].is_exact:
                    return _larger_first(start, found)
    return None


def _beam(start: Trial) -> list[Trial]:
    found = sorted(trials_after(start), key=rank)
    # what makes scores differ more cannot be half of the truth, but may leave them as they are
    kept = [trial for trial in found if trial.distance <= start.distance + NOTICEABLE]
    seen: dict[str, int] = {}
    beam = []
    for trial in kept:
        cause = trial.changes[0].cause
        seen[cause] = seen.get(cause, 0) + 1
        if seen[cause] <= BEAM:
            beam.append(trial)
    return beam


def _repeated(start: Trial, keys: Sequence[tuple[str, str]]) -> tuple[Trial, Trial] | None:
    trials = [start]
    for key in keys:
        proposed = (change for proposer in PROPOSERS for change in proposer(trials[-1].case))
        same = next((change for change in proposed if change.key == key), None)
        if same is None:
            return None
        trials.append(trial_of(same.case, (*trials[-1].changes, same)))
    return trials[1], trials[2]


def _larger_first(start: Trial, pair: tuple[Trial, Trial]) -> tuple[Trial, Trial]:
    """Return the two changes in the order in which the first alone explains more."""
    first, second = pair[1].changes
    swapped = _repeated(start, (second.key, first.key))
    if swapped is None or not swapped[1].is_exact:
        return pair
    return min(pair, swapped, key=lambda one: rank(one[0]))


def _thinned(case: Case) -> Case:
    """Return the case with some of the videos, the same on both sides, where there are many."""
    sides = [side for side in (case.ours, case.theirs) if side is not None]
    n_rows = max(len(side.table) for side in sides)
    if n_rows <= PAIRS_UP_TO_ROWS:
        return case
    one_in = -(-n_rows // PAIRS_UP_TO_ROWS)
    # by the last part of the name, so that videos that share it stay together
    tails = {name.rpartition("/")[2] for side in sides for name in side.table.video_ids}
    kept = set(sorted(tails)[::one_in])
    return case.having(
        *(
            side.of_videos(
                np.array([name.rpartition("/")[2] in kept for name in side.table.video_ids])
            )
            for side in sides
        )
    )
