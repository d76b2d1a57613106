"""Which video is cut next: originals first, so that their faces can be handed to forgeries."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.pieces import CutTask, Job, Unit, rows_of
from dfdetect.data.reuse import Given
from dfdetect.data.shards import OK
from dfdetect.data.videos import Videos


def originals_of(videos: Videos) -> NDArray[np.int64]:
    """Return for every video the place of the original whose faces it may have, -1 for none.

    What has an original itself is nobody's: a chain would make every link wait for the last.

    Example:
        >>> originals_of(Videos.of([]))
        array([], dtype=int64)
    """
    names = videos.column("video_id").combine_chunks()
    found = pc.fill_null(pc.index_in(videos.column("original_id"), value_set=names), -1)
    places = np.asarray(found, dtype=np.int64)
    is_link = (places >= 0) & (places[places] >= 0)
    return np.where(is_link, -1, places)


class Schedule:
    """The videos still to be cut, as tasks, in an order in which nothing waits for long.

    With `reuse_boxes` a forgery's task holds the rows of its original, which must be told by
    `finished` before; those whose original is still being cut are put off.
    """

    def __init__(
        self, job: Job, videos: Videos, units: Sequence[Unit], todo: NDArray[np.int64]
    ) -> None:
        """Plan to cut the manifest's videos at the places `todo`, ascending."""
        self._job, self._videos, self._units, self._todo = job, videos, units, todo
        self._starts = [unit.start for unit in units]
        self._originals = np.full(len(videos), -1, np.int64)
        if job.cutter.reuse_boxes:
            self._originals = originals_of(videos)
        self._is_forgery = self._originals[todo] >= 0
        self._uncut = set(np.intersect1d(todo, self._originals).tolist())
        self._put_off: dict[int, list[int]] = {}
        self._ready: deque[int] = deque()

    def tasks(self) -> Iterator[CutTask | None]:
        """Yield what can be started; None means that a video must be finished first."""
        for place in self._todo[~self._is_forgery].tolist():
            yield self._task(place)
        for place in self._todo[self._is_forgery].tolist():
            original = int(self._originals[place])
            if original in self._uncut:
                self._put_off.setdefault(original, []).append(place)
            else:
                yield self._task(place)
        while self._ready or self._put_off:
            yield self._task(self._ready.popleft()) if self._ready else None

    def finished(self, place: int) -> None:
        """Take note that a video has its piece."""
        self._uncut.discard(place)
        self._ready.extend(self._put_off.pop(place, ()))

    def _task(self, place: int) -> CutTask:
        unit, video, original = self._unit(place), self._videos[place], int(self._originals[place])
        if original < 0:
            return CutTask(place, unit, video)
        return CutTask(place, unit, video, has_original=True, given=self._given(original))

    def _given(self, original: int) -> Given | None:
        video = self._videos[original]
        rows = rows_of(self._job, self._unit(original), original, video.video_id)
        is_usable = pc.any(pc.equal(rows.column("status"), OK)).as_py()
        return Given(video, rows) if is_usable else None

    def _unit(self, place: int) -> Unit:
        return self._units[bisect_right(self._starts, place) - 1]
