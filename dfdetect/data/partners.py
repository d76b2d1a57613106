"""Whose face to put into whose: for a genuine face another person's whose landmarks are near."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.face_shape import FIVE
from dfdetect.data.loading import CropDataset
from dfdetect.data.splits import source_links
from dfdetect.data.xray_blend import N_CANDIDATES, normalised

Codes = NDArray[np.int64]


class Partners:
    """The genuine faces of one dataset, to find one of another person that is shaped alike.

    Source: Li et al., "Face X-ray for More General Face Forgery Detection" (CVPR 2020), section
    3.2: 100 faces are drawn, and the one with the nearest landmarks is taken. Drawing first keeps
    partners varied: otherwise a face would always meet the same one.
    """

    def __init__(self, crops: CropDataset, frames: Codes, videos: Codes) -> None:
        """Look at the faces of some videos.

        Args:
            crops: What they are in.
            frames: N × T, the positions of the crops that each number stands for: one, or those of
                a clip, of which the first decides.
            videos: The videos to take partners from, by number.
        """
        self._crops, self._frames = crops, frames
        shown_in, names = source_links(crops.videos)
        persons = np.asarray(pc.dictionary_encode(_combined(names)).indices, dtype=np.int64)
        shown: list[set[int]] = [set() for _ in range(len(crops.videos))]
        for video, person in zip(shown_in.tolist(), persons.tolist(), strict=True):
            shown[video].add(person)
        # a video that does not say whom it shows shows somebody of its own
        self._persons = [frozenset(one or {-1 - video}) for video, one in enumerate(shown)]
        self._videos = videos

    @property
    def has_two(self) -> bool:
        """Whether there are two videos that have nobody in common."""
        people = {self._persons[video] for video in self._videos.tolist()}
        return any(one.isdisjoint(other) for one, other in combinations(people, 2))

    def choose(
        self,
        own: int,
        draw: Callable[[], int],
        n: int = N_CANDIDATES,
    ) -> int | None:
        """Return the nearest of `n` faces that are drawn; None where none of them will do.

        Args:
            own: The face that looks for a partner.
            draw: Draws the number of a face.
            n: How often; faces of the same people and faces without landmarks do not count.
        """
        people = self._persons[self._video(own)]
        drawn = {draw(): None for _ in range(n)}
        allowed = [
            other
            for other in drawn
            if people.isdisjoint(self._persons[self._video(other)]) and self._is_marked(other)
        ]
        if not allowed:
            return None
        rows = self._frames[np.array([own, *allowed]), 0]
        points = self._crops.columns.landmarks[rows].reshape(-1, len(FIVE), 2)
        mine, *others = normalised(points.astype(np.float64), FIVE)
        distances = np.linalg.norm(np.stack(others) - mine, axis=2).mean(axis=1)
        return allowed[int(distances.argmin())]

    def _video(self, unit: int) -> int:
        return int(self._crops.columns.video[self._frames[unit, 0]])

    def _is_marked(self, unit: int) -> bool:
        return not np.isnan(self._crops.columns.landmarks[self._frames[unit], 0]).any()


def _combined(names: pa.Array | pa.ChunkedArray) -> pa.Array:
    return names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
