"""What each public dataset is known to get wrong in other people's hands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import ORIGINAL, DatasetEntry
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.errors import ContractError, UsageError

TEST_LIST = "List_of_testing_videos.txt"


def lay(root: Path, name: str) -> Path:
    """Lay out a dataset's miniature below a root and return the root."""
    root.mkdir(parents=True, exist_ok=True)
    type(create_dataset(name)).miniature(root)
    return root


def read(root: Path, name: str, **options: object) -> dict[str, DatasetEntry]:
    return {entry.name: entry for entry in create_dataset(name, **options).entries(root)}


# Celeb-DF

VERSIONS = ("celebdf_v1", "celebdf_v2", "celebdf_pp")


@pytest.mark.parametrize("name", VERSIONS)
def test_celebdf_turns_the_polarity_of_its_list_round(name: str, tmp_path: Path) -> None:
    found = read(lay(tmp_path, name=name), name)
    assert len(found) == 3
    assert (tmp_path / TEST_LIST).read_text().startswith("1 YouTube-real/")
    for entry in found.values():
        assert entry.label == int(entry.path.startswith("Celeb-synthesis"))
        assert entry.split == "test"


@pytest.mark.parametrize("name", VERSIONS)
def test_celebdf_keeps_the_test_videos_out_of_train(name: str, tmp_path: Path) -> None:
    lay(tmp_path, name=name)
    test, train = read(tmp_path, name), read(tmp_path, name, part="train")
    assert len(train) == 2
    assert not test.keys() & train.keys()
    assert {entry.split for entry in train.values()} == {"train"}
    assert read(tmp_path, name, part="all") == test | train


def test_celebdf_knows_people_clips_and_methods(tmp_path: Path) -> None:
    old = read(lay(tmp_path / "v2", name="celebdf_v2"), "celebdf_v2")
    fake = old["Celeb-synthesis/id0_id1_0002"]
    assert fake.source_ids == ("id0", "id0_0002", "id1")
    assert fake.method == "Celeb-synthesis"
    assert old["Celeb-real/id0_0002"].source_ids == ("id0", "id0_0002")
    assert old["YouTube-real/00007"].source_ids == ("youtube:00007",)
    new = read(lay(tmp_path / "pp", name="celebdf_pp"), "celebdf_pp")
    assert new["Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0002"].method == "SimSwap"


def test_celebdf_refuses_its_own_train_beside_its_test(tmp_path: Path) -> None:
    lay(tmp_path, name="celebdf_v2")
    with pytest.raises(ContractError, match=r"train and test share: .*id0"):
        build_manifest(create_dataset("celebdf_v2", part="all"), tmp_path, SplitRule("official"))


def test_celebdf_refuses_a_list_that_was_turned_round(tmp_path: Path) -> None:
    lay(tmp_path, name="celebdf_v2")
    (tmp_path / TEST_LIST).write_text("0 Celeb-real/id0_0002.mp4\n")
    with pytest.raises(ContractError, match=r"line 1 gives 0 .* 1 means genuine"):
        read(tmp_path, "celebdf_v2")
    (tmp_path / TEST_LIST).write_text("1 Celeb-fake/id0_0002.mp4\n")
    with pytest.raises(ContractError, match="line 1 is '1 Celeb-fake"):
        read(tmp_path, "celebdf_v2")


def test_celebdf_refuses_unknown_parts_and_names(tmp_path: Path) -> None:
    lay(tmp_path, name="celebdf_v2")
    with pytest.raises(UsageError, match="no part 'val'; it has test, train, all"):
        read(tmp_path, "celebdf_v2", part="val")
    (tmp_path / "Celeb-real" / "copy.mp4").touch()
    with pytest.raises(ContractError, match=r"Celeb-real/copy\.mp4 names no person"):
        read(tmp_path, "celebdf_v2", part="train")
    (tmp_path / TEST_LIST).unlink()
    with pytest.raises(UsageError, match=f"holds no {TEST_LIST}"):
        read(tmp_path, "celebdf_v2")


@pytest.mark.shared
def test_celebdf_reads_the_official_test_list(shared_data: Path, tmp_path: Path) -> None:
    listed = (shared_data / "splits" / f"celebdf_v2_{TEST_LIST}").read_text()
    (tmp_path / TEST_LIST).write_text(listed)
    found = read(tmp_path, "celebdf_v2").values()
    assert [sum(e.label == label for e in found) for label in (0, 1)] == [178, 340]
    people = {source for e in found for source in e.source_ids if source.startswith("id")}
    assert len({person for person in people if "_" not in person}) == 56


# DFDC


def test_dfdc_ties_fakes_to_their_original_and_counts_absent_files(tmp_path: Path) -> None:
    lay(tmp_path, name="dfdc")
    found = read(tmp_path, "dfdc")
    assert sorted(found) == ["test/ccc", "test/ddd", "train/aaa", "train/bbb"]
    assert found["train/bbb"].source_ids == found["train/aaa"].source_ids == ("aaa",)
    assert [found[f"test/{name}"].label for name in ("ccc", "ddd")] == [0, 1]
    assert [found[f"train/{name}"].method for name in ("aaa", "bbb")] == [ORIGINAL, "dfdc"]
    with (tmp_path / "test" / "labels.csv").open("a") as labels:
        labels.write("gone.mp4,1\n")
    manifest = build_manifest(create_dataset("dfdc"), tmp_path, SplitRule("official"))
    assert manifest.n_skipped == {"missing": 1}
    assert manifest.problems[0].path == "test/gone.mp4"


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
    assert {(r.video_id, r.label, r.source_ids, r.split) for r in manifest.rows} == {
        ("dfdc/train/brtujopkby", 1, ("gnmmhlbzge",), "train"),
        ("dfdc/train/lynaeydofd", 0, ("lynaeydofd",), "train"),
    }


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


def test_dfdc_preview_refuses_labels_that_contradict_folders(tmp_path: Path) -> None:
    fields = {"method_A/1/1_A/2_1_A_001.mp4": {"label": "real", "set": "train"}}
    (tmp_path / "dataset.json").write_text(json.dumps(fields))
    with pytest.raises(ContractError, match="has label 'real', wanted real in original_videos"):
        read(tmp_path, "dfdc_preview")


# DeeperForensics


def test_deeperforensics_puts_each_genuine_video_in_one_split(tmp_path: Path) -> None:
    lay(tmp_path, name="deeperforensics")
    for reals, source in (("targets", "target:000"), ("sources", "actor:M004")):
        found = read(tmp_path, "deeperforensics", reals=reals).values()
        genuine = [entry for entry in found if entry.label == 0]
        assert sorted(str(entry.split) for entry in genuine) == ["test", "train", "val"]
        of_train = {entry.source_ids for entry in genuine if entry.split == "train"}
        assert of_train == {(source,)}
        adapter = create_dataset("deeperforensics", reals=reals)
        assert build_manifest(adapter, tmp_path, SplitRule("official")).problems == ()
    assert {e.label for e in read(tmp_path, "deeperforensics", reals="none").values()} == {1}


def test_deeperforensics_keeps_variants_of_one_name_apart(tmp_path: Path) -> None:
    lay(tmp_path, name="deeperforensics")
    variants = ["end_to_end", "end_to_end_level_1"]
    found = read(tmp_path, "deeperforensics", variants=variants)
    entries = [found[f"{variant}/000_M004"] for variant in variants]
    assert [entry.method for entry in entries] == variants
    assert {entry.source_ids for entry in entries} == {("actor:M004", "target:000")}


def test_deeperforensics_says_what_is_missing(tmp_path: Path) -> None:
    lay(tmp_path, name="deeperforensics")
    with pytest.raises(UsageError, match="reals='real' is unknown"):
        read(tmp_path, "deeperforensics", reals="real")
    with pytest.raises(UsageError, match="no videos in manipulated_videos/end_to_end_level_5"):
        read(tmp_path, "deeperforensics", variants=["end_to_end_level_5"])
    (tmp_path / "original_sequences").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="no videos in original_sequences/youtube/c23"):
        read(tmp_path, "deeperforensics")
    with (tmp_path / "lists/splits/test.txt").open("a") as listed:
        listed.write("003_M004.mp4\n")
    with pytest.raises(ContractError, match="line 2 puts actor:M004 in test"):
        read(tmp_path, "deeperforensics")
    (tmp_path / "lists/splits/val.txt").unlink()
    with pytest.raises(UsageError, match=r"holds no lists/splits/val\.txt"):
        read(tmp_path, "deeperforensics")


# DFD, UADFV, FFIW, WildDeepfake, FakeAVCeleb


def test_dfd_is_all_test_and_numbers_are_actors(tmp_path: Path) -> None:
    found = read(lay(tmp_path, name="dfd"), "dfd")
    fake = found["DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK"]
    assert fake.source_ids == ("actor:01", "actor:02")
    assert {entry.split for entry in found.values()} == {"test"}


def test_uadfv_ties_a_fake_to_its_original(tmp_path: Path) -> None:
    found = read(lay(tmp_path, name="uadfv"), "uadfv")
    assert found["fake/0000_fake"].source_ids == found["real/0000"].source_ids == ("0000",)
    assert {entry.split for entry in found.values()} == {"test"}


def test_ffiw_target_is_fake_and_one_name_in_two_parts_is_two_videos(tmp_path: Path) -> None:
    found = read(lay(tmp_path, name="ffiw"), "ffiw")
    assert len(found) == 8
    assert found["target/val/00000"].label == 1
    assert found["source/val/00000"].label == 0
    assert found["target/val/00000"].source_ids == found["source/val/00000"].source_ids
    assert found["target/val/00000"].source_ids != found["target/train/00000"].source_ids
    assert len(read(tmp_path, "ffiw", parts=["val"])) == 4
    with pytest.raises(UsageError, match="no part 'test'"):
        read(tmp_path, "ffiw", parts=["test"])


def test_ffiw_reads_the_folder_below_a_part_too(tmp_path: Path) -> None:
    for folder in ("source", "target"):
        path = tmp_path / folder / "val" / "videos" / "1.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
    assert sorted(read(tmp_path, "ffiw", parts=["val"])) == ["source/val/1", "target/val/1"]


def test_wilddeepfake_keeps_equal_sequence_numbers_apart(tmp_path: Path) -> None:
    root = lay(tmp_path / "deepfake_in_the_wild", name="wilddeepfake")
    (root / "real_test").rename(root / "real test")
    found = read(root, "wilddeepfake")
    assert len(found) == 8
    real = found["real test/0/real/7"]
    assert (real.label, real.split, real.source_ids) == (0, "test", ("real test/0",))
    assert found["fake_train/1/fake/7"].source_ids == ("fake_train/1",)


def test_wilddeepfake_says_that_archives_are_packed(tmp_path: Path) -> None:
    (tmp_path / "real_train").mkdir()
    (tmp_path / "real_train" / "0.tar.gz").touch()
    with pytest.raises(UsageError, match="unpack each archive"):
        read(tmp_path, "wilddeepfake")


def test_fakeavceleb_labels_the_picture_and_not_the_sound(tmp_path: Path) -> None:
    found = read(lay(tmp_path, name="fakeavceleb"), "fakeavceleb")
    assert sorted(entry.label for entry in found.values()) == [0, 1, 1]
    swap = found["FakeVideo-RealAudio/African/men/id00001/00001_id00002"]
    assert (swap.method, swap.source_ids) == ("faceswap", ("id00001", "id00002"))
    sound = read(tmp_path, "fakeavceleb", types=["RealVideo-FakeAudio"])
    assert [(entry.label, entry.method) for entry in sound.values()] == [(0, ORIGINAL)]


def test_fakeavceleb_refuses_strange_types_and_lists(tmp_path: Path) -> None:
    lay(tmp_path, name="fakeavceleb")
    with pytest.raises(UsageError, match="no type 'A'; it has RealVideo-RealAudio"):
        read(tmp_path, "fakeavceleb", types=["A"])
    path = tmp_path / "meta_data.csv"
    path.write_text(path.read_text().replace("FakeVideo-FakeAudio", "Fake"))
    with pytest.raises(ContractError, match="line 5 has type 'Fake'"):
        read(tmp_path, "fakeavceleb")
    path.write_text("source,target1,method,type,path\n")
    with pytest.raises(ContractError, match="no column ''"):
        read(tmp_path, "fakeavceleb")
