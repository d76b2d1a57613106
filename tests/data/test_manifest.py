"""A manifest lists every readable video once, counts the rest, refuses foreign tables."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.data.videos import Videos
from dfdetect.errors import ContractError, UsageError

ALL_TRAIN = SplitRule("all:train")
TWO = SplitRule("hash", train=0.5, val=0.5, test=0.0)


def write_picture(path: Path, seed: int = 0, shape: tuple[int, int] = (24, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), picture)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index in range(4):
        write_picture(tmp_path / "data" / "real" / f"{index}.png", index)
        write_picture(tmp_path / "data" / "fake" / f"{index}.png", 10 + index)
    return tmp_path / "data"


def test_rows_state_label_hash_and_facts(root: Path) -> None:
    manifest = build_manifest(create_dataset("folder"), root, ALL_TRAIN)
    row = next(row for row in manifest.rows if row.path == "fake/2.png")
    assert (row.video_id, row.label, row.method) == ("folder/fake/2.png", 1, "fake")
    assert (row.width, row.height, row.n_frames, row.split) == (32, 24, 1, "train")
    assert row.sha256 == hashlib.sha256((root / "fake/2.png").read_bytes()).hexdigest()
    ids = [row.video_id for row in manifest.rows]
    assert ids == sorted(ids)
    assert len(ids) == 8


def test_a_rerun_gives_the_same_manifest_and_bytes(root: Path, tmp_path: Path) -> None:
    first = build_manifest(create_dataset("folder"), root, TWO, workers=1)
    second = build_manifest(create_dataset("folder"), root, TWO, workers=4)
    first.write(tmp_path / "1.parquet")
    second.write(tmp_path / "2.parquet")
    assert first == second
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert Manifest.read(tmp_path / "1.parquet") == first


def test_a_moved_dataset_gives_the_same_manifest(root: Path, tmp_path: Path) -> None:
    (root / "real" / "broken.mp4").write_text("no video")
    first = build_manifest(create_dataset("folder"), root, ALL_TRAIN)
    elsewhere = root.rename(tmp_path / "moved here")
    assert build_manifest(create_dataset("folder"), elsewhere, ALL_TRAIN) == first


def test_other_settings_give_another_config_hash(root: Path) -> None:
    plain = build_manifest(create_dataset("folder"), root, ALL_TRAIN)
    renamed = build_manifest(create_dataset("folder", method="swap"), root, ALL_TRAIN)
    assert plain.config_hash != renamed.config_hash
    assert plain.content_hash() != renamed.content_hash()


def test_unreadable_and_missing_files_are_counted(root: Path, tmp_path: Path) -> None:
    (root / "real" / "empty.mp4").touch()
    (root / "real" / "text.jpg").write_text("hello")
    (root / "list.csv").write_text(
        "file,label\nreal/0.png,0\nfake/1.png,1\ngone.png,1\nreal/empty.mp4,0\n"
    )
    found = build_manifest(create_dataset("folder"), root, ALL_TRAIN)
    assert found.n_skipped == {"unreadable": 2}
    assert len(found.rows) == 8
    listed = build_manifest(create_dataset("folder", csv="list.csv"), root, ALL_TRAIN)
    assert listed.n_skipped == {"missing": 1, "unreadable": 1}
    assert {problem.path for problem in listed.problems} == {"gone.png", "real/empty.mp4"}
    assert all(str(root) not in problem.reason for problem in listed.problems)
    listed.write(tmp_path / "m.parquet")
    assert Manifest.read(tmp_path / "m.parquet").problems == listed.problems


def test_a_dataset_without_one_readable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    with pytest.raises(ContractError, match="no video"):
        build_manifest(create_dataset("folder"), tmp_path, ALL_TRAIN)
    (tmp_path / "real" / "a.mp4").write_text("no video")
    with pytest.raises(ContractError, match=r"none of the 1 videos .*: real/a\.mp4 is not a video"):
        build_manifest(create_dataset("folder"), tmp_path, ALL_TRAIN)


def test_a_folder_of_pictures_is_one_video(root: Path) -> None:
    for index in (1, 2, 10):
        write_picture(root / "fake" / "clip" / f"f{index}.png", 100 + index)
    row = next(
        row
        for row in build_manifest(create_dataset("folder"), root, ALL_TRAIN).rows
        if row.path == "fake/clip"
    )
    lines = "".join(
        f"{hashlib.sha256((root / 'fake/clip' / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("f1.png", "f2.png", "f10.png")
    )
    assert row.n_frames == 3
    assert row.sha256 == hashlib.sha256(lines.encode()).hexdigest()


def test_progress_reaches_the_end(root: Path) -> None:
    calls: list[tuple[int, int]] = []
    build_manifest(
        create_dataset("folder"), root, ALL_TRAIN, progress=lambda done, n: calls.append((done, n))
    )
    assert calls == [(done, 8) for done in range(1, 9)]


def test_related_videos_in_two_splits_are_refused(root: Path) -> None:
    (root / "list.csv").write_text(
        "file,label,source_video,split\nreal/0.png,0,,train\nfake/1.png,1,real/0,test\n"
    )
    dataset = create_dataset("folder", csv="list.csv")
    with pytest.raises(ContractError, match=r"folder:real/0 → folder/fake/1"):
        build_manifest(dataset, root, SplitRule("given"))
    assert len(build_manifest(dataset, root, ALL_TRAIN).rows) == 2


def test_a_split_that_the_dataset_does_not_have_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match=r"8 of 8 videos have no official split.*hash"):
        build_manifest(create_dataset("folder"), root, SplitRule("official"))


def write_altered(path: Path, altered: pa.Table, metadata: dict[bytes, bytes] | None) -> None:
    pq.write_table(altered.replace_schema_metadata(metadata), path)


def test_reading_refuses_what_is_no_manifest(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(ContractError, match=r"missing; make it with `dfdetect index"):
        Manifest.read(path)
    path.write_text("not parquet")
    with pytest.raises(ContractError, match=r"cannot be read as Parquet.*dfdetect index"):
        Manifest.read(path)
    manifest = build_manifest(create_dataset("folder"), root, ALL_TRAIN)
    manifest.write(path)
    table = pq.read_table(path)
    metadata = table.schema.metadata
    write_altered(path, table, None)
    with pytest.raises(ContractError, match="dfdetect did not write"):
        Manifest.read(path)
    write_altered(
        path, table, {b"dfdetect": metadata[b"dfdetect"].replace(b'"version": 2', b'"version": 9')}
    )
    with pytest.raises(ContractError, match="manifest version 9, wanted manifest version 2"):
        Manifest.read(path)
    write_altered(path, table.drop_columns(["sha256"]), metadata)
    with pytest.raises(ContractError, match="has no column 'sha256'"):
        Manifest.read(path)
    labels = table.column("label").cast(pa.string())
    write_altered(path, table.set_column(3, "label", labels), metadata)
    with pytest.raises(ContractError, match="has string in column 'label', not int8"):
        Manifest.read(path)
    write_altered(path, pa.concat_tables([table, table]), metadata)
    with pytest.raises(ContractError, match="more than once"):
        Manifest.read(path)


def test_counts_are_by_split_method_and_label(root: Path) -> None:
    manifest = build_manifest(create_dataset("folder"), root, ALL_TRAIN)
    assert manifest.counts() == {("train", "fake", 1): 4, ("train", "original", 0): 4}
    unsplit = replace(manifest, rows=Videos.of(replace(row, split=None) for row in manifest.rows))
    assert unsplit.counts() == {("-", "fake", 1): 4, ("-", "original", 0): 4}


@pytest.mark.shared
def test_ten_thousand_pictures_are_indexed_in_seconds(shared_data: Path) -> None:
    dataset = create_dataset("folder", name="dfdc", csv="dfdc.csv", method="dfdc")
    started = time.perf_counter()
    manifest = build_manifest(dataset, shared_data / "faces", SplitRule("hash"))
    assert time.perf_counter() - started < 60
    assert len(manifest.rows) == 10_400
    assert manifest.problems == ()
    assert sum(row.label for row in manifest.rows) == 5200
    assert {row.split for row in manifest.rows} == {"train", "val", "test"}
