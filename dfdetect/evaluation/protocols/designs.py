"""Which run meets which videos: the tables that papers print, told from what a run learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.types import FAKE, REAL

IN_DOMAIN, CROSS_DATASET = "in_domain", "cross_dataset"
CROSS_MANIPULATION, PER_COMPRESSION = "cross_manipulation", "per_compression"

DESIGNS: Mapping[str, str] = {
    IN_DOMAIN: "datasets and methods that a run was trained on",
    CROSS_DATASET: "datasets that a run was not trained on",
    CROSS_MANIPULATION: "methods held out of a dataset that a run was trained on",
    PER_COMPRESSION: "each compression by itself",
}


@dataclass(frozen=True, slots=True)
class Design:
    """The plan of a table.

    Attributes:
        name: A name in `DESIGNS`, which says what belongs to the table.
        trained_compression: The compression of the training videos, which `per_compression`
            marks; '' where nobody says.
    """

    name: str
    trained_compression: str = ""

    def __post_init__(self) -> None:
        """Refuse a design that nobody knows."""
        if self.name not in DESIGNS:
            raise UsageError(f"unknown design {self.name!r}; choose one of {', '.join(DESIGNS)}")


@dataclass(frozen=True, slots=True)
class Pairing:
    """A run, those of its videos that stand in the table, and what its row is called."""

    run: ScoredRun
    videos: Videos = field(repr=False)
    row: str

    def scored(self) -> ScoredRun:
        """Return the run on these videos alone."""
        return of_videos(self.run, self.videos)


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of a table, and a sentence for each run or part of one that is not in it."""

    pairings: tuple[Pairing, ...]
    left_out: tuple[str, ...]


def of_videos(run: ScoredRun, videos: Videos) -> ScoredRun:
    """Return a run on some of its videos alone."""
    scores = run.scores.of_videos(videos.column("video_id").to_pylist())
    return replace(run, scores=scores, videos=videos)


def select(design: Design, runs: Sequence[ScoredRun]) -> Selection:
    """Return which videos of which run belong to a table.

    Genuine videos stand beside the fakes of their dataset. Of a set of runs that each left one
    method out, `cross_manipulation` takes each method from the run that did not see it.
    """
    pairings: list[Pairing] = []
    left_out: list[str] = []
    for run in runs:
        needs_training = design.name != PER_COMPRESSION
        if needs_training and run.trained_on is None:
            left_out.append(
                f"{run.name}: nobody says what it was trained on, so {design.name} has no row of it"
            )
            continue
        for part in _RULES[design.name](run, design):
            if isinstance(part, Pairing):
                pairings.append(part)
            else:
                left_out.append(f"{run.name}: {part}")
    return Selection(tuple(pairings), tuple(left_out))


_Parts = Iterator["Pairing | str"]


@dataclass(frozen=True, slots=True)
class _Columns:
    dataset: NDArray[np.object_]
    method: NDArray[np.object_]
    compression: NDArray[np.object_]
    label: NDArray[np.int8]

    @classmethod
    def of(cls, videos: Videos) -> _Columns:
        dataset, method, compression = (
            np.array(videos.column(name).to_pylist(), dtype=object)
            for name in ("dataset", "method", "compression")
        )
        return cls(dataset, method, compression, videos.column("label").to_numpy())

    def fakes_of(self, dataset: str) -> list[str]:
        """Return the methods of a dataset's fakes, sorted."""
        return sorted(set(self.method[(self.dataset == dataset) & (self.label == FAKE)].tolist()))


def _learned(run: ScoredRun) -> TrainedOn:
    assert run.trained_on is not None  # noqa: S101 — `select` has left the others out
    return run.trained_on


def _in_domain(run: ScoredRun, design: Design) -> _Parts:  # noqa: ARG001
    learned, columns = set(_learned(run).parts), _Columns.of(run.videos)
    known = {dataset for dataset, _ in learned}
    for dataset in sorted(set(columns.dataset.tolist())):
        fakes = columns.fakes_of(dataset)
        seen = [method for method in fakes if (dataset, method) in learned]
        if dataset not in known:
            yield f"{dataset} is no dataset that it was trained on"
        elif not seen:
            yield f"it was trained on {dataset}, but on none of its methods that are here"
        else:
            if unseen := sorted(set(fakes) - set(seen)):
                yield f"it was not trained on {', '.join(unseen)} of {dataset}"
            own = (columns.label == REAL) | np.isin(columns.method, seen)
            yield Pairing(run, run.videos.take((columns.dataset == dataset) & own), dataset)


def _cross_dataset(run: ScoredRun, design: Design) -> _Parts:  # noqa: ARG001
    known, columns = {dataset for dataset, _ in _learned(run).parts}, _Columns.of(run.videos)
    for dataset in sorted(set(columns.dataset.tolist())):
        if dataset in known:
            yield f"it was trained on {dataset}"
        else:
            yield Pairing(run, run.videos.take(columns.dataset == dataset), dataset)


def _cross_manipulation(run: ScoredRun, design: Design) -> _Parts:  # noqa: ARG001
    learned, columns = set(_learned(run).parts), _Columns.of(run.videos)
    known = {dataset for dataset, _ in learned}
    for dataset in sorted(set(columns.dataset.tolist())):
        fakes = columns.fakes_of(dataset)
        held_out = [method for method in fakes if (dataset, method) not in learned]
        if dataset not in known:
            yield f"{dataset} is another dataset than it was trained on"
            continue
        if seen := sorted(set(fakes) - set(held_out)):
            yield f"it was trained on {', '.join(seen)} of {dataset}"
        for method in held_out:
            own = (columns.label == REAL) | (columns.method == method)
            videos = run.videos.take((columns.dataset == dataset) & own)
            yield Pairing(run, videos, f"{dataset}, {method} held out")


def _per_compression(run: ScoredRun, design: Design) -> _Parts:
    columns = _Columns.of(run.videos)
    pairs = sorted(set(zip(columns.dataset.tolist(), columns.compression.tolist(), strict=True)))
    for dataset, compression in pairs:
        own = (columns.dataset == dataset) & (columns.compression == compression)
        name = compression or "uncompressed"
        known = run.trained_on is not None and any(
            dataset == each for each, _ in run.trained_on.parts
        )
        trained = bool(compression) and compression == design.trained_compression and known
        mark = " (as trained)" if trained else ""
        yield Pairing(run, run.videos.take(own), f"{dataset}, {name}{mark}")


_RULES: Mapping[str, Callable[[ScoredRun, Design], _Parts]] = {
    IN_DOMAIN: _in_domain,
    CROSS_DATASET: _cross_dataset,
    CROSS_MANIPULATION: _cross_manipulation,
    PER_COMPRESSION: _per_compression,
}
