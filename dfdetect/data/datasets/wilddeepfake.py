"""WildDeepfake: face sequences cut out of videos found on the internet, as folders of pictures.

Zi et al., "WildDeepfake: A Challenging Real-World Dataset for Deepfake Detection", ACM MM 2020.
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
from dfdetect.data.datasets.layouts import folders_below, write_noise_pictures
from dfdetect.errors import UsageError
from dfdetect.types import FAKE, REAL

LABELS = {"real": REAL, "fake": FAKE}
METHOD = "wild"


@DATASETS.register("wilddeepfake")
@dataclass(frozen=True, slots=True)
class WildDeepfake(DatasetAdapter):
    """WildDeepfake with its archives unpacked, each into a folder of its own name.

    Every folder of pictures is one video, already cropped to a face. The sequences of one archive
    count as one source, since they may come from one video; nothing more is published.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="WildDeepfake",
        licence="WildDeepfake agreement (research only)",
        access="https://github.com/OpenTAI/wild-deepfake",
        polarity="real_train and real_test are 0, fake_train and fake_test are 1",
        splits="official: the folders train and test; there is no val",
    )

    @property
    def name(self) -> str:
        """`wilddeepfake`."""
        return "wilddeepfake"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Yield every folder of pictures below the four parts (`real_train` or `real train`).

        Raises:
            UsageError: There are no pictures below any part.
        """
        nothing = True
        for split in ("train", "test"):
            for word, label in LABELS.items():
                for part in (f"{word}_{split}", f"{word} {split}"):
                    for folder, pictures, _ in folders_below(root / part):
                        if not pictures:
                            continue
                        nothing = False
                        inside = folder.relative_to(root).as_posix()
                        yield DatasetEntry(
                            path=inside,
                            name=inside,
                            label=label,
                            method=ORIGINAL if label == REAL else METHOD,
                            source_ids=("/".join(inside.split("/")[:2]),),
                            split=split,
                        )
        if nothing:
            raise UsageError(
                f"{root} holds no pictures below real_train, fake_train, real_test or fake_test; "
                "give the folder that holds them, and unpack each archive in it: "
                'for f in */*.tar.gz; do tar -xf "$f" -C "${f%/*}"; done'
            )

    def expected(self) -> tuple[Expected, ...]:
        """Return the number of face sequences; those of the parts are not published."""
        return (Expected(7314),)

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out two archives of each part with sequences of equal numbers, frame 10 after 9."""
        rng = np.random.default_rng(0)
        for word in LABELS:
            for part in (f"{word}_train", f"{word}_test"):
                for inside in ("0", "1"):
                    folder = root / part / inside / word / "7"
                    write_noise_pictures(folder, ("9.png", "10.png", "100.png"), rng)
        return cls()
