"""DeepFakeDetection (DFD): staged scenes of paid actors, part of the FaceForensics++ download.

Dufour and Gully, "Contributing Data to Deepfake Detection Research", Google AI blog, 2019.
"""

from __future__ import annotations

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
)
from dfdetect.data.datasets.ffpp import ACTORS, FOLDERS, FaceForensics
from dfdetect.data.datasets.layouts import write_noise_clip


@DATASETS.register("dfd")
@dataclass(frozen=True, slots=True)
class DeepFakeDetection(DatasetAdapter):
    """The parts `actors` and `DeepFakeDetection` of FaceForensics++; all of it is test."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DeepFakeDetection (DFD)",
        licence="FaceForensics terms of use (non-commercial research, no redistribution)",
        access="https://github.com/ondyari/FaceForensics",
        polarity="original_sequences is 0, manipulated_sequences is 1",
        expected=((ORIGINAL, 363), (ACTORS, 3068)),
    )

    compressions: Sequence[str] = ("c23",)

    @property
    def name(self) -> str:
        """`dfd`."""
        return "dfd"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every video in the given compressions.

        Raises:
            UsageError: None of them is below `root`.
            ContractError: A video's name is not of the official form.
        """
        parts = ("actors", ACTORS)
        return FaceForensics(parts=parts, compressions=self.compressions).entries(root)

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Return nothing: there is no list."""
        return ()

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out two actors in one scene and a swap of them."""
        rng = np.random.default_rng(0)
        scene = "exit_phone_room"
        named = [("actors", f"01__{scene}"), ("actors", f"02__{scene}")]
        named.append((ACTORS, f"01_02__{scene}__YVGY8LOK"))
        for part, stem in named:
            write_noise_clip(root / FOLDERS[part] / "c23" / "videos" / f"{stem}.mp4", rng)
        return cls()
