"""The parts of a set of videos that get numbers of their own: fakes of a method, all genuine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.videos import Videos
from dfdetect.evaluation.protocols.coverage import sets_of
from dfdetect.evaluation.results import ALL
from dfdetect.types import FAKE, REAL


@dataclass(frozen=True, slots=True)
class Part:
    """The fakes of one method, or of all, beside every genuine video of their test set.

    Attributes:
        dataset: As results name it, with the compression where there are several.
        stem: The dataset's own name.
        method: A method, or `all`.
        methods: The methods of its fakes.
        members: V, true for its videos.
    """

    dataset: str
    stem: str
    method: str
    methods: tuple[str, ...]
    members: NDArray[np.bool_] = field(repr=False)


def parts_of(videos: Videos) -> tuple[Part, ...]:
    """Return the parts of some videos: for each test set all fakes together, then each method.

    A test set with a single method has no part for all of them.
    """
    sets = sets_of(videos)
    labels = videos.column("label").to_numpy()
    methods = np.array(videos.column("method").to_pylist(), dtype=np.str_)
    parts: list[Part] = []
    for code, (name, stem) in enumerate(zip(sets.names, sets.datasets, strict=True)):
        members = sets.code == code
        fakes = members & (labels == FAKE)
        genuine = members & (labels == REAL)
        found = tuple(np.unique(methods[fakes]).tolist())
        if len(found) != 1:
            parts.append(Part(name, stem, ALL, found, members))
        parts += [
            Part(name, stem, each, (each,), genuine | (fakes & (methods == each))) for each in found
        ]
    return tuple(parts)
