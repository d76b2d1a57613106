"""DF40: folders of cropped frames, laid out differently from method to method."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import ORIGINAL
from dfdetect.data.datasets.df40 import METHODS
from dfdetect.data.datasets.layouts import write_noise_clip, write_noise_pictures
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.errors import UsageError
from tests.miniatures import lay, misnamed, read

BOTH = {"parts": ["train", "test"]}


def add(root: Path, *folders: str) -> None:
    for folder in folders:
        write_noise_pictures(root / folder, ["000.png"], np.random.default_rng(1))


def test_df40_knows_forty_methods_in_any_case_of_their_folders(tmp_path: Path) -> None:
    assert len(METHODS) == len(set(METHODS)) == 40
    root = lay(tmp_path, "df40")
    add(root, "DF40/MobileSwap/ff/frames/953_974", "DF40/StarGAN2/fake", "DF40/Whichisreal/real")
    found = {entry.method for entry in read(root, "df40").values()}
    assert found == {
        ORIGINAL, "simswap", "rddm", "dit", "stargan", "mobileswap", "starganv2"
    }  # fmt: skip


def test_df40_labels_splits_and_sources_of_every_domain(tmp_path: Path) -> None:
    found = read(lay(tmp_path, "df40"), "df40", **BOTH)
    facts = {
        name: (entry.label, entry.split, entry.source_ids)
        for name, entry in found.items()
        if "stargan" not in name
    }
    frames = "FaceForensics++/original_sequences/youtube/c23/frames"
    people = ("@celebdf:id0", "@celebdf:id0_0002")
    assert facts == {
        "DF40_train/simswap/frames/071_054": (1, "train", ("@ffpp:054", "@ffpp:071")),
        "DF40/simswap/ff/frames/953_974": (1, "test", ("@ffpp:953", "@ffpp:974")),
        "DF40/simswap/cdf/frames/id0_id1_0002": (1, "test", (*people, "@celebdf:id1")),
        "DF40/RDDM/ff/974": (1, "test", ("@ffpp:974",)),
        "DF40/DiT/cdf/Fake_from_Youtube-real/00007": (1, "test", ("@celebdf:youtube:00007",)),
        f"{frames}/071": (0, "train", ("@ffpp:071",)),
        f"{frames}/054": (0, "train", ("@ffpp:054",)),
        f"{frames}/953": (0, "test", ("@ffpp:953",)),
        f"{frames}/974": (0, "test", ("@ffpp:974",)),
        "Celeb-DF-v2/Celeb-real/frames/id0_0002": (0, "test", people),
        "Celeb-DF-v2/YouTube-real/frames/00007": (0, "test", ("@celebdf:youtube:00007",)),
    }
    own = [entry for name, entry in found.items() if "stargan" in name]
    assert Counter(entry.label for entry in own) == {0: 3, 1: 3}
    assert {entry.split for entry in own} == {"test"}
    # crops of a fake and of its original are cut by themselves: they never line up
    assert {(entry.original, entry.mask) for entry in found.values()} == {(None, None)}


def test_df40_reads_the_wanted_parts_methods_and_domains(tmp_path: Path) -> None:
    root = lay(tmp_path, "df40")
    train = read(root, "df40", parts=["train"])
    assert {entry.split for entry in train.values()} == {"train"}
    assert len(train) == 3
    some = read(root, "df40", methods=["SimSwap"], domains=["ff"])
    assert sorted(Path(name).name for name in some) == ["953", "953_974", "974"]
    alone = read(root, "df40", domains=["own"])
    assert Counter(entry.label for entry in alone.values()) == {0: 3, 1: 3}
    fakes = read(root, "df40", domains=["ff", "cdf"], reals=[])
    assert {entry.label for entry in fakes.values()} == {1}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"parts": ["val"]}, "no part 'val'; it has train, test"),
        ({"domains": ["celeba"]}, "no domain 'celeba'"),
        ({"reals": ["own"]}, "no domain of genuine frames 'own'; it has ff, cdf"),
        ({"methods": ["swap"]}, "no method 'swap'"),
    ],
)
def test_df40_refuses_unknown_options(
    options: dict[str, list[str]], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=fault):
        read(lay(tmp_path, "df40"), "df40", **options)


def test_df40_says_that_the_genuine_frames_are_not_there(tmp_path: Path) -> None:
    root = lay(tmp_path, "df40")
    (root / "Celeb-DF-v2").rename(root / "elsewhere")
    with pytest.raises(UsageError, match=r"no Celeb-DF-v2/Celeb-real/frames; .*options\.reals"):
        read(root, "df40")
    assert create_dataset("df40").whole(root).reals == ("ff",)  # type: ignore[attr-defined]
    assert read(root, "df40", reals=["ff"])


def test_df40_gives_no_split_to_a_fake_of_two_splits_and_follows_faceforensics(
    tmp_path: Path,
) -> None:
    root = lay(tmp_path, "df40")
    add(root, "DF40_train/simswap/frames/071_953", "DF40_train/simswap/frames/974_953")
    # the train archives hold videos of test people too
    assert read(root, "df40", **BOTH)["DF40_train/simswap/frames/974_953"].split == "test"
    odd = misnamed(root, "df40", **BOTH)
    assert list(odd) == ["DF40_train/simswap/frames/071_953"]
    manifest = build_manifest(create_dataset("df40", **BOTH), root, SplitRule("official"))
    assert manifest.n_skipped == {"misnamed": 1}


def test_df40_reads_nested_archives_and_pictures_without_a_video(tmp_path: Path) -> None:
    root = lay(tmp_path, "df40")
    add(
        root,
        "DF40/mobileswap/cdf/Youtu/public/DF40/mobileswap/cdf/frames/id1_id0_0005",
        "DF40/mobileswap/cdf/landmarks/id1_id0_0005",
        "DF40/__MACOSX/mobileswap",
        "DF40/e4e/e4e/ff/953",
        "DF40/e4e/cdf/Celeb-real/inversions",
        "DF40/StyleGAN3/cdf/Celeb-real/seed0007",
        "DF40/wav2lip/ff/frames/974_sound",
    )
    found = read(root, "df40")
    assert misnamed(root, "df40") == {}
    nested = "DF40/mobileswap/cdf/Youtu/public/DF40/mobileswap/cdf/frames/id1_id0_0005"
    assert found[nested].source_ids == ("@celebdf:id0", "@celebdf:id1", "@celebdf:id1_0005")
    assert found["DF40/e4e/e4e/ff/953"].source_ids == ("@ffpp:953",)
    assert found["DF40/wav2lip/ff/frames/974_sound"].source_ids == ("@ffpp:974",)
    # a number without a video and a face of nobody are related to nothing
    for name in (
        "DF40/e4e/cdf/Celeb-real/inversions/000.png",
        "DF40/StyleGAN3/cdf/Celeb-real/seed0007",
    ):
        assert found[name].source_ids == (name,)


def test_df40_reports_what_it_does_not_know(tmp_path: Path) -> None:
    root = lay(tmp_path, "df40")
    add(root, "DF40/frames/071", "DF40/simswap/frames/071", "DF40/simswap/ff/frames/x", "DF40/Sora")
    add(root, "DF40/simswap/cdf/frames/071", "Celeb-DF-v2/Celeb-real/frames/seven")
    write_noise_clip(root / "DF40/heygen/fake/a.mp4", np.random.default_rng(1))
    assert misnamed(root, "df40") == {
        "DF40/frames": "its folder is no method of DF40; unpack each archive as <method>/",
        "DF40/Sora": "its folder is no method of DF40; unpack each archive as <method>/",
        "DF40/simswap/frames/071": "it is below none of ff/, cdf/, fake/ and real/",
        "DF40/simswap/ff/frames/x": "its name tells no video of FaceForensics++",
        "DF40/simswap/cdf/frames/071": "its name tells no video of Celeb-DF",
        "Celeb-DF-v2/Celeb-real/frames/seven": "its name tells no video of Celeb-DF",
        "DF40/heygen/fake/a.mp4": (
            "a whole video and no cropped frames; index it with dataset=folder"
        ),
    }
