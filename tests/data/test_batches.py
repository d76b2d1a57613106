"""Training pairs: balanced, repeatable, of the train split only; scoring rows in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfdetect.data.batches import (
    crop_scale,
    require_distinct,
    scoring_batches,
    split_faces,
)
from dfdetect.data.crops import CropStore
from dfdetect.data.shards import Crops
from dfdetect.data.videos import Videos
from dfdetect.detectors.base import Preprocess
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import CropPolicy, Image
from tests.stores import SCALE, make_store

SMALL = Preprocess(32, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.3, 32))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    return make_store(tmp_path_factory.mktemp("stores") / "toy", portrait, n_videos=4)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("stores") / "genuine"
    return make_store(folder, portrait, "genuine", n_videos=3, fakes=False)


# scoring


def test_scoring_rows_keep_their_order_and_keys(toy: CropStore) -> None:
    faces = split_faces([toy], "val")
    batches = list(scoring_batches(faces, SMALL, batch_size=5))
    assert [len(batch.keys) for batch in batches] == [5, 5, 5, 1]
    keys = [key.video_id for batch in batches for key in batch.keys]
    assert keys == [face.key.video_id for face in faces]
    assert keys == sorted(keys)
    assert all(batch.images.shape[1:] == (32, 32, 3) for batch in batches)
    again = list(scoring_batches(faces, SMALL, batch_size=16))
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), again[0].images)


def test_a_split_holds_its_own_videos_only(toy: CropStore) -> None:
    for split in ("train", "val", "test"):
        faces = split_faces([toy], split)
        assert len(faces) == 16
        assert {video.split for video in faces.videos} == {split}


def test_faces_of_a_video_are_spread_over_it(tmp_path: Path, portrait: Image) -> None:
    store = make_store(tmp_path / "long", portrait, n_videos=1, n_frames=8, splits=("val",))
    frames = [face.key.frame_index for face in split_faces([store], "val", 2)]
    assert frames == [2, 6, 2, 6]
    assert len(split_faces([store], "val", 99)) == 16


def test_faces_are_a_sequence(toy: CropStore) -> None:
    faces = split_faces([toy], "test")
    every_second = faces[1::2]
    assert [face.key for face in every_second] == [face.key for face in faces][1::2]
    face = faces[-1]
    assert face.video == toy.videos.by_id[face.key.video_id]
    assert face.crop_scale == SCALE
    assert len(faces.videos) == 8


# stores


def test_the_scale_comes_from_the_record_of_the_extraction(toy: CropStore, tmp_path: Path) -> None:
    assert crop_scale(toy) == SCALE
    lost = CropStore(tmp_path, Crops.of(()), Videos.of(()), "")
    with pytest.raises(ContractError, match="extract again"):
        crop_scale(lost)


def test_a_video_in_two_stores_is_refused(toy: CropStore, genuine: CropStore) -> None:
    require_distinct([toy, genuine])
    with pytest.raises(UsageError, match="name one of them"):
        require_distinct([toy, toy])
