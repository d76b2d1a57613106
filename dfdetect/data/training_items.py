"""Crop stores → what training sees: genuine and forged faces side by side, treated alike.

Every item is a pure function of (seed, position), so a run that was interrupted goes on with
exactly the items that it would have seen, and several processes share them out by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.augment import (
    AugmentSettings,
    Landmarks,
    augment,
    augment_clip,
    augment_marked,
    augment_masked,
    require_landmarks,
)
from dfdetect.data.augment_settings import geometry_of
from dfdetect.data.blend import METHOD, METHOD_68, self_blend
from dfdetect.data.crops import CropStore
from dfdetect.data.loading import CropDataset
from dfdetect.data.opacity import Blend
from dfdetect.data.partners import Partners
from dfdetect.data.pools import Pool, frames_of, groups_of, own_forgeries, pool_of
from dfdetect.data.samplers import Members
from dfdetect.data.shapes import Shapes
from dfdetect.data.unblended import require_unblended
from dfdetect.data.xray_blend import METHOD as XRAY
from dfdetect.data.xray_blend import METHOD_68 as XRAY_68
from dfdetect.data.xray_blend import xray_blend
from dfdetect.detectors.base import BatchNeeds, Preprocess
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL, Image

GENUINE, UNLISTED = 0, -1
BLENDS = {"self": (METHOD, METHOD_68), "xray": (XRAY, XRAY_68)}
"""The kinds of blend, and what each is called by five points and by 68 or 81."""
PLAIN = BatchNeeds()

Mask = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset's part in the training mixture.

    `weight` is its share of the items, relative to the other sources; `blend_share` of its forged
    faces are blends of genuine ones. A dataset without fakes has nothing else to offer. `blend`
    says of what they are blends: `self` of a face and itself, `xray` of two people's faces. With
    `matched` a genuine face is paired with a forgery of the same video, at the frame next to its
    own, where there is one: nothing but the forgery then tells the two apart.
    """

    dataset: str
    weight: float
    blend_share: float
    blend: str = "self"
    matched: bool = False

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
    landmarks: tuple[Landmarks, ...]
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
        shapes: Shapes | None = None,
    ) -> None:
        """Collect the train split of the stores.

        Faces that `shapes` (of the train split) gives 68 or 81 points are blended and cut out by
        them, others by their five. Without `blends`, pairs that are to be self-blends are handed
        over as `TrainingItem.points` says, and no face is changed but in its geometry; then there
        may be no shapes.

        Raises:
            UsageError: A source has no genuine faces in the train split, lacks the fakes, methods
                or landmarks that are needed, all weights are zero, or a video is in two stores.
        """
        self._settings, self._seed, self._n_items = settings, seed, n_items
        self._size, self._needs = preprocess.size, needs
        self._sources, self._blends = tuple(sources), blends
        if not blends:
            require_unblended(
                any(source.blend != "self" for source in sources), settings, needs, shapes
            )
            self._settings = geometry_of(settings)
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        if not weights.size or weights.min() < 0 or weights.sum() == 0:
            raise UsageError("sources need at least one positive weight: sources.0.weight=1")
        self._weights = weights / weights.sum()
        self._crops = CropDataset(stores, "train")
        self._shapes = shapes or Shapes.none(len(self._crops))
        # what is drawn, a crop or a clip: the positions of its crops, and those of each video
        self._frames = frames_of(self._crops, needs.frames)
        video_of_unit = self._crops.columns.video[self._frames[:, 0]]
        self._units = Members.of(video_of_unit, len(self._crops.videos))
        self._real, self._fake = (
            [pool_of(self._crops.videos, self._units, source.dataset, label) for source in sources]
            for label in (REAL, FAKE)
        )
        self._video_of_unit = video_of_unit
        self._own = [
            own_forgeries(self._crops.videos, real, fake) if source.matched else {}
            for source, real, fake in zip(sources, self._real, self._fake, strict=True)
        ]
        self._groups = [
            groups_of(self._crops.videos, real, fake, needs) if needs.grouped else ()
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

    @property
    def blended_as(self) -> tuple[tuple[str, int], ...]:
        """What blends are called, as in `sbi-5pt`, and of how many faces or clips they are made.

        Whose faces have 68 or 81 points decides; those of a partner do not.
        """
        video_of_unit = self._crops.columns.video[self._frames[:, 0]]
        marked = ~np.isnan(self._crops.columns.landmarks[self._frames, 0]).any(axis=1)
        exact, counted = self._shapes.have(self._frames), dict[str, int]()
        drawn = dict.fromkeys(BLENDS, np.zeros_like(marked))
        for source, real in zip(self._sources, self._real, strict=True):
            if source.weight * source.blend_share > 0 and not self._needs.grouped:
                drawn[source.blend] = drawn[source.blend] | np.isin(video_of_unit, real)
        for kind, (by_five, by_more) in BLENDS.items():
            counted[by_five] = int((drawn[kind] & marked & ~exact).sum())
            counted[by_more] = int((drawn[kind] & marked & exact).sum())
        return tuple(sorted((name, n) for name, n in counted.items() if n))

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
        own = self._own[number].get(int(self._video_of_unit[real]))
        fake = self._draw(fakes, rng) if own is None else self._draw_beside(real, own, rng)
        return (self._face(real), self._face(fake)), treatment

    def _draw_beside(self, real: int, videos: Pool, rng: np.random.Generator) -> int:
        """Draw one of some videos; of it the crop, or clip, that is nearest in time to another."""
        video = int(videos[int(rng.integers(len(videos)))])
        first, end = self._units.starts[video : video + 2].tolist()
        units = self._units.rows[first:end]
        index = self._crops.columns.frame_index
        away = np.abs(index[self._frames[units, 0]] - index[self._frames[real, 0]])
        return int(units[int(np.argmin(away))])

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
        marks = self._marks(real)
        genuine = tuple(blend.real for blend in blends)
        forged = tuple(blend.fake for blend in blends)
        return (
            _Face(genuine, marks, scale, REAL, GENUINE, np.zeros_like(mask)),
            _Face(forged, marks, scale, FAKE, UNLISTED, mask),
        )

    def _blend(self, n: int, real: int, partner: int | None, rng: np.random.Generator) -> Blend:
        """Blend frame `n` of a genuine face with itself, or with that of a partner."""
        image, marks = self._crops.image(int(self._frames[real, n])), self._marks(real)[n]
        if partner is None:
            return self_blend(image, marks, rng)
        other = self._crops.image(int(self._frames[partner, n]))
        return xray_blend(image, marks, other, self._marks(partner)[n], rng)

    def _face(self, unit: int) -> _Face:
        places = self._frames[unit].tolist()
        facts = self._crops.facts(places[0])
        method = UNLISTED
        if facts.label == REAL:
            method = GENUINE
        elif facts.method in self._needs.methods:
            method = 1 + self._needs.methods.index(facts.method)
        pictures = tuple(self._crops.image(place) for place in places)
        return _Face(pictures, self._marks(unit), facts.crop_scale, facts.label, method)

    def _marks(self, unit: int) -> tuple[Landmarks, ...]:
        """Return each frame's points: of all of them 68, 81 or five, so that they blend alike."""
        places = self._frames[unit].tolist()
        shapes = self._shapes.of(places)
        return shapes or tuple(self._crops.landmarks(place) for place in places)

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
