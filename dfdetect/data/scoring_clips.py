"""Crop stores → clips for scoring, as `dfdetect.data.batches` has faces: nothing is random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.batches import StoredFace
from dfdetect.data.crops import CropStore
from dfdetect.data.groups import ClipDataset
from dfdetect.data.loading import CropDataset
from dfdetect.data.region import face_region
from dfdetect.data.samplers import Members
from dfdetect.data.videos import Videos
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.score import CropBatch, CropKey, clip_key
from dfdetect.types import Image


@dataclass(frozen=True, slots=True)
class StoredClip:
    """T consecutive crops of one track; nothing is read before it is asked for."""

    faces: tuple[StoredFace, ...]

    @property
    def key(self) -> CropKey:
        """What a score of the clip is filed under: the key of its middle."""
        return clip_key([face.key for face in self.faces])

    def images(self, preprocess: Preprocess) -> list[Image]:
        """Read the pictures, each cut to the detector's own scale."""
        return [
            face_region(face.image(), face.crop_scale, preprocess.crop.scale, preprocess.size)
            for face in self.faces
        ]


class Clips(Sequence[StoredClip]):
    """Some clips of a dataset; a slice of them is of the same kind."""

    def __init__(self, crops: CropDataset, positions: NDArray[np.int32]) -> None:
        """Choose clips by the positions of their crops, N × T."""
        self.crops, self.positions = crops, positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, which: int) -> StoredClip: ...

    @overload
    def __getitem__(self, which: slice) -> Clips: ...

    def __getitem__(self, which: int | slice) -> StoredClip | Clips:
        if isinstance(which, slice):
            return Clips(self.crops, self.positions[which])
        places = self.positions[which].tolist()
        return StoredClip(tuple(StoredFace(self.crops, place) for place in places))

    @property
    def videos(self) -> Videos:
        """The videos that the clips were cut out of, each once."""
        return self.crops.videos.take(np.unique(self.crops.columns.video[self.positions[:, :1]]))


def split_clips(
    stores: Sequence[CropStore], split: str, frames: int, per_video: int | None = None
) -> Clips:
    """Return the clips of a split that do not overlap; see `ClipDataset`.

    Args:
        stores: No video may be in two of them.
        split: `train`, `val` or `test`.
        frames: T, crops a clip.
        per_video: At most so many faces of a video, as clips spread over its length, but one clip
            at least.

    Raises:
        UsageError: A video is in two stores.

    Example:
        >>> len(split_clips([], "val", 4))
        0
    """
    crops = CropDataset(stores, split)
    positions = ClipDataset(crops, frames).positions
    if per_video is None or not len(positions):
        return Clips(crops, positions)
    members = Members.of(crops.columns.video[positions[:, 0]], len(crops.videos))
    kept = np.minimum(members.sizes, max(1, per_video // frames))
    of_video = np.repeat(np.arange(len(kept)), kept)
    number = np.arange(len(of_video)) - np.repeat(np.cumsum(kept) - kept, kept)
    within = (2 * number + 1) * members.sizes[of_video] // (2 * kept[of_video])
    return Clips(crops, positions[members.rows[members.starts[of_video] + within]])


def clip_batches(
    clips: Sequence[StoredClip], preprocess: Preprocess, batch_faces: int = 64
) -> Iterator[CropBatch]:
    """Yield batches for `score` of about so many faces, one clip at least."""
    size = max(1, batch_faces // len(clips[0].faces)) if len(clips) else 1
    for start in range(0, len(clips), size):
        chosen = clips[start : start + size]
        images = np.stack([np.stack(clip.images(preprocess)) for clip in chosen])
        yield CropBatch(tuple(clip.key for clip in chosen), images)
