"""Every registered dataset, without being named here: its contract, its chain, its paperwork."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import DATASETS, create_dataset
from dfdetect.data.datasets.base import (
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    check_entry,
)
from dfdetect.data.datasets.synthetic import draw_clip, write_clip
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule, leak_check
from dfdetect.errors import ContractError, UsageError
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy


@pytest.fixture(params=DATASETS.names())
def registered(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_every_dataset_states_its_terms(registered: str, project_root: Path) -> None:
    adapter = create_dataset(registered)
    for word in (adapter.info.title, adapter.info.licence, adapter.info.access):
        assert word.strip()
    assert "0" in adapter.info.polarity
    assert "1" in adapter.info.polarity
    readme = (project_root / "data" / "README.md").read_text()
    assert f"\n## {adapter.info.title}\n" in readme
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


def test_every_miniature_goes_from_entries_to_crops(registered: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    adapter = type(create_dataset(registered)).miniature(root)
    entries = [check_entry(entry) for entry in adapter.entries(root)]
    assert {entry.label for entry in entries} == {0, 1}
    assert len({entry.name for entry in entries}) == len(entries)
    official = all(entry.split for entry in entries)
    rule = SplitRule("official" if official else "all:train")
    manifest = build_manifest(adapter, root, rule)
    assert manifest.problems == ()
    assert [row.path for row in manifest.rows] == [
        entry.path for entry in sorted(entries, key=lambda entry: entry.name)
    ]
    assert all(row.video_id.startswith(f"{adapter.name}/") for row in manifest.rows)
    extract_crops(
        manifest, root, tmp_path / "store", CropPolicy("whole", 1.0, 32), FrameSampler(count=2),
        finder=None, landmarks=False,
    )  # fmt: skip
    store = CropStore.open(tmp_path / "store")
    assert {crop.video_id for crop in store.usable()} == {row.video_id for row in manifest.rows}
    assert store.image(store.usable()[-1]).shape == (32, 32, 3)


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


GOOD = DatasetEntry("a/b.mp4", "b", 1, "swap", ("b",))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"path": "/a.mp4"}, "absolute"),
        ({"path": "../a.mp4"}, "leaves"),
        ({"path": "a\\b.mp4"}, "not POSIX"),
        ({"name": ""}, "empty name"),
        ({"label": 2}, "label 2"),
        ({"split": "dev"}, "split 'dev'"),
        ({"source_ids": ()}, "no source id"),
        ({"label": 0}, "method 'swap' on a genuine video"),
        ({"method": ORIGINAL}, "method"),
    ],
)
def test_entries_that_break_the_contract_are_refused(change: dict[str, object], fault: str) -> None:
    assert check_entry(GOOD) is GOOD
    with pytest.raises(ContractError, match=fault):
        check_entry(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]


# folder


def lay(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return root


def by_path(adapter: DatasetAdapter, root: Path) -> dict[str, DatasetEntry]:
    return {entry.path: entry for entry in adapter.entries(root)}


def test_folder_finds_videos_pictures_and_folders_of_pictures(tmp_path: Path) -> None:
    lay(tmp_path, "real/a.jpg", "real/p/1.png", "real/p/2.png", "fake/a.PNG", "other/x.png")
    (tmp_path / "fake" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "fake" / "deep" / "er" / "b.MP4").touch()
    (tmp_path / "fake" / "notes.txt").touch()
    found = by_path(create_dataset("folder", method="swap"), tmp_path)
    assert {path: (e.label, e.method) for path, e in found.items()} == {
        "real/a.jpg": (0, ORIGINAL),
        "real/p": (0, ORIGINAL),
        "fake/a.PNG": (1, "swap"),
        "fake/deep/er/b.MP4": (1, "swap"),
    }
    assert found["real/a.jpg"].source_ids == found["fake/a.PNG"].source_ids
    single = by_path(create_dataset("folder", folders_are_videos=False), tmp_path)
    assert {"real/p/1.png", "real/p/2.png"} <= single.keys()


def read_csv(root: Path, text: str, **options: object) -> dict[str, DatasetEntry]:
    (root / "list.csv").write_text(text)
    return by_path(create_dataset("folder", csv="list.csv", **options), root)


def test_csv_columns_and_words(tmp_path: Path) -> None:
    found = read_csv(
        lay(tmp_path, "a.png", "b.png"),
        "path\tlabel\tvideo\tmethod\tsplit\tsource_ids\tidentity\n"
        "a.png\treal\tA\t\ttrain\t\tann\n"
        "b.png\tFake\tB\tswap\tvalidation\tA; C\tbob;ann\n",
    )
    assert found["a.png"] == DatasetEntry(
        "a.png", "A", 0, ORIGINAL, ("A", "identity:ann"), split="train"
    )
    assert found["b.png"] == DatasetEntry(
        "b.png", "B", 1, "swap", ("A", "C", "identity:ann", "identity:bob"), split="val"
    )


def test_csv_columns_and_polarity_can_be_named(tmp_path: Path) -> None:
    found = read_csv(
        lay(tmp_path, "a.png", "b.png"),
        "name,is_real\na.png,1\nb.png,0\n",
        path_column="name", label_column="is_real", real_label="1", fake_label="0",
    )  # fmt: skip
    assert (found["a.png"].label, found["b.png"].label) == (0, 1)


def test_csv_paths_start_from_the_root_or_from_the_csv(tmp_path: Path) -> None:
    root = lay(tmp_path / "data", "deep/a.png", "deep/b.png")
    (tmp_path / "data" / "deep" / "list.csv").write_text(
        f"file,label\na.png,0\ndeep/b.png,1\nwin\\dows.png,1\n{root}/deep/c.png,1\n"
    )
    found = by_path(create_dataset("folder", csv="deep/list.csv"), root)
    assert sorted(found) == ["deep/a.png", "deep/b.png", "deep/c.png", "win/dows.png"]


@pytest.mark.parametrize(
    ("text", "kind", "fault"),
    [
        ("file,kind\na.png,0\n", UsageError, "no column label .*label_column"),
        ("name,label\na.png,0\n", UsageError, "no column path or file .*path_column"),
        ("file,label\na.png,maybe\n", ContractError, "line 2 has label 'maybe'"),
        ("file,label\na.png,\n", ContractError, "line 2 has label ''"),
        ("file,label\na.png\n", ContractError, "line 2 has label ''"),
        ("file,label,split\na.png,0,dev\n", ContractError, "line 2 has split 'dev'"),
        ("file,label,video\na.png,0,A\nb.png,0,A\n", ContractError, "line 3 names .* 'A' .*line 2"),
        ("file,label\n/nowhere/a.png,0\n", ContractError, "not below"),
        ("", UsageError, "no column path"),
    ],
)
def test_a_faulty_csv_is_refused_with_its_line(
    tmp_path: Path, text: str, kind: type[Exception], fault: str
) -> None:
    with pytest.raises(kind, match=fault):
        read_csv(tmp_path, text)


def test_a_missing_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"csv=gone\.csv is neither"):
        list(create_dataset("folder", csv="gone.csv").entries(tmp_path))


@pytest.mark.shared
def test_the_shared_list_works_with_options_only(shared_data: Path) -> None:
    dataset = create_dataset("folder", name="dfdc", csv="dfdc.csv", method="dfdc")
    entries = list(dataset.entries(shared_data / "faces"))
    assert len(entries) == 10_400
    assert sum(entry.label for entry in entries) == 5200
    sources = {entry.name: entry.source_ids for entry in entries}
    assert sources["olgaicgeax"] == sources["jbvykcutef"] == ("jbvykcutef",)


# ffpp


@pytest.fixture
def ffpp_entries(tmp_path: Path) -> Callable[..., dict[str, DatasetEntry]]:
    def entries(*paths: str, **options: object) -> dict[str, DatasetEntry]:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return {e.name: e for e in create_dataset("ffpp", **options).entries(tmp_path)}

    return entries


def test_ffpp_names_labels_sources_and_splits(
    ffpp_entries: Callable[..., dict[str, DatasetEntry]],
) -> None:
    found = ffpp_entries(
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
    both = ffpp_entries(
        compressions=["c23", "c40"], parts=["youtube", "actors", "DeepFakeDetection"]
    )
    assert sorted(both) == [
        "DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK",
        "actors/c23/01__exit_phone_room",
        "original/c23/953",
        "original/c40/953",
    ]
    staged = both["DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK"]
    assert (staged.label, staged.split, staged.source_ids) == (1, "test", ("actor:01", "actor:02"))


def test_ffpp_refuses_strange_parts_and_names(
    ffpp_entries: Callable[..., dict[str, DatasetEntry]],
) -> None:
    with pytest.raises(UsageError, match="no part 'Deepfake'; it has youtube"):
        ffpp_entries(parts=["Deepfake"])
    with pytest.raises(ContractError, match="<target>_<source>"):
        ffpp_entries("manipulated_sequences/FaceSwap/c23/videos/copy.mp4")


@pytest.mark.shared
def test_the_shared_ffpp_clips_are_all_of_the_train_split(shared_data: Path) -> None:
    root = shared_data / "clips" / "FaceForensics++"
    manifest = build_manifest(create_dataset("ffpp"), root, SplitRule("official"))
    assert manifest.counts() == {
        ("train", "Deepfakes", 1): 12,
        ("train", "Face2Face", 1): 9,
        ("train", "FaceSwap", 1): 10,
        ("train", "original", 0): 30,
    }
    assert manifest.problems == ()
    assert "ffpp/Deepfakes/c23/055_147" in {row.video_id for row in manifest.rows}


# synthetic


def test_synthetic_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    made: list[Manifest] = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        dataset = create_dataset("synthetic", n_identities=5, n_frames=4, seed=seed)
        made.append(build_manifest(dataset, tmp_path / name, SplitRule("official")))
    assert made[0].rows == made[1].rows
    assert {r.sha256 for r in made[0].rows}.isdisjoint(r.sha256 for r in made[2].rows)
    assert {r.split for r in made[0].rows} == {"train", "val", "test"}
    assert leak_check(made[0].rows) == ()
    more = create_dataset("synthetic", n_identities=6, n_frames=4, seed=1)
    grown = build_manifest(more, tmp_path / "a", SplitRule("official"))
    assert set(made[0].rows) < set(grown.rows)
    with pytest.raises(UsageError, match=r'drawn with {"n_frames": 4, "seed": 1}'):
        list(create_dataset("synthetic", n_frames=4, seed=2).entries(tmp_path / "a"))


def test_synthetic_fakes_differ_inside_the_face_only() -> None:
    real = draw_clip(np.random.default_rng(5), 1, 0)[0].astype(int)
    fake = draw_clip(np.random.default_rng(5), 1, 1)[0].astype(int)
    changed = np.abs(real - fake).max(axis=2) > 2
    rows, columns = np.nonzero(changed)
    assert 0.01 < changed.mean() < 0.3
    assert rows.min() > 30
    assert rows.max() < 200
    assert columns.min() > 60
    assert columns.max() < 260


def test_written_clips_show_what_was_drawn(tmp_path: Path) -> None:
    drawn = draw_clip(np.random.default_rng(0), 5, 0)
    write_clip(tmp_path / "a.mp4", drawn, 10)
    from dfdetect.media import probe

    frames = list(FrameSampler("all").sample(probe(tmp_path / "a.mp4")))
    assert len(frames) == 5
    error = np.abs(frames[3].image.astype(int) - drawn[3].astype(int)).mean()
    assert error < 5
