"""UADFV: 49 videos and a face swap of each.

Yang, Li and Lyu, "Exposing Deep Fakes Using Inconsistent Head Poses", ICASSP 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from dfdetect.data.datasets.layouts import videos_in, write_forged_clip, write_noise_clip
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL


@DATASETS.register("uadfv")
@dataclass(frozen=True, slots=True)
class UADFV(DatasetAdapter):
    """UADFV; all of it is test, and `0000_fake.mp4` is made from `0000.mp4`."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="UADFV",
        licence="unknown; ask the authors",
        access=(
            "https://docs.google.com/forms/d/e/"
            "1FAIpQLScKPoOv15TIZ9Mn0nGScIVgKRM9tFWOmjh9eHKx57Yp-XcnxA/viewform"
        ),
        polarity="real/ is 0, fake/ is 1",
        splits="official: all of it is test",
    )

    @property
    def name(self) -> str:
        """`uadfv`."""
        return "uadfv"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every video of `real/` and `fake/`.

        Raises:
            UsageError: One of the two folders holds no video.
        """
        for folder, label in (("real", REAL), ("fake", FAKE)):
            paths = list(videos_in(root / folder))
            if not paths:
                raise UsageError(
                    f"{root} holds no videos in {folder}/; give the folder that holds real/ and "
                    "fake/ with the videos (not their frames)"
                )
            for path in paths:
                source = path.stem.removesuffix("_fake")
                yield DatasetEntry(
                    path=f"{folder}/{path.name}",
                    name=f"{folder}/{path.stem}",
                    label=label,
                    method=ORIGINAL if label == REAL else "swap",
                    source_ids=(source,),
                    split="test",
                    original=None if label == REAL else f"real/{source}",
                )

    def expected(self) -> tuple[Expected, ...]:
        """Return 49 genuine and 49 forged."""
        return tuple(Expected(49, label=label, split="test") for label in (REAL, FAKE))

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out two videos and their fakes."""
        rng = np.random.default_rng(0)
        for name in ("0000", "0001"):
            drawn = write_noise_clip(root / f"real/{name}.mp4", rng)
            write_forged_clip(root / f"fake/{name}_fake.mp4", drawn, rng)
        return cls()
