"""The DFDC preview dataset: two methods, listed in dataset.json.

Dolhansky et al., "The Deepfake Detection Challenge (DFDC) Preview Dataset", arXiv 1910.08854, 2019.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
)
from dfdetect.data.datasets.layouts import (
    hashes,
    json_object,
    required_list,
    without_suffix,
    write_noise_clip,
)
from dfdetect.errors import ContractError
from dfdetect.types import FAKE, REAL

LIST = "dataset.json"
WORDS = {"real": REAL, "fake": FAKE}
ORIGINALS = "original_videos"


@DATASETS.register("dfdc_preview")
@dataclass(frozen=True, slots=True)
class DFDCPreview(DatasetAdapter):
    """The DFDC preview in the layout that its dataset.json names.

    The numbers at the start of a name and its folder are people's ids
    (`method_A/1795659/1795659_B/2059066_1795659_B_001.mp4`): both are sources.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DFDC preview",
        licence="DFDC terms",
        access="https://ai.meta.com/datasets/dfdc/",
        polarity="real is 0, fake is 1 in dataset.json",
        expected=((ORIGINAL, 1131),),
    )

    @property
    def name(self) -> str:
        """`dfdc_preview`."""
        return "dfdc_preview"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every video that dataset.json lists, absent ones included.

        Raises:
            UsageError: dataset.json is not there.
            ContractError: It has a label that is not understood or contradicts the folder.
        """
        path = required_list(root, LIST)
        for name, fields in json_object(path).items():
            yield _entry(f"{path} on {name}", name, str(fields.get("label")), fields.get("set"))

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hash of dataset.json."""
        return hashes(root, [root / LIST])

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out an original and two fakes of one name in train, two videos in test."""
        rng = np.random.default_rng(0)
        swap = "100001/100001_A/100002_100001_A_001.mp4"
        listed = {
            f"{ORIGINALS}/100001/100001_A_001.mp4": ("real", "train"),
            f"method_A/{swap}": ("fake", "train"),
            f"method_B/{swap}": ("fake", "train"),
            f"{ORIGINALS}/100003/100003_A_001.mp4": ("real", "test"),
            "method_A/100003/100003_A/100004_100003_A_001.mp4": ("fake", "test"),
        }
        for name in listed:
            write_noise_clip(root / name, rng)
        fields = {name: {"label": label, "set": part} for name, (label, part) in listed.items()}
        (root / LIST).write_text(json.dumps(fields))
        return cls()


def _entry(where: str, path: str, word: str, split: str | None) -> DatasetEntry:
    folder, *inner = PurePosixPath(path).parts
    if word not in WORDS or (WORDS[word] == REAL) != (folder == ORIGINALS) or len(inner) < 2:
        raise ContractError(
            f"{where} has label {word!r}, wanted real in {ORIGINALS}/<person>/ and fake in "
            "method_A/<person>/ or method_B/<person>/; take the dataset.json of the release"
        )
    people = takewhile(str.isdigit, PurePosixPath(path).stem.split("_"))
    return DatasetEntry(
        path=path,
        name=without_suffix(path),
        label=WORDS[word],
        method=ORIGINAL if word == "real" else folder,
        source_ids=tuple(sorted({inner[0], *people})),
        split=split,
    )
