"""Crops by number, pairs and clips: what is stored comes out, wherever and however it is asked."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dfdetect.data import loading
from dfdetect.data.crops import CropStore
from dfdetect.data.groups import ClipDataset, GroupDataset, PairDataset
from dfdetect.data.items import CropItem, Draw, LabelledBatch, collate
from dfdetect.data.loading import CropDataset
from dfdetect.data.samplers import ClassBalanced, EveryRow
from dfdetect.data.shards import CropRow
from dfdetect.data.videos import ManifestRow
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import Image
from tests.stores import SCALE, clip_row, make_store, write_store


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("loading") / "toy"
    return make_store(folder, portrait, n_videos=4, n_frames=3, shard_crops=10)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("loading") / "blind"
    return make_store(folder, portrait, "blind", n_videos=2, fakes=False, landmarks=False)


def tracks_of(
    folder: Path, videos: list[ManifestRow], tracks: dict[str, list[tuple[int, int]]]
) -> CropStore:
    """Write a store with a crop for each (track, frame) of every video, of a grey of its own."""
    cuts = []
    for video_id, places in tracks.items():
        for track, frame in places:
            crop_id = f"{video_id}/{frame:06d}_{track:02d}"
            row = CropRow(crop_id, video_id, track, frame, frame / 25, "ok")
            cuts.append((row, np.full((16, 16, 3), len(cuts) % 256, np.uint8)))
    return write_store(folder, videos, cuts)


def darker(image: Image, rng: np.random.Generator) -> Image:
    return (image * rng.uniform(0, 1)).astype(np.uint8)


def same(first: CropItem, second: CropItem) -> bool:
    return first == second and np.array_equal(first.image, second.image)


# one crop


def test_items_are_what_the_tables_and_shards_say(toy: CropStore, blind: CropStore) -> None:
    crops = CropDataset([toy, blind])
    rows = [(store, row) for store in (toy, blind) for row in store.usable()]
    assert len(crops) == len(rows) == 84
    for item, (store, row) in zip(crops, rows, strict=True):
        told = store.videos.by_id[row.video_id]
        assert np.array_equal(item.image, store.image(row))
        assert item.key == row.key
        assert item.label == told.label
        facts = item.facts
        assert (facts.dataset, facts.method, facts.split) == (told.dataset, told.method, told.split)
        assert facts.source_ids == told.source_ids
        assert facts.landmarks == row.landmarks
        assert facts.crop_scale == SCALE
    assert crops.labels.tolist() == [store.videos.by_id[row.video_id].label for store, row in rows]
    assert crops.store_numbers.tolist() == [0] * 72 + [1] * 12


@pytest.mark.parametrize("split", ["train", "val", "test", None])
def test_a_split_is_the_stores_own(toy: CropStore, split: str | None) -> None:
    crops = CropDataset([toy], split)
    assert [crops.key(i) for i in range(len(crops))] == [row.key for row in toy.usable(split)]
    assert len(crops.videos) == len({row.video_id for row in toy.usable(split)})


def test_positions_count_from_either_end(toy: CropStore) -> None:
    crops = CropDataset([toy], "val")
    assert same(crops[-1], crops[len(crops) - 1])
    for position in (len(crops), -len(crops) - 1):
        with pytest.raises(IndexError):
            crops[position]


def test_rows_without_a_picture_are_no_items(tmp_path: Path) -> None:
    grey = np.full((16, 16, 3), 9, np.uint8)
    lost = CropRow("a/no_face", "a", -1, 5, 0.2, "no_face")
    cuts = [(CropRow("a/0", "a", 0, 0, 0.0, "ok"), grey), (lost, None)]
    store = write_store(tmp_path / "s", [clip_row("a"), clip_row("b")], cuts)
    crops = CropDataset([store])
    assert [crops.key(i).frame_index for i in range(len(crops))] == [0]
    # a video without any crop is none to draw from
    assert crops.videos.column("video_id").to_pylist() == ["a"]
    assert len(CropDataset([store], "test")) == 0


def test_a_video_in_two_stores_is_refused(toy: CropStore) -> None:
    with pytest.raises(UsageError, match="name one of them"):
        CropDataset([toy, toy])


def test_a_crop_costs_less_than_200_bytes(toy: CropStore) -> None:
    columns = CropDataset([toy]).columns
    assert columns.nbytes <= 80 * len(columns.video)


def test_loading_needs_no_torch() -> None:
    program = (
        "import sys, dfdetect.data.groups, dfdetect.data.streaming; print('torch' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"


# damage


@pytest.mark.parametrize("damage", ["cut", "flip", "zero", "gone"])
def test_a_damaged_crop_raises_and_names_its_place(
    tmp_path: Path, portrait: Image, damage: str
) -> None:
    store = make_store(tmp_path / "toy", portrait, n_videos=1, splits=("train",))
    row = store.usable()[3]
    assert row.shard is not None and row.offset is not None and row.size is not None  # noqa: PT018
    path = store.folder / row.shard
    content = bytearray(path.read_bytes())
    middle = row.offset + row.size // 2
    if damage == "cut":
        del content[middle:]
    elif damage == "flip":
        content[middle] ^= 0x10
    else:
        content[row.offset : row.offset + row.size] = bytes(row.size)
    path.write_bytes(content)
    if damage == "gone":
        path.unlink()
    crops = CropDataset([store])
    with pytest.raises(ContractError, match=f"{path}.* at byte {row.offset}"):
        crops[3]
    if damage != "gone":
        assert np.array_equal(crops[0].image, store.image(store.usable()[0]))


def test_a_store_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    def written(grey: int) -> CropStore:
        picture = np.full((16, 16, 3), grey, np.uint8)
        cut = (CropRow("a/0", "a", 0, 0, 0.0, "ok"), picture)
        return write_store(tmp_path / str(grey), [clip_row("a")], [cut])

    first = CropDataset([written(10)])
    assert first[0].image.max() == 10
    second = written(200)
    (tmp_path / "10").rename(tmp_path / "old")
    (tmp_path / "200").rename(tmp_path / "10")
    moved = replace(second, folder=tmp_path / "10")
    assert CropDataset([moved])[0].image.max() == 200


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are not listed here")
def test_open_shards_are_bounded_and_closed(tmp_path: Path, portrait: Image) -> None:
    store = make_store(tmp_path / "toy", portrait, n_videos=20, splits=("train",), shard_crops=2)

    def n_open() -> int:
        # what a descriptor leads to; some lead to nothing that has a path, or are closed by now
        leads = [str(one.resolve()) for one in Path("/proc/self/fd").iterdir()]
        # tables are closed by threads of their reader, whenever these come to it
        ours = [one for one in leads if one.startswith(str(tmp_path.resolve()))]
        return sum(one.endswith(".tar") for one in ours)

    crops = CropDataset([store])
    for position in range(len(crops)):
        crops[position]
    assert n_open() == 16
    loading._opened.cache_clear()
    assert n_open() == 0


def test_threads_may_read_at_once(toy: CropStore) -> None:
    crops = CropDataset([toy])
    wanted = [crops.image(i) for i in range(len(crops))]
    wrong: list[int] = []

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(crops)).tolist()
        wrong.extend(i for i in order if not np.array_equal(crops.image(i), wanted[i]))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# chance


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), epoch=st.integers(0, 99), position=st.integers(0, 71))
def test_a_transform_gets_chance_of_seed_epoch_and_position(
    toy: CropStore, seed: int, epoch: int, position: int
) -> None:
    first, again = (CropDataset([toy], None, darker, seed) for _ in range(2))
    for crops in (first, again):
        crops.set_epoch(epoch)
    # whatever was asked before must not matter
    again[(position + 1) % 72]
    assert same(first[position], again[position])
    # a draw brings its own epoch and number
    drawn = Draw.of(position, epoch=epoch, number=position)
    again.set_epoch(epoch + 1)
    assert same(first[position], again[drawn])
    assert not np.array_equal(first[position].image, again[position].image)


def test_a_draw_survives_the_way_to_a_worker() -> None:
    draw = pickle.loads(pickle.dumps(Draw.of(7, epoch=2, number=9)))
    assert (draw, draw.epoch, draw.number) == (7, 2, 9)


# loaders


@pytest.mark.parametrize("workers", [(1, "fork"), (2, "fork"), (2, "spawn")])
def test_loaders_give_the_same_batches_with_any_workers(
    toy: CropStore, workers: tuple[int, str]
) -> None:
    crops = CropDataset([toy], "train", darker, seed=3)
    crops[0]  # the parent has a shard open when it forks
    sampler = ClassBalanced(crops.population, 30, seed=5)

    def batches(n_workers: int, start: str | None) -> list[LabelledBatch]:
        loader = DataLoader(
            crops, 8, sampler=sampler, num_workers=n_workers, collate_fn=collate,
            multiprocessing_context=start, persistent_workers=start == "spawn",
        )  # fmt: skip
        return [batch for epoch in (0, 1) if sampler.set_epoch(epoch) is None for batch in loader]

    alone, shared = batches(0, None), batches(*workers)
    assert len(alone) == len(shared) == 8
    for first, second in zip(alone, shared, strict=True):
        assert first.crops.keys == second.crops.keys
        assert type(second.crops.images) is np.ndarray
        assert np.array_equal(first.crops.images, second.crops.images)
        assert first.labels.tolist() == second.labels.tolist()
    assert not np.array_equal(alone[0].crops.images, alone[4].crops.images)


def test_workers_that_outlive_an_epoch_draw_new_chance(toy: CropStore) -> None:
    crops = CropDataset([toy], "train", darker)
    sampler = EveryRow(4)
    loader = DataLoader(
        crops, 4, sampler=sampler, num_workers=1, collate_fn=collate, persistent_workers=True
    )
    first = next(iter(loader)).crops.images
    sampler.set_epoch(1)
    second = next(iter(loader)).crops.images
    crops.set_epoch(1)
    wanted = np.stack([crops[i].image for i in range(4)])
    assert not np.array_equal(first, second)
    assert np.array_equal(second, wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_an_error_in_a_worker_reaches_the_reader(tmp_path: Path, portrait: Image) -> None:
    store = make_store(tmp_path / "toy", portrait, n_videos=1, splits=("train",))
    crops = CropDataset([store])
    (tmp_path / "toy" / "shards" / "000000.tar").write_bytes(b"")
    with pytest.raises(ContractError, match=r"000000\.tar"):
        list(DataLoader(crops, 2, num_workers=1, collate_fn=collate))


def test_sizes_that_do_not_fit_are_refused(toy: CropStore, tmp_path: Path) -> None:
    small = tracks_of(tmp_path / "small", [clip_row("a")], {"a": [(0, 0)]})
    crops = CropDataset([toy, small])
    with pytest.raises(UsageError, match="transform"):
        collate([crops[0], crops[-1]])


# pairs


def test_a_fake_meets_its_original_at_the_nearest_frame(tmp_path: Path) -> None:
    videos = [
        clip_row("fake", 1, original_id="real", source_ids=("x",)),
        clip_row("other", source_ids=("x",)),
        clip_row("real", source_ids=("y",)),
    ]
    tracks = {
        "fake": [(0, 0), (0, 10), (1, 10), (2, 10), (0, 29), (0, 99)],
        "other": [(0, 0), (0, 10)],
        "real": [(0, 2), (0, 10), (1, 10), (0, 20), (0, 40)],
    }
    pairs = PairDataset(CropDataset([tracks_of(tmp_path / "s", videos, tracks)]))
    found = [
        (fake.key.track_id, fake.key.frame_index, real.key.track_id, real.key.frame_index)
        for real, fake in pairs
    ]
    assert {real.key.video_id for real, _ in pairs} == {"real"}
    assert found == [
        (0, 0, 0, 2), (0, 10, 0, 10), (1, 10, 1, 10), (2, 10, 0, 10), (0, 29, 0, 20), (0, 99, 0, 40)
    ]  # fmt: skip
    assert pairs.n_without == {}


def test_a_fake_without_an_original_meets_who_it_shows(tmp_path: Path) -> None:
    videos = [
        clip_row("ann1", source_ids=("ann",)),
        clip_row("ann2", source_ids=("ann",)),
        clip_row("ann_as_bob", 1, source_ids=("bob", "ann")),
        clip_row("ann_as_eve", 1, source_ids=("ann", "eve")),
        clip_row("eve_as_joe", 1, source_ids=("eve", "joe"), original_id="not here"),
        # a person's name in another dataset is nobody's here
        clip_row("far", source_ids=("joe",), dataset="e"),
    ]
    tracks = {row.video_id: [(0, 0), (0, 1)] for row in videos}
    pairs = PairDataset(CropDataset([tracks_of(tmp_path / "s", videos, tracks)]))
    assert pairs.n_without == {"eve_as_joe": 2}
    shown = {(fake.key.video_id, real.key.video_id) for real, fake in pairs}
    # the fakes of a person are spread over the person's videos
    assert shown == {("ann_as_bob", "ann1"), ("ann_as_eve", "ann2")}
    assert all(real.key.frame_index == fake.key.frame_index for real, fake in pairs)


@settings(max_examples=20, deadline=None)
@given(
    real=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=12),
    fake=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=12),
)
def test_pairs_are_those_of_an_exhaustive_search(
    tmp_path_factory: pytest.TempPathFactory, real: set[tuple[int, int]], fake: set[tuple[int, int]]
) -> None:
    videos = [clip_row("f", 1, original_id="r"), clip_row("q", source_ids=("f",)), clip_row("r")]
    tracks = {"f": sorted(fake), "q": [(0, 0), (1, 30)], "r": sorted(real)}
    crops = CropDataset([tracks_of(tmp_path_factory.mktemp("p") / "s", videos, tracks)])
    for first, second in PairDataset(crops).positions.tolist():
        ours, theirs = crops.key(first), crops.key(second)
        assert ours.video_id == "r"
        best = min(
            real,
            key=lambda one: (
                abs(one[1] - theirs.frame_index), one[1], one[0] != theirs.track_id, one[0],
            ),
        )  # fmt: skip
        assert (ours.track_id, ours.frame_index) == best


def test_pairs_are_changed_alike(toy: CropStore) -> None:
    def bright(image: Image, rng: np.random.Generator) -> Image:
        return np.full_like(image, rng.integers(256))

    crops = CropDataset([toy], "train", bright)
    pairs = PairDataset(crops)
    assert len(pairs) == 12
    for real, fake in pairs:
        assert (real.label, fake.label) == (0, 1)
        assert real.image[0, 0, 0] == fake.image[0, 0, 0]
    views = GroupDataset(crops, np.repeat(np.arange(len(crops))[:, None], 2, axis=1), alike=False)
    assert sum(first.image[0, 0, 0] == second.image[0, 0, 0] for first, second in views) < 4
    assert all(first.key == second.key for first, second in views)
    batch = collate([pairs[0], pairs[1]])
    assert batch.labels.tolist() == [0, 1, 0, 1]


# clips


def test_clips_are_consecutive_crops_of_one_track(tmp_path: Path) -> None:
    # rows of two tracks lie mixed, as trackers leave them, and not in order of time
    places = [(frame % 2, frame) for frame in (3, 1, 0, 2, 5, 4, 7, 6, 8)]
    store = tracks_of(tmp_path / "s", [clip_row("a"), clip_row("b")], {"b": [(0, 9)], "a": places})
    clips = ClipDataset(CropDataset([store]), 2)
    frames = [[item.key.frame_index for item in clip] for clip in clips]
    assert sorted(frames) == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert clips.n_too_short == {"b": 1}
    assert clips.n_unused == 2
    assert all(len({item.key.track_id for item in clip}) == 1 for clip in clips)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({}, [[0, 1, 2], [3, 4, 5]]),
        ({"stride": 2}, [[0, 1, 2], [2, 3, 4], [4, 5, 6]]),
        ({"step": 3}, [[0, 3, 6]]),
        ({"step": 2, "stride": 1}, [[0, 2, 4], [1, 3, 5], [2, 4, 6]]),
        ({"step": 4}, []),
        ({"step": 4, "short": "repeat"}, [[0, 4, 6]]),
    ],
)
def test_step_and_stride(tmp_path: Path, told: dict[str, int], wanted: list[list[int]]) -> None:
    store = tracks_of(tmp_path / "s", [clip_row("a")], {"a": [(0, frame) for frame in range(7)]})
    clips = ClipDataset(CropDataset([store]), 3, **told)
    assert [[item.key.frame_index for item in clip] for clip in clips] == wanted


def test_short_tracks_are_skipped_or_repeated_and_counted(tmp_path: Path) -> None:
    tracks = {"a": [(0, 0), (0, 5), (1, 5)], "b": [(0, frame) for frame in range(4)]}
    crops = CropDataset([tracks_of(tmp_path / "s", [clip_row("a"), clip_row("b")], tracks)])
    skipped, repeated = ClipDataset(crops, 4), ClipDataset(crops, 4, short="repeat")
    assert skipped.n_too_short == repeated.n_too_short == {"a": 2}
    assert (len(skipped), skipped.n_unused) == (1, 3)
    assert [[item.key.frame_index for item in clip] for clip in repeated] == [
        [0, 5, 5, 5], [5, 5, 5, 5], [0, 1, 2, 3]
    ]  # fmt: skip
    assert repeated.n_unused == 0
    # the samplers draw clips as they draw crops
    assert sorted(repeated.population.videos.tolist()) == [0, 0, 1]


@pytest.mark.parametrize("told", [{"n_frames": 0}, {"step": 0}, {"stride": 0}, {"short": "pad"}])
def test_clips_that_cannot_be_are_refused(toy: CropStore, told: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ClipDataset(CropDataset([toy]), **{"n_frames": 2, **told})
