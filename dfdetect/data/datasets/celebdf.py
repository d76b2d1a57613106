"""Celeb-DF v1, v2 and ++: celebrities' interviews and forgeries of them.

Li et al., "Celeb-DF: A Large-scale Challenging Dataset for DeepFake Forensics", CVPR 2020; Li et
al., "Celeb-DF++: A Large-scale Challenging Video DeepFake Benchmark for Generalizable Forensics",
2025.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    Expected,
    Misnamed,
)
from dfdetect.data.datasets.layouts import (
    hashes,
    required_list,
    text_lines,
    videos_below,
    without_suffix,
    write_forged_clip,
    write_noise_clip,
)
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import FAKE, REAL

TEST_LIST = "List_of_testing_videos.txt"
FOLDERS = {"Celeb-real": REAL, "YouTube-real": REAL, "Celeb-synthesis": FAKE}
LIST_LABELS = {"1": REAL, "0": FAKE}
PARTS = ("test", "train", "all")
PREFIX = "@celebdf:"
POLARITY = "List_of_testing_videos.txt says 1 for genuine and 0 for fake: turned into 0 and 1"
LICENCE = "Terms to Use Celeb-DF"
SPLITS = "official: the dataset's own test list; its people show in the other videos as well"
PP_TESTED: Mapping[int, tuple[str, ...]] = {
    200: (
        "Celeb-DF", "BlendFace", "GHOST", "HifiFace", "InSwapper", "MobileFaceSwap", "SimSwap",
        "UniFace", "DaGAN", "FSRT", "HyperReenact", "LIA", "LivePortrait", "MCNET", "TPSMM",
    ),
    300: ("AniTalker", "EchoMimic", "EDTalk", "FLOAT", "IP_LAP", "Real3DPortrait", "SadTalker"),
}  # fmt: skip
"""The methods of Celeb-DF++ by the number of each that its test list holds."""


@dataclass(frozen=True, slots=True)
class CelebDF(DatasetAdapter):
    """What the three versions share.

    `part` is `test` (the videos of the dataset's own test list), `train` (every other video) or
    `all`. The test videos lie in the same folders as the others. The source ids of a video are the
    people it shows (`id3`) and the clip it is made from (`id3_0004`, which `id3_id7_0004` puts the
    face of `id7` on), and mean the same in all three.
    """

    info: ClassVar[DatasetInfo]
    version: ClassVar[str]
    fakes: ClassVar[str] = "Celeb-synthesis"
    n_real: ClassVar[int | None] = None
    n_fake: ClassVar[int | None] = None
    tested: ClassVar[tuple[Expected, ...]] = ()

    part: str = "test"

    @property
    def name(self) -> str:
        """`celebdf_v1`, `celebdf_v2` or `celebdf_pp`."""
        return f"celebdf_{self.version}"

    def entries(self, root: Path) -> Iterator[DatasetEntry | Misnamed]:
        """Yield the videos of the wanted part.

        Raises:
            UsageError: The part is unknown or the test list is not there.
            ContractError: The list contradicts the folders.
        """
        if self.part not in PARTS:
            raise UsageError(f"{self.name} has no part {self.part!r}; it has {', '.join(PARTS)}")
        listed = _test_paths(required_list(root, TEST_LIST))
        if self.part != "train":
            yield from (_entry(path, "test") for path in listed)
        if self.part != "test":
            tested = set(listed)
            for folder in FOLDERS:
                for found in videos_below(root / folder):
                    path = found.relative_to(root).as_posix()
                    if path not in tested:
                        yield _entry(path, "train")

    def expected(self) -> tuple[Expected, ...]:
        """Return the numbers of the wanted part, where they are published."""
        if self.part == "test":
            return self.tested
        whole = [(n, label) for n, label in ((self.n_real, REAL), (self.n_fake, FAKE)) if n]
        if self.part == "all":
            return (*(Expected(n, label=label) for n, label in whole), *self.tested)
        if not self.tested:
            return ()
        tested: Counter[int | None] = Counter()
        for part in self.tested:
            tested[part.label] += part.n
        return tuple(Expected(n - tested[label], label=label, split="train") for n, label in whole)

    def whole(self, root: Path) -> DatasetAdapter:  # noqa: ARG002
        """Return the dataset with the test videos and all others."""
        return dataclasses.replace(self, part="all")

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hash of the test list."""
        return hashes(root, [root / TEST_LIST])

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out three listed videos, and two others beside them of the same people."""
        rng = np.random.default_rng(0)
        write_noise_clip(root / "YouTube-real/00007.mp4", rng)
        for real, fake in (("id0_0002", "id0_id1_0002"), ("id1_0005", "id1_id0_0005")):
            drawn = write_noise_clip(root / f"Celeb-real/{real}.mp4", rng)
            write_forged_clip(root / f"{cls.fakes}/{fake}.mp4", drawn, rng)
        listed = ("1 YouTube-real/00007", "1 Celeb-real/id0_0002", f"0 {cls.fakes}/id0_id1_0002")
        (root / TEST_LIST).write_text("".join(f"{line}.mp4\n" for line in listed))
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
        splits=SPLITS,
    )
    version: ClassVar[str] = "v1"
    n_real: ClassVar[int | None] = 408
    n_fake: ClassVar[int | None] = 795


@DATASETS.register("celebdf_v2")
@dataclass(frozen=True, slots=True)
class CelebDFv2(CelebDF):
    """Celeb-DF v2; see `CelebDF`."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="Celeb-DF (v2)",
        licence=LICENCE,
        access="https://github.com/yuezunli/celeb-deepfakeforensics",
        polarity=POLARITY,
        splits=SPLITS,
    )
    version: ClassVar[str] = "v2"
    n_real: ClassVar[int | None] = 890
    n_fake: ClassVar[int | None] = 5639
    tested: ClassVar[tuple[Expected, ...]] = (
        Expected(178, label=REAL, split="test"),
        Expected(340, label=FAKE, split="test"),
    )


@DATASETS.register("celebdf_pp")
@dataclass(frozen=True, slots=True)
class CelebDFpp(CelebDF):
    """Celeb-DF++, with a folder for each of its 22 methods; see `CelebDF`."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="Celeb-DF++",
        licence="Terms to Use Celeb-DF++",
        access="https://github.com/OUC-VAS/Celeb-DF-PP",
        polarity=POLARITY,
        splits=SPLITS,
    )
    version: ClassVar[str] = "pp"
    fakes: ClassVar[str] = "Celeb-synthesis/FaceSwap/SimSwap"
    tested: ClassVar[tuple[Expected, ...]] = (
        Expected(178, label=REAL, split="test"),
        *(
            Expected(n, method, FAKE, "test")
            for n, methods in PP_TESTED.items()
            for method in methods
        ),
    )


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


def _entry(path: str, split: str) -> DatasetEntry | Misnamed:
    inside = PurePosixPath(path)
    label, words = FOLDERS[inside.parts[0]], inside.stem.split("_")
    sources = _sources(inside)
    if not sources:
        form = "<id>_<clip>" if label == REAL else "<id>_<id of the face>_<clip>"
        return Misnamed(path, f"it is not named {form} as in the official release")
    # a reenacted or talking face is a new picture, of another size than its original
    swapped = label == FAKE and inside.parts[1] not in ("FaceReenact", "TalkingFace")
    exact = len(words) == 3 and len(sources) == 3
    return DatasetEntry(
        path=path,
        name=without_suffix(path),
        label=label,
        method=ORIGINAL if label == REAL else inside.parent.name,
        source_ids=sources,
        split=split,
        original=f"Celeb-real/{words[0]}_{words[2]}" if swapped and exact else None,
    )


def _sources(path: PurePosixPath) -> tuple[str, ...]:
    words = path.stem.split("_")
    if path.parts[0] == "YouTube-real":
        return (f"{PREFIX}youtube:{path.stem}",) if path.stem.isdigit() else ()
    return celeb_sources(words)


def celeb_sources(words: Sequence[str]) -> tuple[str, ...]:
    """Return the people and the clip that the words of a file's name tell, () when they do not.

    Example:
        >>> celeb_sources("id3_id7_0004".split("_"))
        ('@celebdf:id3', '@celebdf:id3_0004', '@celebdf:id7')
    """
    people = [word for word in words if word.startswith("id") and word[2:].isdigit()]
    if not people:
        return ()
    clip = {f"{people[0]}_{words[-1]}"} if words[-1].isdigit() else set()
    return tuple(sorted(f"{PREFIX}{source}" for source in {*people, *clip}))
