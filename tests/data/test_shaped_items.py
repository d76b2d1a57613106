"""Training items by 68 or 81 landmarks: masks and cut-outs follow them, all else goes on."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from dfdetect.data.augment import AugmentSettings
from dfdetect.data.crops import CropStore
from dfdetect.data.face_shape import fit_shape
from dfdetect.data.landmarks import FaceName, LandmarkFile
from dfdetect.data.shapes import Shapes, shapes_of
from dfdetect.data.training_items import Source, TrainingItem, TrainingItems
from dfdetect.detectors.base import BatchNeeds, Preprocess
from dfdetect.errors import UsageError
from dfdetect.types import CropPolicy, Image
from tests.stores import SCALE, clip_row, make_clips

WHOLE = Preprocess(96, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", SCALE, 96))
AS_STORED = AugmentSettings(
    scale_low=SCALE, scale_high=SCALE, shift=0, flip=0, colour=0, grey=0, blur=0, resize=0,
    noise=0, jpeg=0,
)  # fmt: skip
MASKS = BatchNeeds(masks=True)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    """Three people, four frames each."""
    folder = tmp_path_factory.mktemp("stores") / "people"
    return make_clips(folder, portrait, [clip_row(name) for name in "abc"], 4)


def fitted(store: CropStore, size: float = 1.0, shift: float = 0.0) -> NDArray[np.float64]:
    """Return 68 points in the crop of every face of `people`, larger and further to the right."""
    shape = fit_shape(store.crops[0].landmarks)[:68]
    middle = shape.mean(0)
    placed: NDArray[np.float64] = (shape - middle) * size + middle + np.array([shift, 0])
    return placed


def shapes(store: CropStore, points: NDArray[np.float64], videos: str = "abc") -> Shapes:
    """Return these points for every crop of some videos."""
    names = [row.crop_id for row in store.crops if row.video_id in videos]
    positions: dict[FaceName, int] = {(name, None): n for n, name in enumerate(names)}
    return shapes_of([store], "train", [LandmarkFile(np.stack([points] * len(names)), positions)])


def items(
    store: CropStore,
    given: Shapes | None,
    needs: BatchNeeds = MASKS,
    blend: str = "self",
    **changes: object,
) -> TrainingItems:
    told = dataclasses.replace(AS_STORED, **changes)  # type: ignore[arg-type]
    sources = [Source("d", 1, 1.0, blend)]
    return TrainingItems([store], sources, WHOLE, told, 3, 40, needs, shapes=given)


def forged(given: TrainingItems) -> NDArray[np.bool_]:
    """Return where the masks of 30 items are not 0, 30 × S × S."""
    masks = [item.masks for item in (given[n] for n in range(30)) if item.masks is not None]
    return np.stack([mask[0, 1] > 0.02 for mask in masks])


@pytest.mark.parametrize("blend", ["self", "xray"])
def test_masks_follow_the_points_that_are_given(people: CropStore, blend: str) -> None:
    by_size = {
        size: forged(items(people, shapes(people, fitted(people, size)), blend=blend))
        for size in (0.75, 1.2)
    }
    assert by_size[0.75].mean() < 0.75 * by_size[1.2].mean()
    # a face that lies further to the right is forged further to the right
    side = np.ptp(fitted(people), axis=0).max()
    moved = {
        way: forged(items(people, shapes(people, fitted(people, shift=way * side)), blend=blend))
        for way in (-0.1, 0.1)
    }
    left, right = (np.nonzero(moved[way])[2].mean() for way in (-0.1, 0.1))
    assert right - left == pytest.approx(0.2 * side, rel=0.3)


def same(one: TrainingItem, other: TrainingItem) -> bool:
    masks = (one.masks, other.masks)
    alike = all(mask is None for mask in masks) or np.array_equal(*masks)  # type: ignore[arg-type]
    return alike and np.array_equal(one.images, other.images)


def test_crops_that_the_files_do_not_know_go_on_with_five(people: CropStore) -> None:
    points = fitted(people)
    some, every = (items(people, shapes(people, points, known)) for known in ("a", "abc"))
    plain = items(people, None)
    as_plain = [same(some[n], plain[n]) for n in range(30)]
    as_every = [same(some[n], every[n]) for n in range(30)]
    assert np.array_equal(as_plain, np.logical_not(as_every))
    # a third of the faces is known
    assert 3 <= sum(as_every) <= 17


def test_items_are_the_same_in_another_process_and_after_a_resume(people: CropStore) -> None:
    first = items(people, shapes(people, fitted(people, 0.9), "ab"), flip=0.5, cutout=0.5)
    # what a worker that is spawned receives
    again: TrainingItems = pickle.loads(pickle.dumps(first))
    for n in (7, 3, 11):
        assert same(first[n], again[n])


def test_cutouts_follow_the_points_that_are_given(people: CropStore) -> None:
    def covered(given: Shapes | None) -> float:
        cut, whole = (items(people, given, cutout=share) for share in (1.0, 0.0))
        pairs = [(cut[n].images[0][0], whole[n].images[0][0]) for n in range(20)]
        return float(np.mean([(one != other).any(axis=2).mean() for one, other in pairs]))

    small = shapes(people, fitted(people, 0.75))
    assert covered(small) < 0.8 * covered(shapes(people, fitted(people)))


def test_blends_are_called_by_what_they_were_made_by(people: CropStore) -> None:
    some = shapes(people, fitted(people), "ab")
    assert items(people, None).blended_as == (("sbi-5pt", 12),)
    assert items(people, some).blended_as == (("sbi", 8), ("sbi-5pt", 4))
    assert items(people, some, blend="xray").blended_as == (("xray", 8), ("xray-5pt", 4))
    # two sources of the same faces do not make more of them
    twice = [Source("d", weight, 1) for weight in (1, 2)]
    both = TrainingItems([people], twice, WHOLE, AS_STORED, 0, 4, MASKS, shapes=some)
    assert both.blended_as == (("sbi", 8), ("sbi-5pt", 4))


def test_the_frames_of_a_clip_are_blended_by_as_many_points(people: CropStore) -> None:
    every = shapes(people, fitted(people, 0.8))
    # the second frame of each video is left out: a clip of its first two has points for one
    missing = dataclasses.replace(every, starts=every.starts.copy())
    for video in range(3):
        missing.starts[4 * video + 2 :] -= 68
    missing = dataclasses.replace(missing, points=every.points[: missing.starts[-1]])
    clips, five = BatchNeeds(frames=2), items(people, None, BatchNeeds(frames=2))
    partly, fully = items(people, missing, clips), items(people, every, clips)
    assert dict(fully.blended_as).keys() == {"sbi"}
    assert dict(partly.blended_as)["sbi-5pt"] > 0
    assert any(same(partly[n], five[n]) for n in range(20))
    assert not any(same(fully[n], five[n]) for n in range(20))


def test_the_batched_blend_refuses_them(people: CropStore) -> None:
    given = shapes(people, fitted(people))
    with pytest.raises(UsageError, match=r"68 or 81 landmarks .* trainer\.blend_on=loader"):
        TrainingItems(
            [people], [Source("d", 1, 1.0)], WHOLE, AS_STORED, 0, 4, blends=False, shapes=given
        )
