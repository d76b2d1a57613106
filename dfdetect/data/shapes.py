"""The 68 or 81 landmarks that files give to crops, once they are known to be of the same face.

A file may be of other faces than it says: a frame shows several, and it names none of them; or its
points are those of a picture of another size. The five points that are stored with every crop tell:
landmarks that lie far off them are refused, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.face_shape import face_side, five_of_68, placed_shape
from dfdetect.data.landmarks import LandmarkFile, in_crop
from dfdetect.data.loading import rows_taken
from dfdetect.data.opacity import Floats
from dfdetect.data.shards import CropRow, CropStore
from dfdetect.types import CropPolicy, Face, Point

LIMIT = 0.15
"""How far landmarks may lie off a crop's five points, on average, in sides of the face.

Those of the same face in 149 pictures of YouTube Faces lie 0.02 off the finder's, at most 0.06; of
a frame that was made smaller or larger by a tenth, 0.17.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """What files say of N crops, in two arrays, so that millions of crops fit.

    Attributes:
        starts: int64, N + 1: the points of crop n are those from `starts[n]` to `starts[n + 1]`;
            none, 68 or 81.
        points: float32, M × 2, in the pixels of each one's crop.
        n_refused: The faces in the files that are of no crop they could be of: their points lie
            off its five, or it has none to check them by.
    """

    starts: NDArray[np.int64]
    points: NDArray[np.float32]
    n_refused: int = 0

    @classmethod
    def none(cls, n_crops: int) -> Shapes:
        """Return that nothing is said of `n_crops` crops.

        Example:
            >>> Shapes.none(3).of([0, 2]) is None
            True
        """
        return cls(np.zeros(n_crops + 1, np.int64), np.empty((0, 2), np.float32))

    @property
    def n_points(self) -> NDArray[np.int64]:
        """How many points each crop is given, N."""
        return np.diff(self.starts)

    @property
    def n_given(self) -> int:
        """The number of crops that are given points."""
        return int(np.count_nonzero(self.n_points))

    def of(self, crops: Sequence[int]) -> tuple[Floats, ...] | None:
        """Return the points of some crops; None unless each has points, and as many."""
        if not len(self.points):
            return None
        found = [self.points[self.starts[crop] : self.starts[crop + 1]] for crop in crops]
        if not len(found[0]) or any(len(points) != len(found[0]) for points in found):
            return None
        return tuple(points.astype(np.float64) for points in found)

    def have(self, crops: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for which rows of crop numbers, N × T, `of` gives points."""
        n_points = self.n_points[crops]
        return np.asarray((n_points > 0).all(1) & (n_points == n_points[:, :1]).all(1))


@dataclass(frozen=True, slots=True)
class _Claim:
    """A face in a file that may be that of a crop; `misfit` is in sides of the face."""

    crop: int
    file: int
    position: int
    by_frame: bool
    misfit: float = np.inf


def shapes_of(
    stores: Sequence[CropStore], split: str | None, files: Sequence[LandmarkFile]
) -> Shapes:
    """Return the landmarks of the crops of some stores, numbered as a `CropDataset` does.

    A face in a file belongs to the crop that it names, or to the one crop of its frame that it fits
    best; where several fit a crop, one that names it, and then the nearest, is taken.

    Raises:
        ContractError: A store does not say how its crops were cut out.
    """
    parts = [_shapes(store, split, files) for store in stores]
    counts = np.concatenate([np.zeros(1, np.int64), *(part.n_points for part in parts)])
    points = [np.empty((0, 2), np.float32), *(part.points for part in parts)]
    n_refused = sum(part.n_refused for part in parts)
    return Shapes(np.cumsum(counts), np.concatenate(points), n_refused)


def misfit(shape: Floats, landmarks: Sequence[Point]) -> float:
    """Return how far 68 or 81 points lie off five, on average, in sides of the face that has them.

    Args:
        shape: (68, 2) or (81, 2).
        landmarks: The five points of the face, in the same pixels.

    Example:
        >>> from dfdetect.data.face_shape import CANONICAL_68
        >>> face = 50 * np.array(CANONICAL_68) + 100
        >>> misfit(face, [(x, y) for x, y in five_of_68(face)])
        0.0
        >>> misfit(face + [116, 0], [(x, y) for x, y in five_of_68(face)]).__round__(2)
        1.0
    """
    off = np.linalg.norm(five_of_68(shape) - np.asarray(landmarks), axis=1)
    return float(off.mean() / face_side(placed_shape(landmarks)))


def _shapes(store: CropStore, split: str | None, files: Sequence[LandmarkFile]) -> Shapes:
    rows = rows_taken(store, split)
    claims = list(_claims(store, rows, files))
    if not claims:
        return Shapes.none(len(rows))
    policy = store.policy
    named = store.crops.take(rows[np.array([claim.crop for claim in claims])])
    claims = [
        replace(claim, misfit=_misfit(_placed(claim, crop, files, policy), crop))
        for claim, crop in zip(claims, named, strict=True)
    ]
    faces = _best(claims, lambda claim: (claim.file, claim.position), lambda claim: claim.misfit)
    fitting = [claim for claim in faces if claim.misfit <= LIMIT]
    # what names the crop is surer than what names its frame
    kept = _best(fitting, lambda claim: claim.crop, lambda claim: (claim.by_frame, claim.misfit))
    kept.sort(key=lambda claim: claim.crop)
    counts, points = np.zeros(len(rows) + 1, np.int64), [np.empty((0, 2), np.float32)]
    crops = store.crops.take(rows[np.array([claim.crop for claim in kept], dtype=np.int64)])
    for claim, crop in zip(kept, crops, strict=True):
        shape = _placed(claim, crop, files, policy)
        if shape is not None:
            counts[claim.crop + 1] = len(shape)
            points.append(shape.astype(np.float32))
    return Shapes(np.cumsum(counts), np.concatenate(points), len(faces) - len(fitting))


def _claims(
    store: CropStore, rows: NDArray[np.int64], files: Sequence[LandmarkFile]
) -> Iterator[_Claim]:
    names = store.crops.table.select(("crop_id", "video_id", "frame_index")).take(rows)
    crop = 0
    # a part at a time: the names of millions of crops would weigh more than their landmarks
    for part in names.to_batches(max_chunksize=65536):
        for crop_id, video_id, frame in zip(
            *(column.to_pylist() for column in part.columns), strict=True
        ):
            for number, file in enumerate(files):
                for name, by_frame in (((crop_id, None), False), ((video_id, frame), True)):
                    position = file.positions.get(name)
                    if position is not None:
                        yield _Claim(crop, number, position, by_frame)
            crop += 1


def _placed(
    claim: _Claim, crop: CropRow, files: Sequence[LandmarkFile], policy: CropPolicy
) -> Floats | None:
    """Return the points in the crop's pixels; None where its row cannot say where they lie."""
    points: Floats = files[claim.file].points[claim.position]
    if not claim.by_frame:
        return points
    if crop.box is None or (policy.name == "aligned" and not crop.points):
        return None
    face = Face(crop.frame_index, crop.time_s, crop.box, crop.points, crop.confidence or 0.0)
    return in_crop(points, face, policy)


def _misfit(shape: Floats | None, crop: CropRow) -> float:
    return np.inf if shape is None or not crop.landmarks else misfit(shape, crop.landmarks)


def _best(
    claims: Iterable[_Claim], of: Callable[[_Claim], Any], rank: Callable[[_Claim], Any]
) -> list[_Claim]:
    """Return the lowest ranked claim of each kind, in the order in which the kinds appear."""
    best: dict[Any, _Claim] = {}
    for claim in claims:
        other = best.setdefault(of(claim), claim)
        if rank(claim) < rank(other):
            best[of(claim)] = claim
    return list(best.values())
