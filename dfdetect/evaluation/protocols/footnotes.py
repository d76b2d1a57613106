"""What stands below a table: every definition in force, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dfdetect.evaluation.protocols.coverage import POLICIES, files_under_several_ids, sets_of
from dfdetect.evaluation.protocols.quirks import BY_FRAME, QUIRKS, QuirkFact
from dfdetect.evaluation.runs import CLIP, FRAME, VIDEO, ScoredRun
from dfdetect.scoring.score_table import SCORED

if TYPE_CHECKING:
    from dfdetect.evaluation.protocols.protocol import Protocol

HEADLINE_EERS: Mapping[str, str] = {
    "eer": "interpolated, where FNR = FPR",
    "eer_nearest": "the FPR of the ROC point where FNR and FPR are nearest, not interpolated",
}
"""The two definitions of the EER."""
INTERVAL_NOTES = (
    "Intervals are at 95 %, by a percentile bootstrap: whole videos are redrawn within each class, "
    "so that faces of one video stay together; an original and the fakes made of it, which show "
    "one person, are redrawn apart, so that what they share is not in the interval",
    "Of an AUC of 0 or 1, on which all resamples agree, the interval is that of as many "
    "independent pairs as the smaller class has videos; the ECE of a resample is higher than that "
    "of the sample on average, so that its interval may lie above the number",
)
"""What the ends of intervals mean, and where they mean less."""


def frames_note(run: ScoredRun, protocol: Protocol, n_left: int) -> list[str]:
    """Return which frames count, where a protocol chooses them."""
    if protocol.frames_per_video is None:
        return []
    if run.unit != FRAME:
        return [f"Rows are of a {run.unit}, so that no frames were chosen"]
    how = "the first stored ones (Q1)" if protocol.quirks.first_frames else "evenly spread ones"
    return [
        f"At most {protocol.frames_per_video} frames of a video count, {how}; {n_left} rows of "
        "other frames are left out"
    ]


def score_note(run: ScoredRun, rules: tuple[str, str, int]) -> str:
    """Return how rows became tracks and videos."""
    aggregate, rule, least = rules
    if run.unit == VIDEO:
        return "The run has one score a video"
    item = "clips" if run.unit == CLIP else "faces"
    if rule == "all_faces":
        return f"A video's logit is the {aggregate} of all its {item}, whoever they show"
    return (
        f"A track's logit is the {aggregate} of its {item}; a video's is that of its highest "
        f"track of {least} {item} or more, or else of its longest tracks"
    )


def skipped_notes(run: ScoredRun, protocol: Protocol) -> list[str]:
    """Return what has no score, and what becomes of it."""
    table = run.scores
    counts = np.bincount(table.status, minlength=len(table.statuses))
    skipped = ", ".join(
        f"{counts[code]} {name}"
        for code, name in enumerate(table.statuses)
        if name != SCORED and counts[code]
    )
    has_score: NDArray[np.bool_] = np.zeros(len(run.videos), dtype=bool)
    has_score[table.video[table.status == 0]] = True
    absent = np.flatnonzero(~has_score)
    first = f" (the first: {table.video_ids[absent[0]]})" if absent.size else ""
    return [
        f"Rows without a score: {skipped or 'none'}",
        f"{absent.size} of {len(run.videos)} videos have no score{first}; {protocol.coverage}: by "
        f"video they {POLICIES[protocol.coverage]}; by frame and track they are missing",
    ]


def identity_notes(run: ScoredRun) -> list[str]:
    """Return what is known of one file under several ids, of test sets and of an oracle."""
    notes = []
    if several := files_under_several_ids(run.videos):
        label = dict(zip(run.scores.video_ids, run.videos.column("label").to_pylist(), strict=True))
        torn = [ids for ids in several if len({label[one] for one in ids}) > 1]
        notes.append(
            f"{len(several)} files stand under several ids, each of which counts (the first: "
            f"{' = '.join(several[0])})"
        )
        if torn:
            notes.append(
                f"{len(torn)} files are genuine under one id and fake under another (the first: "
                f"{' = '.join(torn[0])}); correct the labels"
            )
    else:
        notes.append("Video ids are unique, and no file stands under two")
    if len(names := sets_of(run.videos).names) > 1:
        notes.append(f"Test sets stand apart and are never pooled: {', '.join(names)}")
    if run.oracle:
        notes.append(f"Oracle: {run.oracle}")
    return notes


def metric_note(protocol: Protocol) -> str:
    """Return which figures stand for the table, and their definitions."""
    return (
        f"The headline is AUC by {protocol.headline_unit} (ties count half) and "
        f"{protocol.headline_eer}, {HEADLINE_EERS[protocol.headline_eer]}; AP counts fakes as "
        "positive; accuracy cuts where a probability is above 0.5; a video has the label of its "
        "manifest, and so have its faces"
    )


def quirk_notes(protocol: Protocol, unit: str) -> list[str]:
    """Return which habits of the benchmark are followed, and which are not, one in each note.

    Args:
        protocol: The protocol in force.
        unit: What the run's rows are of; some habits are of frames alone.
    """
    active = protocol.quirks.active()
    if not active:
        return []
    here = [name for name in active if unit == FRAME or name not in BY_FRAME]
    followed = [fact for fact in QUIRKS if fact.switch in here]
    others = [fact for fact in QUIRKS if fact.switch not in active]
    notes = [f"Habit of DeepfakeBench, followed: {_in_words(fact)}" for fact in followed]
    if idle := [fact.number for fact in QUIRKS if fact.switch in active and fact not in followed]:
        notes.append(f"{', '.join(idle)} act on scores by frame, of which this run has none")
    if protocol.quirks.best_test_results:
        notes.append(
            "Q4 needs a run for every checkpoint; a single run is told as it is, and was not "
            "selected here"
        )
    notes += [
        f"Habit of DeepfakeBench, not followed: {_in_words(fact)}. Here: {fact.treatment}"
        for fact in others
    ]
    notes.append(
        "Not followed either: it scores one face of a frame, the largest, where all stored faces "
        "count here, and its crops are aligned by another face finder's landmarks"
    )
    return notes


def _in_words(fact: QuirkFact) -> str:
    return f"{fact.number}, {fact.sentence}"
