"""Which crops training and evaluation see, in which order: balanced draws, split over ranks.

A sampler yields positions of a dataset and may be given to a loader as its `sampler`. What it
yields is a function of its seed and epoch alone, never of the number of workers; every draw of an
epoch goes to exactly one of the ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.items import Draw
from dfdetect.errors import UsageError

Codes = NDArray[np.integer]

# positions become Python objects by so many, which bounds what is alive at a time
_CHUNK = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Which rows belong to each of G groups: `rows[starts[g]:starts[g + 1]]`, in their order."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Codes, n_groups: int, rows: Codes | None = None) -> Members:
        """Sort rows by the group that each belongs to; without `rows`, their positions.

        Example:
            >>> members = Members.of(np.array([1, 0, 1]), 3)
            >>> members.rows.tolist(), members.sizes.tolist()
            ([1, 0, 2], [1, 2, 0])
        """
        order = np.argsort(groups, kind="stable")
        sizes = np.bincount(groups, minlength=n_groups)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        ordered = order if rows is None else rows[order]
        return cls(np.asarray(ordered, dtype=np.int64), starts)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The number of rows of every group."""
        return np.asarray(np.diff(self.starts), dtype=np.int64)

    def draw(self, groups: Codes, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a random row of each of some groups, none of which may be empty."""
        first = self.starts[groups]
        drawn: NDArray[np.int64] = self.rows[first + rng.integers(self.sizes[groups])]
        return drawn


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """What is drawn from: N rows (crops, pairs or clips) of V videos that show persons.

    Args:
        videos: The video of each row, N codes below V.
        labels: The label of each video, V.
        shown_in: With `persons`, L links: video `shown_in[i]` shows person `persons[i]`.
        persons: Codes of persons or source videos.
    """

    videos: Codes
    labels: Codes
    shown_in: Codes
    persons: Codes

    def __len__(self) -> int:
        return len(self.videos)

    def of_rows(self, rows: Codes) -> Population:
        """Return the population whose rows are some of these."""
        return Population(self.videos[rows], self.labels, self.shown_in, self.persons)


class PositionSampler(ABC):
    """Yields this rank's positions of one epoch after the other."""

    def __init__(self, seed: int, rank: int, world_size: int) -> None:
        """Check the place among the ranks.

        Raises:
            UsageError: `rank` is not below `world_size`.
        """
        if not 0 <= rank < world_size:
            raise UsageError(f"rank={rank} of world_size={world_size}: ranks count from 0")
        self._seed, self._rank, self._world_size, self._epoch = seed, rank, world_size, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is drawn next, from 0."""
        self._epoch = epoch

    @abstractmethod
    def draws(self) -> NDArray[np.int64]:
        """Return the positions that all ranks together see in this epoch, in order."""

    def __iter__(self) -> Iterator[int]:
        numbers = self._share()
        positions, epoch = self.draws(), self._epoch
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            values = positions[chunk.start : chunk.stop : chunk.step].tolist()
            for position, number in zip(values, chunk, strict=True):
                yield Draw.of(position, epoch, number)

    def __len__(self) -> int:
        return len(self._share())

    @property
    @abstractmethod
    def _n_draws(self) -> int:
        """How many positions all ranks together see."""

    def _share(self) -> range:
        return range(self._rank, self._n_draws, self._world_size)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._epoch])


class ClassBalanced(PositionSampler):
    """Draws each label equally often, and each video of a label equally often, then a row of it.

    Long videos do not outweigh short ones, nor a dataset's many fakes its few genuine videos.

    Example:
        >>> none = np.array([], dtype=np.int64)
        >>> rows = Population(np.array([0, 1, 1, 1, 2]), np.array([0, 1, 1]), none, none)
        >>> drawn = [int(position) for position in ClassBalanced(rows, 1000)]
        >>> sum(position == 0 for position in drawn), sum(position == 4 for position in drawn)
        (500, 250)
    """

    def __init__(
        self,
        population: Population,
        n_draws: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Sort the rows; `n_draws` an epoch are rounded up to a multiple of `world_size`.

        Raises:
            UsageError: All rows are of one label.
        """
        super().__init__(seed, rank, world_size)
        self._total = _whole_rounds(n_draws, world_size)
        self._rows = Members.of(population.videos, len(population.labels))
        filled = np.flatnonzero(self._rows.sizes)
        labels = np.unique(population.labels[filled])
        if len(labels) < 2:
            raise UsageError(
                f"the rows to draw from have {len(labels)} label(s), which cannot be balanced; add "
                "a dataset that has the other one"
            )
        self._videos = [filled[population.labels[filled] == label] for label in labels]

    @property
    def _n_draws(self) -> int:
        return self._total

    def draws(self) -> NDArray[np.int64]:
        """Return the positions that all ranks together see in this epoch, in order."""
        rng = self._rng()
        classes = _even(self._total, len(self._videos), rng)
        chosen = np.empty(self._total, dtype=np.int64)
        for number, videos in enumerate(self._videos):
            of_class = classes == number
            chosen[of_class] = videos[_even(int(of_class.sum()), len(videos), rng)]
        return self._rows.draw(chosen, rng)


class IdentityBalanced(PositionSampler):
    """Draws each person equally often, then a video that shows the person, then a row of it.

    A swap shows two persons and is drawn for either. `n_without` counts the rows whose video
    names nobody; they are never drawn.

    Example:
        >>> videos, labels = np.array([0, 0, 0, 1]), np.array([0, 0])
        >>> rows = Population(videos, labels, np.array([0, 1]), np.array([0, 1]))
        >>> sorted(int(position) for position in IdentityBalanced(rows, 4))[-2:]
        [3, 3]
    """

    def __init__(
        self,
        population: Population,
        n_draws: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Sort rows and videos; `n_draws` are rounded up to a multiple of `world_size`.

        Raises:
            UsageError: No row's video names a person.
        """
        super().__init__(seed, rank, world_size)
        self._total = _whole_rounds(n_draws, world_size)
        self._rows = Members.of(population.videos, len(population.labels))
        filled = self._rows.sizes[population.shown_in] > 0
        shown_in, persons = population.shown_in[filled], population.persons[filled]
        if not len(persons):
            raise UsageError("no row's video names a source id to balance by; use ClassBalanced")
        self._videos = Members.of(persons, int(persons.max()) + 1, shown_in)
        self._persons = np.flatnonzero(self._videos.sizes)
        named = np.zeros(len(population.labels), dtype=bool)
        named[shown_in] = True
        self.n_without = int((~named[population.videos]).sum())

    @property
    def _n_draws(self) -> int:
        return self._total

    def draws(self) -> NDArray[np.int64]:
        """Return the positions that all ranks together see in this epoch, in order."""
        rng = self._rng()
        persons = self._persons[_even(self._total, len(self._persons), rng)]
        return self._rows.draw(self._videos.draw(persons, rng), rng)


class OnePerVideo(PositionSampler):
    """Draws each video once an epoch, and another row of it every epoch until all were drawn.

    Ranks get equally many: where the videos do not divide, the first `n_padding` of the epoch's
    videos are drawn once more, with their next row.

    Example:
        >>> none = np.array([], dtype=np.int64)
        >>> rows = Population(np.array([0, 0, 1]), np.array([0, 1]), none, none)
        >>> sampler = OnePerVideo(rows)
        >>> first = set(sampler)
        >>> sampler.set_epoch(1)
        >>> sorted(int(position) for position in first | set(sampler))
        [0, 1, 2]
    """

    def __init__(
        self, population: Population, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        """Sort the rows."""
        super().__init__(seed, rank, world_size)
        self._rows = Members.of(population.videos, len(population.labels))
        self._videos = np.flatnonzero(self._rows.sizes)
        self._offsets = np.random.default_rng(seed).integers(self._rows.sizes[self._videos])
        self.n_padding = _whole_rounds(len(self._videos), world_size) - len(self._videos)

    @property
    def _n_draws(self) -> int:
        return len(self._videos) + self.n_padding

    def draws(self) -> NDArray[np.int64]:
        """Return the positions that all ranks together see in this epoch, in order."""
        if not len(self._videos):
            return np.empty(0, dtype=np.int64)
        order = np.resize(self._rng().permutation(len(self._videos)), self._n_draws)
        again = np.arange(self._n_draws) // len(self._videos)
        videos = self._videos[order]
        within = (self._offsets[order] + self._epoch + again) % self._rows.sizes[videos]
        return self._rows.rows[self._rows.starts[videos] + within]


class EveryRow(PositionSampler):
    """Yields every row exactly once over all ranks, in order; each rank has one stretch of them.

    Nothing is yielded twice unless `padded` asks for ranks of equal length (a collective
    operation that waits for all ranks needs them): the last `n_padding` positions of this rank,
    one or none, then repeat a row.

    Example:
        >>> [[int(position) for position in EveryRow(5, rank, 2)] for rank in (0, 1)]
        [[0, 1], [2, 3, 4]]
    """

    def __init__(
        self, n_rows: int, rank: int = 0, world_size: int = 1, *, padded: bool = False
    ) -> None:
        """Take this rank's stretch of `n_rows`."""
        super().__init__(0, rank, world_size)
        self._n_rows = n_rows
        self._stretch = range(rank * n_rows // world_size, (rank + 1) * n_rows // world_size)
        longest = -(-n_rows // world_size)
        self.n_padding = longest - len(self._stretch) if padded else 0

    @property
    def _n_draws(self) -> int:
        return self._n_rows

    def draws(self) -> NDArray[np.int64]:
        """Return all rows in order."""
        return np.arange(self._n_rows)

    def __iter__(self) -> Iterator[int]:
        last = max(self._stretch.stop - 1, 0)
        for position in chain(self._stretch, repeat(last, self.n_padding)):
            yield Draw.of(position, self._epoch, position)

    def __len__(self) -> int:
        return len(self._stretch) + self.n_padding


def _even(n_draws: int, n_values: int, rng: np.random.Generator) -> NDArray[np.int64]:
    # one shuffle of all values after the other: none is drawn a second time before all were
    rounds = -(-n_draws // n_values)
    table = np.broadcast_to(np.arange(n_values), (rounds, n_values))
    return rng.permuted(table, axis=1).ravel()[:n_draws]


def _whole_rounds(n_draws: int, world_size: int) -> int:
    return -(-n_draws // world_size) * world_size
