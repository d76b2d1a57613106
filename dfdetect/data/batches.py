"""Crop stores → batches: pairs of a genuine and a forged face for training, rows for scoring.

Every training pair is a pure function of (seed, position), so a run that was interrupted goes on
with exactly the pairs that it would have seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.augment import AugmentSettings, augment, face_region
from dfdetect.data.blend import self_blend
from dfdetect.data.crops import CropRow, CropStore
from dfdetect.data.videos import ManifestRow
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.score import CropBatch
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL, Image

# pictures that were cropped before carry no scale of their own; MTCNN's box is about this tight
WHOLE_SCALE = 1.05


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset's part in the training mixture.

    `weight` is its share of the pairs, relative to the other sources; `blend_share` of its forged
    faces are self-blends of genuine ones. A dataset without fakes has nothing else to offer.
    """

    dataset: str
    weight: float
    blend_share: float


@dataclass(frozen=True, slots=True)
class StoredFace:
    """One crop and the store it lies in."""

    store: CropStore
    crop: CropRow
    crop_scale: float

    @property
    def video(self) -> ManifestRow:
        """The video it was cut out of."""
        return self.store.videos.by_id[self.crop.video_id]

    def image(self) -> Image:
        """Read the picture."""
        return self.store.image(self.crop)


def crop_scale(store: CropStore) -> float:
    """Return the side of a store's crops as a multiple of the face box.

    Raises:
        ContractError: The record of the extraction is missing.
    """
    policy = store.policy
    return WHOLE_SCALE if policy.name == "whole" else policy.scale


class TrainingPairs:
    """A map-style torch dataset: item i is a genuine face and a forged one, treated alike.

    The forged face is a self-blend of the genuine one, or a face of the dataset's fakes. Videos
    are drawn first and crops second, so that long videos do not outweigh short ones.
    """

    def __init__(
        self,
        stores: Sequence[CropStore],
        sources: Sequence[Source],
        preprocess: Preprocess,
        settings: AugmentSettings,
        seed: int,
        n_pairs: int,
    ) -> None:
        """Collect the train split of the stores.

        Raises:
            UsageError: A source has no genuine faces in the train split, has no fakes though not
                all of them are to be blended, or all weights are zero.
        """
        self._settings, self._seed, self._n_pairs = settings, seed, n_pairs
        self._size = preprocess.size
        self._sources = tuple(sources)
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        if not weights.size or weights.min() < 0 or weights.sum() == 0:
            raise UsageError("sources need at least one positive weight: sources.0.weight=1")
        self._weights = weights / weights.sum()
        faces = _faces_by_video(stores, "train")
        self._real = [_videos(faces, source.dataset, REAL) for source in sources]
        self._fake = [_videos(faces, source.dataset, FAKE) for source in sources]
        for source, real, fake in zip(sources, self._real, self._fake, strict=True):
            if not real:
                raise UsageError(f"no genuine training faces of {source.dataset!r} in the stores")
            if not fake and source.blend_share < 1:
                raise UsageError(
                    f"no forged training faces of {source.dataset!r}; blend all: blend_share=1"
                )
            if not fake and not any(face.crop.landmarks for video in real for face in video):
                raise UsageError(
                    f"no training face of {source.dataset!r} has landmarks to blend by; extract it "
                    "again with faces.landmarks=true"
                )

    def __len__(self) -> int:
        return self._n_pairs

    def __getitem__(self, position: int) -> NDArray[np.uint8]:
        """Return pair number `position`: uint8, 2 × S × S × 3, genuine first."""
        if not 0 <= position < self._n_pairs:
            raise IndexError(position)
        rng = np.random.default_rng([self._seed, position])
        number = int(rng.choice(len(self._sources), p=self._weights))
        real = _draw(self._real[number], rng)
        blended = rng.random() < self._sources[number].blend_share
        # one seed for both halves: no augmentation may give the label away
        treatment = int(rng.integers(2**63))
        if blended and real.crop.landmarks:
            blend = self_blend(real.image(), real.crop.landmarks, rng)
            halves = ((blend.real, real.crop_scale), (blend.fake, real.crop_scale))
        else:
            fakes = self._fake[number]
            if not fakes:  # landmarks are missing: draw again, deterministically
                return self[(position + 7919) % self._n_pairs]
            fake = _draw(fakes, rng)
            halves = ((real.image(), real.crop_scale), (fake.image(), fake.crop_scale))
        return np.stack(
            [
                augment(
                    picture, scale, self._size, np.random.default_rng(treatment), self._settings
                )
                for picture, scale in halves
            ]
        )


def labels_of(n_pairs: int) -> NDArray[np.float32]:
    """Return the labels of a batch of pairs laid end to end.

    Example:
        >>> labels_of(2).tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    return np.tile(np.array([REAL, FAKE], np.float32), n_pairs)


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
        yield CropBatch(tuple(face.crop.key for face in chosen), np.stack(images))


def split_faces(
    stores: Sequence[CropStore], split: str, per_video: int | None = None
) -> tuple[StoredFace, ...]:
    """Return the usable faces of a split; at most `per_video` of a video, spread over its length.

    Example:
        >>> split_faces([], "val")
        ()
    """
    chosen: list[StoredFace] = []
    for _, faces in sorted(_faces_by_video(stores, split).items()):
        n_kept = len(faces) if per_video is None else min(per_video, len(faces))
        # centres of equal parts, as the frame sampler takes them
        chosen.extend(faces[(2 * i + 1) * len(faces) // (2 * n_kept)] for i in range(n_kept))
    return tuple(chosen)


def require_distinct(stores: Sequence[CropStore]) -> None:
    """Raise when a video is in two stores, which would let it count twice.

    Raises:
        UsageError: The sentence names the first such video and both folders.
    """
    folders: dict[str, Path] = {}
    for store in stores:
        for video_id in store.videos.by_id:
            if video_id in folders:
                raise UsageError(
                    f"{video_id} is in {folders[video_id]} and in {store.folder}; name one of them"
                )
            folders[video_id] = store.folder


def _faces_by_video(stores: Sequence[CropStore], split: str) -> dict[str, list[StoredFace]]:
    faces: dict[str, list[StoredFace]] = defaultdict(list)
    for store in stores:
        scale = crop_scale(store)
        for crop in store.usable(split):
            faces[crop.video_id].append(StoredFace(store, crop, scale))
    return faces


def _videos(
    faces: dict[str, list[StoredFace]], dataset: str, label: int
) -> tuple[tuple[StoredFace, ...], ...]:
    found = []
    for _, members in sorted(faces.items()):
        row = members[0].video
        if (row.dataset, row.label) == (dataset, label):
            found.append(tuple(members))
    return tuple(found)


def _draw(videos: Sequence[Sequence[StoredFace]], rng: np.random.Generator) -> StoredFace:
    video = videos[int(rng.integers(len(videos)))]
    return video[int(rng.integers(len(video)))]
