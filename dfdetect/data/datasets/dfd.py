"""DeepFakeDetection (DFD): staged scenes of paid actors, part of the FaceForensics++ download.

Dufour and Gully, "Contributing Data to Deepfake Detection Research", Google AI blog, 2019.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfdetect.data.datasets.base import (
    DATASETS,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    Expected,
    Misnamed,
)
from dfdetect.data.datasets.ffpp import ACTORS, COMPRESSIONS, FOLDERS, FaceForensics
from dfdetect.data.datasets.layouts import write_forged_clip, write_mask_clip, write_noise_clip


@DATASETS.register("dfd")
@dataclass(frozen=True, slots=True)
class DeepFakeDetection(DatasetAdapter):
    """The parts `actors` and `DeepFakeDetection` of FaceForensics++; all of it is test.

    The actors are the same people there, and their source ids say so.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="DeepFakeDetection (DFD)",
        licence="FaceForensics terms of use (non-commercial research, no redistribution)",
        access="https://github.com/ondyari/FaceForensics",
        polarity="original_sequences is 0, manipulated_sequences is 1",
        splits="official: all of it is test",
    )

    compressions: Sequence[str] = ("c23",)

    @property
    def name(self) -> str:
        """`dfd`."""
        return "dfd"

    def entries(self, root: Path) -> Iterator[DatasetEntry | Misnamed]:
        """Yield every video in the given compressions.

        Raises:
            UsageError: A compression is unknown, or none of them is below `root`.
        """
        for item in self._staged().entries(root):
            if isinstance(item, Misnamed):
                yield item
            else:
                people = tuple(f"@ffpp:{actor}" for actor in item.source_ids)
                yield dataclasses.replace(item, source_ids=people)

    def expected(self) -> tuple[Expected, ...]:
        """Return the number of genuine and of forged videos in each wanted compression."""
        return self._staged().expected()

    def whole(self, root: Path) -> DatasetAdapter:  # noqa: ARG002
        """Return the dataset in all compressions."""
        return dataclasses.replace(self, compressions=COMPRESSIONS)

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out two actors in one scene, a swap of them and its mask."""
        rng = np.random.default_rng(0)
        scene, code = "exit_phone_room", "YVGY8LOK"
        videos = root / FOLDERS["actors"] / "c23" / "videos"
        drawn = write_noise_clip(videos / f"01__{scene}.mp4", rng)
        write_noise_clip(videos / f"02__{scene}.mp4", rng)
        fakes, swap = root / FOLDERS[ACTORS], f"01_02__{scene}__{code}.mp4"
        write_forged_clip(fakes / "c23" / "videos" / swap, drawn, rng)
        write_mask_clip(fakes / "masks" / "videos" / swap, drawn)
        return cls()

    def _staged(self) -> FaceForensics:
        return FaceForensics(parts=("actors", ACTORS), compressions=self.compressions)
