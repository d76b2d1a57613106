"""The Deepfake Detection Challenge dataset: train parts with metadata.json, test with labels.csv.

Dolhansky et al., "The DeepFake Detection Challenge (DFDC) Dataset", arXiv 2006.07397, 2020.
"""

from __future__ import annotations

import csv
import dataclasses
import json
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
from dfdetect.data.datasets.layouts import (
    hashes,
    json_object,
    without_suffix,
    write_forged_clip,
    write_noise_clip,
)
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import FAKE, REAL

METADATA, LABELS = "metadata.json", "labels.csv"
WORDS = {"REAL": REAL, "FAKE": FAKE, "0": REAL, "1": FAKE}
METHOD = "dfdc"
PARTS = {"train": METADATA, "test": LABELS}
COUNTS = {"train": (19_154, 100_000), "test": (2500, 2500)}
TEST_FOLDERS = ("", "videos", "test_videos", "test")


@DATASETS.register("dfdc")
@dataclass(frozen=True, slots=True)
class DFDC(DatasetAdapter):
    """DFDC as its archives unpack: every list up to two folders below the root is read.

    `parts` are `train` (metadata.json) and `test` (labels.csv). A fake's source is its original,
    so the two stay in one split. The test list names no originals: each of its videos is its own
    source.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DFDC",
        licence="DFDC terms",
        access="https://ai.meta.com/datasets/dfdc/",
        polarity="REAL is 0, FAKE is 1 in metadata.json; 0 and 1 mean the same in labels.csv",
        splits="official: train parts and test; there is no val",
    )

    parts: Sequence[str] = tuple(PARTS)

    @property
    def name(self) -> str:
        """`dfdc`."""
        return "dfdc"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every video that a metadata.json or labels.csv lists.

        Raises:
            UsageError: A part is unknown, or there is no list of the wanted ones.
            ContractError: A list has a label that is not understood.
        """
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown:
            raise UsageError(f"dfdc has no part {unknown[0]!r}; it has {', '.join(PARTS)}")
        lists = self._lists(root)
        if not lists:
            wanted = " and no ".join(f"{PARTS[part]} ({part})" for part in self.parts) or "list"
            raise UsageError(
                f"{root} holds no {wanted}; give the folder that holds dfdc_train_part_0 and so "
                "on, with the lists that their archives contain"
            )
        for path in lists:
            yield from _train(root, path) if path.name == METADATA else _test(root, path)

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hashes of the lists."""
        return hashes(root, self._lists(root))

    def expected(self) -> tuple[Expected, ...]:
        """Return the numbers of genuine and forged videos of the wanted parts."""
        return tuple(
            Expected(n, label=label, split=part)
            for part in self.parts
            for label, n in zip((REAL, FAKE), COUNTS[part], strict=True)
        )

    def whole(self, root: Path) -> DatasetAdapter:  # noqa: ARG002
        """Return the dataset with both parts."""
        return dataclasses.replace(self, parts=tuple(PARTS))

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out a train part with an original and its fake, and two test videos."""
        rng = np.random.default_rng(0)
        train, test = root / "dfdc_train_part_0", root / "test"
        write_forged_clip(train / "bbb.mp4", write_noise_clip(train / "aaa.mp4", rng), rng)
        for path in (test / "ccc.mp4", test / "ddd.mp4"):
            write_noise_clip(path, rng)
        real = {"label": "REAL", "split": "train", "original": None}
        fake = {"label": "FAKE", "split": "train", "original": "aaa.mp4"}
        (train / METADATA).write_text(json.dumps({"aaa.mp4": real, "bbb.mp4": fake}))
        (test / LABELS).write_text("filename,label\nccc.mp4,0\nddd.mp4,1\n")
        return cls()

    def _lists(self, root: Path) -> list[Path]:
        patterns = (f"{depth}{name}" for depth in ("", "*/", "*/*/") for name in PARTS.values())
        found = sorted(path for pattern in patterns for path in root.glob(pattern))
        # a folder with labels.csv is the test set, whatever other metadata lies in it
        tested = {path.parent for path in found if path.name == LABELS}
        lists = [path for path in found if path.name == LABELS or path.parent not in tested]
        return [path for path in lists if path.name in {PARTS[part] for part in self.parts}]


def _train(root: Path, path: Path) -> Iterator[DatasetEntry]:
    folder = path.parent.relative_to(root)
    for name, fields in json_object(path).items():
        label = _label(f"{path} on {name}", str(fields.get("label")))
        original = without_suffix(str(fields.get("original") or name))
        yield DatasetEntry(
            path=(folder / name).as_posix(),
            name=f"train/{without_suffix(name)}",
            label=label,
            method=ORIGINAL if label == REAL else METHOD,
            source_ids=(original,),
            split=str(fields.get("split", "train")),
            original=f"train/{original}" if label == FAKE and fields.get("original") else None,
        )


def _test(root: Path, path: Path) -> Iterator[DatasetEntry]:
    folders = [path.parent / folder for folder in TEST_FOLDERS]
    folder = next((f for f in folders if any(f.glob("*.mp4"))), path.parent).relative_to(root)
    with path.open(encoding="utf-8-sig", newline="") as text:
        lines = csv.DictReader(text)
        if not {"filename", "label"} <= set(lines.fieldnames or ()):
            raise ContractError(f"{path} lacks the columns filename and label; unpack it again")
        for line in lines:
            name = line["filename"]
            label = _label(f"{path} line {lines.line_num}", line["label"])
            yield DatasetEntry(
                path=(folder / name).as_posix(),
                name=f"test/{without_suffix(name)}",
                label=label,
                method=ORIGINAL if label == REAL else METHOD,
                source_ids=(without_suffix(name),),
                split="test",
            )


def _label(where: str, word: str) -> int:
    if word not in WORDS:
        raise ContractError(f"{where} has label {word!r}, wanted {', '.join(WORDS)}; unpack again")
    return WORDS[word]
