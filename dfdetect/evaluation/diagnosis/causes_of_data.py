"""Differences in what was scored: labels, videos, frames, and what became of the skipped."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

from dfdetect.evaluation.diagnosis.causes import (
    COMPRESSION,
    DUPLICATES,
    FRAMES,
    KEYS,
    LABELS,
    POLARITY,
    SEEN,
    SKIPPED,
    STATED,
    TRIED,
    VIDEOS,
    Case,
    Change,
    mean_logits,
    named,
    places_of,
    probability,
    share,
)
from dfdetect.evaluation.diagnosis.reading import Ints, Mask, Side
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import VIDEO
from dfdetect.scoring.score_table import SCORED
from dfdetect.types import FAKE

FRAME_COUNTS = (1, 4, 8, 10, 16, 20, 24, 32, 50, 64, 100)
"""Numbers of frames that are tried where nobody says how many there were."""
SURE = 50.0
"""The logit of a video that is given up as certainly fake; the other sign: certainly real."""


def labels(case: Case) -> Iterator[Change]:
    """Yield their labels on the videos that both have, where they differ."""
    if case.theirs is None:
        return
    ours, theirs = case.ours, case.theirs
    mine, other = places_of(ours.names, theirs.names)
    differs = ours.labels[mine] != theirs.labels[other]
    if not differs.any():
        return
    changed = ours.labels.copy()
    changed[mine] = theirs.labels[other]
    wrong = mine[differs]
    yield Change(
        LABELS,
        f"the labels of {share(wrong.size, mine.size)} shared videos differ (ours say "
        f"{int(np.sum(ours.labels[wrong] == FAKE))} of these are fake; methods "
        f"{named(ours.methods[wrong].tolist())})",
        "with their labels",
        case.having(dataclasses.replace(ours, labels=changed)),
        SEEN,
    )


def polarity(case: Case) -> Iterator[Change]:
    """Yield scores of the other sign: a high one says genuine."""
    yield Change(
        POLARITY,
        "the scores run in opposite directions: a high one of one side says genuine",
        "with 1 − p for p",
        case.having(case.ours.scored_as(-case.ours.table.logit)),
    )


def video_keys(case: Case) -> Iterator[Change]:
    """Yield videos of one last name taken for one, as where the folder alone is the key."""
    for side, other in case.directions():
        merged = side.merged()
        n_lost = len(side.table.video_ids) - len(merged.table.video_ids)
        if not n_lost:
            continue
        also = () if other is None else (other.merged(),)
        yield Change(
            KEYS,
            f"{len(side.table.video_ids)} videos of {side.who} have only "
            f"{len(merged.table.video_ids)} different last names (such as "
            f"{merged.table.video_ids[0]}), which a key of the folder's name takes for as many "
            "videos",
            f"with one video a name in {side.who}",
            case.having(merged, *also),
        )


def duplicates(case: Case) -> Iterator[Change]:
    """Yield each video once, told by its content, and each row once."""
    for side, other in case.directions():
        kept = _first_of_content(side, other)
        if not kept.all():
            yield Change(
                DUPLICATES,
                f"{int(np.sum(~kept))} videos of {side.who} are copies of others (one SHA-256)",
                f"with each video of {side.who} once",
                case.having(side.of_videos(kept)),
                SEEN,
            )
        table = side.table
        rows = np.stack((table.video, table.track_id, table.frame_index, table.status == 0))
        first = np.zeros(len(table), dtype=bool)
        first[np.unique(rows, axis=1, return_index=True)[1]] = True
        if side.rows != VIDEO and not first.all():
            yield Change(
                DUPLICATES,
                f"{int(np.sum(~first))} rows of {side.who} are of a face that has a row already",
                f"with each face of {side.who} once",
                case.having(side.of_rows(first)),
                SEEN,
            )


def compression(case: Case) -> Iterator[Change]:
    """Yield the videos of a single compression, where a side mixes several."""
    for side, other in case.directions():
        found = sorted(set(side.compressions.tolist()))
        if len(found) < 2:
            continue
        wanted = case.published.compression if case.published else ""
        for name in found if not wanted else [one for one in found if one == wanted]:
            if other is not None and set(other.compressions.tolist()) != {name}:
                continue
            kept = side.compressions == name
            yield Change(
                COMPRESSION,
                f"{side.who} mixes the compressions {', '.join(one or 'none' for one in found)}, "
                f"of which {int(kept.sum())} of {kept.size} videos are {name or 'uncompressed'}",
                f"with {name or 'uncompressed'} alone in {side.who}",
                case.having(side.of_videos(kept)),
                STATED if wanted else SEEN if other is not None else TRIED,
            )


def videos(case: Case) -> Iterator[Change]:
    """Yield the videos that both name; against a number, those without one method."""
    ours, theirs = case.ours, case.theirs
    if theirs is None:
        yield from _without_a_method(case)
        return
    mine, other = places_of(ours.names, theirs.names)
    both = _mask(mine, ours), _mask(other, theirs)
    if not mine.size or (both[0].all() and both[1].all()):
        return
    told = [
        f"{int(np.sum(~kept))} of {kept.size} videos of {side.who} are not in the other list "
        f"({named(side.methods[~kept].tolist())})"
        for side, kept in zip((ours, theirs), both, strict=True)
        if not kept.all()
    ]
    yield Change(
        VIDEOS,
        "the lists of videos differ: " + "; ".join(told),
        f"with the {mine.size} videos that both name",
        case.having(ours.of_videos(both[0]), theirs.of_videos(both[1])),
        SEEN,
    )


def skipped(case: Case) -> Iterator[Change]:
    """Yield other ways to deal with what has no score: a fixed score, or left out by both."""
    for side, other in case.directions():
        absent = side.n_rows == 0
        if side.reading.missing is None and absent.any():
            for logit, n_given, evidence in _given(side, other, absent):
                yield Change(
                    SKIPPED,
                    f"{side.who} leaves out {int(absent.sum())} videos without a score, which the "
                    f"other side counts ({n_given}) with p = {probability(logit)}",
                    f"with p = {probability(logit)} for videos of {side.who} without a score",
                    case.having(side.read_as(missing=logit)),
                    evidence,
                )
        unscored = (side.table.status != 0) & ~absent[side.table.video]
        if unscored.any() and (other is None or other.n_rows.sum() > side.n_rows.sum()):
            yield Change(
                SKIPPED,
                f"{side.who} leaves out {int(unscored.sum())} faces without a score in videos "
                "that have others",
                f"with p = 0.5 for faces of {side.who} without a score",
                case.having(side.scored_as(np.where(unscored, 0.0, side.table.logit))),
            )
    yield from _scored_by_both(case)


def frames(case: Case) -> Iterator[Change]:
    """Yield fewer frames of each video: the first k, k evenly spread, or those of both."""
    for side, other in case.directions():
        if side.rows == VIDEO:
            continue
        place, n_frames = frame_places(side)
        most = int(n_frames.max(initial=0))
        for count, evidence in _frame_counts(case, other, most):
            for how, kept in (
                ("first", place < count),
                ("evenly spread", _evenly(place, n_frames[side.table.video], count)),
            ):
                yield Change(
                    FRAMES,
                    f"{side.who} has up to {most} frames a video, the other side {count}",
                    f"with the {how} {count} frames of each video of {side.who}",
                    case.having(side.of_rows(kept | (place < 0))),
                    evidence,
                )
    yield from _frames_of_both(case)


def frame_places(side: Side) -> tuple[Ints, Ints]:
    """Return which of its video's scored frames each row is of (-1: no score), and their number."""
    table = side.table
    scored = np.flatnonzero(table.status == 0)
    order = scored[np.lexsort((table.frame_index[scored], table.video[scored]))]
    video, frame = table.video[order], table.frame_index[order]
    new_video = np.diff(video, prepend=-1) != 0
    new_frame = new_video | (np.diff(frame, prepend=-1) != 0)
    rank = np.cumsum(new_frame) - 1
    first = np.maximum.accumulate(np.where(new_video, rank, 0))
    places = np.full(len(table), -1, dtype=np.int64)
    places[order] = rank - first
    counts = np.bincount(video[new_frame], minlength=len(table.video_ids))
    return places, counts.astype(np.int64)


def _mask(places: Ints, side: Side) -> Mask:
    kept = np.zeros(len(side.table.video_ids), dtype=bool)
    kept[places] = True
    return kept


def _first_of_content(side: Side, other: Side | None) -> Mask:
    kept = np.ones(side.hashes.size, dtype=bool)
    known = side.hashes != ""
    if np.unique(side.hashes[known]).size * 2 < known.sum():
        return kept  # most contents would be copies, so these are no hashes of contents
    # of copies the one that the other side has as well is kept
    shared = np.zeros(kept.size, dtype=bool)
    if other is not None:
        shared[places_of(side.names, other.names)[0]] = True
    order = np.lexsort((side.names, ~shared, side.hashes))
    repeated = np.append(False, side.hashes[order][1:] == side.hashes[order][:-1])
    kept[order[repeated]] = False
    kept[~known] = True
    return kept


def _without_a_method(case: Case) -> Iterator[Change]:
    ours = case.ours
    fakes = Counter(ours.methods[ours.labels == FAKE].tolist())
    if case.published is None or case.published.method != ALL or len(fakes) < 2:
        return
    for method, count in sorted(fakes.items()):
        kept = (ours.labels != FAKE) | (ours.methods != method)
        yield Change(
            VIDEOS,
            f"{count} of ours are fakes of {method}, which theirs may not count",
            f"without {method}",
            case.having(ours.of_videos(kept)),
        )


def _given(side: Side, other: Side | None, absent: Mask) -> Iterator[tuple[float, int, str]]:
    if other is None:
        yield from ((logit, int(absent.sum()), TRIED) for logit in (0.0, -SURE, SURE))
        return
    _, theirs = places_of(side.names[absent], other.names)
    given = mean_logits(other)[theirs]
    given = given[np.isfinite(given)]
    # one video alone says little, unless it is at chance exactly
    if given.size and np.ptp(given) < 1e-9 and (given.size > 1 or given[0] == 0):
        yield float(given[0]), given.size, SEEN


def _scored_by_both(case: Case) -> Iterator[Change]:
    if case.theirs is None:
        return
    ours, theirs = case.ours, case.theirs
    mine, other = places_of(ours.names, theirs.names)
    scored = (ours.n_rows[mine] > 0) & (theirs.n_rows[other] > 0)
    if scored.all() or not scored.any():
        return
    told = []
    for side, places in ((ours, mine), (theirs, other)):
        lost = side.n_rows[places] == 0
        if lost.any():
            rows = np.isin(side.table.video, places[lost])
            codes, counts = np.unique(side.table.status[rows], return_counts=True)
            why = ", ".join(
                f"{count} rows {side.table.statuses[code]}"
                for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
                if side.table.statuses[code] != SCORED
            )
            told.append(f"{side.who} has no score for {share(int(lost.sum()), mine.size)} ({why})")
    # videos that one side alone lists are another matter, and stay
    drop = _mask(mine[~scored], ours), _mask(other[~scored], theirs)
    yield Change(
        SKIPPED,
        "the videos that were scored differ: " + "; ".join(told),
        "with the videos that both scored",
        case.having(ours.of_videos(~drop[0]), theirs.of_videos(~drop[1])),
        SEEN,
    )


def _frame_counts(case: Case, other: Side | None, most: int) -> Iterator[tuple[int, str]]:
    stated = case.published.frames_per_video if case.published else None
    if other is not None and other.rows != VIDEO:
        counts: tuple[int, ...] = (int(frame_places(other)[1].max(initial=0)),)
    else:
        counts = (stated,) if stated else FRAME_COUNTS
    for count in counts:
        if 0 < count < most:
            yield count, STATED if stated else TRIED


def _evenly(place: Ints, n_frames: Ints, count: int) -> Mask:
    kept = np.zeros(place.size, dtype=bool)
    for n in np.unique(n_frames).tolist():
        wanted = np.linspace(0, max(n - 1, 0), count).astype(np.int64)
        of_this = n_frames == n
        kept[of_this] = (n <= count) | np.isin(place[of_this], wanted)
    return kept


def _frames_of_both(case: Case) -> Iterator[Change]:
    ours, theirs = case.ours, case.theirs
    if theirs is None or VIDEO in (ours.rows, theirs.rows):
        return
    mine, other = places_of(ours.names, theirs.names)
    keys = []
    for side, places in ((ours, mine), (theirs, other)):
        # a number for each shared video, the same on both sides; -1 for all others
        number = np.full(len(side.table.video_ids), -1, dtype=np.int64)
        number[places] = np.arange(places.size)
        video = number[side.table.video]
        keys.append(np.where(video < 0, -1, video * 2**32 + side.table.frame_index))
    scored = [side.table.status == 0 for side in (ours, theirs)]
    kept = [
        np.isin(keys[i], keys[1 - i][scored[1 - i]]) | (keys[i] < 0) | ~scored[i] for i in (0, 1)
    ]
    n_lost = [int(np.sum(~kept[i] & scored[i])) for i in (0, 1)]
    if any(n_lost):
        told = " and ".join(
            f"{n} of {int(scored[i].sum())} rows of {(ours, theirs)[i].who}"
            for i, n in enumerate(n_lost)
            if n
        )
        yield Change(
            FRAMES,
            f"the frames differ: {told} are of frames that the other side has not",
            "with the frames that both have",
            case.having(ours.of_rows(kept[0]), theirs.of_rows(kept[1])),
            SEEN,
        )
