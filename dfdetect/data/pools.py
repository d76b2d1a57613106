"""What a source of training items draws from: crops or clips, its videos, and related forgeries."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.groups import ClipDataset
from dfdetect.data.loading import CropDataset
from dfdetect.data.samplers import Members
from dfdetect.data.videos import Videos
from dfdetect.detectors.base import BatchNeeds

Pool = NDArray[np.int64]
"""Videos to draw from, by their number in the crop dataset."""


def frames_of(crops: CropDataset, n_frames: int) -> NDArray[np.int64]:
    """Return the positions of the crops of every unit, N × T: crops alone, or clips of them."""
    if n_frames == 1:
        return np.arange(len(crops), dtype=np.int64)[:, None]
    return np.asarray(ClipDataset(crops, n_frames).positions, dtype=np.int64)


def pool_of(videos: Videos, units: Members, dataset: str, label: int) -> Pool:
    """Return the videos of a dataset and label that have something to draw, sorted by id."""
    is_of = pc.and_(
        pc.equal(videos.column("dataset"), dataset),
        pc.equal(videos.column("label"), pa.scalar(label, pa.int8())),
    )
    chosen = np.asarray(is_of, dtype=bool) & (units.sizes > 0)
    order = np.asarray(pc.sort_indices(videos.column("video_id")), dtype=np.int64)
    return order[chosen[order]]


def own_forgeries(videos: Videos, real: Pool, fake: Pool) -> dict[int, Pool]:
    """Return, for each genuine video that has any, the forgeries that were made of it.

    Where a manifest does not name the originals, those that share a source id with it.
    """
    ids, originals, sources = (
        videos.column(name).to_pylist() for name in ("video_id", "original_id", "source_ids")
    )
    by_original: dict[str, list[int]] = defaultdict(list)
    by_source: dict[str, list[int]] = defaultdict(list)
    for video in fake.tolist():
        if originals[video] is not None:
            by_original[originals[video]].append(video)
        else:
            for source in sources[video]:
                by_source[source].append(video)
    found = {}
    for video in real.tolist():
        shared = {other for source in sources[video] for other in by_source[source]}
        if own := sorted({*by_original[ids[video]], *shared}):
            found[video] = np.array(own, dtype=np.int64)
    return found


def groups_of(
    videos: Videos, real: Pool, fake: Pool, needs: BatchNeeds
) -> tuple[tuple[Pool, ...], ...]:
    """Return, for each genuine video with forgeries by all methods, itself and those by each."""
    originals = pc.index_in(videos.column("original_id"), videos.column("video_id"))
    original = np.asarray(pc.fill_null(originals, -1), dtype=np.int64)[fake]
    methods = np.asarray(videos.column("method").to_pylist(), dtype=object)[fake]
    found = []
    for video in real.tolist():
        pools = [fake[(original == video) & (methods == method)] for method in needs.methods]
        if all(len(pool) for pool in pools):
            found.append((np.array([video]), *pools))
    return tuple(found)
