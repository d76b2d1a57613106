"""What other public datasets are known to get wrong in other people's hands."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import ORIGINAL, Expected
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.errors import ContractError, UsageError
from tests.miniatures import lay, misnamed, read

# DeeperForensics


def test_deeperforensics_puts_each_genuine_video_in_one_split(tmp_path: Path) -> None:
    lay(tmp_path, name="deeperforensics")
    for reals, source in (("targets", "@ffpp:000"), ("sources", "actor:M004")):
        found = read(tmp_path, "deeperforensics", reals=reals).values()
        genuine = [entry for entry in found if entry.label == 0]
        assert sorted(str(entry.split) for entry in genuine) == ["test", "train", "val"]
        of_train = {entry.source_ids for entry in genuine if entry.split == "train"}
        assert of_train == {(source,)}
        adapter = create_dataset("deeperforensics", reals=reals)
        assert build_manifest(adapter, tmp_path, SplitRule("official")).problems == ()
    assert {e.label for e in read(tmp_path, "deeperforensics", reals="none").values()} == {1}
    both = read(tmp_path, "deeperforensics", reals="both")
    assert sum(entry.label == 0 for entry in both.values()) == 6
    assert both["end_to_end/000_M004"].original == "original/000"


def test_deeperforensics_counts_foreign_names_and_expects_what_is_published(
    tmp_path: Path,
) -> None:
    lay(tmp_path, name="deeperforensics")
    (tmp_path / "manipulated_videos" / "end_to_end" / "000_M004_v2.mp4").touch()
    odd = misnamed(tmp_path, "deeperforensics")
    assert list(odd) == ["manipulated_videos/end_to_end/000_M004_v2.mp4"]
    assert "<target>_<actor>" in odd["manipulated_videos/end_to_end/000_M004_v2.mp4"]
    expected = create_dataset("deeperforensics", variants=["end_to_end_level_5"]).expected()
    assert expected == (Expected(1000, "end_to_end_level_5", 1), Expected(1000, ORIGINAL, 0))
    assert create_dataset("deeperforensics", reals="sources").expected()[1].n == 48_475


def test_deeperforensics_keeps_variants_of_one_name_apart(tmp_path: Path) -> None:
    lay(tmp_path, name="deeperforensics")
    variants = ["end_to_end", "end_to_end_level_1"]
    found = read(tmp_path, "deeperforensics", variants=variants)
    entries = [found[f"{variant}/000_M004"] for variant in variants]
    assert [entry.method for entry in entries] == variants
    assert {entry.source_ids for entry in entries} == {("@ffpp:000", "actor:M004")}


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
    assert fake.source_ids == ("@ffpp:actor:01", "@ffpp:actor:02")
    assert {entry.split for entry in found.values()} == {"test"}
    assert fake.original == "actors/c23/01__exit_phone_room"
    masks = "manipulated_sequences/DeepFakeDetection/masks/videos"
    assert fake.mask == f"{masks}/01_02__exit_phone_room__YVGY8LOK.mp4"
    expected = create_dataset("dfd", compressions=["c40"]).expected()
    assert {(e.n, e.label, e.split, e.compression) for e in expected} == {
        (363, 0, "test", "c40"),
        (3068, 1, "test", "c40"),
    }


def test_dfd_counts_foreign_names(tmp_path: Path) -> None:
    videos = lay(tmp_path, name="dfd") / "original_sequences" / "actors" / "c23" / "videos"
    (videos / "01.mp4").touch()
    assert misnamed(tmp_path, "dfd") == {
        "original_sequences/actors/c23/videos/01.mp4": (
            "it is not named <id>__<scene> as in the official release"
        )
    }


def test_uadfv_ties_a_fake_to_its_original(tmp_path: Path) -> None:
    found = read(lay(tmp_path, name="uadfv"), "uadfv")
    assert found["fake/0000_fake"].source_ids == found["real/0000"].source_ids == ("0000",)
    assert found["fake/0000_fake"].original == "real/0000"
    assert {entry.split for entry in found.values()} == {"test"}


def test_ffiw_target_is_fake_and_one_name_in_two_parts_is_two_videos(tmp_path: Path) -> None:
    found = read(lay(tmp_path, name="ffiw"), "ffiw")
    assert len(found) == 8
    assert found["target/val/00000"].label == 1
    assert found["source/val/00000"].label == 0
    assert found["target/val/00000"].source_ids == found["source/val/00000"].source_ids
    assert found["target/val/00000"].source_ids != found["target/train/00000"].source_ids
    assert found["target/val/00000"].mask == "target_mask/val/00000.mp4"
    # who was forged from what is not published, equal names or not
    assert {entry.original for entry in found.values()} == {None}
    assert len(read(tmp_path, "ffiw", parts=["val"])) == 4
    assert [expected.n for expected in create_dataset("ffiw").expected()] == [250, 250]
    assert create_dataset("ffiw", parts=["train"]).expected() == ()
    with pytest.raises(UsageError, match="no part 'test'"):
        read(tmp_path, "ffiw", parts=["test"])


def test_ffiw_reads_the_folder_below_a_part_too(tmp_path: Path) -> None:
    for folder in ("source", "target"):
        path = tmp_path / folder / "val" / "videos" / "1.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
    found = read(tmp_path, "ffiw", parts=["val"])
    assert sorted(found) == ["source/val/1", "target/val/1"]
    assert found["target/val/1"].mask == "target_mask/val/videos/1.mp4"


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
