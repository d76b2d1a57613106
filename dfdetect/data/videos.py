"""The videos of a manifest: one typed row each, in columns that hold a million of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from dfdetect.data.tables import Rows, TableContract

ORIGINAL = "original"
"""The method of every genuine video."""

SPLITS = ("train", "val", "test")

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)

MANIFEST = TableContract(
    name="manifest",
    version=2,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("dataset", pa.string(), nullable=False),
            pa.field("method", pa.string(), nullable=False),
            pa.field("label", pa.int8(), nullable=False),
            pa.field("split", pa.string()),
            pa.field("source_ids", pa.list_(pa.string()), nullable=False),
            pa.field("compression", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("fps", pa.float64(), nullable=False),
            pa.field("n_frames", pa.int64()),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("duration_s", pa.float64(), nullable=False),
            pa.field("original_id", pa.string()),
            pa.field("mask_path", pa.string()),
        ]
    ),
    repair="dfdetect index dataset=NAME data_root=FOLDER",
)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One video of a dataset.

    `path` is POSIX and relative to the data root; for a folder of pictures it is the folder, and
    `sha256` is then of the names and hashes of its pictures. `method` is `original` for a genuine
    video. `n_frames` is the container's claim, None where it makes none; `width` and `height` are
    those of the upright picture.

    `original_id` names the genuine video of the same manifest that a forgery was made from frame
    by frame, so that the two line up outside the face; `mask_path` is a video, white where a
    forgery was painted. Both are None where the dataset has no such thing.
    """

    video_id: str
    dataset: str
    method: str
    label: int
    split: str | None
    source_ids: tuple[str, ...]
    compression: str
    path: str
    sha256: str
    fps: float
    n_frames: int | None
    width: int
    height: int
    duration_s: float
    original_id: str | None = None
    mask_path: str | None = None


class Videos(Rows[ManifestRow]):
    """The videos of one or more manifests, in order.

    Example:
        >>> len(Videos.of([]))
        0
    """

    schema: ClassVar[pa.Schema] = MANIFEST.schema

    @classmethod
    def columns_of(cls, rows: Sequence[ManifestRow]) -> Mapping[str, Sequence[Any]]:
        """Return the values of every column for some videos."""
        names = [field.name for field in dataclasses.fields(ManifestRow)]
        return {name: [getattr(row, name) for row in rows] for name in names}

    @classmethod
    def rows_of(cls, columns: Mapping[str, Sequence[Any]]) -> Iterator[ManifestRow]:
        """Yield the videos that some columns hold."""
        cells = dict(columns)
        cells["source_ids"] = [tuple(sources) for sources in cells["source_ids"]]
        ordered = [cells[field.name] for field in dataclasses.fields(ManifestRow)]
        yield from (ManifestRow(*values) for values in zip(*ordered, strict=True))

    @classmethod
    def joined(cls, several: Sequence[Videos]) -> Videos:
        """Return the videos of several manifests, one after the other."""
        tables = [videos.table for videos in several]
        return cls(pa.concat_tables(tables) if tables else MANIFEST.schema.empty_table())

    @cached_property
    def by_id(self) -> Mapping[str, ManifestRow]:
        """The videos by their id; of two with one id, the last."""
        return _ById(self)

    def where(
        self,
        *,
        split: str | None = None,
        dataset: str | None = None,
        method: str | None = None,
        label: int | None = None,
        compression: str | None = None,
    ) -> Videos:
        """Return the videos that have all the given values; None asks for nothing."""
        wanted = {
            "split": split,
            "dataset": dataset,
            "method": method,
            "label": label,
            "compression": compression,
        }
        table = self.table
        for name, value in wanted.items():
            if value is not None:
                table = table.filter(pc.equal(table.column(name), value))
        return Videos(table)

    def with_column(self, name: str, values: Sequence[Any] | pa.Array) -> Videos:
        """Return the same videos with another column `name`, one value for each."""
        place = self.schema.get_field_index(name)
        field = self.schema.field(place)
        column = values if isinstance(values, pa.Array) else pa.array(values, type=field.type)
        return Videos(self.table.set_column(place, field, column))


class _ById(Mapping[str, ManifestRow]):
    def __init__(self, videos: Videos) -> None:
        self._videos = videos
        names = videos.column("video_id").to_pylist()
        self._places = {name: place for place, name in enumerate(names)}

    def __getitem__(self, video_id: str) -> ManifestRow:
        return self._videos[self._places[video_id]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
