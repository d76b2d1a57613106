"""Clips for scoring: which crops are in one, how many of a video, and their pictures."""

import numpy as np
import pytest

from dfdetect.data.augment import face_region
from dfdetect.data.scoring_clips import clip_batches, split_clips
from dfdetect.data.shards import CropStore
from dfdetect.detectors.base import Preprocess
from dfdetect.types import CropPolicy, Image
from tests.stores import SCALE, make_store

PREPROCESS = Preprocess(32, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.3, 32))
N_FRAMES = 11


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("stores") / "toy"
    return make_store(folder, portrait, n_videos=3, n_frames=N_FRAMES, splits=("train", "val"))


def test_clips_follow_each_other(store: CropStore) -> None:
    clips = split_clips([store], "val", 4)
    assert len(clips) == 6 * 2
    assert len(clips.videos) == 6
    frames = [[face.key.frame_index for face in clip.faces] for clip in clips]
    assert sorted(frames) == [[0, 1, 2, 3]] * 6 + [[4, 5, 6, 7]] * 6
    for clip in clips:
        assert clip.key == clip.faces[2].key
        assert len({(face.key.video_id, face.key.track_id) for face in clip.faces}) == 1
        assert clip.faces[0].video.split == "val"


@pytest.mark.parametrize(
    ("per_video", "firsts"),
    [(1, [4]), (4, [2, 6]), (9, [0, 2, 6, 8]), (99, [0, 2, 4, 6, 8])],
)
def test_few_of_a_video_are_spread_over_it(
    store: CropStore, per_video: int, firsts: list[int]
) -> None:
    clips = split_clips([store], "val", 2, per_video)
    for video in clips.videos:
        found = [
            clip.faces[0].key.frame_index for clip in clips if clip.key.video_id == video.video_id
        ]
        assert found == firsts


def test_batches_hold_the_pictures_in_order(store: CropStore) -> None:
    clips = split_clips([store], "val", 4)
    batches = list(clip_batches(clips, PREPROCESS, batch_faces=20))
    assert [batch.images.shape for batch in batches] == [(5, 4, 32, 32, 3)] * 2 + [
        (2, 4, 32, 32, 3)
    ]
    assert [key for batch in batches for key in batch.keys] == [clip.key for clip in clips]
    images = np.concatenate([batch.images for batch in batches])
    for clip, pictures in zip(clips, images, strict=True):
        for face, picture in zip(clip.faces, pictures, strict=True):
            expected = face_region(face.image(), SCALE, 1.3, 32)
            np.testing.assert_array_equal(picture, expected)
    assert len(list(clip_batches(clips, PREPROCESS, batch_faces=1))) == 12
    assert list(clip_batches(clips[:0], PREPROCESS)) == []


def test_a_slice_is_of_the_same_kind(store: CropStore) -> None:
    clips = split_clips([store], "val", 4)
    assert [one.key for one in clips[1::2]] == [clips[n].key for n in range(1, 12, 2)]
    assert len(split_clips([store], "val", 12)) == 0
