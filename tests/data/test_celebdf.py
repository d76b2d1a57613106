"""Celeb-DF: a list that means the opposite, test videos among the others, people in both."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import Expected
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.errors import ContractError, UsageError
from tests.miniatures import lay, misnamed, read

TEST_LIST = "List_of_testing_videos.txt"
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
    assert fake.source_ids == ("@celebdf:id0", "@celebdf:id0_0002", "@celebdf:id1")
    assert (fake.method, fake.original) == ("Celeb-synthesis", "Celeb-real/id0_0002")
    assert old["Celeb-real/id0_0002"].source_ids == ("@celebdf:id0", "@celebdf:id0_0002")
    assert old["YouTube-real/00007"].source_ids == ("@celebdf:youtube:00007",)
    new = read(lay(tmp_path / "pp", name="celebdf_pp"), "celebdf_pp")
    swap = new["Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0002"]
    assert (swap.method, swap.original) == ("SimSwap", "Celeb-real/id0_0002")
    made = tmp_path / "pp" / "Celeb-synthesis" / "TalkingFace" / "EDTalk"
    made.mkdir(parents=True)
    (made / "id0_id1_0002.mp4").touch()
    talking = read(tmp_path / "pp", "celebdf_pp", part="train")
    # a picture of another size has no original that lines up
    assert talking["Celeb-synthesis/TalkingFace/EDTalk/id0_id1_0002"].original is None


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


def test_celebdf_says_what_is_missing_and_counts_foreign_names(tmp_path: Path) -> None:
    lay(tmp_path, name="celebdf_v2")
    with pytest.raises(UsageError, match="no part 'val'; it has test, train, all"):
        read(tmp_path, "celebdf_v2", part="val")
    for name in ("Celeb-real/copy.mp4", "YouTube-real/00007 (1).mp4", "Celeb-synthesis/0002.mp4"):
        (tmp_path / name).touch()
    assert len(read(tmp_path, "celebdf_v2", part="train")) == 2
    odd = misnamed(tmp_path, "celebdf_v2", part="train")
    assert sorted(odd) == [
        "Celeb-real/copy.mp4", "Celeb-synthesis/0002.mp4", "YouTube-real/00007 (1).mp4"
    ]  # fmt: skip
    assert "<id>_<id of the face>_<clip>" in odd["Celeb-synthesis/0002.mp4"]
    train = create_dataset("celebdf_v2", part="train")
    assert build_manifest(train, tmp_path, SplitRule("official")).n_skipped == {"misnamed": 3}
    (tmp_path / TEST_LIST).unlink()
    with pytest.raises(UsageError, match=f"holds no {TEST_LIST}"):
        read(tmp_path, "celebdf_v2")


def test_celebdf_expects_what_is_published_of_each_part() -> None:
    def numbers(name: str, part: str) -> list[tuple[int, int | None, str | None]]:
        found = create_dataset(name, part=part).expected()
        return [(expected.n, expected.label, expected.split) for expected in found]

    tested = [(178, 0, "test"), (340, 1, "test")]
    assert numbers("celebdf_v2", "test") == tested
    assert numbers("celebdf_v2", "train") == [(712, 0, "train"), (5299, 1, "train")]
    assert numbers("celebdf_v2", "all") == [(890, 0, None), (5639, 1, None), *tested]
    assert numbers("celebdf_v1", "all") == [(408, 0, None), (795, 1, None)]
    assert numbers("celebdf_v1", "test") == numbers("celebdf_v1", "train") == []
    new = create_dataset("celebdf_pp").expected()
    assert len(new) == 23
    assert sum(expected.n for expected in new) == 178 + 15 * 200 + 7 * 300
    assert Expected(300, "FLOAT", 1, "test") in new


@pytest.mark.shared
def test_celebdf_reads_the_official_test_list(shared_data: Path, tmp_path: Path) -> None:
    listed = (shared_data / "splits" / f"celebdf_v2_{TEST_LIST}").read_text()
    (tmp_path / TEST_LIST).write_text(listed)
    found = read(tmp_path, "celebdf_v2").values()
    assert [sum(e.label == label for e in found) for label in (0, 1)] == [178, 340]
    people = {source for e in found for source in e.source_ids if "id" in source}
    assert len({person for person in people if "_" not in person}) == 56
    # the others were made from videos that are not in the list
    assert sum(entry.original in {e.name for e in found} for entry in found) == 106
