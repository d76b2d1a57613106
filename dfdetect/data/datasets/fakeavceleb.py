"""FakeAVCeleb: celebrities' clips with forged picture, forged sound, or both.

Khalid et al., "FakeAVCeleb: A Novel Audio-Video Multimodal Deepfake Dataset", NeurIPS 2021
Datasets and Benchmarks.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
)
from dfdetect.data.datasets.layouts import hashes, required_list, without_suffix, write_noise_clip
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import FAKE, REAL

LIST = "meta_data.csv"
PREFIX = "FakeAVCeleb/"
COLUMNS = ("source", "target1", "method", "type", "path", "")
TYPES = {
    "RealVideo-RealAudio": REAL,
    "RealVideo-FakeAudio": REAL,
    "FakeVideo-RealAudio": FAKE,
    "FakeVideo-FakeAudio": FAKE,
}
PICTURE_TYPES = ("RealVideo-RealAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio")


@DATASETS.register("fakeavceleb")
@dataclass(frozen=True, slots=True)
class FakeAVCeleb(DatasetAdapter):
    """FakeAVCeleb v1.2, as its meta_data.csv lists it.

    The label is that of the picture: a genuine picture with forged sound is genuine here, and is
    left out unless `types` names `RealVideo-FakeAudio`. Sources are the person who shows and the
    one whose face or voice was used. There is no official split.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="FakeAVCeleb",
        licence="FakeAVCeleb request form",
        access="https://github.com/DASH-Lab/FakeAVCeleb",
        polarity="RealVideo is 0, FakeVideo is 1, whatever the sound is",
        splits="none; use split=hash",
    )

    types: Sequence[str] = PICTURE_TYPES

    @property
    def name(self) -> str:
        """`fakeavceleb`."""
        return "fakeavceleb"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every listed video of the wanted types.

        Raises:
            UsageError: A type is unknown, or meta_data.csv is not there.
            ContractError: The list lacks a column or has an unknown type.
        """
        unknown = [kind for kind in self.types if kind not in TYPES]
        if unknown:
            raise UsageError(f"fakeavceleb has no type {unknown[0]!r}; it has {', '.join(TYPES)}")
        path = required_list(root, LIST)
        with path.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.DictReader(text)
            missing = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
            if missing:
                raise ContractError(
                    f"{path} has no column {missing[0]!r} (the folder's column has no name); take "
                    "the meta_data.csv of FakeAVCeleb v1.2"
                )
            for line in lines:
                if line["type"] not in TYPES:
                    raise ContractError(
                        f"{path} line {lines.line_num} has type {line['type']!r}, wanted "
                        f"{', '.join(TYPES)}; take the meta_data.csv of FakeAVCeleb v1.2"
                    )
                if line["type"] in self.types:
                    yield _entry(line)

    def expected(self) -> tuple[Expected, ...]:
        """Return the number of genuine videos, when those with forged sound are not among them."""
        genuine = [kind for kind in self.types if TYPES.get(kind) == REAL]
        known = genuine == ["RealVideo-RealAudio"]
        return (Expected(500, ORIGINAL, REAL),) if known else ()

    def whole(self, root: Path) -> DatasetAdapter:  # noqa: ARG002
        """Return the dataset with all types."""
        return dataclasses.replace(self, types=tuple(TYPES))

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hash of meta_data.csv."""
        return hashes(root, [root / LIST])

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out a genuine clip, one with forged sound, and two forgeries."""
        rng = np.random.default_rng(0)
        text = "source,target1,target2,method,category,type,race,gender,path,\n"
        for source, target, method, category, kind, file in (
            ("id00001", "-", "real", "A", "RealVideo-RealAudio", "00001.mp4"),
            ("id00001", "-", "rtvc", "B", "RealVideo-FakeAudio", "00001_fake.mp4"),
            ("id00001", "id00002", "faceswap", "C", "FakeVideo-RealAudio", "00001_id00002.mp4"),
            ("id00003", "id00004", "wav2lip", "D", "FakeVideo-FakeAudio", "00003_id00004.mp4"),
        ):
            folder = f"{kind}/African/men/{source}"
            write_noise_clip(root / folder / file, rng)
            fields = (source, target, "-", method, category, kind, "African", "men", file)
            text += ",".join((*fields, f"{PREFIX}{folder}")) + "\n"
        (root / LIST).write_text(text)
        return cls()


def _entry(line: dict[str, str]) -> DatasetEntry:
    path = f"{line[''].strip().removeprefix(PREFIX).strip('/')}/{line['path'].strip()}"
    label = TYPES[line["type"]]
    people = {line["source"], *(p for p in (line["target1"],) if p.startswith("id"))}
    return DatasetEntry(
        path=path,
        name=without_suffix(path),
        label=label,
        method=ORIGINAL if label == REAL else line["method"],
        source_ids=tuple(sorted(people)),
    )
