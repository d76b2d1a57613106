"""DFDC and its preview: lists that name originals, files that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import ORIGINAL
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.errors import ContractError, UsageError
from tests.miniatures import lay, read


def test_dfdc_ties_fakes_to_their_original_and_counts_absent_files(tmp_path: Path) -> None:
    lay(tmp_path, name="dfdc")
    found = read(tmp_path, "dfdc")
    assert sorted(found) == ["test/ccc", "test/ddd", "train/aaa", "train/bbb"]
    assert found["train/bbb"].source_ids == found["train/aaa"].source_ids == ("aaa",)
    assert (found["train/bbb"].original, found["train/aaa"].original) == ("train/aaa", None)
    assert {found[f"test/{name}"].original for name in ("ccc", "ddd")} == {None}
    assert [found[f"test/{name}"].label for name in ("ccc", "ddd")] == [0, 1]
    assert [found[f"train/{name}"].method for name in ("aaa", "bbb")] == [ORIGINAL, "dfdc"]
    with (tmp_path / "test" / "labels.csv").open("a") as labels:
        labels.write("gone.mp4,1\n")
    manifest = build_manifest(create_dataset("dfdc"), tmp_path, SplitRule("official"))
    assert manifest.n_skipped == {"missing": 1}
    assert manifest.problems[0].path == "test/gone.mp4"


def test_dfdc_reads_the_wanted_parts_and_knows_their_numbers(tmp_path: Path) -> None:
    lay(tmp_path, name="dfdc")
    assert sorted(read(tmp_path, "dfdc", parts=["test"])) == ["test/ccc", "test/ddd"]
    tested = create_dataset("dfdc", parts=["test"]).expected()
    assert [(expected.n, expected.label) for expected in tested] == [(2500, 0), (2500, 1)]
    assert sum(expected.n for expected in create_dataset("dfdc").expected()) == 124_154
    with pytest.raises(UsageError, match="no part 'val'; it has train, test"):
        read(tmp_path, "dfdc", parts=["val"])
    (tmp_path / "test" / "labels.csv").unlink()
    with pytest.raises(UsageError, match=r"holds no labels\.csv \(test\); give"):
        read(tmp_path, "dfdc", parts=["test"])


def test_dfdc_finds_test_videos_beside_their_list(tmp_path: Path) -> None:
    (tmp_path / "test_videos").mkdir()
    (tmp_path / "test_videos" / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,1\n")
    # the test set's own metadata.json has other fields and is no train part
    (tmp_path / "metadata.json").write_text('{"a.mp4": {"is_fake": 1}}')
    assert read(tmp_path, "dfdc")["test/a"].path == "test_videos/a.mp4"


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("metadata.json", '{"a.mp4": {"split": "train"}}', "a.mp4 has label 'None'"),
        ("metadata.json", '{"a.mp4": 1}', "no object of videos"),
        ("metadata.json", '{"a.mp4"', "is not JSON"),
        ("labels.csv", "filename,label\na.mp4,2\n", "line 2 has label '2'"),
        ("labels.csv", "a.mp4,1\n", "lacks the columns"),
    ],
)
def test_dfdc_refuses_faulty_lists(tmp_path: Path, file: str, content: str, fault: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(ContractError, match=fault):
        read(tmp_path, "dfdc")


@pytest.mark.shared
def test_the_shared_dfdc_clips_are_indexed(shared_data: Path) -> None:
    root = shared_data / "clips" / "DFDC"
    manifest = build_manifest(create_dataset("dfdc"), root, SplitRule("official"))
    assert manifest.problems == ()
    assert {(r.video_id, r.label, r.method, r.source_ids, r.split) for r in manifest.rows} == {
        ("dfdc/train/brtujopkby", 1, "dfdc", ("gnmmhlbzge",), "train"),
        ("dfdc/train/lynaeydofd", 0, ORIGINAL, ("lynaeydofd",), "train"),
    }
    named = {entry.name: entry.original for entry in read(root, "dfdc").values()}
    assert named["train/brtujopkby"] == "train/gnmmhlbzge"
    # the original is not among the clips, so the manifest names none
    assert {row.original_id for row in manifest.rows} == {None}


@pytest.mark.shared
def test_dfdc_reads_the_official_test_list(shared_data: Path, tmp_path: Path) -> None:
    listed = (shared_data / "splits" / "dfdc_test_labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(listed)
    labels = [entry.label for entry in read(tmp_path, "dfdc").values()]
    assert (len(labels), sum(labels)) == (5000, 2500)


# DFDC preview


def test_dfdc_preview_keeps_methods_apart_and_people_together(tmp_path: Path) -> None:
    found = read(lay(tmp_path, name="dfdc_preview"), "dfdc_preview")
    swap = "100001/100001_A/100002_100001_A_001"
    for method in ("method_A", "method_B"):
        entry = found[f"{method}/{swap}"]
        assert (entry.label, entry.method, entry.split) == (1, method, "train")
        assert entry.source_ids == ("100001", "100002")
    real = found["original_videos/100001/100001_A_001"]
    assert (real.label, real.source_ids) == (0, ("100001",))
    assert found[f"method_B/{swap}"].original == real.name


def test_dfdc_preview_names_no_original_of_a_fake_that_was_changed_afterwards(
    tmp_path: Path,
) -> None:
    path = lay(tmp_path, name="dfdc_preview") / "dataset.json"
    listed = json.loads(path.read_text())
    for name, fields in listed.items():
        fields["augmentations"] = ["fps"] if name.startswith("method_A/100003") else []
    path.write_text(json.dumps(listed))
    originals = {entry.name: entry.original for entry in read(tmp_path, "dfdc_preview").values()}
    assert originals["method_A/100003/100003_A/100004_100003_A_001"] is None
    assert None not in [name for fake, name in originals.items() if fake.startswith("method_B")]


def test_dfdc_preview_refuses_labels_that_contradict_folders(tmp_path: Path) -> None:
    fields = {"method_A/1/1_A/2_1_A_001.mp4": {"label": "real", "set": "train"}}
    (tmp_path / "dataset.json").write_text(json.dumps(fields))
    with pytest.raises(ContractError, match="has label 'real', wanted real in original_videos"):
        read(tmp_path, "dfdc_preview")
