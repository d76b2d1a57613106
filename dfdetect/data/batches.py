"""Crop stores → batches for scoring: the faces of a split in order, nothing random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.crops import CropStore
from dfdetect.data.items import policy_scale
from dfdetect.data.loading import CropDataset, require_distinct
from dfdetect.data.region import face_region
from dfdetect.data.samplers import Members
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.score import CropBatch, CropKey
from dfdetect.types import Image

__all__ = [
    "Faces",
    "StoredFace",
    "crop_scale",
    "require_distinct",
    "scoring_batches",
    "split_faces",
]


@dataclass(frozen=True, slots=True)
class StoredFace:
    """One crop of a dataset; nothing is read before it is asked for."""

    crops: CropDataset
    position: int

    @property
    def key(self) -> CropKey:
        """What a score of the face is filed under."""
        return self.crops.key(self.position)

    @property
    def video(self) -> ManifestRow:
        """The video that it was cut out of."""
        return self.crops.videos[int(self.crops.columns.video[self.position])]

    @property
    def crop_scale(self) -> float:
        """The side of the crop as a multiple of the face box."""
        return self.crops.crop_scale(self.position)

    def image(self) -> Image:
        """Read the picture."""
        return self.crops.image(self.position)


class Faces(Sequence[StoredFace]):
    """Some of the crops of a dataset, in order; a slice of them is of the same kind."""

    def __init__(self, crops: CropDataset, positions: NDArray[np.int64]) -> None:
        """Choose crops by their positions."""
        self.crops, self.positions = crops, positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, which: int) -> StoredFace: ...

    @overload
    def __getitem__(self, which: slice) -> Faces: ...

    def __getitem__(self, which: int | slice) -> StoredFace | Faces:
        if isinstance(which, slice):
            return Faces(self.crops, self.positions[which])
        return StoredFace(self.crops, int(self.positions[which]))

    @property
    def videos(self) -> Videos:
        """The videos that the faces were cut out of, each once."""
        return self.crops.videos.take(np.unique(self.crops.columns.video[self.positions]))


def crop_scale(store: CropStore) -> float:
    """Return the side of a store's crops as a multiple of the face box.

    Raises:
        ContractError: The record of the extraction is missing.
    """
    return policy_scale(store.policy)


def scoring_batches(
    faces: Sequence[StoredFace], preprocess: Preprocess, batch_size: int = 64
) -> Iterator[CropBatch]:
    """Yield batches for `score`, each face cut to the detector's own scale, nothing random."""
    for start in range(0, len(faces), batch_size):
        chosen = faces[start : start + batch_size]
        images = [
            face_region(face.image(), face.crop_scale, preprocess.crop.scale, preprocess.size)
            for face in chosen
        ]
        yield CropBatch(tuple(face.key for face in chosen), np.stack(images))


def split_faces(stores: Sequence[CropStore], split: str, per_video: int | None = None) -> Faces:
    """Return the usable faces of a split; at most `per_video` of a video, spread over its length.

    They are sorted by video id.

    Raises:
        UsageError: A video is in two stores.

    Example:
        >>> len(split_faces([], "val"))
        0
    """
    crops = CropDataset(stores, split)
    members = _by_video(crops)
    if per_video is None:
        return Faces(crops, members.rows)
    kept = np.minimum(members.sizes, per_video)
    of_video = np.repeat(np.arange(len(kept)), kept)
    number = np.arange(len(of_video)) - np.repeat(np.cumsum(kept) - kept, kept)
    # centres of equal parts, as the frame sampler takes them
    within = (2 * number + 1) * members.sizes[of_video] // (2 * kept[of_video])
    return Faces(crops, members.rows[members.starts[of_video] + within])


def _by_video(crops: CropDataset) -> Members:
    """Return the crops of every video, the videos sorted by id."""
    order = np.asarray(pc.sort_indices(crops.videos.column("video_id")), dtype=np.int64)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return Members.of(rank[crops.columns.video], len(order))
