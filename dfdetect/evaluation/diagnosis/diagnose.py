"""Find why our number is not theirs: undo each difference that is known, and see what agrees.

With two files of scores a cause must make the very scores of the videos agree, or be plain in
the files; that a number comes nearer proves nothing. Against a published number there is nothing
else to go by: what the definitions say differs goes first, and of what was merely tried it is
said how many things were.
"""

from __future__ import annotations

import dataclasses
import math

from dfdetect.errors import UsageError
from dfdetect.evaluation.diagnosis.against_number import diagnose_number
from dfdetect.evaluation.diagnosis.against_scores import diagnose_scores
from dfdetect.evaluation.diagnosis.cause_words import interval_of
from dfdetect.evaluation.diagnosis.causes import OURS, THEIRS, Case
from dfdetect.evaluation.diagnosis.diagnosis import SAME, Diagnosis
from dfdetect.evaluation.diagnosis.reading import Reading, Side
from dfdetect.evaluation.diagnosis.trials import trial_of
from dfdetect.evaluation.published.numbers import PublishedNumber
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import ScoredRun

AS_USUAL = Reading()


def diagnose(
    ours: ScoredRun,
    theirs: ScoredRun | PublishedNumber,
    *,
    dataset: str | None = None,
    method: str | None = None,
    reading: Reading = AS_USUAL,
    their_reading: Reading | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Diagnosis:
    """Find what makes our number differ from theirs.

    Every known difference is removed alone, then with a second one, never more. Causes are ranked
    by whether all agrees afterwards, then by what they explain. Two differences that nobody
    stated are never combined against a published number, which they would meet by chance.

    Args:
        ours: Our scores.
        theirs: Their scores, or the number that they published.
        dataset: Which dataset; None: the published number's, or the only one of our scores.
        method: Whose fakes; None: the published number's, or all.
        reading: How our number is read; a published number's metric goes before it.
        their_reading: How theirs is read, where it is known to differ.
        n_bootstrap: Resamples for the interval of ours.
        seed: Of the resampling.

    Raises:
        UsageError: A side has no genuine or no fake video of that dataset and method, or the
            published number is a mean over several datasets or of a metric that is not known.
    """
    case = _case(ours, theirs, (dataset, method), reading, their_reading)
    start = trial_of(case)
    if math.isnan(start.ours.value) or math.isnan(start.their_value):
        raise UsageError("a side has scores of one class only; nothing can be compared")
    interval = interval_of(case.ours, start.ours, n_bootstrap, seed)
    what = _what(case, dataset or _dataset(ours, theirs), method or _method(theirs))
    blank = Diagnosis(what, start.ours.value, start.their_value, interval, SAME, "")
    if case.published is not None:
        return diagnose_number(blank, start, case.published)
    return diagnose_scores(blank, start)


def _case(
    ours: ScoredRun,
    theirs: ScoredRun | PublishedNumber,
    target: tuple[str | None, str | None],
    reading: Reading,
    their_reading: Reading | None,
) -> Case:
    dataset, method = target[0] or _dataset(ours, theirs), target[1] or _method(theirs)
    if isinstance(theirs, PublishedNumber):
        if theirs.mean_of:
            raise UsageError(f"{theirs.id} is a mean over several datasets; compare its members")
        reading = dataclasses.replace(reading, metric=theirs.metric)
        return Case(Side.of(OURS, ours, reading, dataset, method), published=theirs)
    other = their_reading or reading
    return Case(
        Side.of(OURS, ours, reading, dataset, method),
        Side.of(THEIRS, theirs, other, _their_dataset(theirs, dataset), method),
    )


def _dataset(ours: ScoredRun, theirs: ScoredRun | PublishedNumber) -> str:
    found = sorted(set(ours.videos.column("dataset").to_pylist()))
    if isinstance(theirs, PublishedNumber):
        return theirs.dataset
    if len(found) != 1:
        raise UsageError(f"our scores are of {', '.join(found)}; name one with reading.dataset=…")
    return str(found[0])


def _their_dataset(theirs: ScoredRun, dataset: str) -> str:
    # others call a dataset as they like; where they have a single one it is meant
    found = set(theirs.videos.column("dataset").to_pylist())
    return str(found.pop()) if len(found) == 1 else dataset


def _method(theirs: ScoredRun | PublishedNumber) -> str:
    return theirs.method if isinstance(theirs, PublishedNumber) else ALL


def _what(case: Case, dataset: str, method: str) -> str:
    which = "all fakes" if method == ALL else method
    return f"{case.ours.reading.metric} by {case.ours.reading.unit}, {dataset}, {which}"
