"""A crop store holds a row for every sampled frame, whatever happened on the way."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.synthetic import draw_clip, write_clip
from dfdetect.data.manifest import build_manifest
from dfdetect.data.shards import Crops, decode_png, encode_png
from dfdetect.errors import ContractError, UsageError
from dfdetect.faces.finder import create_finder
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy, Frame, Image
from tests.extractions import (
    ALL_TRAIN,
    SQUARE,
    WHOLE,
    content_of,
    extract_whole,
    lay_clips,
    lay_pictures,
)

# what a store holds


def test_whole_pictures_come_back_bit_for_bit(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 10)
    summary = extract_whole(manifest, tmp_path / "data", tmp_path / "store")
    store = CropStore.open(tmp_path / "store")
    assert summary.n_by_status == (("ok", 10),)
    assert (summary.n_videos, summary.n_rows, summary.n_units) == (10, 10, 2)
    assert store.videos == manifest.rows
    for crop in store.usable():
        original = cv2.imread(str(tmp_path / "data" / store.videos.by_id[crop.video_id].path))
        assert original is not None
        assert np.array_equal(store.image(crop), original[..., ::-1])
        assert crop.box is not None
        assert (crop.box.width, crop.landmarks, crop.quality) == (64, (), None)
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        "crops.parquet", "extract.json", "manifest.parquet", "shards",
    ]  # fmt: skip


def test_shards_are_web_datasets_that_tar_understands(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 5)
    extract_whole(manifest, tmp_path / "data", tmp_path / "store", shard_frames=100)
    store = CropStore.open(tmp_path / "store")
    with tarfile.open(tmp_path / "store" / "shards" / "000000.tar") as shard:
        names = shard.getnames()
        assert len(names) == 10
        for crop in store.usable():
            member = shard.getmember(f"{crop.crop_id}.png")
            assert (member.offset_data, member.size) == (crop.offset, crop.size)
            facts = json.load(shard.extractfile(f"{crop.crop_id}.json"))  # type: ignore[arg-type]
            assert facts["video_id"] == crop.video_id
            assert facts["label"] == store.videos.by_id[crop.video_id].label
    keys = [name.rsplit(".", 1)[0] for name in names]
    assert keys[::2] == keys[1::2]  # picture and facts of a key lie side by side


def test_long_and_foreign_names_survive(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "real" / ("long " * 30)
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "0.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "data" / "real" / "é 'quoted'.png"), np.ones((8, 8, 3), np.uint8))
    manifest = build_manifest(create_dataset("folder"), tmp_path / "data", ALL_TRAIN)
    extract_whole(manifest, tmp_path / "data", tmp_path / "store")
    store = CropStore.open(tmp_path / "store")
    assert len(store.usable()) == 2
    with tarfile.open(tmp_path / "store" / "shards" / "000000.tar") as shard:
        assert {f"{crop.crop_id}.png" for crop in store.usable()} <= set(shard.getnames())
    assert all(store.image(crop).shape == (64, 64, 3) for crop in store.usable())


def test_usable_filters_by_split(tmp_path: Path) -> None:
    manifest = lay_clips(tmp_path / "data", 5, 3)
    extract_whole(manifest, tmp_path / "data", tmp_path / "store")
    store = CropStore.open(tmp_path / "store")
    assert len(store.usable()) == 30
    assert len(store.usable("val")) == 6
    assert {store.videos.by_id[crop.video_id].split for crop in store.usable("test")} == {"test"}


# faces


@pytest.mark.parametrize("name", ["square", "aligned"])
def test_crops_hold_the_face_and_its_landmarks(tmp_path: Path, name: str) -> None:
    manifest = lay_clips(tmp_path / "data", 5)
    policy = CropPolicy(name, 1.3, 96)
    summary = extract_crops(
        manifest, tmp_path / "data", tmp_path / "store", policy, FrameSampler(count=4)
    )
    assert dict(summary.n_by_status)["ok"] >= 0.95 * summary.n_rows
    assert summary.n_rows == 40
    store = CropStore.open(tmp_path / "store")
    for crop in store.usable():
        assert store.image(crop).shape == (96, 96, 3)
        points = np.array(crop.landmarks)
        assert points.shape == (5, 2)
        assert points.min() > 10
        assert points.max() < 86
        left_eye, right_eye, nose, left_mouth, right_mouth = points
        assert left_eye[0] < nose[0] < right_eye[0]
        assert max(left_eye[1], right_eye[1]) < min(left_mouth[1], right_mouth[1])
        assert crop.quality is not None
        assert crop.quality.confidence == crop.confidence
        assert crop.quality.sharpness > 0


def test_landmarks_of_a_whole_picture_lie_on_the_face(tmp_path: Path, portrait: Image) -> None:
    # so tight that the finder needs the mirrored border, and not square
    tight = portrait[65:175, 180:270]
    (tmp_path / "data" / "real").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "data" / "real" / "tight.png"), tight[..., ::-1])
    flat = np.full((50, 50, 3), 128, np.uint8)
    cv2.imwrite(str(tmp_path / "data" / "real" / "flat.png"), flat)
    manifest = build_manifest(create_dataset("folder"), tmp_path / "data", ALL_TRAIN)
    policy = CropPolicy("whole", 1.0, 220)
    extract_crops(manifest, tmp_path / "data", tmp_path / "store", policy, FrameSampler())
    flat_crop, tight_crop = CropStore.open(tmp_path / "store").crops
    assert (flat_crop.status, flat_crop.landmarks, flat_crop.confidence) == ("ok", (), None)
    # 110 pixels became 220, after the narrower side was padded by 10 on the left
    (face,) = create_finder("onnx").find(Frame(0, 0.0, portrait))[:1]
    for (x, y), (source_x, source_y) in zip(tight_crop.landmarks, face.landmarks, strict=True):
        assert x == pytest.approx(2 * (source_x - 180 + 10), abs=10)
        assert y == pytest.approx(2 * (source_y - 65), abs=10)


def write_two_people(path: Path, n_frames: int = 6) -> Path:
    left = draw_clip(np.random.default_rng(1), n_frames, 0)
    right = draw_clip(np.random.default_rng(2), n_frames, 0)
    small = [cv2.resize(picture, (240, 180)) for picture in right]
    padded = [cv2.copyMakeBorder(p, 30, 30, 0, 0, cv2.BORDER_REFLECT) for p in small]
    pairs = [np.hstack(pair) for pair in zip(left, padded, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, [np.asarray(pair, dtype=np.uint8) for pair in pairs], 10)
    return path


@pytest.mark.parametrize(
    ("keep", "ids"), [("largest", {0: 6}), ("all", {0: 6, 1: 6}), ("tracks", {0: 6, 1: 6})]
)
def test_several_people_are_kept_as_asked(tmp_path: Path, keep: str, ids: dict[int, int]) -> None:
    write_two_people(tmp_path / "data" / "real" / "two.mp4")
    manifest = build_manifest(create_dataset("folder"), tmp_path / "data", ALL_TRAIN)
    extract_crops(
        manifest, tmp_path / "data", tmp_path / "store", SQUARE, FrameSampler("all"), faces=keep
    )
    crops = CropStore.open(tmp_path / "store").usable()
    assert Counter(crop.track_id for crop in crops) == ids
    assert len({crop.crop_id for crop in crops}) == len(crops)
    left = [crop.box.centre[0] < 320 for crop in crops if crop.track_id == 0 and crop.box]
    assert all(left)  # the larger of the two, and the one further left


def test_every_sampled_frame_has_a_row(tmp_path: Path) -> None:
    faces = draw_clip(np.random.default_rng(0), 4, 0)
    blank = np.full_like(faces[0], 90)
    write_clip(tmp_path / "data" / "real" / "a.mp4", [*faces, blank, blank], 10)
    manifest = build_manifest(create_dataset("folder"), tmp_path / "data", ALL_TRAIN)
    data, sampler = tmp_path / "data", FrameSampler("all")
    extract_crops(manifest, data, tmp_path / "1", SQUARE, sampler)
    crops = CropStore.open(tmp_path / "1").crops
    assert [crop.status for crop in crops] == ["ok"] * 4 + ["no_face"] * 2
    assert [crop.frame_index for crop in crops] == list(range(6))
    assert [crop.time_s for crop in crops] == pytest.approx([n / 10 for n in range(6)])
    assert crops[5].shard is None
    with pytest.raises(ContractError, match="status no_face"):
        CropStore.open(tmp_path / "1").image(crops[5])
    small = extract_crops(manifest, data, tmp_path / "2", SQUARE, sampler, min_side_px=1000)
    assert small.n_by_status == (("no_face", 2), ("too_small", 4))
    assert CropStore.open(tmp_path / "2").crops[0].box is not None


# what goes wrong


def test_broken_videos_cost_one_row_each(tmp_path: Path) -> None:
    root = tmp_path / "data"
    manifest = lay_clips(root, 5, 30)
    whole = (root / "real" / "0001.mp4").read_bytes()
    (root / "real" / "0000.mp4").unlink()
    (root / "real" / "0001.mp4").write_text("no video any more")
    # the middle of the coded pictures is overwritten, the index stays
    start = whole.index(b"mdat") + 4
    size = int.from_bytes(whole[start - 8 : start - 4], "big")
    middle, length = start + size // 3, size // 3
    damaged = whole[:middle] + bytes(length) + whole[middle + length :]
    (root / "real" / "0002.mp4").write_bytes(damaged)
    summary = extract_crops(
        manifest, root, tmp_path / "store", WHOLE, FrameSampler("all"), None, landmarks=False
    )
    store = CropStore.open(tmp_path / "store")
    rows = {name: [c for c in store.crops if c.video_id.endswith(name)] for name in ("0", "1", "2")}
    assert [c.status for c in rows["0"] if "real" in c.video_id] == ["missing"]
    assert [c.status for c in rows["1"] if "real" in c.video_id] == ["unreadable"]
    statuses = Counter(c.status for c in rows["2"] if "real" in c.video_id)
    assert statuses["decode_error"] == 1
    assert statuses["ok"] > 0
    assert dict(summary.n_by_status) == Counter(crop.status for crop in store.crops)
    assert dict(store.n_by_status) == dict(summary.n_by_status)
    others = [c for c in store.crops if "fake" in c.video_id]
    assert [c.status for c in others] == ["ok"] * 150


def test_a_store_of_other_settings_is_refused(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 4)
    data, store = tmp_path / "data", tmp_path / "store"
    extract_whole(manifest, data, store)
    again = extract_whole(manifest, data, store)
    assert (again.n_units, again.n_units_kept) == (1, 1)
    before = content_of(store)
    with pytest.raises(
        ContractError, match=r"another finder, policy\.name, policy\.scale, .*rm -r"
    ):
        extract_crops(
            manifest, data, store, SQUARE, FrameSampler(), finder="onnx", landmarks=False,
            shard_frames=8,
        )  # fmt: skip
    with pytest.raises(ContractError, match="another shard_frames"):
        extract_whole(manifest, data, store, shard_frames=9)
    other = lay_pictures(tmp_path / "data", 5)
    with pytest.raises(ContractError, match="another manifest"):
        extract_whole(other, data, store)
    assert content_of(store) == before


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 2)
    run = (manifest, tmp_path / "data", tmp_path / "store")
    with pytest.raises(UsageError, match="faces='biggest'; choose one of largest"):
        extract_crops(*run, WHOLE, FrameSampler(), faces="biggest")
    with pytest.raises(UsageError, match="needs a face finder"):
        extract_crops(*run, SQUARE, FrameSampler(), finder=None)
    for policy, fault in (
        (CropPolicy("tight", 1.0, 64), "unknown crop policy 'tight'"),
        (CropPolicy("square", 0.0, 64), r"scale 0\.0"),
        (CropPolicy("square", 1.3, 0), "0 pixels wide"),
        (CropPolicy("square", 1.3, 100_000), "100000 pixels wide"),
    ):
        with pytest.raises(UsageError, match=fault):
            extract_crops(*run, policy, FrameSampler())
    with pytest.raises(UsageError, match="unknown face finder 'onxx'"):
        extract_crops(*run, SQUARE, FrameSampler(), finder="onxx")
    with pytest.raises(UsageError, match="min_side_px=-3"):
        extract_crops(*run, SQUARE, FrameSampler(), min_side_px=-3)
    # a folder that a mistake had claimed would refuse the run that mends it
    assert not (tmp_path / "store").exists()


def test_damage_is_told(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 12)
    data, folder = tmp_path / "data", tmp_path / "store"
    extract_whole(manifest, data, folder)
    store = CropStore.open(folder)
    first = store.usable()[0]
    shard = folder / str(first.shard)
    content = shard.read_bytes()
    shard.write_bytes(content[: int(first.offset or 0) + 5])
    with pytest.raises(ContractError, match="holds no PNG; extract again"):
        store.image(first)
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(ContractError, match=r"000000\.tar at byte 512 holds no PNG"):
        store.image(first)
    shard.unlink()
    with pytest.raises(ContractError, match=r"cannot be read .*extract again"):
        store.image(first)
    with pytest.raises(ContractError, match=r"damaged \(shards/000000\.tar"):
        extract_whole(manifest, data, folder)
    (folder / "manifest.parquet").unlink()
    with pytest.raises(ContractError, match=r"manifest\.parquet is missing"):
        CropStore.open(folder)


# reading


def test_a_store_is_read_by_threads_and_after_pickling(tmp_path: Path) -> None:
    manifest = lay_pictures(tmp_path / "data", 30)
    extract_whole(manifest, tmp_path / "data", tmp_path / "store")
    store = CropStore.open(tmp_path / "store")
    copied = pickle.loads(pickle.dumps(store))
    expected = [store.image(crop) for crop in store.usable()]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(copied.image, list(copied.usable()) * 5))
    for index, image in enumerate(read):
        assert np.array_equal(image, expected[index % 30])


def test_rows_survive_the_table(tmp_path: Path) -> None:
    manifest = lay_clips(tmp_path / "data", 5, 3)
    extract_crops(manifest, tmp_path / "data", tmp_path / "store", SQUARE, FrameSampler(count=2))
    store = CropStore.open(tmp_path / "store")
    assert Crops.of(store.crops) == store.crops
    table = pq.read_table(tmp_path / "store" / "crops.parquet")
    assert {len(row) for row in table.column("landmarks").to_pylist() if row} <= {10}
    stamp = json.loads(table.schema.metadata[b"dfdetect"])
    assert stamp["parents"] == {"manifest": manifest.content_hash()}
    assert stamp["config_hash"] == store.config_hash


def test_png_is_lossless_and_rgb() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode_png(encode_png(image), "here"), image)
    with pytest.raises(ContractError, match="here holds no PNG"):
        decode_png(b"", "here")
