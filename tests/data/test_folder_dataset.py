"""Own videos and pictures: what is found, what a list may say, what Windows writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import ORIGINAL, DatasetAdapter, DatasetEntry
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.errors import ContractError, UsageError


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
        (
            "file,label\nC:\\clips\\a.png,0\n",
            ContractError,
            "line 2 names C:/clips/a.png, .*not below",
        ),
        ("file,label\nC:a.png,0\n", ContractError, "line 2 names C:a.png, .*not below"),
        (
            "file,label\n\\\\nas\\clips\\a.png,0\n",
            ContractError,
            "line 2 names //nas/clips/a.png, ",
        ),
        ("", UsageError, "no column path"),
        ("file,label\na.png,0\n,1\n", ContractError, "line 3 names no file"),
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


def test_a_list_from_windows_makes_a_manifest_that_is_read_anywhere(tmp_path: Path) -> None:
    root = lay(tmp_path / "data", "deep/real/a.png", "deep/fake/b.png")
    cv2.imwrite(str(root / "deep/fake/b.png"), np.full((8, 8, 3), 9, np.uint8))
    (root / "list.csv").write_bytes(
        b"\xef\xbb\xbffile,label,split\r\ndeep\\real\\a.png,0,train\r\n.\\deep\\fake\\b.png,1,train\r\n"
    )
    dataset = create_dataset("folder", csv="list.csv")
    manifest = build_manifest(dataset, root, SplitRule("given"))
    assert manifest.problems == ()
    assert manifest.rows.column("path").to_pylist() == ["deep/fake/b.png", "deep/real/a.png"]


def test_linked_folders_are_entered_and_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    root = lay(tmp_path / "data", "real/a.png", "fake/b.png")
    lay(tmp_path / "elsewhere", "c.png")
    (tmp_path / "elsewhere" / "d.mp4").touch()
    (root / "real" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "real" / "loop").symlink_to(root / "real")
    found = by_path(create_dataset("folder"), root)
    assert sorted(found) == ["fake/b.png", "real/a.png", "real/linked", "real/linked/d.mp4"]


def test_a_folder_of_frames_named_as_the_video_is_one_video(tmp_path: Path) -> None:
    root = lay(tmp_path, "real/clip.mp4/0.png", "real/clip.mp4/1.png", "fake/a.png")
    assert sorted(by_path(create_dataset("folder"), root)) == ["fake/a.png", "real/clip.mp4"]


@pytest.mark.parametrize("suffix", ["wmv", "3gp", "MTS", "flv", "gif"])
def test_less_usual_containers_are_not_dropped(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / f"clip.{suffix}").touch()
    assert len(by_path(create_dataset("folder"), tmp_path)) == 1


def test_a_list_with_semicolons_as_some_spreadsheets_write_it(tmp_path: Path) -> None:
    entries = read_csv(tmp_path, 'file;label;source_ids\na.png;0;"x;y"\n')
    assert entries["a.png"].source_ids == ("a", "x", "y")


def test_a_name_with_a_line_break_costs_one_video(tmp_path: Path) -> None:
    root = lay(tmp_path, "real/a.png", "real/line\nbreak.png", "fake/b.png")
    manifest = build_manifest(create_dataset("folder"), root, SplitRule("all:test"))
    assert [row.path for row in manifest.rows] == ["fake/b.png", "real/a.png"]
    assert [problem.status for problem in manifest.problems] == ["misnamed"]


def test_a_listed_name_that_no_shard_can_hold_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text("file,label,video\na.png,0,x/../y\n")
    with pytest.raises(ContractError, match=r"'x/\.\./y' .*no plain path"):
        build_manifest(create_dataset("folder", csv="list.csv"), tmp_path, SplitRule("all:test"))
