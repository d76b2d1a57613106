"""Crops by number, from one store or several: nothing is unpacked, a crop costs a few numbers.

What the tables say of the crops lies in numpy arrays, so that millions of crops fit, and so that
loader processes that are forked share them (they hold no Python object whose count would change).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfdetect.data.items import CropFacts, CropItem, Draw, Transform, policy_scale
from dfdetect.data.samplers import Population
from dfdetect.data.shards import CROPS, OK, CropStore, decode_png
from dfdetect.data.splits import source_links
from dfdetect.data.videos import Videos
from dfdetect.detectors.score import CropKey
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import Image, Point

# a process keeps so many shards open; crops that lie together are mostly read together
_OPEN_SHARDS = 16


@dataclass(frozen=True, slots=True, eq=False)
class CropColumns:
    """What is held of N crops: 80 bytes each.

    `video` and `shard` are numbers, of a row of `CropDataset.videos` and of a shard;
    `landmarks` are ten coordinates in crop pixels, NaN when unknown; `offset` and `size` are bytes.
    """

    video: NDArray[np.int32]
    track_id: NDArray[np.int32]
    frame_index: NDArray[np.int64]
    time_s: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """The memory that all columns take, in bytes."""
        return sum(int(getattr(self, column.name).nbytes) for column in fields(self))


class CropDataset:
    """The crops with a picture of one or several stores, one split or all, by number.

    A map-style dataset for any loader: `dataset[i]` is the same `CropItem` in any process. Crops
    lie in the order of the stores and of their tables. A crop that cannot be read raises; it is
    never replaced by another one.
    """

    def __init__(
        self,
        stores: Sequence[CropStore],
        split: str | None = None,
        transform: Transform | None = None,
        seed: int = 0,
    ) -> None:
        """Take the columns out of the stores' tables; the stores themselves are not kept.

        Args:
            stores: No video may be in two of them.
            split: `train`, `val`, `test`, or None for all.
            transform: Changes each picture, by chance that is a function of `seed`, epoch and
                position alone (of the number of the draw, where a sampler drew it). Landmarks
                stay those of the stored picture.
            seed: What all chance comes from.

        Raises:
            UsageError: A video is in two stores.
            ContractError: A table says that a crop has a picture but not where.

        Example:
            >>> len(CropDataset([], "train"))
            0
        """
        require_distinct(stores)
        parts = [_part(store, split) for store in stores]
        self._scales = tuple(policy_scale(store.policy) for store in stores)
        self._shards: tuple[str, ...] = tuple(name for part in parts for name in part.shards)
        n_shards = [len(part.shards) for part in parts]
        self._store_of_shard = np.repeat(np.arange(len(parts)), n_shards)
        self.videos = Videos.joined([part.videos for part in parts])
        self.columns = _joined(parts)
        self._split, self._tables = split, uuid.uuid4().hex
        self._transform, self._seed, self._epoch = transform, seed, 0
        self._label_of_video = np.asarray(self.videos.column("label"), dtype=np.int8)

    def __len__(self) -> int:
        return len(self.columns.video)

    def __getitem__(self, position: int) -> CropItem:
        """Return a crop.

        Raises:
            ContractError: Its picture cannot be read; the sentence names the shard and the byte.
        """
        return self.read(position, self.chance(position))

    @property
    def labels(self) -> NDArray[np.int8]:
        """The label of each crop, 1 = fake."""
        return self._label_of_video[self.columns.video]

    @property
    def store_numbers(self) -> NDArray[np.int64]:
        """The number of the store that each crop lies in."""
        return self._store_of_shard[self.columns.shard]

    @property
    def population(self) -> Population:
        """What samplers draw from: crops, videos, labels and who is shown."""
        shown_in, names = source_links(self.videos)
        persons = np.asarray(pc.dictionary_encode(names).indices, dtype=np.int64)
        return Population(self.columns.video, self._label_of_video, shown_in, persons)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the chance for transforms comes from.

        Positions that a sampler of `dfdetect.data.samplers` drew bring their own. Processes of a
        loader hear of it only when they start: not those of `persistent_workers`.
        """
        self._epoch = epoch

    def chance(self, position: int) -> tuple[int, int, int]:
        """Return the seed of what happens to the crop, or group, that is asked for by a number."""
        if isinstance(position, Draw):
            return self._seed, position.epoch, position.number
        return self._seed, self._epoch, int(position)

    def read(self, position: int, chance: Sequence[int]) -> CropItem:
        """Return a crop, changed as a certain seed wants it.

        Raises:
            ContractError: Its picture cannot be read.
        """
        image = self.image(position)
        if self._transform is not None:
            image = self._transform(image, np.random.default_rng(chance))
        return CropItem(image, self.facts(position))

    def image(self, position: int) -> Image:
        """Read the stored picture of a crop, RGB uint8.

        Raises:
            ContractError: It cannot be read; the sentence names the shard and the byte.
        """
        position = self._place(position)
        path = self._shards[self.columns.shard[position]]
        offset, size = int(self.columns.offset[position]), int(self.columns.size[position])
        try:
            content = _read(path, offset, size, self._tables)
        except OSError as error:
            raise ContractError(
                f"{path} cannot be read at byte {offset} ({error.strerror}); extract again with "
                f"`{CROPS.repair}`"
            ) from error
        return decode_png(content, f"{path} at byte {offset}")

    def key(self, position: int) -> CropKey:
        """Return what a score of a crop is filed under."""
        position = self._place(position)
        columns = self.columns
        return CropKey(
            self._of_video("video_id", position),
            int(columns.track_id[position]),
            int(columns.frame_index[position]),
            float(columns.time_s[position]),
        )

    def landmarks(self, position: int) -> tuple[Point, ...]:
        """Return the five points in the stored crop's pixels, or none where they are unknown."""
        flat = self.columns.landmarks[self._place(position)].tolist()
        return () if flat[0] != flat[0] else tuple(zip(flat[::2], flat[1::2], strict=True))

    def crop_scale(self, position: int) -> float:
        """Return the side of a crop as a multiple of the face box."""
        shard = self.columns.shard[self._place(position)]
        return self._scales[int(self._store_of_shard[shard])]

    def facts(self, position: int) -> CropFacts:
        """Return what is known of a crop without reading its picture."""
        return CropFacts(
            key=self.key(position),
            label=int(self._label_of_video[self.columns.video[self._place(position)]]),
            dataset=self._of_video("dataset", position),
            method=self._of_video("method", position),
            split=self._of_video("split", position),
            source_ids=tuple(self._of_video("source_ids", position)),
            landmarks=self.landmarks(position),
            crop_scale=self.crop_scale(position),
        )

    def __repr__(self) -> str:
        split = "all splits" if self._split is None else self._split
        return f"CropDataset({len(self)} crops of {len(self.videos)} videos, {split})"

    def _place(self, position: int) -> int:
        n_crops = len(self.columns.video)
        if not -n_crops <= position < n_crops:
            raise IndexError(f"crop {position} of {n_crops}")
        return int(position) % n_crops

    def _of_video(self, name: str, position: int) -> Any:
        video = int(self.columns.video[self._place(position)])
        return self.videos.column(name)[video].as_py()


def require_distinct(stores: Sequence[CropStore]) -> None:
    """Raise when a video is in two stores, which would let it count twice.

    Raises:
        UsageError: The sentence names the first such video and both folders.
    """
    for number, store in enumerate(stores):
        ids = store.videos.column("video_id")
        for earlier in stores[:number]:
            twice = ids.filter(pc.is_in(ids, earlier.videos.column("video_id")))
            if len(twice):
                raise UsageError(
                    f"{twice[0]} is in {earlier.folder} and in {store.folder}; name one of them"
                )


@dataclass(frozen=True, slots=True)
class _Part:
    videos: Videos
    shards: tuple[str, ...]
    columns: CropColumns


def rows_taken(store: CropStore, split: str | None = None) -> NDArray[np.int64]:
    """Return the rows of a store's table that a `CropDataset` takes, in its order."""
    kept = np.asarray(pc.equal(store.crops.column("status"), OK), dtype=bool)
    if split is not None:
        of_split = pc.fill_null(pc.equal(store.videos.column("split"), split), fill_value=False)
        kept &= np.asarray(of_split, dtype=bool)[_codes(store)]
    return np.flatnonzero(kept)


def _codes(store: CropStore) -> NDArray[np.int64]:
    ids = store.crops.column("video_id")
    return np.asarray(pc.index_in(ids, store.videos.column("video_id")), dtype=np.int64)


def _part(store: CropStore, split: str | None) -> _Part:
    rows = rows_taken(store, split)
    codes, positions = _codes(store)[rows], pa.array(rows)
    names = ("track_id", "frame_index", "time_s", "shard", "offset", "size", "landmarks")
    table = store.crops.table.select(names).take(positions).combine_chunks()
    if any(table.column(name).null_count for name in ("shard", "offset", "size")):
        raise ContractError(
            f"{store.folder / 'crops.parquet'} does not say where all pictures lie; extract again "
            f"with `{CROPS.repair}`"
        )
    shards = pc.dictionary_encode(table.column("shard").combine_chunks())
    present = np.zeros(len(store.videos), dtype=bool)
    present[codes] = True
    columns = CropColumns(
        video=(np.cumsum(present) - 1)[codes].astype(np.int32),
        track_id=np.asarray(table.column("track_id"), dtype=np.int32),
        frame_index=np.asarray(table.column("frame_index"), dtype=np.int64),
        time_s=np.asarray(table.column("time_s"), dtype=np.float64),
        landmarks=_landmarks(store, table.column("landmarks")),
        shard=np.asarray(shards.indices, dtype=np.int32),
        offset=np.asarray(table.column("offset"), dtype=np.int64),
        size=np.asarray(table.column("size"), dtype=np.int32),
    )
    paths = tuple(str(store.folder / name) for name in shards.dictionary.to_pylist())
    return _Part(store.videos.take(present), paths, columns)


def _landmarks(store: CropStore, column: pa.ChunkedArray) -> NDArray[np.float32]:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), dtype=np.int64)
    if not np.isin(lengths, (0, 10)).all():
        raise ContractError(
            f"{store.folder / 'crops.parquet'} has landmarks that are not five points; extract "
            f"again with `{CROPS.repair}`"
        )
    found = np.full((len(lengths), 10), np.nan, dtype=np.float32)
    found[lengths == 10] = np.asarray(pc.list_flatten(column), dtype=np.float32).reshape(-1, 10)
    return found


def _joined(parts: Sequence[_Part]) -> CropColumns:
    """Lay the parts end to end, their videos and shards numbered on."""
    first_video = np.cumsum([0, *(len(part.videos) for part in parts)])
    first_shard = np.cumsum([0, *(len(part.shards) for part in parts)])
    shift = {"video": first_video, "shard": first_shard}
    joined = {}
    for column in fields(CropColumns):
        pieces = [getattr(part.columns, column.name) for part in parts]
        if column.name in shift:
            firsts = shift[column.name]
            pieces = [
                (piece + first).astype(np.int32)
                for piece, first in zip(pieces, firsts[:-1], strict=True)
            ]
        joined[column.name] = np.concatenate(pieces) if pieces else _EMPTY[column.name]
    return CropColumns(**joined)


_EMPTY: dict[str, NDArray[Any]] = {
    "video": np.empty(0, np.int32),
    "track_id": np.empty(0, np.int32),
    "frame_index": np.empty(0, np.int64),
    "time_s": np.empty(0, np.float64),
    "landmarks": np.empty((0, 10), np.float32),
    "shard": np.empty(0, np.int32),
    "offset": np.empty(0, np.int64),
    "size": np.empty(0, np.int32),
}


class _OpenFile:
    """A file descriptor that is closed once neither the cache nor a reader holds it."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


@lru_cache(maxsize=_OPEN_SHARDS)
def _opened(path: str, process: int, tables: str) -> _OpenFile:  # noqa: ARG001 — see `_read`
    return _OpenFile(path)


def _read(path: str, offset: int, size: int, tables: str) -> bytes:
    """Return some bytes of a shard; `tables` tells a store from one written in its place later."""
    if not hasattr(os, "pread"):  # Windows
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 — a path per crop costs time
            stream.seek(offset)
            return stream.read(size)
    # a forked child opens its own; while this name is held, no other thread can close the file
    shard = _opened(path, os.getpid(), tables)
    # reading at a place leaves no position behind that threads would share
    return os.pread(shard.descriptor, size, offset)
