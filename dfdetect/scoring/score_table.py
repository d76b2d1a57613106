"""Scores in columns: millions of judged faces at some fifty bytes each, and those not judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

from dfdetect.scoring.aggregate import sigmoid
from dfdetect.types import FaceScore

SCORED = "ok"
"""The status of a row with a logit; any other says why there is none."""
NO_TRACK = -1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SkippedScore:
    """A face, frame or whole video that has no score, and why.

    `track_id` and `frame_index` are -1 where there is no track or no single frame, as with a video
    that was never extracted.
    """

    video_id: str
    status: str
    track_id: int = NO_TRACK
    frame_index: int = -1
    time_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """What a detector said of many videos, a row a face (or a clip), sorted by video and time.

    Attributes:
        video_ids: V distinct ids, sorted.
        video: N positions in `video_ids`, never falling.
        track_id: N, -1 where there is no track.
        frame_index: N, -1 where a row is of a whole video.
        time_s: N, in seconds.
        logit: N, positive leans to fake; NaN where the row has no score.
        status: N positions in `statuses`.
        statuses: Distinct texts, `SCORED` first.
    """

    video_ids: tuple[str, ...]
    video: Ints = field(repr=False)
    track_id: Ints = field(repr=False)
    frame_index: Ints = field(repr=False)
    time_s: Floats = field(repr=False)
    logit: Floats = field(repr=False)
    status: NDArray[np.int16] = field(repr=False)
    statuses: tuple[str, ...] = (SCORED,)

    @classmethod
    def of(cls, scores: Iterable[FaceScore], skipped: Iterable[SkippedScore] = ()) -> Self:
        """Return the table of some scores, and of what was skipped.

        Example:
            >>> table = ScoreTable.of([FaceScore("b", 0, 5, 0.2, 1.5, 0.82)], [
            ...     SkippedScore("a", "no_face")])
            >>> table.video_ids, table.n_scored, len(table)
            (('a', 'b'), 1, 2)
        """
        rows: list[tuple[Any, ...]] = [
            (one.video_id, one.track_id, one.frame_index, one.time_s, one.logit, SCORED)
            for one in scores
        ]
        rows += [
            (one.video_id, one.track_id, one.frame_index, one.time_s, np.nan, one.status)
            for one in skipped
        ]
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 6
        return cls.from_columns(*columns)

    @classmethod
    def from_columns(
        cls,
        video_id: ArrayLike,
        track_id: ArrayLike,
        frame_index: ArrayLike,
        time_s: ArrayLike,
        logit: ArrayLike,
        status: ArrayLike,
    ) -> Self:
        """Return the table of N rows in any order.

        Raises:
            ValueError: Columns differ in length, or a row has a logit exactly where its status
                says that it has none.
        """
        ids, video = np.unique(np.asarray(video_id, dtype=np.str_), return_inverse=True)
        names, codes = np.unique(np.asarray(status, dtype=np.str_), return_inverse=True)
        return cls.coded(
            tuple(ids.tolist()), video, track_id, frame_index, time_s, logit, codes, names.tolist()
        )

    @classmethod
    def coded(
        cls,
        video_ids: tuple[str, ...],
        video: ArrayLike,
        track_id: ArrayLike,
        frame_index: ArrayLike,
        time_s: ArrayLike,
        logit: ArrayLike,
        status: ArrayLike,
        statuses: Sequence[str],
    ) -> Self:
        """Return the table of N rows whose videos and statuses are positions, in any order.

        Raises:
            ValueError: As for `from_columns`, or `video_ids` are not sorted and distinct.
        """
        if list(video_ids) != sorted(set(video_ids)):
            raise ValueError("video ids must be sorted and distinct")
        videos, tracks, frames = (np.asarray(x, np.int64) for x in (video, track_id, frame_index))
        times, logits = (np.asarray(x, np.float64) for x in (time_s, logit))
        # `SCORED` comes first, whatever other statuses there are
        ordered = (SCORED, *(name for name in statuses if name != SCORED))
        places = np.array([ordered.index(name) for name in statuses], dtype=np.int16)
        codes = places[np.asarray(status, np.int64)] if len(places) else np.empty(0, np.int16)
        if len({column.shape for column in (videos, tracks, frames, times, logits, codes)}) > 1:
            raise ValueError("the columns of a score table differ in length")
        if not np.array_equal(np.isfinite(logits), codes == 0):
            raise ValueError(
                f"a row has a finite logit exactly where its status is {SCORED!r}; these differ"
            )
        order = np.lexsort((frames, tracks, videos))
        return cls(
            video_ids, videos[order], tracks[order], frames[order], times[order], logits[order],
            codes[order], ordered,
        )  # fmt: skip

    @property
    def n_scored(self) -> int:
        """The number of rows with a logit."""
        return int(np.count_nonzero(self.status == 0))

    def __len__(self) -> int:
        return int(self.video.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreTable):
            return NotImplemented
        return (self.video_ids, self.statuses) == (other.video_ids, other.statuses) and all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=name == "logit")
            for name in ("video", "track_id", "frame_index", "time_s", "logit", "status")
        )

    __hash__ = None  # type: ignore[assignment]

    def take(self, which: NDArray[np.bool_]) -> Self:
        """Return some rows, by a mask as long as the table; every video id stays."""
        return type(self)(
            self.video_ids, self.video[which], self.track_id[which], self.frame_index[which],
            self.time_s[which], self.logit[which], self.status[which], self.statuses,
        )  # fmt: skip

    def scored(self) -> Self:
        """Return the rows with a logit."""
        return self.take(self.status == 0)

    def n_by_status(self) -> tuple[tuple[str, int], ...]:
        """Return how many rows have no score, by why, sorted by that."""
        counts = np.bincount(self.status, minlength=len(self.statuses)).tolist()
        return tuple(sorted(
            (name, n) for name, n in zip(self.statuses, counts, strict=True) if n and name != SCORED
        ))  # fmt: skip

    def of_videos(self, video_ids: Iterable[str]) -> Self:
        """Return the rows of some videos, whose ids are then all that the table knows."""
        wanted = set(video_ids)
        kept = np.array([name in wanted for name in self.video_ids], dtype=bool)
        part = self.take(kept[self.video])
        names = tuple(name for name in self.video_ids if name in wanted)
        places = np.cumsum(kept) - 1
        return type(self)(
            names, places[part.video], part.track_id, part.frame_index, part.time_s, part.logit,
            part.status, part.statuses,
        )  # fmt: skip

    def faces(self) -> Iterator[FaceScore]:
        """Yield the scored rows as objects."""
        part = self.scored()
        probabilities = sigmoid(part.logit)
        columns = (part.video, part.track_id, part.frame_index, part.time_s, part.logit)
        cells = zip(*(column.tolist() for column in columns), probabilities.tolist(), strict=True)
        for video, track_id, frame_index, time_s, logit, p_fake in cells:
            yield FaceScore(self.video_ids[video], track_id, frame_index, time_s, logit, p_fake)
