"""Crop stores → what training sees: genuine and forged faces side by side, treated alike.

Every item is a pure function of (seed, position), so a run that was interrupted goes on with
exactly the items that it would have seen, and several processes share them out by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.augment import (
    AugmentSettings,
    augment,
    augment_clip,
    augment_marked,
    augment_masked,
    require_landmarks,
)
from dfdetect.data.augment_settings import geometry_of
from dfdetect.data.blend import self_blend
from dfdetect.data.crops import CropStore
from dfdetect.data.groups import ClipDataset
from dfdetect.data.loading import CropDataset
from dfdetect.data.opacity import Blend
from dfdetect.data.partners import Partners
from dfdetect.data.samplers import Members
from dfdetect.data.videos import Videos
from dfdetect.data.xray_blend import xray_blend
from dfdetect.detectors.base import BatchNeeds, Preprocess
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL, Image, Point

GENUINE, UNLISTED = 0, -1
BLENDS = ("self", "xray")
PLAIN = BatchNeeds()

Mask = NDArray[np.float32]
Pool = NDArray[np.int64]
"""Videos to draw from, by their number in the crop dataset."""


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset's part in the training mixture.

    `weight` is its share of the items, relative to the other sources; `blend_share` of its forged
    faces are blends of genuine ones. A dataset without fakes has nothing else to offer. `blend`
    says of what they are blends: `self` of a face and itself, `xray` of two people's faces.
    """

    dataset: str
    weight: float
    blend_share: float
    blend: str = "self"

    def __post_init__(self) -> None:
        """Refuse a kind of blend that does not exist."""
        if self.blend not in BLENDS:
            raise UsageError(f"unknown blend={self.blend}; choose one of {', '.join(BLENDS)}")


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """A few faces that belong together: a pair, or a genuine face and a forgery by each method.

    Attributes:
        images: uint8, V × N × S × S × 3 for V views of N faces, V × N × T × S × S × 3 for clips.
        labels: N, 1 = fake.
        methods: N, 0 genuine, 1 + i the i-th method of `BatchNeeds`, -1 any other forgery.
        masks: float32, V × N × S × S in [0, 1], 1 where forged; None unless needed.
        points: float32, 5 × 2, where a pair is still to be blended; NaN where it is not. Then
            both faces are the genuine one. None where the loader blends.
    """

    images: NDArray[np.uint8] = field(repr=False)
    labels: tuple[int, ...]
    methods: tuple[int, ...]
    masks: Mask | None = field(default=None, repr=False)
    points: NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Face:
    """A face, or a clip of one, before it is changed."""

    pictures: tuple[Image, ...]
    landmarks: tuple[tuple[Point, ...], ...]
    crop_scale: float
    label: int
    method: int
    mask: Mask | None = None


class TrainingItems:
    """A map-style torch dataset of `TrainingItem`.

    A pair is a genuine face and a forged one: a blend of the genuine face, with itself or with
    another person's (`Source.blend`), or a face of the dataset's fakes. Videos are drawn first and
    crops second, so that long videos do not outweigh short ones. All faces of an item, and all
    frames of a clip, are changed by the same chance, so that no augmentation may give the label
    away; each view by its own.
    """

    def __init__(
        self,
        stores: Sequence[CropStore],
        sources: Sequence[Source],
        preprocess: Preprocess,
        settings: AugmentSettings,
        seed: int,
        n_items: int,
        needs: BatchNeeds = PLAIN,
        *,
        blends: bool = True,
    ) -> None:
        """Collect the train split of the stores.

        Without `blends`, pairs that are to be self-blends are handed over as `TrainingItem.points`
        says, and no face is changed but in its geometry.

        Raises:
            UsageError: A source has no genuine faces in the train split, lacks the fakes, methods
                or landmarks that are needed, all weights are zero, or a video is in two stores.
        """
        self._settings, self._seed, self._n_items = settings, seed, n_items
        self._size, self._needs = preprocess.size, needs
        self._sources, self._blends = tuple(sources), blends
        if not blends:
            _require_plain(self._sources, settings, needs)
            self._settings = geometry_of(settings)
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        if not weights.size or weights.min() < 0 or weights.sum() == 0:
            raise UsageError("sources need at least one positive weight: sources.0.weight=1")
        self._weights = weights / weights.sum()
        self._crops = CropDataset(stores, "train")
        # what is drawn, a crop or a clip: the positions of its crops, and those of each video
        self._frames = _frames(self._crops, needs.frames)
        video_of_unit = self._crops.columns.video[self._frames[:, 0]]
        self._units = Members.of(video_of_unit, len(self._crops.videos))
        self._real, self._fake = (
            [_pool(self._crops.videos, self._units, source.dataset, label) for source in sources]
            for label in (REAL, FAKE)
        )
        self._groups = [
            _groups(self._crops.videos, real, fake, needs) if needs.grouped else ()
            for real, fake in zip(self._real, self._fake, strict=True)
        ]
        self._partners = {
            number: Partners(self._crops, self._frames, self._real[number])
            for number, source in enumerate(sources)
            if source.blend == "xray"
        }
        if needs.masks and needs.frames > 1:
            raise UsageError("masks are of single faces; no clip has them")
        for number in range(len(self._sources)):
            self._require(number)
            self._require_marks(number)

    def __len__(self) -> int:
        return self._n_items

    def __getitem__(self, position: int) -> TrainingItem:
        """Return item number `position`."""
        if not 0 <= position < self._n_items:
            raise IndexError(position)
        # where landmarks or a partner are missing it is drawn again: like an item further on, and
        # once all of those were tried, by further chance
        turn = 0
        while True:
            place = (position + 7919 * turn) % self._n_items
            further = () if turn < self._n_items else (turn,)
            rng = np.random.default_rng([self._seed, place, *further])
            number = int(rng.choice(len(self._sources), p=self._weights))
            found = self._group(number, rng) if self._needs.grouped else self._pair(number, rng)
            if found is not None:
                return self._changed(*found) if self._blends else self._unblended(*found)
            turn += 1

    def _pair(self, number: int, rng: np.random.Generator) -> tuple[tuple[_Face, ...], int] | None:
        real, fakes = self._draw(self._real[number], rng), self._fake[number]
        blended = rng.random() < self._sources[number].blend_share
        treatment = int(rng.integers(2**63))
        if blended and self._is_marked(real) and not self._blends:
            face = self._face(real)
            return (face, replace(face, label=FAKE, method=UNLISTED)), treatment
        if blended and self._is_marked(real):
            faces = self._blended(number, real, rng)
            return None if faces is None else (faces, treatment)
        if not len(fakes):
            return None
        return (self._face(real), self._face(self._draw(fakes, rng))), treatment

    def _group(self, number: int, rng: np.random.Generator) -> tuple[tuple[_Face, ...], int]:
        groups = self._groups[number]
        pools = groups[int(rng.integers(len(groups)))]
        treatment = int(rng.integers(2**63))
        return tuple(self._face(self._draw(pool, rng)) for pool in pools), treatment

    def _draw(self, videos: Pool, rng: np.random.Generator) -> int:
        video = int(videos[int(rng.integers(len(videos)))])
        first, end = self._units.starts[video : video + 2].tolist()
        return int(self._units.rows[first + int(rng.integers(end - first))])

    def _blended(
        self, number: int, real: int, rng: np.random.Generator
    ) -> tuple[_Face, _Face] | None:
        partner: int | None = None
        if self._sources[number].blend == "xray":
            pool = self._real[number]
            partner = self._partners[number].choose(real, lambda: self._draw(pool, rng))
            if partner is None:
                return None
        places = self._frames[real].tolist()
        # the frames of a clip are blended alike
        seed = int(rng.integers(2**63)) if len(places) > 1 else None
        blends = [
            self._blend(n, real, partner, rng if seed is None else np.random.default_rng(seed))
            for n in range(len(places))
        ]
        scale, mask = self._crops.crop_scale(places[0]), blends[0].mask
        marks = tuple(self._crops.landmarks(place) for place in places)
        genuine = tuple(blend.real for blend in blends)
        forged = tuple(blend.fake for blend in blends)
        return (
            _Face(genuine, marks, scale, REAL, GENUINE, np.zeros_like(mask)),
            _Face(forged, marks, scale, FAKE, UNLISTED, mask),
        )

    def _blend(self, n: int, real: int, partner: int | None, rng: np.random.Generator) -> Blend:
        """Blend frame `n` of a genuine face with itself, or with that of a partner."""
        place = int(self._frames[real, n])
        image, marks = self._crops.image(place), self._crops.landmarks(place)
        if partner is None:
            return self_blend(image, marks, rng)
        other = int(self._frames[partner, n])
        return xray_blend(image, marks, self._crops.image(other), self._crops.landmarks(other), rng)

    def _face(self, unit: int) -> _Face:
        places = self._frames[unit].tolist()
        facts = self._crops.facts(places[0])
        method = UNLISTED
        if facts.label == REAL:
            method = GENUINE
        elif facts.method in self._needs.methods:
            method = 1 + self._needs.methods.index(facts.method)
        pictures = tuple(self._crops.image(place) for place in places)
        marks = tuple(self._crops.landmarks(place) for place in places)
        return _Face(pictures, marks, facts.crop_scale, facts.label, method)

    def _is_marked(self, unit: int) -> bool:
        return not np.isnan(self._crops.columns.landmarks[self._frames[unit], 0]).any()

    def _unblended(self, faces: Sequence[_Face], treatment: int) -> TrainingItem:
        genuine, forged = faces
        rng, again = (np.random.default_rng(treatment) for _ in range(2))
        size, told = self._size, self._settings
        picture, marks = genuine.pictures[0], genuine.landmarks[0]
        if forged.pictures is genuine.pictures:
            one, points = augment_marked(picture, genuine.crop_scale, size, rng, told, marks)
            treated = [one, one]
        else:
            one = augment(picture, genuine.crop_scale, size, rng, told)
            other = augment(forged.pictures[0], forged.crop_scale, size, again, told)
            treated, points = [one, other], np.full((5, 2), np.nan)
        return TrainingItem(
            np.stack(treated)[None],
            tuple(face.label for face in faces),
            tuple(face.method for face in faces),
            points=points.astype(np.float32),
        )

    def _changed(self, faces: Sequence[_Face], treatment: int) -> TrainingItem:
        seeds = [[treatment, view] if view else treatment for view in range(self._needs.views)]
        treated = [[self._treated(face, seed) for face in faces] for seed in seeds]
        images = np.stack([[pictures for pictures, _ in view] for view in treated], dtype=np.uint8)
        masks = None
        if self._needs.masks:
            masks = np.array([[mask for _, mask in view] for view in treated], dtype=np.float32)
        return TrainingItem(
            images if self._needs.frames > 1 else images[:, :, 0],
            tuple(face.label for face in faces),
            tuple(face.method for face in faces),
            masks,
        )

    def _treated(self, face: _Face, seed: int | list[int]) -> tuple[list[Image], Mask | None]:
        """Return a face's pictures, and its mask where one is needed, after one treatment."""
        rng = np.random.default_rng(seed)
        scale, size, told = face.crop_scale, self._size, self._settings
        marks = face.landmarks if told.cutout > 0 else ()
        if not self._needs.masks:
            return augment_clip(face.pictures, scale, size, rng, told, marks), None
        assert face.mask is not None  # noqa: S101 — only blends are drawn where masks are needed
        (picture,) = face.pictures
        picture, mask = augment_masked(
            picture, face.mask, scale, size, rng, told, marks[0] if marks else ()
        )
        return [picture], mask

    def _require(self, number: int) -> None:
        source, needs = self._sources[number], self._needs
        real, fake, name = self._real[number], self._fake[number], source.dataset
        what = f"clips of {needs.frames} frames" if needs.frames > 1 else "faces"
        if not len(real):
            raise UsageError(f"no genuine training {what} of {name!r} in the stores")
        if needs.grouped:
            if not self._groups[number]:
                raise UsageError(
                    f"no genuine training video of {name!r} has forgeries by each of "
                    f"{', '.join(needs.methods)} in the stores; extract them too"
                )
            return
        if needs.masks and source.blend_share < 1:
            raise UsageError(
                f"this detector learns where a face is forged, which fakes of {name!r} do not say; "
                "blend all: blend_share=1"
            )
        if not len(fake) and source.blend_share < 1:
            raise UsageError(f"no forged training {what} of {name!r}; blend all: blend_share=1")
        marks = self._crops.columns.landmarks[:, 0]
        marked = np.isin(self._crops.columns.video, real) & ~np.isnan(marks)
        if (needs.masks or not len(fake)) and not marked.any():
            raise UsageError(
                f"no training face of {name!r} has landmarks to blend by; extract it "
                "again with faces.landmarks=true"
            )

    def _require_marks(self, number: int) -> None:
        """Refuse what landmarks, or two people, are needed for before hours go into training."""
        source, partners = self._sources[number], self._partners.get(number)
        if source.blend_share > 0 and partners is not None and not partners.has_two:
            raise UsageError(
                f"blend=xray puts one person's face into another's, but the genuine training "
                f"videos of {source.dataset!r} show one person; take blend=self"
            )
        if self._settings.cutout == 0:
            return
        drawn = np.isin(
            self._crops.columns.video, np.concatenate([self._real[number], self._fake[number]])
        )
        require_landmarks(
            self._settings,
            [()] if np.isnan(self._crops.columns.landmarks[drawn, 0]).any() else [],
        )


def _require_plain(sources: Sequence[Source], settings: AugmentSettings, needs: BatchNeeds) -> None:
    """Refuse what pairs cannot have that are blended where they are trained on."""
    has_others = any(source.blend != "self" for source in sources)
    for asked, what in (
        (needs.frames > 1, "clips"),
        (needs.views > 1, "several views of a face"),
        (needs.grouped, "groups of a face and its forgeries"),
        (has_others, "blends of two people (blend=xray)"),
        (settings.codec > 0, "the video codec (augment.codec)"),
        (settings.cutout > 0 or settings.erase > 0, "cut-outs (augment.cutout, augment.erase)"),
    ):
        if asked:
            raise UsageError(f"the batched blend has no {what}; set trainer.blend_on=loader")


def _frames(crops: CropDataset, n_frames: int) -> NDArray[np.int64]:
    """Return the positions of the crops of every unit, N × T."""
    if n_frames == 1:
        return np.arange(len(crops), dtype=np.int64)[:, None]
    return np.asarray(ClipDataset(crops, n_frames).positions, dtype=np.int64)


def _pool(videos: Videos, units: Members, dataset: str, label: int) -> Pool:
    """Return the videos of a dataset and label that have something to draw, sorted by id."""
    is_of = pc.and_(
        pc.equal(videos.column("dataset"), dataset),
        pc.equal(videos.column("label"), pa.scalar(label, pa.int8())),
    )
    chosen = np.asarray(is_of, dtype=bool) & (units.sizes > 0)
    order = np.asarray(pc.sort_indices(videos.column("video_id")), dtype=np.int64)
    return order[chosen[order]]


def _groups(
    videos: Videos, real: Pool, fake: Pool, needs: BatchNeeds
) -> tuple[tuple[Pool, ...], ...]:
    """Return, for each genuine video with forgeries by all methods, itself and those by each."""
    originals = pc.index_in(videos.column("original_id"), videos.column("video_id"))
    original = np.asarray(pc.fill_null(originals, -1), dtype=np.int64)[fake]
    methods = np.asarray(videos.column("method").to_pylist(), dtype=object)[fake]
    found = []
    for video in real.tolist():
        pools = [fake[(original == video) & (methods == method)] for method in needs.methods]
        if all(len(pool) for pool in pools):
            found.append((np.array([video]), *pools))
    return tuple(found)
