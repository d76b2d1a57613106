"""Training pairs: balanced, repeatable, of the train split only; scoring rows in order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.data.augment import NO_AUGMENT, AugmentSettings
from dfdetect.data.batches import (
    Source,
    TrainingPairs,
    crop_scale,
    labels_of,
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
WHOLE = Preprocess(96, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", SCALE, 96))
AS_STORED = AugmentSettings(
    scale_low=SCALE, scale_high=SCALE, shift=0, flip=0, colour=0, grey=0, blur=0, resize=0,
    noise=0, jpeg=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    return make_store(tmp_path_factory.mktemp("stores") / "toy", portrait, n_videos=4)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("stores") / "genuine"
    return make_store(folder, portrait, "genuine", n_videos=3, fakes=False)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("stores") / "blind"
    return make_store(folder, portrait, "blind", n_videos=3, fakes=False, landmarks=False)


def pairs_of(
    stores: list[CropStore],
    sources: list[Source],
    preprocess: Preprocess = SMALL,
    told: AugmentSettings = NO_AUGMENT,
    seed: int = 0,
    n_pairs: int = 200,
) -> TrainingPairs:
    return TrainingPairs(stores, sources, preprocess, told, seed, n_pairs)


def known(store: CropStore) -> dict[bytes, tuple[str, int]]:
    return {
        store.image(crop).tobytes(): (
            store.videos.by_id[crop.video_id].split or "",
            store.videos.by_id[crop.video_id].label,
        )
        for crop in store.usable()
    }


# pairs


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), position=st.integers(0, 199))
def test_a_pair_is_a_function_of_seed_and_position(
    toy: CropStore, seed: int, position: int
) -> None:
    told = AugmentSettings()
    first = pairs_of([toy], [Source("toy", 1, 0.5)], told=told, seed=seed)
    again = pairs_of([toy], [Source("toy", 1, 0.5)], told=told, seed=seed)
    # whatever was asked before must not matter
    again[(position + 1) % 200]
    assert np.array_equal(first[position], again[position])


def test_positions_and_seeds_give_different_pairs(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 1.0)])
    other = pairs_of([toy], [Source("toy", 1, 1.0)], seed=1)
    assert len({pairs[i].tobytes() for i in range(30)}) == 30
    assert not np.array_equal(pairs[0], other[0])


def test_halves_are_genuine_and_forged_and_of_the_train_split(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 0.0)], WHOLE, AS_STORED)
    seen = known(toy)
    for position in range(40):
        real, fake = pairs[position]
        assert seen[real.tobytes()] == ("train", 0)
        assert seen[fake.tobytes()] == ("train", 1)


def test_every_training_video_is_drawn(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 0.0)], WHOLE, AS_STORED)
    drawn = {half.tobytes() for position in range(150) for half in pairs[position]}
    train = {content for content, (split, _) in known(toy).items() if split == "train"}
    assert drawn == train


def test_blended_halves_differ_in_the_face_alone(genuine: CropStore) -> None:
    pairs = pairs_of([genuine], [Source("genuine", 1, 1.0)], WHOLE, AS_STORED)
    shares = []
    for position in range(40):
        real, fake = pairs[position]
        differs = (real != fake).any(axis=2)
        assert not differs[:3].any()
        shares.append(differs.mean())
    assert 0.01 < np.mean(shares) < 0.7


def test_weights_and_blend_shares_are_kept(toy: CropStore, genuine: CropStore) -> None:
    sources = [Source("toy", 3, 0.25), Source("genuine", 1, 1.0)]
    pairs = pairs_of([toy, genuine], sources, WHOLE, AS_STORED, n_pairs=400)
    forged = {content for content, (_, label) in known(toy).items() if label == 1}
    stored = sum(pairs[position][1].tobytes() in forged for position in range(400))
    # 400 · 3/4 · 3/4 = 225, standard deviation 10
    assert 185 < stored < 265


def test_a_weight_of_zero_is_never_drawn(toy: CropStore, genuine: CropStore) -> None:
    sources = [Source("toy", 0, 0.0), Source("genuine", 1, 1.0)]
    pairs = pairs_of([toy, genuine], sources, WHOLE, AS_STORED)
    forged = {content for content, (_, label) in known(toy).items() if label == 1}
    assert not any(pairs[position][1].tobytes() in forged for position in range(60))


def test_positions_beyond_the_end_end_the_iteration(toy: CropStore) -> None:
    pairs = pairs_of([toy], [Source("toy", 1, 0.0)], n_pairs=3)
    assert len(pairs) == 3
    with pytest.raises(IndexError):
        pairs[3]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "positive weight"),
        ([Source("toy", 0, 0.0)], "positive weight"),
        ([Source("toy", -1, 0.0), Source("genuine", 2, 1.0)], "positive weight"),
        ([Source("absent", 1, 0.0)], "no genuine training faces of 'absent'"),
        ([Source("genuine", 1, 0.5)], "no forged training faces of 'genuine'"),
    ],
)
def test_a_mixture_that_cannot_be_drawn_is_refused(
    toy: CropStore, genuine: CropStore, sources: list[Source], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        pairs_of([toy, genuine], sources)


def test_faces_without_landmarks_cannot_be_blended(blind: CropStore) -> None:
    with pytest.raises(UsageError, match="landmarks"):
        pairs_of([blind], [Source("blind", 1, 1.0)])


def test_labels_follow_the_order_of_pairs() -> None:
    assert labels_of(3).tolist() == [0, 1, 0, 1, 0, 1]
    assert Counter(labels_of(16).tolist()) == {0.0: 16, 1.0: 16}


# scoring


def test_scoring_rows_keep_their_order_and_keys(toy: CropStore) -> None:
    faces = split_faces([toy], "val")
    batches = list(scoring_batches(faces, SMALL, batch_size=5))
    assert [len(batch.keys) for batch in batches] == [5, 5, 5, 1]
    keys = [key.video_id for batch in batches for key in batch.keys]
    assert keys == [face.crop.video_id for face in faces]
    assert all(batch.images.shape[1:] == (32, 32, 3) for batch in batches)
    again = list(scoring_batches(faces, SMALL, batch_size=16))
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), again[0].images)


def test_a_split_holds_its_own_videos_only(toy: CropStore) -> None:
    for split in ("train", "val", "test"):
        faces = split_faces([toy], split)
        assert len(faces) == 16
        assert {toy.videos.by_id[face.crop.video_id].split for face in faces} == {split}


def test_faces_of_a_video_are_spread_over_it(tmp_path: Path, portrait: Image) -> None:
    store = make_store(tmp_path / "long", portrait, n_videos=1, n_frames=8, splits=("val",))
    frames = [face.crop.frame_index for face in split_faces([store], "val", 2)]
    assert frames == [2, 6, 2, 6]
    assert len(split_faces([store], "val", 99)) == 16


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
