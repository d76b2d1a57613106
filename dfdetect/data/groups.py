"""Items of more than one crop: a fake with its source, clips of consecutive frames, two views.

Each is an array of positions into a `CropDataset`, one row an item; nothing else is held.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.items import CropItem
from dfdetect.data.loading import CropDataset
from dfdetect.data.samplers import Codes, Members, Population
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL

SHORT = ("skip", "repeat")


class GroupDataset:
    """Several crops an item, as a map-style dataset: `dataset[i]` is a tuple of crops.

    Example:
        >>> crops = CropDataset([])
        >>> two_views = GroupDataset(crops, np.repeat(np.arange(len(crops))[:, None], 2, axis=1),
        ...     alike=False)
        >>> len(two_views)
        0
    """

    def __init__(self, crops: CropDataset, positions: Codes, *, alike: bool = True) -> None:
        """Group some crops.

        Args:
            crops: Where they lie; its transform changes each of them.
            positions: Positions in `crops`, N items × T crops.
            alike: All crops of an item are changed by the same chance, as the frames of a clip
                must be; otherwise each by its own, as two views of one crop.
        """
        self.crops, self.alike = crops, alike
        self.positions = np.asarray(positions, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, number: int) -> tuple[CropItem, ...]:
        """Return the crops of one item.

        Raises:
            ContractError: One of their pictures cannot be read.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(f"item {number} of {len(self)}")
        chance = self.crops.chance(number)
        return tuple(
            self.crops.read(position, chance if self.alike else (*chance, member))
            for member, position in enumerate(self.positions[number].tolist())
        )

    @property
    def population(self) -> Population:
        """What samplers draw from: an item counts as its last crop, of a pair the fake."""
        return self.crops.population.of_rows(self.positions[:, -1])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the crops, see `CropDataset.set_epoch`."""
        self.crops.set_epoch(epoch)


class PairDataset(GroupDataset):
    """Each fake crop with one of its source: (genuine, fake).

    The source is the video that the fake's `original_id` names; where there is none among the
    crops, a genuine video that shares a source id with the fake, the first of its source ids that
    has one. Of the source's crops the one of the same frame is taken, else the nearest in
    `frame_index`; of several people in that frame, the one of the same track, else the first.
    Fakes without a source are no items; `n_without` counts their crops by video id.

    Example:
        >>> pairs = PairDataset(CropDataset([]))
        >>> len(pairs), pairs.n_without
        (0, {})
    """

    def __init__(self, crops: CropDataset) -> None:
        """Find the source of every fake."""
        fakes = np.flatnonzero(crops.labels == FAKE)
        source = _source_videos(crops)[crops.columns.video[fakes]]
        paired = source >= 0
        self.n_without = _count(crops, crops.columns.video[fakes[~paired]])
        genuine = _nearest(crops, fakes[paired], source[paired])
        super().__init__(crops, np.stack([genuine, fakes[paired]], axis=1))


class ClipDataset(GroupDataset):
    """T consecutive crops of one track of a video, in time order.

    Consecutive are the crops that sampling and face finding left of the track. The first clip of
    a track starts with its first crop; a rest that is shorter than a clip is in none, `n_unused`
    counts such crops.

    `n_too_short` counts, by video id, the tracks that have fewer crops than a clip spans; with
    `short="skip"` they give no clip, with `short="repeat"` one, whose last crop is repeated.

    Example:
        >>> len(ClipDataset(CropDataset([]), 8))
        0
    """

    def __init__(
        self,
        crops: CropDataset,
        n_frames: int,
        step: int = 1,
        stride: int | None = None,
        short: str = "skip",
    ) -> None:
        """Cut the tracks into clips.

        Args:
            crops: Where the crops lie.
            n_frames: T, crops a clip.
            step: From one crop of a clip to the next, in crops of the track.
            stride: From the start of one clip to that of the next; without it clips do not
                overlap.
            short: `skip` or `repeat`.

        Raises:
            UsageError: A number is below 1, or `short` is neither.
        """
        span = (n_frames - 1) * step + 1
        stride = span if stride is None else stride
        if min(n_frames, step, stride) < 1:
            raise UsageError("n_frames, step and stride of clips must be 1 or more")
        if short not in SHORT:
            raise UsageError(f"unknown short={short!r}; choose one of {', '.join(SHORT)}")
        columns = crops.columns
        order = np.lexsort((columns.frame_index, columns.track_id, columns.video))
        firsts, lengths = _runs(columns.video[order], columns.track_id[order])
        enough = lengths >= span
        n_clips = np.where(enough, (lengths - span) // stride + 1, 1 if short == "repeat" else 0)
        of_track = np.repeat(np.arange(len(firsts)), n_clips)
        within = np.arange(len(of_track)) - np.repeat(np.cumsum(n_clips) - n_clips, n_clips)
        offsets = within[:, None] * stride + np.arange(n_frames) * step
        offsets = np.minimum(offsets, lengths[of_track, None] - 1)
        positions = order[firsts[of_track, None] + offsets]
        self.n_too_short = _count(crops, columns.video[order[firsts[~enough]]])
        used = np.zeros(len(crops), dtype=bool)
        used[positions] = True
        self.n_unused = int((~used).sum())
        super().__init__(crops, positions)


def _count(crops: CropDataset, videos: Codes) -> Mapping[str, int]:
    codes, counts = np.unique(videos, return_counts=True)
    names = crops.videos.column("video_id").take(pa.array(codes, pa.int64())).to_pylist()
    return dict(zip(names, counts.tolist(), strict=True))


def _runs(*keys: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each stretch of equal keys begins, and its length."""
    n_rows = len(keys[0])
    changes = np.ones(n_rows, dtype=bool)
    changes[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    firsts = np.flatnonzero(changes)
    return firsts, np.diff(firsts, append=n_rows)


def _source_videos(crops: CropDataset) -> NDArray[np.int64]:
    """Return, for every video, the number of the genuine one it was made from, or -1."""
    population, videos = crops.population, crops.videos
    genuine = population.labels == REAL
    named = pc.index_in(videos.column("original_id"), videos.column("video_id"), skip_nulls=True)
    source = np.asarray(pc.fill_null(named, -1), dtype=np.int64)
    source[(source >= 0) & ~genuine[source]] = -1
    # who shows in which genuine video
    shown_in, persons = population.shown_in, population.persons
    n_persons = int(persons.max()) + 1 if len(persons) else 0
    of_person = Members.of(
        persons[genuine[shown_in]], n_persons, np.asarray(shown_in)[genuine[shown_in]]
    )
    open_ = (source[shown_in] < 0) & ~genuine[shown_in] & (of_person.sizes[persons] > 0)
    wanting, first = np.unique(shown_in[open_], return_index=True)
    persons = persons[open_][first]
    # spread the fakes of a person over the person's videos
    source[wanting] = of_person.rows[
        of_person.starts[persons] + wanting % np.maximum(of_person.sizes[persons], 1)
    ]
    return source


def _nearest(crops: CropDataset, fakes: Codes, sources: Codes) -> NDArray[np.int64]:
    """Return for each fake the crop of its source video that is nearest in frames."""
    columns = crops.columns
    rows = np.flatnonzero(np.isin(columns.video, sources))
    rows = rows[
        np.lexsort((columns.track_id[rows], columns.frame_index[rows], columns.video[rows]))
    ]
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    n_frames = int(columns.frame_index.max()) + 1
    n_tracks = int(columns.track_id.max()) + 1
    moment = columns.video[rows].astype(np.int64) * n_frames + columns.frame_index[rows]
    firsts, _ = _runs(moment)
    moments = moment[firsts]
    asked = sources.astype(np.int64) * n_frames + columns.frame_index[fakes]
    after = np.searchsorted(moments, asked).clip(0, len(moments) - 1)
    before = np.maximum(after - 1, 0)
    distance = [
        np.where(moments[side] // n_frames == sources, np.abs(moments[side] - asked), 2**62)
        for side in (before, after)
    ]
    found = np.where(distance[0] <= distance[1], before, after)
    # the place of the same track in that moment, else of the first
    in_track = np.searchsorted(firsts, np.arange(len(rows)), side="right") - 1
    place = in_track * n_tracks + columns.track_id[rows]
    wanted = found * n_tracks + columns.track_id[fakes]
    exact = np.searchsorted(place, wanted).clip(0, len(rows) - 1)
    same = place[exact] == wanted
    return rows[np.where(same, exact, firsts[found])]
