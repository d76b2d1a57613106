"""The real crops that an exported detector is calibrated and compared on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.batches import Faces, scoring_batches, split_faces
from dfdetect.data.crops import CropStore
from dfdetect.data.scoring_clips import Clips, clip_batches, split_clips
from dfdetect.data.shards import CROPS
from dfdetect.data.tables import content_hash, read_table
from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.score import CropBatch
from dfdetect.errors import UsageError

Items: TypeAlias = Faces | Clips

# selection, and so the choice of an int8 model, sees no other split
SPLIT = "val"
BATCH_FACES = 32


def split_items(
    stores: Sequence[CropStore], header: CheckpointHeader, per_video: int | None
) -> Items:
    """Return the crops of the val split, or its clips for a detector of clips.

    Raises:
        UsageError: There is none, or a video is in two stores.
    """
    frames = header.frames
    items = (
        split_clips(stores, SPLIT, frames, per_video)
        if frames > 1
        else split_faces(stores, SPLIT, per_video)
    )
    if not len(items):
        unit = "crop" if frames == 1 else f"clip of {frames} crops"
        names = ", ".join(str(store.folder) for store in stores)
        raise UsageError(
            f"the {SPLIT} split has no usable {unit} in {names}; index with a larger share "
            "(split.val=0.2), or extract more frames"
        )
    return items


def parted(items: Items, n_faces: int, frames: int) -> tuple[Items, Items]:
    """Part items into some to calibrate on, spread over all videos, and the others.

    At most half are for calibrating.

    Args:
        items: Sorted by video.
        n_faces: Crops wanted for calibrating; clips hold `frames` each.
        frames: Crops of an item.

    Raises:
        UsageError: There is a single item.
    """
    if len(items) < 2:
        raise UsageError(
            f"the {SPLIT} split has a single item, expected some to calibrate on and others to "
            "measure; extract more frames"
        )
    wanted = min(len(items) // 2, -(-n_faces // frames))
    chosen = np.zeros(len(items), bool)
    chosen[(2 * np.arange(wanted) + 1) * len(items) // (2 * wanted)] = True
    return _chosen(items, chosen), _chosen(items, ~chosen)


def _chosen(items: Items, chosen: NDArray[np.bool_]) -> Items:
    if isinstance(items, Clips):
        return Clips(items.crops, items.positions[chosen])
    return Faces(items.crops, items.positions[chosen])


def item_batches(items: Items, header: CheckpointHeader) -> Iterator[CropBatch]:
    """Yield the pictures of crops or clips as the detector takes them."""
    if isinstance(items, Clips):
        return clip_batches(items, header.preprocess, BATCH_FACES)
    return scoring_batches(items, header.preprocess, BATCH_FACES)


def store_hashes(stores: Sequence[CropStore]) -> tuple[tuple[str, str], ...]:
    """Return what crops were used: role and SHA-256, of every store and of its manifest."""
    hashes: list[tuple[str, str]] = []
    for store in stores:
        table, header = read_table(store.folder / "crops.parquet", CROPS)
        name = store.folder.name
        hashes.append((f"crops of {name}", content_hash(table)))
        hashes += [(f"{role} of {name}", digest) for role, digest in header.parents]
    return tuple(hashes)
