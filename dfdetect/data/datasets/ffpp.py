"""FaceForensics++: 1000 source videos and their forgeries by five methods.

Rössler et al., "FaceForensics++: Learning to Detect Manipulated Facial Images", ICCV 2019.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
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
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    Expected,
    Misnamed,
)
from dfdetect.data.datasets.layouts import (
    videos_in,
    write_forged_clip,
    write_mask_clip,
    write_noise_clip,
)
from dfdetect.errors import UsageError
from dfdetect.provenance import sha256_bytes
from dfdetect.types import FAKE, REAL

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
ACTORS = "DeepFakeDetection"
REALS = ("youtube", "actors")
FOLDERS: Mapping[str, str] = {
    **{real: f"original_sequences/{real}" for real in REALS},
    **{method: f"manipulated_sequences/{method}" for method in (*METHODS, ACTORS)},
}
"""Where each part of the dataset lies below its root."""

COMPRESSIONS = ("raw", "c0", "c23", "c40")
"""`c0` is what older copies call `raw`."""

N_ACTORS, N_ACTORS_FAKE = 363, 3068
MASKLESS = "FaceShifter"


@DATASETS.register("ffpp")
@dataclass(frozen=True, slots=True)
class FaceForensics(DatasetAdapter):
    """FaceForensics++ in its official layout.

    `parts` are read in the given `compressions` (`raw`, `c0`, `c23`, `c40`) where they are there;
    `actors` and `DeepFakeDetection` (the DFD set that the same script downloads) are parts as
    well, all of them of the test split.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="FaceForensics++",
        licence="FaceForensics terms of use (non-commercial research, no redistribution)",
        access="https://github.com/ondyari/FaceForensics",
        polarity="original_sequences is 0, manipulated_sequences is 1",
        splits="official: the authors' pairs, 720/140/140 of each method, shipped with dfdetect",
    )

    parts: Sequence[str] = ("youtube", *METHODS)
    compressions: Sequence[str] = ("c23",)

    @property
    def name(self) -> str:
        """`ffpp`."""
        return "ffpp"

    def entries(self, root: Path) -> Iterator[DatasetEntry | Misnamed]:
        """Yield every video of the wanted parts and compressions.

        Raises:
            UsageError: A part or compression is unknown, or none of them is below `root`.
        """
        wanted = self._wanted()
        if not any((root / folder).is_dir() for *_, folder in wanted):
            raise UsageError(
                f"{root} holds no {wanted[0][2] if wanted else 'part'}; give the folder that holds "
                "original_sequences/ and manipulated_sequences/, and the compressions you have"
            )
        for part, compression, folder in wanted:
            for path in videos_in(root / folder):
                yield _entry(part, compression, f"{folder}/{path.name}", path.stem)

    def expected(self) -> tuple[Expected, ...]:
        """Return the number of videos of each method and split, in each wanted compression."""
        counted: Counter[tuple[str, int, str]] = Counter()
        pairs = Counter(split for name, split in official_splits().items() if "_" not in name)
        for part in self.parts:
            method, label = (ORIGINAL, REAL) if part in REALS else (part, FAKE)
            if part in ("actors", ACTORS):
                counted[method, label, "test"] += N_ACTORS if label == REAL else N_ACTORS_FAKE
            else:
                counted.update({(method, label, split): n for split, n in pairs.items()})
        return tuple(
            Expected(n, method, label, split, compression)
            for compression in self.compressions
            for (method, label, split), n in counted.items()
        )

    def complete(self, root: Path) -> Iterator[str]:  # noqa: ARG002
        """Yield the path of every video that the official pairs name."""
        names = [name for name in official_splits() if "_" not in name]
        pairs = [name for name in official_splits() if "_" in name]
        for part, _, folder in self._wanted():
            if part not in ("actors", ACTORS):
                for name in names if part == "youtube" else pairs:
                    yield f"{folder}/{name}.mp4"

    def whole(self, root: Path) -> DatasetAdapter:  # noqa: ARG002
        """Return the dataset with all parts in all compressions."""
        return dataclasses.replace(self, parts=tuple(FOLDERS), compressions=COMPRESSIONS)

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Return the hash of the official pairs, which this package ships."""
        return (("ffpp_pairs.txt", sha256_bytes(_pairs_text().encode())),)

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out one pair of each split in all five methods, and the masks of two of them."""
        rng = np.random.default_rng(0)
        for pair in (("071", "054"), ("720", "672"), ("953", "974")):
            for target, source in (pair, pair[::-1]):
                drawn = write_noise_clip(root / _path("youtube", "c23", target), rng)
                for method in METHODS:
                    name = f"{target}_{source}"
                    write_forged_clip(root / _path(method, "c23", name), drawn, rng)
                    if method in ("Deepfakes", "Face2Face"):
                        write_mask_clip(root / _path(method, "masks", name), drawn)
        return cls()

    def _wanted(self) -> list[tuple[str, str, str]]:
        for option, values, known in (
            ("part", self.parts, FOLDERS),
            ("compression", self.compressions, COMPRESSIONS),
        ):
            unknown = [value for value in values if value not in known]
            if unknown:
                raise UsageError(f"ffpp has no {option} {unknown[0]!r}; it has {', '.join(known)}")
        return [
            (part, compression, f"{FOLDERS[part]}/{compression}/videos")
            for part in self.parts
            for compression in self.compressions
        ]


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


def _path(part: str, kind: str, stem: str) -> str:
    return f"{FOLDERS[part]}/{kind}/videos/{stem}.mp4"


def _entry(part: str, compression: str, path: str, stem: str) -> DatasetEntry | Misnamed:
    real, staged = part in REALS, part in ("actors", ACTORS)
    head, *scene = stem.split("__")
    people = head.split("_")
    numbered = len(people) == (1 if real else 2) and all(person.isdigit() for person in people)
    if not numbered or staged != bool(scene):
        form = ("<id>" if real else "<target>_<source>") + ("__<scene>" if staged else "")
        return Misnamed(path, f"it is not named {form} as in the official release")
    made_from = "__".join([people[0], *scene[:1]])
    return DatasetEntry(
        path=path,
        name=_name(part, compression, stem),
        label=REAL if real else FAKE,
        method=ORIGINAL if real else part,
        source_ids=tuple(sorted({f"actor:{person}" if staged else person for person in people})),
        compression=compression,
        split="test" if staged else official_splits().get(stem),
        original=None if real else _name(REALS[staged], compression, made_from),
        # masks are the same for all compressions
        mask=None if real or part == MASKLESS else _path(part, "masks", stem),
    )


def _name(part: str, compression: str, stem: str) -> str:
    return f"{ORIGINAL if part == 'youtube' else part}/{compression}/{stem}"
