"""Training pairs and scoring rows: half genuine, a function of the seed, val evenly spread."""

from __future__ import annotations

import numpy as np
import pytest

from dfdetect.data.augment import NO_AUGMENT, AugmentSettings
from dfdetect.data.batches import (
    Source,
    TrainingPairs,
    crop_scale,
    require_distinct,
    scoring_batches,
    split_faces,
)
from dfdetect.data.crops import CropStore
from dfdetect.detectors.base import Preprocess
from dfdetect.errors import UsageError
from dfdetect.types import CropPolicy

PREPROCESS = Preprocess(48, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.3, 48))


def pairs(store: CropStore, blend_share: float, seed: int = 0, plain: bool = True) -> TrainingPairs:
    settings = NO_AUGMENT if plain else AugmentSettings()
    sources = [Source("synthetic", 1.0, blend_share)]
    return TrainingPairs([store], sources, PREPROCESS, settings, seed, n_pairs=12)


def test_a_pair_is_a_function_of_seed_and_position(store: CropStore) -> None:
    one, again, other = pairs(store, 0.5, 1), pairs(store, 0.5, 1), pairs(store, 0.5, 2)
    assert all(np.array_equal(one[i], again[i]) for i in (11, 3, 0))
    assert any(not np.array_equal(one[i], other[i]) for i in range(12))


def test_blended_pairs_show_one_face_twice(store: CropStore) -> None:
    """A self-blend equals its genuine half outside the face and differs inside."""
    blended = pairs(store, 1.0)
    n_different = 0
    for position in range(12):
        real, fake = blended[position].astype(int)
        difference = np.abs(real - fake).max(axis=2)
        assert difference[:2].max() <= 1
        n_different += difference[16:36, 16:36].max() > 4
    assert n_different >= 6


def test_faces_come_from_the_train_split_and_have_the_right_label(
    store: CropStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = CropStore.image

    def watched(self: CropStore, crop: object) -> object:
        seen.append(crop.video_id)  # type: ignore[attr-defined]
        return original(self, crop)  # type: ignore[arg-type]

    monkeypatch.setattr(CropStore, "image", watched)
    plain = pairs(store, 0.0)
    for position in range(12):
        plain[position]
    rows = [store.videos[video_id] for video_id in seen]
    assert {row.split for row in rows} == {"train"}
    assert [row.label for row in rows] == [0, 1] * 12


def test_positions_out_of_range_end_the_iteration(store: CropStore) -> None:
    with pytest.raises(IndexError):
        pairs(store, 0.5)[12]


def test_scoring_takes_every_face_once_at_the_detectors_scale(store: CropStore) -> None:
    faces = split_faces([store], "val")
    batches = list(scoring_batches(faces, PREPROCESS, batch_size=3))
    keys = [key for batch in batches for key in batch.keys]
    assert len(keys) == len(set(keys)) == len(store.usable("val"))
    assert {batch.images.shape[1:] for batch in batches} == {(48, 48, 3)}
    assert crop_scale(store) == 1.6


def test_few_faces_of_a_video_are_spread_over_it(store: CropStore) -> None:
    one_each = split_faces([store], "val", per_video=1)
    assert len(one_each) == len({face.crop.video_id for face in one_each})
    assert {face.crop.video_id for face in one_each} == {
        crop.video_id for crop in store.usable("val")
    }


def test_a_video_in_two_stores_is_refused(store: CropStore) -> None:
    with pytest.raises(UsageError, match="is in"):
        require_distinct([store, store])


def test_fakes_that_are_not_there_cannot_be_asked_for(store: CropStore) -> None:
    with pytest.raises(UsageError, match="positive weight"):
        TrainingPairs([store], [], PREPROCESS, NO_AUGMENT, 0, 1)
