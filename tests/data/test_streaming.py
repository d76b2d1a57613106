"""Streams of shards: the crops that random access gives, from anywhere, and nothing hostile."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pytest
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.items import CropItem, collate
from dfdetect.data.loading import CropDataset
from dfdetect.data.manifest import build_manifest
from dfdetect.data.shards import CropRow, encode_png
from dfdetect.data.splits import SplitRule
from dfdetect.data.streaming import StreamLimits, store_shards, stream_crops
from dfdetect.data.torch_streaming import StreamingCrops
from dfdetect.errors import ContractError, UsageError
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy, Image
from tests.stores import clip_row, make_store, write_store

PICTURE = encode_png(np.full((8, 8, 3), 77, np.uint8))
FACTS: dict[str, Any] = {
    "crop_id": "a/0", "video_id": "a", "track_id": 0, "frame_index": 3, "time_s": 0.5, "label": 1,
    "dataset": "d", "method": "m", "split": None, "source_ids": ["x"], "landmarks": [],
    "crop_scale": 1.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    folder = tmp_path_factory.mktemp("streams") / "toy"
    return make_store(folder, portrait, n_videos=4, n_frames=3, shard_crops=10)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of three small crops, whose names are as long as names of videos may be."""
    folder = tmp_path_factory.mktemp("streams") / "small"
    name = f"d/{'é' * 70}/clip"
    rows = [CropRow(f"{name}/{i:06d}_00", name, 0, i, i / 7, "ok") for i in range(3)]
    cuts = [(row, np.full((16, 16, 3), 40 * i, np.uint8)) for i, row in enumerate(rows)]
    write_store(folder, [clip_row(name)], cuts)
    return folder / "shards" / "000000.tar"


def same(first: CropItem, second: CropItem) -> bool:
    return first == second and np.array_equal(first.image, second.image)


def as_set(items: Iterator[CropItem]) -> Counter[tuple[Any, bytes]]:
    return Counter((item.facts, item.image.tobytes()) for item in items)


def tar(path: Path, *members: tuple[str | tarfile.TarInfo, bytes], whole: bool = True) -> Path:
    with path.open("wb") as stream:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if isinstance(name, str):
                info.size = len(content)
            stream.write(info.tobuf(tarfile.GNU_FORMAT))
            stream.write(content + bytes(-len(content) % 512))
        stream.write(bytes(1024 if whole else 0))
    return path


def told(**changes: Any) -> bytes:
    return json.dumps(FACTS | changes).encode()


# what comes


def test_a_stream_gives_what_random_access_gives(toy: CropStore) -> None:
    crops = CropDataset([toy])
    shards = store_shards(toy.folder)
    assert len(shards) == 8
    streamed = list(stream_crops(shards))
    assert len(streamed) == len(crops) == 72
    assert all(same(*both) for both in zip(streamed, crops, strict=True))


def test_long_names_survive(small: Path) -> None:
    assert [item.key.frame_index for item in stream_crops([small])] == [0, 1, 2]
    assert {item.key.time_s for item in stream_crops([small])} == {0, 1 / 7, 2 / 7}


def test_an_extracted_store_streams_as_it_loads(tmp_path: Path, portrait: Image) -> None:
    (tmp_path / "data" / "real").mkdir(parents=True)
    for name in ("one", "é 'two' v1.5"):
        cv2.imwrite(str(tmp_path / "data" / "real" / f"{name}.png"), portrait[..., ::-1])
    manifest = build_manifest(create_dataset("folder"), tmp_path / "data", SplitRule("all:train"))
    store = tmp_path / "store"
    extract_crops(manifest, tmp_path / "data", store, CropPolicy("square", 1.3, 96), FrameSampler())
    crops = CropDataset([CropStore.open(store)])
    streamed = list(stream_crops(store_shards(store), "train"))
    assert len(streamed) == len(crops) == 2
    assert all(same(*both) for both in zip(streamed, crops, strict=True))
    # points of single and of double precision are one to both readers
    assert len(streamed[0].facts.landmarks) == 5
    theirs = list(webdataset.WebDataset(list(store_shards(store)), shardshuffle=False))
    assert [other["__key__"] for other in theirs] == [
        row.crop_id for row in CropStore.open(store).usable()
    ]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_is_streamed_alone(toy: CropStore, split: str) -> None:
    crops = CropDataset([toy], split)
    assert as_set(stream_crops(store_shards(toy.folder), split, shuffle=7)) == as_set(iter(crops))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), epoch=st.integers(0, 9), shuffle=st.integers(1, 99))
def test_shuffling_is_a_function_of_seed_and_epoch(
    toy: CropStore, seed: int, epoch: int, shuffle: int
) -> None:
    shards = store_shards(toy.folder)

    def keys(**told: int) -> list[Any]:
        return [item.key for item in stream_crops(shards, shuffle=shuffle, **told)]

    first = keys(seed=seed, epoch=epoch)
    assert first == keys(seed=seed, epoch=epoch)
    assert first != keys(seed=seed, epoch=epoch + 1)
    assert first != keys(seed=seed + 1, epoch=epoch)
    assert Counter(first) == Counter(item.key for item in stream_crops(shards))


def test_a_transform_gets_the_same_chance_with_any_readers(toy: CropStore) -> None:
    def darker(image: Image, rng: np.random.Generator) -> Image:
        return (image * rng.uniform(0, 1)).astype(np.uint8)

    shards = store_shards(toy.folder)
    alone = as_set(stream_crops(shards, transform=darker))
    shared = as_set(
        item
        for part in range(3)
        for item in stream_crops(shards, transform=darker, shuffle=5, part=part, n_parts=3)
    )
    assert alone == shared
    assert alone != as_set(stream_crops(shards, transform=darker, epoch=1))


# loaders


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world", [1, 3])
def test_every_crop_goes_to_one_worker_of_one_rank(
    toy: CropStore, workers: int, world: int
) -> None:
    def loaders() -> Iterator[Any]:
        for rank in range(world):
            stream = StreamingCrops(
                store_shards(toy.folder), shuffle=9, rank=rank, world_size=world, seed=4
            )
            stream.set_epoch(2)
            yield DataLoader(stream, 5, num_workers=workers, collate_fn=collate)

    keys = [key for loader in loaders() for batch in loader for key in batch.crops.keys]
    assert Counter(keys) == Counter(row.key for row in toy.usable())
    assert keys == [key for loader in loaders() for batch in loader for key in batch.crops.keys]


def test_workers_that_outlive_an_epoch_hear_of_the_next(toy: CropStore) -> None:
    stream = StreamingCrops(store_shards(toy.folder), shuffle=20)
    loader = DataLoader(stream, 72, num_workers=1, collate_fn=collate, persistent_workers=True)
    orders = []
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        orders.append(next(iter(loader)).crops.keys)
    wanted = [[item.key for item in stream_crops(store_shards(toy.folder), shuffle=20, epoch=epoch)]
              for epoch in (0, 1)]  # fmt: skip
    assert [list(order) for order in orders] == wanted
    assert orders[0] != orders[1]


def test_ranks_without_a_shard_are_refused(toy: CropStore) -> None:
    with pytest.raises(UsageError, match="8 shard"):
        StreamingCrops(store_shards(toy.folder), world_size=9)
    with pytest.raises(UsageError, match="ranks count from 0"):
        StreamingCrops(store_shards(toy.folder), rank=2, world_size=2)


# where from


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_any_kind_of_url_is_read(toy: CropStore, protocol: str) -> None:
    if protocol == "memory":
        files = fsspec.filesystem("memory")
        files.put(str(toy.folder / "shards"), "/bucket/toy/shards", recursive=True)
        store = "memory://bucket/toy"
    else:
        store = f"file://{toy.folder}"
    shards = store_shards(store)
    assert len(shards) == 8
    assert all(shard.startswith(f"{protocol}://") for shard in shards)
    assert as_set(stream_crops(shards)) == as_set(stream_crops(store_shards(toy.folder)))
    gone = shards[0].replace("000000", "111111")
    with pytest.raises(ContractError, match="111111"):
        list(stream_crops([gone]))


def test_what_cannot_be_opened_is_said(
    toy: CropStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ContractError, match=r"gone\.tar cannot be read"):
        list(stream_crops([tmp_path / "gone.tar"]))
    with pytest.raises(UsageError, match="no shards"):
        store_shards(tmp_path)
    with pytest.raises(UsageError, match="driver"):
        list(stream_crops(["nosuch://bucket/000000.tar"]))
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match="pip install fsspec"):
        list(stream_crops(["s3://bucket/000000.tar"]))
    # local paths do without
    assert len(list(stream_crops(store_shards(toy.folder)))) == 72


# damage


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_shard_that_was_cut_short_is_refused(tmp_path: Path, small: Path, share: float) -> None:
    content = small.read_bytes()
    # what follows the first block of the end mark is padding
    end = len(content.rstrip(b"\0")) // 512 * 512 + 1024
    cut = tmp_path / "cut.tar"
    cut.write_bytes(content[: int(share * end)])
    with pytest.raises(ContractError, match=r"cut\.tar"):
        list(stream_crops([cut]))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_never_gives_another_picture(tmp_path: Path, small: Path, data: Any) -> None:
    content = bytearray(small.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.tar"
    path.write_bytes(content)
    try:
        found = list(stream_crops([path]))
    except ContractError as error:
        assert "flipped.tar" in str(error)  # noqa: PT017
    else:
        wanted = list(stream_crops([small]))
        assert [item.image.tobytes() for item in found] == [item.image.tobytes() for item in wanted]


def test_crops_before_the_damage_are_whole(tmp_path: Path) -> None:
    members = [("a/0.png", PICTURE), ("a/0.json", told()), ("a/1.png", PICTURE)]
    stream = stream_crops([tar(tmp_path / "torn.tar", *members, whole=False)])
    assert next(stream).key.video_id == "a"
    with pytest.raises(ContractError, match="cut short"):
        next(stream)


# hostile shards


def header(name: str, **changes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def pax(**records: str) -> tuple[tarfile.TarInfo, bytes]:
    lines = b""
    for key, value in records.items():
        text = f" {key}={value}\n".encode()
        length = len(text) + 2
        lines += str(length + (length > 99)).encode() + text
    return header("pax", type=tarfile.XHDTYPE, size=len(lines)), lines


def bomb(side: int) -> bytes:
    content = bytearray(PICTURE)
    content[16:24] = side.to_bytes(4, "big") * 2
    return bytes(content)


JSON = ("a/0.json", told())
HOSTILE: dict[str, tuple[list[tuple[str | tarfile.TarInfo, bytes]], str]] = {
    "parent": ([("../a/0.png", PICTURE), JSON], "no picture"),
    "inner parent": ([("a/../0.png", PICTURE), JSON], "no picture"),
    "absolute": ([("/etc/0.png", PICTURE), JSON], "no picture"),
    "backslash": ([("a\\0.png", PICTURE), JSON], "no picture"),
    "other kind": ([("a/0.py", b"import os"), JSON], "no picture"),
    "no name": ([(".png", PICTURE), JSON], "no picture"),
    "symlink": ([(header("a/0.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b"")], "no pic"),
    "hard link": ([(header("a/0.png", type=tarfile.LNKTYPE, linkname="a/1.png"), b"")], "no pic"),
    "device": ([(header("a/0.png", type=tarfile.CHRTYPE), b"")], "no picture"),
    "pipe": ([(header("a/0.png", type=tarfile.FIFOTYPE), b"")], "no picture"),
    "folder": ([(header("a", type=tarfile.DIRTYPE), b"")], "no picture"),
    "GNU name": ([(header("x", type=tarfile.GNUTYPE_LONGNAME, size=4), b"long")], "no picture"),
    "holes": ([(header("a/0.png", type=tarfile.GNUTYPE_SPARSE), b"")], "no picture"),
    "huge picture": ([(header("a/0.png", size=1 << 40), PICTURE)], "1099511627776 bytes"),
    "huge facts": ([("a/0.png", PICTURE), ("a/0.json", b" " * 70_000)], "70000 bytes"),
    "huge name": ([(header("pax", type=tarfile.XHDTYPE, size=1 << 33), b"")], "8589934592 bytes"),
    "other size": ([pax(size="9" * 12), ("a/0.png", PICTURE)], "extended header"),
    "other link": ([pax(linkpath="/etc"), ("a/0.png", PICTURE)], "extended header"),
    "record of no end": ([(header("p", type=tarfile.XHDTYPE, size=9), b"999 path=")], "extended"),
    "record of 0": ([(header("p", type=tarfile.XHDTYPE, size=9), b"0 path=a\n")], "extended"),
    "name that is no text": (
        [(header("p", type=tarfile.XHDTYPE, size=10), b"10 path=\xff\n"), JSON], "damaged name",
    ),
    "no PNG": ([("a/0.png", b"GIF89a" + bytes(40)), JSON], "no PNG"),
    "empty picture": ([("a/0.png", b""), JSON], "no PNG"),
    "torn PNG": ([("a/0.png", PICTURE[:-30]), JSON], "no PNG"),
    "picture of 10 GB": ([("a/0.png", bomb(60_000)), JSON], "60000 × 60000"),
    "picture of nothing": ([("a/0.png", bomb(0)), JSON], "0 × 0"),
    "two pictures": ([("a/0.png", PICTURE)] * 2, "two"),
    "no facts": ([("a/0.png", PICTURE), ("a/1.json", told())], r"no a/0\.json"),
    "no picture": ([JSON], r"no a/0\.png"),
    "facts of another": ([("a/0.png", PICTURE), ("a/0.json", told(crop_id="b"))], "another crop"),
    "deep": ([("a/0.png", PICTURE), ("a/0.json", b"[" * 60_000)], "what its picture is"),
    "long number": ([("a/0.png", PICTURE), ("a/0.json", b"9" * 60_000)], "what its picture is"),
    "no JSON": ([("a/0.png", PICTURE), ("a/0.json", b"{")], "what its picture is"),
    "no text": ([("a/0.png", PICTURE), ("a/0.json", b"\xff\xfe\x00")], "what its picture is"),
    "no object": ([("a/0.png", PICTURE), ("a/0.json", b"[]")], "what its picture is"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shards_are_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    members, words = HOSTILE[name]
    shard = tar(tmp_path / "hostile.tar", *members)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ContractError, match=rf"hostile\.tar.*{words}"):
        list(stream_crops([shard]))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "hostile.tar"]


@pytest.mark.parametrize(
    "change",
    [
        {"label": 2}, {"label": True}, {"label": 0.5}, {"track_id": "1"}, {"time_s": float("nan")},
        {"time_s": 10**400}, {"landmarks": [[1, 2]]}, {"landmarks": [[1, 2, 3]] * 5},
        {"landmarks": 5}, {"crop_scale": 0}, {"crop_scale": float("inf")}, {"source_ids": [1]},
        {"source_ids": None}, {"split": 1}, {"video_id": None}, {"frame_index": 1.5},
    ],
)  # fmt: skip
def test_facts_of_a_wrong_kind_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    shard = tar(tmp_path / "s.tar", ("a/0.png", PICTURE), ("a/0.json", told(**change)))
    with pytest.raises(ContractError, match="what its picture is"):
        list(stream_crops([shard]))


def test_missing_facts_are_refused(tmp_path: Path) -> None:
    for name in FACTS:
        facts = {key: value for key, value in FACTS.items() if key != name}
        members = ("a/0.png", PICTURE), ("a/0.json", json.dumps(facts).encode())
        with pytest.raises(ContractError, match=name):
            list(stream_crops([tar(tmp_path / f"{name}.tar", *members)]))


def test_what_repacking_changes_does_no_harm(tmp_path: Path) -> None:
    # by name `.json` comes before `.png`, and an archiver adds owners, times and its own names
    plain = tar(tmp_path / "plain.tar", ("a/0.json", told()), ("a/0.png", PICTURE))
    archived = tmp_path / "archived.tar"
    with tarfile.open(archived, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (("a/0.png", PICTURE), ("a/0.json", told())):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content), 1.5, "zoë"
            archive.addfile(info, io.BytesIO(content))
    first, second = (next(stream_crops([shard])) for shard in (plain, archived))
    assert same(first, second)


def test_limits_can_be_set(small: Path) -> None:
    assert len(list(stream_crops([small], limits=StreamLimits(side_px=16)))) == 3
    for limits in (
        StreamLimits(side_px=15), StreamLimits(picture_bytes=50), StreamLimits(facts_bytes=50)
    ):  # fmt: skip
        with pytest.raises(ContractError):
            list(stream_crops([small], limits=limits))


# the independent reader of the same convention


def test_webdataset_reads_the_same_crops(toy: CropStore, small: Path) -> None:
    for shards in (list(store_shards(toy.folder)), [str(small)]):
        reader = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
        theirs = list(reader.decode("rgb8"))
        ours = list(stream_crops(shards))
        assert len(theirs) == len(ours) > 0
        for other, item in zip(theirs, ours, strict=True):
            assert other["__key__"] == other["json"]["crop_id"]
            assert np.array_equal(other["png"], item.image)
            assert other["json"]["video_id"] == item.key.video_id
