"""DeeperForensics-1.0: faces of paid actors swapped onto the FaceForensics++ source videos.

Jiang et al., "DeeperForensics-1.0: A Large-Scale Dataset for Real-World Face Forgery Detection",
CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    SPLITS,
    VIDEO_SUFFIXES,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
)
from dfdetect.data.datasets.layouts import (
    hashes,
    required_list,
    text_lines,
    videos_in,
    without_suffix,
    write_noise_clip,
)
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import FAKE, REAL

MANIPULATED, SOURCES = "manipulated_videos", "source_videos"
TARGETS = "original_sequences/youtube/c23/videos"
REALS = ("targets", "sources", "none")
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
    (the recorded actors) or `none`. A genuine video is in the split of the fakes made from it, so
    none is in two.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DeeperForensics-1.0",
        licence="DeeperForensics-1.0 terms of use",
        access="https://github.com/EndlessSora/DeeperForensics-1.0/tree/master/dataset",
        polarity="manipulated_videos is 1, the target or source videos are 0",
        expected=((ORIGINAL, 1000), *((variant, 1000) for variant in VARIANTS)),
    )

    variants: Sequence[str] = ("end_to_end",)
    reals: str = "targets"

    @property
    def name(self) -> str:
        """`deeperforensics`."""
        return "deeperforensics"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield the fakes of the wanted variants and the wanted genuine videos.

        Raises:
            UsageError: An option is unknown, or a list or a folder is not there.
            ContractError: A list or a video's name is not of the official form.
        """
        if self.reals not in REALS:
            raise UsageError(f"reals={self.reals!r} is unknown; choose {', '.join(REALS)}")
        splits = _official_splits(root)
        for variant in self.variants:
            folder = f"{MANIPULATED}/{variant}"
            for path in _required_videos(root, folder):
                target, actor = _people(path)
                yield DatasetEntry(
                    path=f"{folder}/{path.name}",
                    name=f"{variant}/{path.stem}",
                    label=FAKE,
                    method=variant,
                    source_ids=(f"actor:{actor}", f"target:{target}"),
                    split=splits.get(path.stem),
                )
        if self.reals == "targets":
            for path in _required_videos(root, TARGETS):
                yield _real(f"{TARGETS}/{path.name}", f"target:{path.stem}", splits)
        elif self.reals == "sources":
            if not (root / SOURCES).is_dir():
                raise UsageError(f"{root} holds no {SOURCES}; unpack it there")
            for path in sorted((root / SOURCES).rglob("*")):
                if path.suffix.lower() in VIDEO_SUFFIXES:
                    actor = path.relative_to(root / SOURCES).parts[0]
                    yield _real(path.relative_to(root).as_posix(), f"actor:{actor}", splits)

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hashes of the split lists."""
        return hashes(root, [root / inside for inside in LISTS])

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out one fake of each split in two variants, its target and its actor's source."""
        rng = np.random.default_rng(0)
        for split, name in zip(SPLITS, ("000_M004", "001_W101", "002_M005"), strict=True):
            target, actor = name.split("_")
            for folder in (f"{MANIPULATED}/end_to_end", f"{MANIPULATED}/end_to_end_level_1"):
                write_noise_clip(root / folder / f"{name}.mp4", rng)
            write_noise_clip(root / TARGETS / f"{target}.mp4", rng)
            clip = f"{actor}/BlendShape/camera_front/{actor}_BlendShape_camera_front.mp4"
            write_noise_clip(root / SOURCES / clip, rng)
            listed = root / f"lists/splits/{split}.txt"
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text(f"{name}.mp4\n")
        return cls(variants=("end_to_end", "end_to_end_level_1"))


def _official_splits(root: Path) -> Mapping[str, str]:
    # of every listed fake, and of the target and the actor it is made from
    splits: dict[str, str] = {}
    for split, inside in zip(SPLITS, LISTS, strict=True):
        for where, line in text_lines(required_list(root, inside)):
            path = PurePosixPath(line)
            target, actor = _people(path)
            for key in (path.stem, f"target:{target}", f"actor:{actor}"):
                if splits.setdefault(key, split) != split:
                    raise ContractError(
                        f"{where} puts {key} in {split}, but it is in {splits[key]} already; take "
                        "the lists of the release"
                    )
    return splits


def _people(path: Path | PurePosixPath) -> list[str]:
    people = path.stem.split("_")
    if len(people) != 2 or not people[0].isdigit():
        raise ContractError(
            f"{path} is not named <target>_<actor> as in the official release; move it elsewhere"
        )
    return people


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
