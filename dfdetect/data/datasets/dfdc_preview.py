"""The DFDC preview dataset: two methods, listed in dataset.json.

Dolhansky et al., "The Deepfake Detection Challenge (DFDC) Preview Dataset", arXiv 1910.08854, 2019.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

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
    required_list,
    without_suffix,
    write_forged_clip,
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
    (`method_A/1795659/1795659_B/2059066_1795659_B_001.mp4`): both are sources. Its original is
    the listed `1795659_B_001.mp4`, unless the list says that the fake was changed afterwards.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DFDC preview",
        licence="DFDC terms",
        access="https://ai.meta.com/datasets/dfdc/",
        polarity="real is 0, fake is 1 in dataset.json",
        splits="official: train and test as dataset.json says; there is no val",
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
        listed = json_object(path)
        originals = {
            PurePosixPath(name).stem: without_suffix(name)
            for name in listed
            if name.startswith(f"{ORIGINALS}/")
        }
        for name, fields in listed.items():
            yield _entry(f"{path} on {name}", name, fields, originals)

    def expected(self) -> tuple[Expected, ...]:
        """Return the number of genuine videos, and those of the test set."""
        return (
            Expected(1131, label=REAL),
            Expected(276, label=REAL, split="test"),
            Expected(501, label=FAKE, split="test"),
        )

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return the hash of dataset.json."""
        return hashes(root, [root / LIST])

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out an original and two fakes of one name in train, two videos in test."""
        rng = np.random.default_rng(0)
        listed = {}
        for person, other, part in (("100001", "100002", "train"), ("100003", "100004", "test")):
            clip = f"{person}_A_001"
            real = f"{ORIGINALS}/{person}/{clip}.mp4"
            drawn = write_noise_clip(root / real, rng)
            listed[real] = ("real", part)
            for method in ("method_A", "method_B") if part == "train" else ("method_A",):
                fake = f"{method}/{person}/{person}_A/{other}_{clip}.mp4"
                write_forged_clip(root / fake, drawn, rng)
                listed[fake] = ("fake", part)
        fields = {name: {"label": label, "set": part} for name, (label, part) in listed.items()}
        (root / LIST).write_text(json.dumps(fields))
        return cls()


def _entry(
    where: str, path: str, fields: Mapping[str, Any], originals: Mapping[str, str]
) -> DatasetEntry:
    folder, *inner = PurePosixPath(path).parts
    word = str(fields.get("label"))
    if word not in WORDS or (WORDS[word] == REAL) != (folder == ORIGINALS) or len(inner) < 2:
        raise ContractError(
            f"{where} has label {word!r}, wanted real in {ORIGINALS}/<person>/ and fake in "
            "method_A/<person>/ or method_B/<person>/; take the dataset.json of the release"
        )
    stem = PurePosixPath(path).stem
    original = originals.get(stem.partition("_")[2]) if WORDS[word] == FAKE else None
    return DatasetEntry(
        path=path,
        name=without_suffix(path),
        label=WORDS[word],
        method=ORIGINAL if word == "real" else folder,
        source_ids=tuple(sorted({inner[0], *takewhile(str.isdigit, stem.split("_"))})),
        split=fields.get("set"),
        # an augmented fake has another size or frame rate
        original=None if fields.get("augmentations") else original,
    )
