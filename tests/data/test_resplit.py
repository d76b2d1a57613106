"""A store under other splits is the store that extracting anew would make."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.resplit import resplit
from dfdetect.data.shards import CROPS
from dfdetect.data.splits import SplitRule
from dfdetect.data.tables import read_table
from dfdetect.errors import ContractError, UsageError
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy

POLICY, SAMPLER = CropPolicy("square", 1.3, 64), FrameSampler(count=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def manifest(root: Path, fold: int) -> Manifest:
    dataset = create_dataset("synthetic", n_identities=4, n_frames=4)
    return build_manifest(dataset, root, SplitRule(f"fold:{fold}/2", seed=3))


@pytest.fixture(scope="module")
def source(root: Path) -> Path:
    extract_crops(manifest(root, 0), root, root / "first", POLICY, SAMPLER)
    return root / "first"


def test_it_is_what_extracting_anew_would_make(source: Path, root: Path, tmp_path: Path) -> None:
    other = manifest(root, 1)
    extract_crops(other, root, tmp_path / "anew", POLICY, SAMPLER)
    n_rows = resplit(source, other, tmp_path / "resplit")
    anew = {path.name: path for path in (tmp_path / "anew").rglob("*") if path.is_file()}
    made = {path.name: path for path in (tmp_path / "resplit").rglob("*") if path.is_file()}
    assert anew.keys() == made.keys()
    for name, path in anew.items():
        if name == "crops.parquet":
            # Parquet may lay out equal tables in other pages
            assert read_table(path, CROPS) == read_table(made[name], CROPS)
        else:
            assert path.read_bytes() == made[name].read_bytes(), name
    store = CropStore.open(tmp_path / "resplit")
    assert n_rows == len(store.crops) > 0
    test = {crop.video_id for crop in store.usable("test")}
    assert test
    assert test == {crop.video_id for crop in CropStore.open(source).usable("train")}


def test_the_same_call_may_be_given_again(source: Path, root: Path, tmp_path: Path) -> None:
    first = resplit(source, manifest(root, 1), tmp_path / "out")
    assert resplit(source, manifest(root, 1), tmp_path / "out") == first
    with pytest.raises(ContractError, match="made with another manifest"):
        resplit(source, manifest(root, 0), tmp_path / "out")


def test_other_videos_are_refused(source: Path, root: Path, tmp_path: Path) -> None:
    whole = manifest(root, 0)
    fewer = dataclasses.replace(whole, rows=whole.rows.take([0, 1, 2]))
    with pytest.raises(UsageError, match="only their splits may differ"):
        resplit(source, fewer, tmp_path / "out")


@pytest.mark.parametrize("fault", ["record", "shard"])
def test_a_damaged_source_is_refused(fault: str, source: Path, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    resplit(source, manifest(root, 0), copy)
    shard = next(copy.rglob("*.tar"))
    if fault == "shard":
        shard.unlink()
    else:
        next(
            path for path in copy.glob("*.json") if "cutter" in json.loads(path.read_text())
        ).write_text("{")
    with pytest.raises(ContractError):
        resplit(copy, manifest(root, 1), tmp_path / "out")
