"""FFIW-10K: videos of several people of whom some are forged.

Zhou et al., "Face Forensics in the Wild", CVPR 2021.
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
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    Expected,
)
from dfdetect.data.datasets.layouts import (
    videos_in,
    write_forged_clip,
    write_mask_clip,
    write_noise_clip,
)
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL

FOLDERS = (("source", REAL), ("target", FAKE))
PARTS = ("train", "val")
MASKS = "target_mask"
METHOD = "ffiw"


@DATASETS.register("ffiw")
@dataclass(frozen=True, slots=True)
class FFIW(DatasetAdapter):
    """FFIW-10K: `source/` is genuine, `target/` is forged, each with the wanted `parts`.

    Files of the same name below `source/` and `target/` of a part count as one source; who shows
    in a video, and which genuine video a forged one was made from, is not published. The mask of
    `target/…` is the file of the same name in `target_mask/…`.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="FFIW-10K",
        licence="FFIW10K Terms to Use",
        access="https://github.com/tfzhou/FFIW",
        polarity="source is 0, target is 1",
        splits="official: the folders train and val; others test on val",
    )

    parts: Sequence[str] = PARTS

    @property
    def name(self) -> str:
        """`ffiw`."""
        return "ffiw"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every video of the wanted parts, directly in a part or in its `videos/`.

        Raises:
            UsageError: A part is unknown, or a wanted one holds no videos.
        """
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown:
            raise UsageError(f"ffiw has no part {unknown[0]!r}; it has {', '.join(PARTS)}")
        for part in self.parts:
            for folder, label in FOLDERS:
                base = root / folder / part
                paths = [*videos_in(base), *videos_in(base / "videos")]
                if not paths:
                    raise UsageError(
                        f"{root} holds no videos in {folder}/{part}; give the folder that holds "
                        "source/ and target/, and the parts you have with dataset.options.parts"
                    )
                for path in paths:
                    inside = path.relative_to(base).as_posix()
                    yield DatasetEntry(
                        path=f"{folder}/{part}/{inside}",
                        name=f"{folder}/{part}/{path.stem}",
                        label=label,
                        method=ORIGINAL if label == REAL else METHOD,
                        source_ids=(f"{part}/{path.stem}",),
                        split=part,
                        mask=None if label == REAL else f"{MASKS}/{part}/{inside}",
                    )

    def expected(self) -> tuple[Expected, ...]:
        """Return the numbers of val; those of train are not published."""
        labels = (REAL, FAKE) if "val" in self.parts else ()
        return tuple(Expected(250, label=label, split="val") for label in labels)

    def whole(self, root: Path) -> DatasetAdapter:
        """Return the dataset with the parts that are there."""
        there = (part for part in PARTS if (root / "source" / part).is_dir())
        return dataclasses.replace(self, parts=tuple(there))

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out two videos of each part and class, with one name in both parts, and masks."""
        rng = np.random.default_rng(0)
        for part in PARTS:
            for stem in ("00000", f"{part}_1"):
                drawn = write_noise_clip(root / "source" / part / f"{stem}.mp4", rng)
                write_forged_clip(root / "target" / part / f"{stem}.mp4", drawn, rng)
                write_mask_clip(root / MASKS / part / f"{stem}.mp4", drawn)
        return cls()
