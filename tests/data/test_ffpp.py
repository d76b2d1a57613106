"""FaceForensics++: one name for five methods, four compressions, masks beside the videos."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import ORIGINAL, DatasetEntry
from dfdetect.data.datasets.ffpp import METHODS
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule, leak_check
from dfdetect.errors import UsageError
from dfdetect.media import FrameSampler, probe
from tests.miniatures import lay, misnamed, read


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., dict[str, DatasetEntry]]:
    def entries(*paths: str, **options: object) -> dict[str, DatasetEntry]:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return read(tmp_path, "ffpp", **options)

    return entries


def test_ffpp_names_labels_sources_and_splits(
    listed: Callable[..., dict[str, DatasetEntry]],
) -> None:
    found = listed(
        "original_sequences/youtube/c23/videos/953.mp4",
        "original_sequences/youtube/c40/videos/953.mp4",
        "original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/974_953.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000_001.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
    )
    assert sorted(found) == ["Deepfakes/c23/000_001", "Deepfakes/c23/974_953", "original/c23/953"]
    fake = found["Deepfakes/c23/974_953"]
    assert (fake.label, fake.method, fake.source_ids) == (1, "Deepfakes", ("953", "974"))
    assert (fake.split, fake.compression) == ("test", "c23")
    real = found["original/c23/953"]
    assert (real.label, real.method, real.source_ids) == (0, ORIGINAL, ("953",))
    assert real.split == "test"
    # each of the two is somewhere in the lists, but not as this pair
    assert found["Deepfakes/c23/000_001"].split is None
    both = listed(compressions=["c23", "c40"], parts=["youtube", "actors", "DeepFakeDetection"])
    assert sorted(both) == [
        "DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK",
        "actors/c23/01__exit_phone_room",
        "original/c23/953",
        "original/c40/953",
    ]
    staged = both["DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK"]
    assert (staged.label, staged.split, staged.source_ids) == (1, "test", ("actor:01", "actor:02"))
    assert staged.original == "actors/c23/01__exit_phone_room"


def test_ffpp_refuses_strange_options_and_counts_strange_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no part 'Deepfake'; it has youtube"):
        read(tmp_path, "ffpp", parts=["Deepfake"])
    with pytest.raises(UsageError, match="no compression 'masks'; it has raw, c0, c23, c40"):
        read(tmp_path, "ffpp", compressions=["masks"])
    lay(tmp_path, "ffpp")
    fakes = tmp_path / "manipulated_sequences" / "FaceSwap" / "c23" / "videos"
    originals = tmp_path / "original_sequences" / "youtube" / "c23" / "videos"
    for path in (fakes / "copy.mp4", fakes / "071.mp4", originals / "071 (1).mp4"):
        path.touch()
    assert len(read(tmp_path, "ffpp")) == 36
    odd = misnamed(tmp_path, "ffpp")
    assert sorted(Path(path).name for path in odd) == ["071 (1).mp4", "071.mp4", "copy.mp4"]
    manifest = build_manifest(create_dataset("ffpp"), tmp_path, SplitRule("official"))
    assert (len(manifest.rows), manifest.n_skipped) == (36, {"misnamed": 3})
    assert "<target>_<source>" in manifest.problems[0].reason


@pytest.mark.parametrize("compression", ["raw", "c0", "c23", "c40"])
def test_ffpp_is_read_in_every_compression_with_the_same_masks(
    compression: str, tmp_path: Path
) -> None:
    root = lay(tmp_path / "ffpp", "ffpp")
    for folder in list(root.glob("*/*/c23")):
        folder.rename(folder.parent / compression)
    options = {"compressions": [compression]}
    manifest = build_manifest(create_dataset("ffpp", **options), root, SplitRule("official"))
    assert manifest.problems == ()
    assert {row.compression for row in manifest.rows} == {compression}
    assert Counter((row.split, row.label) for row in manifest.rows) == {
        ("train", 0): 2, ("val", 0): 2, ("test", 0): 2,
        ("train", 1): 10, ("val", 1): 10, ("test", 1): 10,
    }  # fmt: skip
    row = manifest.rows.by_id[f"ffpp/Face2Face/{compression}/974_953"]
    assert row.original_id == f"ffpp/original/{compression}/974"
    assert row.mask_path == "manipulated_sequences/Face2Face/masks/videos/974_953.mp4"
    with_mask = {row.method for row in manifest.rows if row.mask_path}
    assert with_mask == {"Deepfakes", "Face2Face"}
    named = {entry.method for entry in read(root, "ffpp", **options).values() if entry.mask}
    assert named == set(METHODS) - {"FaceShifter"}


def test_ffpp_keeps_the_originals_of_two_compressions_apart(tmp_path: Path) -> None:
    root = lay(tmp_path / "ffpp", "ffpp")
    for folder in list(root.glob("*/*/c23")):
        shutil.copytree(folder, folder.parent / "c40")
    dataset = create_dataset("ffpp", compressions=["c23", "c40"])
    videos = build_manifest(dataset, root, SplitRule("official")).rows
    assert len(videos) == 72
    for row in videos.where(label=1):
        assert row.original_id is not None
        assert videos.by_id[row.original_id].compression == row.compression


def test_ffpp_miniatures_differ_from_their_originals_where_the_mask_is_white(
    tmp_path: Path,
) -> None:
    root = lay(tmp_path, "ffpp")
    fake = build_manifest(create_dataset("ffpp"), root, SplitRule("official")).rows.by_id[
        "ffpp/Deepfakes/c23/071_054"
    ]
    assert fake.mask_path is not None
    paths = (fake.path, "original_sequences/youtube/c23/videos/071.mp4", fake.mask_path)
    clips = [
        [frame.image.astype(int) for frame in FrameSampler("all").sample(probe(root / path))]
        for path in paths
    ]
    assert len(clips[0]) == len(clips[1]) == len(clips[2])
    for forged, genuine, mask in zip(*clips, strict=True):
        painted = mask.min(axis=2) > 127
        change = np.abs(forged - genuine).mean(axis=2)
        assert 0.2 < painted.mean() < 0.3
        assert change[painted].mean() > 10 * change[~painted].mean() > 0


def test_ffpp_expects_the_official_numbers_and_lists_a_full_copy(tmp_path: Path) -> None:
    dataset = create_dataset("ffpp", compressions=["c23", "c40"])
    numbers = {(e.method, e.split, e.compression): e.n for e in dataset.expected()}
    assert len(numbers) == 36
    for (_, split, _), n in numbers.items():
        assert n == {"train": 720, "val": 140, "test": 140}[str(split)]
    staged = create_dataset("ffpp", parts=["youtube", "actors", "DeepFakeDetection"]).expected()
    assert {(e.method, e.split): e.n for e in staged} == {
        (ORIGINAL, "train"): 720, (ORIGINAL, "val"): 140, (ORIGINAL, "test"): 140 + 363,
        ("DeepFakeDetection", "test"): 3068,
    }  # fmt: skip
    full = list(dataset.complete(tmp_path))
    assert len(full) == len(set(full)) == 12_000
    names = {path.rpartition("/")[2] for path in full if path.startswith("original_sequences")}
    assert names == {f"{number:03d}.mp4" for number in range(1000)}
    assert "manipulated_sequences/FaceShifter/c40/videos/974_953.mp4" in full


def test_a_full_copy_of_ffpp_has_the_official_numbers_and_no_leak(tmp_path: Path) -> None:
    dataset = create_dataset("ffpp")
    for path in dataset.complete(tmp_path):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = [entry for entry in dataset.entries(tmp_path) if isinstance(entry, DatasetEntry)]
    counted = Counter((entry.method, entry.split) for entry in found)
    assert counted == {(e.method, e.split): e.n for e in dataset.expected()}
    genuine = {entry.name for entry in found if entry.label == 0}
    assert {entry.original for entry in found if entry.label == 1} == genuine
    splits: dict[str, set[str | None]] = {}
    for entry in found:
        for source in entry.source_ids:
            splits.setdefault(source, set()).add(entry.split)
    assert len(splits) == 1000
    assert all(len(of_source) == 1 for of_source in splits.values())


@pytest.mark.shared
def test_the_shared_ffpp_clips_are_indexed(shared_data: Path) -> None:
    root = shared_data / "clips" / "FaceForensics++"
    manifest = build_manifest(create_dataset("ffpp"), root, SplitRule("official"))
    assert manifest.counts() == {
        ("train", "Deepfakes", 1): 12,
        ("train", "Face2Face", 1): 9,
        ("train", "FaceSwap", 1): 10,
        ("train", "original", 0): 30,
    }
    assert manifest.problems == ()
    fake = manifest.rows.by_id["ffpp/Deepfakes/c23/055_147"]
    assert (fake.label, fake.method, fake.split) == (1, "Deepfakes", "train")
    assert (fake.source_ids, fake.compression) == (("055", "147"), "c23")
    assert fake.original_id == "ffpp/original/c23/055"
    assert fake.mask_path is None
    assert leak_check(manifest.rows) == ()
    for row in manifest.rows.where(label=1):
        assert row.original_id == f"ffpp/original/c23/{Path(row.path).stem[:3]}"
