"""FaceForensics++: 1000 source videos and their forgeries by five methods.

Rössler et al., "FaceForensics++: Learning to Detect Manipulated Facial Images", ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
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
from dfdetect.data.datasets.layouts import write_noise_clip
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_bytes
from dfdetect.types import FAKE, REAL

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
ACTORS = "DeepFakeDetection"
FOLDERS: Mapping[str, str] = {
    "youtube": "original_sequences/youtube",
    "actors": "original_sequences/actors",
    **{method: f"manipulated_sequences/{method}" for method in (*METHODS, ACTORS)},
}
"""Where each part of the dataset lies below its root."""


@DATASETS.register("ffpp")
@dataclass(frozen=True, slots=True)
class FaceForensics(DatasetAdapter):
    """FaceForensics++ in its official layout.

    `parts` are read in the given `compressions` where they are there; `actors` and
    `DeepFakeDetection` (the DFD set that the same script downloads) are parts as well, all of
    them of the test split.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="FaceForensics++",
        licence="FaceForensics terms of use (non-commercial research, no redistribution)",
        access="https://github.com/ondyari/FaceForensics",
        polarity="original_sequences is 0, manipulated_sequences is 1",
        expected=(
            (ORIGINAL, 1000),
            *((method, 1000) for method in METHODS),
            ("actors", 363),
            (ACTORS, 3068),
        ),
    )

    parts: Sequence[str] = ("youtube", *METHODS)
    compressions: Sequence[str] = ("c23",)

    @property
    def name(self) -> str:
        """`ffpp`."""
        return "ffpp"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every video of the wanted parts and compressions.

        Raises:
            UsageError: A part is unknown, or none of them is below `root`.
            ContractError: A video's name is not of the official form.
        """
        unknown = [part for part in self.parts if part not in FOLDERS]
        if unknown:
            raise UsageError(f"ffpp has no part {unknown[0]!r}; it has {', '.join(FOLDERS)}")
        wanted = [
            (part, compression, f"{FOLDERS[part]}/{compression}/videos")
            for part in self.parts
            for compression in self.compressions
        ]
        if not any((root / folder).is_dir() for *_, folder in wanted):
            raise UsageError(
                f"{root} holds no {wanted[0][2] if wanted else 'part'}; give the folder that holds "
                "original_sequences/ and manipulated_sequences/, and the compressions you have"
            )
        for part, compression, folder in wanted:
            for path in sorted((root / folder).glob("*")):
                if path.suffix.lower() in VIDEO_SUFFIXES:
                    yield _entry(part, compression, f"{folder}/{path.name}", path.stem)

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Return the hash of the official pairs, which this package ships."""
        return (("ffpp_pairs.txt", sha256_bytes(_pairs_text().encode())),)

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out one pair of each split in all five methods, as short clips."""
        rng = np.random.default_rng(0)
        for target, source in (("071", "054"), ("720", "672"), ("953", "974")):
            named = [("youtube", target), ("youtube", source)]
            named += [(part, f"{target}_{source}") for part in METHODS]
            named += [(part, f"{source}_{target}") for part in METHODS]
            for part, stem in named:
                write_noise_clip(root / FOLDERS[part] / "c23" / "videos" / f"{stem}.mp4", rng)
        return cls()


@cache
def official_splits() -> Mapping[str, str]:
    """Return the split of every source id (`071`) and of every pair in both orders (`071_054`).

    Example:
        >>> official_splits()["071"], official_splits()["974_953"]
        ('train', 'test')
    """
    splits: dict[str, str] = {}
    split = ""
    for line in _pairs_text().splitlines():
        if line.startswith("["):
            split = line.strip("[]")
        elif not line.startswith("#"):
            for pair in line.split():
                first, second = pair.split("_")
                names = (first, second, pair, f"{second}_{first}")
                splits.update(dict.fromkeys(names, split))
    return splits


def _pairs_text() -> str:
    return files("dfdetect.data.datasets").joinpath("ffpp_pairs.txt").read_text(encoding="utf-8")


def _entry(part: str, compression: str, path: str, stem: str) -> DatasetEntry:
    real = part in ("youtube", "actors")
    people = stem.split("__")[0].split("_")
    if len(people) != (1 if real else 2) or not all(person.isdigit() for person in people):
        form = "<id>" if real else "<target>_<source>"
        raise ContractError(
            f"{path} is not named {form} as in the official release; move it elsewhere"
        )
    staged = part in ("actors", ACTORS)
    return DatasetEntry(
        path=path,
        name=f"{ORIGINAL if part == 'youtube' else part}/{compression}/{stem}",
        label=REAL if real else FAKE,
        method=ORIGINAL if real else part,
        source_ids=tuple(sorted({f"actor:{person}" if staged else person for person in people})),
        compression=compression,
        split="test" if staged else official_splits().get(stem),
    )
