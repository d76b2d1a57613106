"""DeeperForensics-1.0: faces of paid actors swapped onto the FaceForensics++ source videos.

Jiang et al., "DeeperForensics-1.0: A Large-Scale Dataset for Real-World Face Forgery Detection",
CVPR 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    SPLITS,
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
    videos_in,
    without_suffix,
    write_forged_clip,
    write_noise_clip,
)
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import FAKE, REAL

MANIPULATED, SOURCES = "manipulated_videos", "source_videos"
TARGETS = "original_sequences/youtube/c23/videos"
REALS = ("targets", "sources", "both", "none")
N_SOURCES = 48_475
TARGET, ACTOR = "@ffpp:", "actor:"
LISTS = tuple(f"lists/splits/{split}.txt" for split in SPLITS)
VARIANTS = (
    "end_to_end",
    "reenact_postprocess",
    *(f"end_to_end_level_{level}" for level in range(1, 6)),
    "end_to_end_random_level",
    *(f"end_to_end_mix_{number}_distortions" for number in range(2, 5)),
)


@DATASETS.register("deeperforensics")
@dataclass(frozen=True, slots=True)
class DeeperForensics(DatasetAdapter):
    """DeeperForensics-1.0, in some of its `variants`.

    A fake is `<target>_<actor>.mp4`; both are its sources, and its split is that of the dataset's
    own lists. `reals` are `targets` (FaceForensics++ c23 videos, which the authors name as the
    genuine part and which have to lie below this root as they do in FaceForensics++), `sources`
    (the recorded actors), `both` or `none`. A genuine video is in the split of the fakes made from
    it, so none is in two. A target is a source that FaceForensics++ knows by the same number.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DeeperForensics-1.0",
        licence="DeeperForensics-1.0 terms of use",
        access="https://github.com/EndlessSora/DeeperForensics-1.0/tree/master/dataset",
        polarity="manipulated_videos is 1, the target or source videos are 0",
        splits="official: the dataset's own lists/splits",
    )

    variants: Sequence[str] = ("end_to_end",)
    reals: str = "targets"

    @property
    def name(self) -> str:
        """`deeperforensics`."""
        return "deeperforensics"

    def entries(self, root: Path) -> Iterator[DatasetEntry | Misnamed]:
        """Yield the fakes of the wanted variants and the wanted genuine videos.

        Raises:
            UsageError: An option is unknown, or a list or a folder is not there.
            ContractError: A list is not of the official form, or puts a person in two splits.
        """
        if self.reals not in REALS:
            raise UsageError(f"reals={self.reals!r} is unknown; choose {', '.join(REALS)}")
        splits = _official_splits(root)
        for variant in self.variants:
            folder = f"{MANIPULATED}/{variant}"
            for path in _required_videos(root, folder):
                yield _fake(f"{folder}/{path.name}", variant, splits)
        if self.reals in ("targets", "both"):
            for path in _required_videos(root, TARGETS):
                yield _real(f"{TARGETS}/{path.name}", f"{TARGET}{path.stem}", splits)
        if self.reals in ("sources", "both"):
            if not (root / SOURCES).is_dir():
                raise UsageError(f"{root} holds no {SOURCES}; unpack it there")
            for path in videos_below(root / SOURCES):
                actor = path.relative_to(root / SOURCES).parts[0]
                yield _real(path.relative_to(root).as_posix(), f"{ACTOR}{actor}", splits)

    def expected(self) -> tuple[Expected, ...]:
        """Return the numbers of forged videos of each wanted variant and of genuine ones."""
        n_real = 1000 * (self.reals in ("targets", "both"))
        n_real += N_SOURCES * (self.reals in ("sources", "both"))
        fakes = tuple(Expected(1000, variant, FAKE) for variant in self.variants)
        return (*fakes, *((Expected(n_real, ORIGINAL, REAL),) if n_real else ()))

    def whole(self, root: Path) -> DatasetAdapter:
        """Return the dataset with all variants and genuine videos that are there."""
        folders = {variant: root / MANIPULATED / variant for variant in VARIANTS}
        there = tuple(variant for variant, folder in folders.items() if any(videos_in(folder)))
        targets, sources = any(videos_in(root / TARGETS)), (root / SOURCES).is_dir()
        kinds = {(True, True): "both", (True, False): "targets", (False, True): "sources"}
        reals = kinds.get((targets, sources), "none")
        return dataclasses.replace(self, variants=there, reals=reals)

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hashes of the split lists."""
        return hashes(root, [root / inside for inside in LISTS])

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out one fake of each split in two variants, its target and its actor's source."""
        rng = np.random.default_rng(0)
        variants = ("end_to_end", "end_to_end_level_1")
        for split, name in zip(SPLITS, ("000_M004", "001_W101", "002_M005"), strict=True):
            target, actor = name.split("_")
            drawn = write_noise_clip(root / TARGETS / f"{target}.mp4", rng)
            for variant in variants:
                write_forged_clip(root / MANIPULATED / variant / f"{name}.mp4", drawn, rng)
            clip = f"{actor}/BlendShape/camera_front/{actor}_BlendShape_camera_front.mp4"
            write_noise_clip(root / SOURCES / clip, rng)
            listed = root / f"lists/splits/{split}.txt"
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text(f"{name}.mp4\n")
        return cls(variants=variants)


def _official_splits(root: Path) -> Mapping[str, str]:
    # of every listed fake, and of the target and the actor it is made from
    splits: dict[str, str] = {}
    for split, inside in zip(SPLITS, LISTS, strict=True):
        for where, line in text_lines(required_list(root, inside)):
            name = PurePosixPath(line).stem
            people = _people(name)
            if people is None:
                raise ContractError(
                    f"{where} is {line!r}, wanted <target>_<actor>.mp4; take the lists of the "
                    "release"
                )
            for key in (name, f"{TARGET}{people[0]}", f"{ACTOR}{people[1]}"):
                if splits.setdefault(key, split) != split:
                    raise ContractError(
                        f"{where} puts {key} in {split}, but it is in {splits[key]} already; take "
                        "the lists of the release"
                    )
    return splits


def _people(name: str) -> tuple[str, str] | None:
    target, _, actor = name.partition("_")
    return (target, actor) if target.isdigit() and actor and "_" not in actor else None


def _fake(path: str, variant: str, splits: Mapping[str, str]) -> DatasetEntry | Misnamed:
    name = PurePosixPath(path).stem
    people = _people(name)
    if people is None:
        return Misnamed(path, "it is not named <target>_<actor> as in the official release")
    return DatasetEntry(
        path=path,
        name=f"{variant}/{name}",
        label=FAKE,
        method=variant,
        source_ids=(f"{TARGET}{people[0]}", f"{ACTOR}{people[1]}"),
        split=splits.get(name),
        original=f"{ORIGINAL}/{people[0]}",
    )


def _required_videos(root: Path, folder: str) -> list[Path]:
    paths = list(videos_in(root / folder))
    if not paths:
        raise UsageError(
            f"{root} holds no videos in {folder}; unpack or link them there, or change "
            "dataset.options.variants and dataset.options.reals"
        )
    return paths


def _real(path: str, source: str, splits: Mapping[str, str]) -> DatasetEntry:
    return DatasetEntry(
        path=path,
        name=f"{ORIGINAL}/{without_suffix(PurePosixPath(path).name)}",
        label=REAL,
        method=ORIGINAL,
        source_ids=(source,),
        split=splits.get(source),
    )
