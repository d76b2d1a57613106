"""Every registered dataset, without being named here: its contract, its chain, its paperwork."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
import yaml
from torch.utils.data import DataLoader

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import DATASETS, create_dataset
from dfdetect.data.datasets.base import (
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    Misnamed,
    check_entry,
)
from dfdetect.data.items import collate
from dfdetect.data.loading import CropDataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.data.verify import verify_dataset
from dfdetect.errors import ContractError, UsageError
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy

IN_FULL_ONLY = {"count", "missing"}
"""What verifying finds in a small copy only because it is small."""


@pytest.fixture(params=DATASETS.names())
def registered(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def laid_out(registered: str, root: Path) -> DatasetAdapter:
    root.mkdir()
    return type(create_dataset(registered)).miniature(root)


def listed(adapter: DatasetAdapter, root: Path) -> list[DatasetEntry]:
    items = list(adapter.entries(root))
    assert not [item for item in items if isinstance(item, Misnamed)]
    return [check_entry(item) for item in items if isinstance(item, DatasetEntry)]


def cut_whole(manifest: Manifest, root: Path, out: Path) -> CropStore:
    policy, sampler = CropPolicy("whole", 1.0, 32), FrameSampler(count=2)
    extract_crops(manifest, root, out, policy, sampler, finder=None, landmarks=False)
    return CropStore.open(out)


def test_every_dataset_states_its_terms(registered: str, project_root: Path) -> None:
    adapter = create_dataset(registered)
    info = adapter.info
    for word in (info.title, info.licence, info.access, info.splits):
        assert word.strip()
    assert "0" in info.polarity
    assert "1" in info.polarity
    readme = (project_root / "data" / "README.md").read_text()
    assert f"\n## {info.title}\n" in readme
    assert f"dataset={registered}" in readme


def test_every_dataset_has_a_config_with_all_its_options(
    registered: str, project_root: Path
) -> None:
    path = project_root / "configs" / "dataset" / f"{registered}.yaml"
    config = yaml.safe_load(path.read_text())
    adapter = create_dataset(config["name"], **config["options"])
    assert config["name"] == registered
    stated = {
        field.name: plain(getattr(create_dataset(registered), field.name))
        for field in dataclasses.fields(adapter)  # type: ignore[arg-type]
    }
    assert config["options"] == stated


def test_every_miniature_goes_from_index_over_verify_and_extract_to_batches(
    registered: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    adapter = laid_out(registered, root)
    entries = listed(adapter, root)
    assert {entry.label for entry in entries} == {0, 1}
    assert len({entry.name for entry in entries}) == len(entries)

    official = all(entry.split for entry in entries)
    manifest = build_manifest(adapter, root, SplitRule("official" if official else "all:train"))
    assert manifest.problems == ()
    assert [row.path for row in manifest.rows] == [
        entry.path for entry in sorted(entries, key=lambda entry: entry.name)
    ]
    assert all(row.video_id.startswith(f"{adapter.name}/") for row in manifest.rows)

    report = verify_dataset(adapter, root)
    assert report.n_videos == len(manifest.rows)
    assert set(report.by_kind) <= IN_FULL_ONLY, report.findings

    store = cut_whole(manifest, root, tmp_path / "store")
    assert {crop.video_id for crop in store.usable()} == {row.video_id for row in manifest.rows}
    dataset = CropDataset([store])
    batches = list(DataLoader(dataset, batch_size=4, collate_fn=collate))  # type: ignore[arg-type]
    assert sum(len(batch.labels) for batch in batches) == len(dataset) == len(store.usable())
    assert {int(label) for batch in batches for label in batch.labels} == {0, 1}


def test_every_miniature_names_originals_and_masks_that_line_up(
    registered: str, tmp_path: Path
) -> None:
    adapter = laid_out(registered, tmp_path / "data")
    videos = build_manifest(adapter, tmp_path / "data", SplitRule("all:train")).rows
    for row in videos:
        if row.original_id is not None:
            genuine = videos.by_id[row.original_id]
            assert (row.label, genuine.label) == (1, 0)
            facts = ("width", "height", "fps", "n_frames", "compression")
            assert all(getattr(row, fact) == getattr(genuine, fact) for fact in facts)
            assert set(row.source_ids) & set(genuine.source_ids)
        if row.mask_path is not None:
            assert row.label == 1
            assert row.mask_path not in {video.path for video in videos}
    named = {entry.original for entry in listed(adapter, tmp_path / "data")} - {None}
    assert {f"{adapter.name}/{name}" for name in named} <= set(videos.by_id)


def test_every_dataset_with_all_its_parts_holds_what_its_options_ask_for(
    registered: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    adapter = laid_out(registered, root)
    some, every = listed(adapter, root), listed(adapter.whole(root), root)
    assert {entry.path for entry in some} <= {entry.path for entry in every}
    empty = tmp_path / "empty"
    empty.mkdir()
    assert create_dataset(registered).whole(empty).name


def test_every_expected_number_is_of_a_kind_that_the_dataset_yields(
    registered: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    adapter = laid_out(registered, root)
    entries = listed(adapter, root)
    # a small copy has not all methods
    properties = ("label", "split", "compression")
    seen = {name: {getattr(entry, name) for entry in entries} for name in properties}
    for expected in adapter.expected():
        assert expected.n > 0
        for name in properties:
            assert getattr(expected, name) in {None, *seen[name]}


def test_a_manifest_holds_posix_paths_below_its_root_and_moves_with_it(
    registered: str, tmp_path: Path
) -> None:
    adapter = laid_out(registered, tmp_path / "here")
    manifest = build_manifest(adapter, tmp_path / "here", SplitRule("all:train"))
    manifest.write(tmp_path / "manifest.parquet")
    moved = Manifest.read(tmp_path / "manifest.parquet")
    for row in moved.rows:
        for path in filter(None, (row.path, row.mask_path)):
            assert "\\" not in path
            assert not PurePosixPath(path).is_absolute()
            assert not PureWindowsPath(path).drive
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").rename(tmp_path / "elsewhere" / "there")
    store = cut_whole(moved, tmp_path / "elsewhere" / "there", tmp_path / "store")
    assert {crop.video_id for crop in store.usable()} == {row.video_id for row in moved.rows}


def test_an_unknown_root_is_refused_with_a_sentence(registered: str, tmp_path: Path) -> None:
    if registered == "synthetic":
        pytest.skip("synthetic makes its own root")
    with pytest.raises(UsageError, match=str(tmp_path)):
        list(create_dataset(registered).entries(tmp_path))


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'ffpp'"):
        create_dataset("ffp")
    with pytest.raises(UsageError, match="no option 'colour'; it knows csv"):
        create_dataset("folder", colour="red")
    with pytest.raises(UsageError, match=r"options\.compressions=\[c23\]"):
        create_dataset("ffpp", compressions="c23")


GOOD = DatasetEntry("a/b.mp4", "b", 1, "swap", ("b",), original="a", mask="masks/b.mp4")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"path": "/a.mp4"}, "absolute"),
        ({"path": "C:/a.mp4"}, "absolute"),
        ({"path": "//server/share/a.mp4"}, "absolute"),
        ({"path": "../a.mp4"}, "leaves"),
        ({"path": "a\\b.mp4"}, "not POSIX"),
        ({"mask": "/a.mp4"}, "absolute"),
        ({"mask": "masks\\b.mp4"}, "not POSIX"),
        ({"name": ""}, "no plain path"),
        ({"label": 2}, "label 2"),
        ({"split": "dev"}, "split 'dev'"),
        ({"source_ids": ()}, "no source id"),
        ({"label": 0}, "method 'swap' on a genuine video"),
        ({"method": ORIGINAL}, "method"),
        ({"label": 0, "method": ORIGINAL}, "an original or a mask on a genuine video"),
    ],
)
def test_entries_that_break_the_contract_are_refused(change: dict[str, object], fault: str) -> None:
    assert check_entry(GOOD) is GOOD
    with pytest.raises(ContractError, match=fault):
        check_entry(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
