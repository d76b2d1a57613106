"""The benchmark's lists of items: which prediction counts under which name, and as what video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.videos import ORIGINAL, VIDEO_SUFFIXES, Videos
from dfdetect.evaluation.protocols.coverage import sets_of
from dfdetect.evaluation.protocols.quirks import FACELESS, QuirkNumber, Quirks
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import FRAME, VIDEO, TrainedOn
from dfdetect.scoring.score_table import SCORED, ScoreTable
from dfdetect.scoring.units import UnitScores, unit_scores
from dfdetect.types import FAKE, REAL

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ListedItems:
    """What a test set's loader yields: each item's name, and what its prediction was made from.

    Attributes:
        named: N positions of videos, whose name an item goes by.
        shown: N positions of videos, whose frame was scored and whose label goes with the score.
        track_id: N.
        logit: N.
    """

    named: Ints
    shown: Ints
    track_id: Ints
    logit: Floats

    @classmethod
    def joined(cls, parts: Sequence[ListedItems]) -> ListedItems:
        """Return the items of several test sets, one after the other."""
        nothing = np.empty(0, np.int64)
        return cls(
            np.concatenate([nothing, *(part.named for part in parts)]),
            np.concatenate([nothing, *(part.shown for part in parts)]),
            np.concatenate([nothing, *(part.track_id for part in parts)]),
            np.concatenate([np.empty(0), *(part.logit for part in parts)]),
        )


@dataclass(frozen=True, slots=True)
class QuirkyUnits:
    """Scores by frame and by video, the videos they are positions in, and what acted in words."""

    units: tuple[UnitScores, ...]
    videos: Videos
    notes: tuple[str, ...]
    numbers: tuple[QuirkNumber, ...]


def folder_name(path: str) -> str:
    """Return what the benchmark names a video by: its folder of frames.

    Example:
        >>> folder_name("manipulated_sequences/FaceSwap/c23/videos/000_003.mp4")
        '000_003'
    """
    inside = PurePosixPath(path)
    return inside.stem if inside.suffix.lower() in VIDEO_SUFFIXES else inside.name


def under_quirks(
    table: ScoreTable, videos: Videos, quirks: Quirks, aggregate: str, rule: str, min_faces: int
) -> QuirkyUnits:
    """Return the scores by frame and by video of a run as the benchmark would tell them.

    Every test set has a list of its own. A frame that shows no face is in none; Q2 replaces what
    is in a list and has no score.
    """
    sets = sets_of(videos)
    lists: list[ListedItems] = []
    notes: list[str] = []
    numbers: list[QuirkNumber] = []
    of_row = sets.code[table.video]
    for place, name in enumerate(sets.names):
        items, said = _listed(table, np.flatnonzero(of_row == place), quirks, name)
        notes += said
        if quirks.genuine_first and items.logit.size:
            found, said = _as_if_sorted(items, videos, name)
            numbers += found
            notes += said
        if quirks.lost_batch and sets.datasets[place] in quirks.lost_batch_in:
            items, said = _without_last_batch(items, quirks.lost_batch, name)
            notes += said
        lists.append(items)
    items = ListedItems.joined(lists)
    n_lost = np.bincount(table.video, minlength=len(videos)) - np.bincount(
        items.named, minlength=len(videos)
    )
    by_video, videos, merging = _by_video(items, videos, quirks, (aggregate, rule, min_faces))
    n_lost = np.concatenate([n_lost, np.zeros(len(videos) - n_lost.size, np.int64)])
    order = np.argsort(items.shown, kind="stable")
    by_frame = UnitScores(FRAME, items.shown[order], items.logit[order], np.maximum(n_lost, 0))
    notes += [merging] if merging else []
    return QuirkyUnits((by_frame, by_video), videos, tuple(notes), tuple(numbers))


def _listed(
    table: ScoreTable, rows: Ints, quirks: Quirks, name: str
) -> tuple[ListedItems, list[str]]:
    faceless = [code for code, status in enumerate(table.statuses) if status in FACELESS]
    stored = (table.frame_index[rows] >= 0) & ~np.isin(table.status[rows], faceless)
    scored = table.status[rows] == 0
    rows = rows[scored | stored] if quirks.unreadable_is_first_item else rows[scored]
    if quirks.list_seed is not None:
        rows = rows[np.random.default_rng(quirks.list_seed).permutation(rows.size)]
    named, track_id = table.video[rows], table.track_id[rows]
    unreadable = table.status[rows] != 0
    if not unreadable.any():
        return ListedItems(named, named, track_id, table.logit[rows]), []
    readable = np.flatnonzero(~unreadable)
    if not readable.size:
        nothing = np.empty(0, np.int64)
        return ListedItems(nothing, nothing, nothing, np.empty(0)), []
    shown_by = np.where(unreadable, rows[readable[0]], rows)
    first = table.video_ids[table.video[rows[readable[0]]]]
    said = (
        f"Q2, {name}: {np.count_nonzero(unreadable)} frames without a score count as copies of the "
        f"list's first item, a frame of {first}"
    )
    return ListedItems(named, table.video[shown_by], track_id, table.logit[shown_by]), [said]


def _without_last_batch(items: ListedItems, size: int, name: str) -> tuple[ListedItems, list[str]]:
    n_lost = items.logit.size % size
    if not n_lost:
        return items, []
    kept = items.logit.size - n_lost
    said = (
        f"Q8, {name}: the last batch, {n_lost} items, is lost, and every prediction stands under "
        f"the name {n_lost} places further down the list"
    )
    return ListedItems(
        items.named[n_lost:], items.shown[:kept], items.track_id[:kept], items.logit[:kept]
    ), [said]


def _as_if_sorted(
    items: ListedItems, videos: Videos, name: str
) -> tuple[list[QuirkNumber], list[str]]:
    label = videos.column("label").to_numpy()[items.shown]
    right = (items.logit > 0) == (label == FAKE)
    n_real = int(np.count_nonzero(label == REAL))
    if n_real in (0, label.size):
        return [], []
    fakes = videos.take(np.unique(items.shown[label == FAKE])).column("method").unique()
    method = fakes[0].as_py() if len(fakes) == 1 else ALL
    real, fake = float(np.mean(right[:n_real])), float(np.mean(right[n_real:]))
    own = (float(np.mean(right[label == each])) for each in (REAL, FAKE))
    said = (
        f"Q17, {name}, {method}: acc_real {real:.4f} and acc_fake {fake:.4f} as if genuine items "
        f"came first; by their labels they are {' and '.join(f'{each:.4f}' for each in own)}"
    )
    numbers = (("acc_real", real), ("acc_fake", fake))
    return [QuirkNumber(name, method, metric, value) for metric, value in numbers], [said]


def _by_video(
    items: ListedItems, videos: Videos, quirks: Quirks, how: tuple[str, str, int]
) -> tuple[UnitScores, Videos, str]:
    if not quirks.folder_name_is_video:
        group, position, said = items.named, np.arange(len(videos)), ""
    else:
        group, position, videos, said = _merged(items, videos)
    # the ids only have to be in the order of the groups
    names = tuple(f"{number:09d}" for number in range(position.size))
    status = np.zeros(items.logit.size, np.int64)
    table = ScoreTable.coded(
        names, group, items.track_id, np.arange(items.logit.size), status, items.logit, status,
        [SCORED],
    )  # fmt: skip
    found = next(one for one in unit_scores(table, *how) if one.unit == VIDEO)
    video = position[found.video]
    order = np.argsort(video, kind="stable")
    n_absent = np.zeros(len(videos), np.int64)
    n_absent[position[np.bincount(group, minlength=position.size) == 0]] = 1
    return UnitScores(VIDEO, video[order], found.logit[order], n_absent), videos, said


def _merged(items: ListedItems, videos: Videos) -> tuple[Ints, Ints, Videos, str]:
    """Return each item's group, each group's position in the videos returned, and a sentence."""
    sets = sets_of(videos)
    folders = [folder_name(path) for path in videos.column("path").to_pylist()]
    keys = list(zip(sets.code.tolist(), folders, strict=True))
    members: dict[tuple[int, str], list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        members[key].append(place)
    number = {key: place for place, key in enumerate(members)}
    group = np.array([number[key] for key in keys], np.int64)[items.named]
    labels = videos.column("label").to_numpy()
    n_items = np.maximum(np.bincount(group, minlength=len(members)), 1)
    n_fake = np.bincount(group, labels[items.shown] == FAKE, minlength=len(members))
    mean_label = n_fake / n_items
    present = np.bincount(group, minlength=len(members)) > 0
    position = np.empty(len(members), np.int64)
    further: list[tuple[str, int, list[int]]] = []
    for (code, folder), places in members.items():
        place = number[code, folder]
        # a name without any item says nothing of its label
        label = int(mean_label[place]) if present[place] else int(labels[places].min())
        if len(places) == 1 and label == labels[places[0]]:
            position[place] = places[0]
        else:
            position[place] = len(videos) + len(further)
            further.append((f"{sets.names[code]}: {folder}", label, places))
    n_shared = sum(len(places) for places in members.values() if len(places) > 1)
    n_names = sum(len(places) > 1 for places in members.values())
    n_turned = sum(
        bool(present[number[key]] and labels[places].max() == FAKE and mean_label[number[key]] < 1)
        for key, places in members.items()
    )
    said = (
        f"Q3: {n_shared} videos share {n_names} folder names, and each name counts as one video; "
        f"{n_turned} names of fakes get the label genuine"
    )
    return group, position, Videos.joined([videos, _as_one(videos, further)]), said


def _as_one(videos: Videos, merged: Sequence[tuple[str, int, list[int]]]) -> Videos:
    """Return a row for each of some (id, label, positions of its videos)."""
    methods = videos.column("method").to_pylist()
    sources = videos.column("source_ids").to_pylist()
    is_fake = videos.column("label").to_numpy() == FAKE

    def method_of(label: int, places: list[int]) -> str:
        fakes = sorted({methods[place] for place in places if is_fake[place]})
        return "+".join(fakes) if label == FAKE and fakes else ORIGINAL

    def sources_of(places: list[int]) -> list[str]:
        return sorted({source for place in places for source in sources[place]})

    rows = videos.take(np.array([places[0] for *_, places in merged], np.int64))
    for name, values in (
        ("video_id", [video_id for video_id, *_ in merged]),
        ("label", [label for _, label, _ in merged]),
        ("method", [method_of(label, places) for _, label, places in merged]),
        (
            "source_ids",
            [sources_of(places) for *_, places in merged],
        ),
        ("sha256", [""] * len(merged)),
    ):
        rows = rows.with_column(name, values)
    return rows


def with_joined_methods(trained_on: TrainedOn | None, videos: Videos) -> TrainedOn | None:
    """Return what was trained on, and with it every joint name of methods that all were."""
    if trained_on is None:
        return None
    found = set(
        zip(videos.column("dataset").to_pylist(), videos.column("method").to_pylist(), strict=True)
    )
    learned = set(trained_on.parts)
    joint = tuple(
        (dataset, method)
        for dataset, method in sorted(found)
        if "+" in method and all((dataset, one) in learned for one in method.split("+"))
    )
    return TrainedOn(trained_on.parts + joint)
