"""Celeb-DF v1, v2 and ++: celebrities' interviews and forgeries of them.

Li et al., "Celeb-DF: A Large-scale Challenging Dataset for DeepFake Forensics", CVPR 2020; Li et
al., "Celeb-DF++: A Large-scale Challenging Video DeepFake Benchmark for Generalizable Forensics",
2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    VIDEO_SUFFIXES,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
)
from dfdetect.data.datasets.layouts import (
    hashes,
    required_list,
    text_lines,
    without_suffix,
    write_noise_clip,
)
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import FAKE, REAL

TEST_LIST = "List_of_testing_videos.txt"
FOLDERS = {"Celeb-real": REAL, "YouTube-real": REAL, "Celeb-synthesis": FAKE}
LIST_LABELS = {"1": REAL, "0": FAKE}
PARTS = ("test", "train", "all")
POLARITY = "List_of_testing_videos.txt says 1 for genuine and 0 for fake: turned into 0 and 1"
LICENCE = "Terms to Use Celeb-DF"


@dataclass(frozen=True, slots=True)
class CelebDF(DatasetAdapter):
    """What the three versions share.

    `part` is `test` (the videos of the dataset's own test list), `train` (every other video) or
    `all`. The test videos lie in the same folders as the others. The source ids of a video are the
    people it shows (`id3`) and the clip it is made from (`id3_0004`, which `id3_id7_0004` puts the
    face of `id7` on).
    """

    info: ClassVar[DatasetInfo]
    version: ClassVar[str]
    fakes: ClassVar[str] = "Celeb-synthesis"

    part: str = "test"

    @property
    def name(self) -> str:
        """`celebdf_v1`, `celebdf_v2` or `celebdf_pp`."""
        return f"celebdf_{self.version}"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield the videos of the wanted part.

        Raises:
            UsageError: The part is unknown or the test list is not there.
            ContractError: The list contradicts the folders, or a video's name shows no person.
        """
        if self.part not in PARTS:
            raise UsageError(f"{self.name} has no part {self.part!r}; it has {', '.join(PARTS)}")
        listed = _test_paths(required_list(root, TEST_LIST))
        if self.part != "train":
            yield from (_entry(path, "test") for path in listed)
        if self.part != "test":
            for folder in FOLDERS:
                for found in sorted((root / folder).rglob("*")):
                    path = found.relative_to(root).as_posix()
                    if found.suffix.lower() in VIDEO_SUFFIXES and path not in listed:
                        yield _entry(path, "train")

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hash of the test list."""
        return hashes(root, [root / TEST_LIST])

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out three listed videos, and two others beside them of the same people."""
        rng = np.random.default_rng(0)
        fakes = f"{cls.fakes}/id0_id1_0002.mp4", f"{cls.fakes}/id1_id0_0005.mp4"
        listed = {"YouTube-real/00007.mp4": 1, "Celeb-real/id0_0002.mp4": 1, fakes[0]: 0}
        for path in (*listed, "Celeb-real/id1_0005.mp4", fakes[1]):
            write_noise_clip(root / path, rng)
        lines = (f"{label} {path}\n" for path, label in listed.items())
        (root / TEST_LIST).write_text("".join(lines))
        return cls()


@DATASETS.register("celebdf_v1")
@dataclass(frozen=True, slots=True)
class CelebDFv1(CelebDF):
    """Celeb-DF v1; see `CelebDF`."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="Celeb-DF (v1)",
        licence=LICENCE,
        access="https://github.com/yuezunli/celeb-deepfakeforensics/tree/master/Celeb-DF-v1",
        polarity=POLARITY,
        expected=((ORIGINAL, 408), ("Celeb-synthesis", 795)),
    )
    version: ClassVar[str] = "v1"


@DATASETS.register("celebdf_v2")
@dataclass(frozen=True, slots=True)
class CelebDFv2(CelebDF):
    """Celeb-DF v2; see `CelebDF`."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="Celeb-DF (v2)",
        licence=LICENCE,
        access="https://github.com/yuezunli/celeb-deepfakeforensics",
        polarity=POLARITY,
        expected=((ORIGINAL, 890), ("Celeb-synthesis", 5639)),
    )
    version: ClassVar[str] = "v2"


@DATASETS.register("celebdf_pp")
@dataclass(frozen=True, slots=True)
class CelebDFpp(CelebDF):
    """Celeb-DF++, with a folder for each of its 22 methods; see `CelebDF`."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="Celeb-DF++",
        licence="Terms to Use Celeb-DF++",
        access="https://github.com/OUC-VAS/Celeb-DF-PP",
        polarity=POLARITY,
    )
    version: ClassVar[str] = "pp"
    fakes: ClassVar[str] = "Celeb-synthesis/FaceSwap/SimSwap"


def _test_paths(path: Path) -> tuple[str, ...]:
    listed = []
    for where, line in text_lines(path):
        label, _, video = line.partition(" ")
        folder = video.strip().split("/")[0]
        if label not in LIST_LABELS or folder not in FOLDERS:
            raise ContractError(
                f"{where} is {line!r}, wanted 1 (genuine) or 0 (fake) and a path below "
                f"{', '.join(FOLDERS)}; take the list of the release"
            )
        if LIST_LABELS[label] != FOLDERS[folder]:
            raise ContractError(
                f"{where} gives {label} to a video in {folder}, but 1 means genuine in this list; "
                "take the list of the release"
            )
        listed.append(video.strip())
    return tuple(dict.fromkeys(listed))


def _entry(path: str, split: str) -> DatasetEntry:
    inside = PurePosixPath(path)
    label, words = FOLDERS[inside.parts[0]], inside.stem.split("_")
    people = [word for word in words if word.startswith("id") and word[2:].isdigit()]
    if inside.parts[0] == "YouTube-real":
        sources = {f"youtube:{inside.stem}"}
    elif people:
        sources = {*people, f"{people[0]}_{words[-1]}"}
    else:
        raise ContractError(
            f"{path} names no person (id0_0000.mp4, id0_id1_0000.mp4) as in the official release; "
            "move it elsewhere"
        )
    return DatasetEntry(
        path=path,
        name=without_suffix(path),
        label=label,
        method=ORIGINAL if label == REAL else inside.parent.name,
        source_ids=tuple(sorted(sources)),
        split=split,
    )
