"""Small data sets and their extraction, for the tests of crop stores and of how they are made."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dfdetect.data.crops import ExtractSummary, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy

WHOLE = CropPolicy("whole", 1.0, 64)
SQUARE = CropPolicy("square", 1.3, 96)
ALL_TRAIN = SplitRule("all:train")


def lay_pictures(root: Path, count: int, side: int = 64) -> Manifest:
    rng = np.random.default_rng(0)
    for index in range(count):
        path = root / ("real" if index % 2 else "fake") / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return build_manifest(create_dataset("folder"), root, ALL_TRAIN)


def lay_clips(root: Path, count: int, n_frames: int = 8) -> Manifest:
    dataset = create_dataset("synthetic", n_identities=count, n_frames=n_frames)
    return build_manifest(dataset, root, SplitRule("official"))


def extract_whole(manifest: Manifest, root: Path, out: Path, **options: object) -> ExtractSummary:
    settings: dict[str, object] = {"shard_frames": 8, "finder": None, "landmarks": False}
    return extract_crops(manifest, root, out, WHOLE, FrameSampler(), **(settings | options))  # type: ignore[arg-type]


def content_of(store: Path) -> dict[str, bytes]:
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
