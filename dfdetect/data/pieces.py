"""What lies between a video and its shard: the piece that a worker leaves on disk.

A piece is the video's pictures (a tar without the closing blocks) and its rows, which name that
tar and are renamed into place last; so a piece is whole or not there. When every video of a unit
has its piece, the pieces become the shard and the unit's rows, and go.
"""

from __future__ import annotations

import dataclasses
import platform
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.compute as pc

from dfdetect.data.items import CropFacts
from dfdetect.data.reuse import Given
from dfdetect.data.shards import CROPS, OK, CropRow, Crops, ShardWriter
from dfdetect.data.tables import TableHeader, read_header, read_table, write_table
from dfdetect.data.video_crops import Cutter
from dfdetect.data.videos import ManifestRow
from dfdetect.errors import ContractError, UsageError
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.media import decoding_threads
from dfdetect.provenance import written_whole

_ROWS_AS_OBJECTS = 256


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of some videos: rows by status, and how far boxes were taken over.

    `n_reused` counts rows whose box came from another video, `n_searched` the videos that could
    have had theirs from an original and were searched all the same.
    """

    n_by_status: tuple[tuple[str, int], ...] = ()
    n_reused: int = 0
    n_searched: int = 0

    def __add__(self, other: Tally) -> Tally:
        counts = Counter(dict(self.n_by_status)) + Counter(dict(other.n_by_status))
        n_reused = self.n_reused + other.n_reused
        return Tally(tuple(sorted(counts.items())), n_reused, self.n_searched + other.n_searched)

    @property
    def n_skipped(self) -> tuple[tuple[str, int], ...]:
        """The rows without a picture, by their status, which is the reason."""
        return tuple((status, n) for status, n in self.n_by_status if status != OK)

    @property
    def facts(self) -> tuple[tuple[str, Any], ...]:
        """The counts as a table's header states them."""
        return (
            ("n_by_status", dict(self.n_by_status)),
            ("n_skipped", dict(self.n_skipped)),
            ("n_reused", self.n_reused),
            ("n_searched", self.n_searched),
        )

    @classmethod
    def stated(cls, header: TableHeader) -> Tally:
        """Return the counts that a table's header states."""
        counts = header.fact("n_by_status", {})
        n_reused, n_searched = header.fact("n_reused", 0), header.fact("n_searched", 0)
        return cls(tuple(sorted(counts.items())), n_reused, n_searched)


@dataclass(frozen=True, slots=True)
class Unit:
    """A shard and the videos that belong to it: the manifest's from `start` up to `stop`."""

    index: int
    start: int
    stop: int

    @property
    def shard(self) -> str:
        """The shard, relative to the store, as everything here."""
        return f"shards/{self.index:06d}.tar"

    @property
    def rows(self) -> str:
        """The table with the rows of the finished shard."""
        return f"parts/{self.index:06d}.parquet"

    @property
    def folder(self) -> str:
        """Where the pieces lie until the shard is made."""
        return f"parts/{self.index:06d}"

    def piece(self, place: int) -> str:
        """Return the table of the piece of the manifest's video number `place`."""
        return f"{self.folder}/{place:08d}.parquet"


@dataclass(frozen=True, slots=True)
class Job:
    """What every video of an extraction has in common; the folders are absolute."""

    cutter: Cutter
    finder: str | None
    finder_options: tuple[tuple[str, Any], ...]
    data_root: Path
    out: Path
    config_hash: str


@dataclass(frozen=True, slots=True)
class CutTask:
    """One video to be cut, number `place` of the manifest.

    `has_original` says whether faces may be taken over for it; `given` is then its original with
    the rows made of that, None where it has no usable face.
    """

    place: int
    unit: Unit
    video: ManifestRow
    has_original: bool = False
    given: Given | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What is known of a finished piece; `seconds` are those that it took, 0 when it was there."""

    place: int
    unit: Unit
    tally: Tally
    n_bytes: int
    seconds: float = 0.0


def cut_video(job: Job, task: CutTask) -> Piece:
    """Cut one video and leave its piece in the store; the one thing that workers do.

    It may be done twice, and twice at once: a piece never mixes what two workers wrote.

    Raises:
        UsageError: The videos or the store are not on this machine.
    """
    for folder in (job.data_root, job.out):
        if not folder.is_dir():
            raise UsageError(
                f"{folder} is not on {platform.node()}; every machine that takes part must see "
                "the videos and the store under the same path"
            )
    finder = _finder(job.finder, job.finder_options)
    began = time.perf_counter()
    table = job.out / task.unit.piece(task.place)
    segment = table.with_name(f"{table.stem}.{uuid.uuid4().hex}.tar")
    with _one_thread(), written_whole(segment) as part:
        with part.open("wb") as stream:
            rows = _collected(_stored(job, task, finder, ShardWriter(stream)))
        n_bytes = part.stat().st_size
    tally = _tally(rows, has_original=task.has_original)
    facts = (("video_id", task.video.video_id), ("segment", segment.name), ("bytes", n_bytes))
    write_table(
        table, rows.table, CROPS, TableHeader(job.config_hash, facts=(*facts, *tally.facts))
    )
    return Piece(task.place, task.unit, tally, n_bytes, time.perf_counter() - began)


@contextmanager
def _one_thread() -> Iterator[None]:
    # a core is kept busy by a video of its own; and a damaged video gives the same rows anywhere
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with decoding_threads(1):
            yield
    finally:
        cv2.setNumThreads(before)


def _stored(
    job: Job, task: CutTask, finder: FaceFinder | None, shard: ShardWriter
) -> Iterator[CropRow]:
    video = task.video
    for row, image in job.cutter.cut(video, job.data_root, finder, task.given):
        if image is None:
            yield row
            continue
        facts = CropFacts.of(row, video, job.cutter.policy).as_json(row.crop_id)
        offset, size = shard.add(row.crop_id, image, facts)
        yield dataclasses.replace(row, shard=task.unit.shard, offset=offset, size=size)


def _collected(rows: Iterator[CropRow]) -> Crops:
    # as columns soon, so that a long video takes hardly more memory than a short one
    tables = [Crops.of(())]
    while batch := list(islice(rows, _ROWS_AS_OBJECTS)):
        tables.append(Crops.of(batch))
    return Crops(pa.concat_tables([crops.table for crops in tables]))


def _tally(rows: Crops, *, has_original: bool) -> Tally:
    counts = Counter(rows.column("status").to_pylist())
    n_reused = len(rows) - rows.column("box_from").null_count
    was_read = bool(pc.any(pc.greater_equal(rows.column("frame_index"), 0)).as_py())
    n_searched = int(has_original and was_read and not n_reused)
    return Tally(tuple(sorted(counts.items())), n_reused, n_searched)


@cache
def _finder(name: str | None, options: tuple[tuple[str, Any], ...]) -> FaceFinder | None:
    # loading the networks takes longer than a short video; a process does it once
    return None if name is None else create_finder(name, **dict(options))


def kept_piece(job: Job, unit: Unit, place: int, video_id: str) -> Piece | None:
    """Return the piece of a video; None where there is none, or a damaged or foreign one."""
    table = job.out / unit.piece(place)
    if not table.exists():
        return None
    try:
        header = read_header(table, CROPS)
    except ContractError:
        return None
    segment, n_bytes = table.with_name(str(header.fact("segment"))), header.fact("bytes")
    if (header.config_hash, header.fact("video_id")) != (job.config_hash, video_id):
        return None
    if not segment.is_file() or segment.stat().st_size != n_bytes:
        return None
    return Piece(place, unit, Tally.stated(header), n_bytes)


def finished_unit(job: Job, unit: Unit) -> Tally | None:
    """Return what became of a unit's videos; None unless its shard and rows are there and whole."""
    shard, rows = job.out / unit.shard, job.out / unit.rows
    if not (shard.exists() and rows.exists()):
        return None
    try:
        header = read_header(rows, CROPS)
    except ContractError:
        return None
    if header.config_hash != job.config_hash or header.fact("bytes") != shard.stat().st_size:
        return None
    return Tally.stated(header)


def rows_of(job: Job, unit: Unit, place: int, video_id: str) -> Crops:
    """Return the rows of one finished video, wherever they are by now."""
    if (piece := job.out / unit.piece(place)).exists():
        return Crops(read_table(piece, CROPS)[0])
    table, _ = read_table(job.out / unit.rows, CROPS)
    return Crops(table.filter(pc.equal(table.column("video_id"), video_id)))


def assemble(job: Job, unit: Unit) -> None:
    """Make a unit's shard and rows of its pieces, byte for byte the same whoever cut them.

    Raises:
        ContractError: A piece is missing or damaged.
    """
    tables, tally = [], Tally()
    with written_whole(job.out / unit.shard) as path:
        with path.open("wb") as stream:
            for place in range(unit.start, unit.stop):
                piece = job.out / unit.piece(place)
                table, header = read_table(piece, CROPS)
                start = stream.tell()
                tables.append(_shifted(table, start))
                tally += Tally.stated(header)
                with piece.with_name(str(header.fact("segment"))).open("rb") as segment:
                    shutil.copyfileobj(segment, stream, 1 << 20)
                if stream.tell() - start != header.fact("bytes"):
                    raise ContractError(f"{piece} is damaged; run the extraction again")
            ShardWriter(stream).close()
        n_bytes = path.stat().st_size
    header = TableHeader(job.config_hash, facts=(("bytes", n_bytes), *tally.facts))
    write_table(job.out / unit.rows, pa.concat_tables(tables), CROPS, header)
    shutil.rmtree(job.out / unit.folder, ignore_errors=True)


def _shifted(table: pa.Table, n_bytes: int) -> pa.Table:
    place = table.schema.get_field_index("offset")
    moved = pc.add(table.column("offset"), pa.scalar(n_bytes, pa.int64()))
    return table.set_column(place, table.schema.field(place), moved).replace_schema_metadata(None)


def sweep(job: Job) -> None:
    """Remove what killed workers left: temporary names, and pictures without their rows."""
    for folder in (job.out, job.out / "shards", job.out / "parts"):
        folder.mkdir(parents=True, exist_ok=True)
    for pattern in (".*.part", "shards/.*.part", "parts/.*.part", "parts/*/.*.part"):
        for leftover in job.out.glob(pattern):
            leftover.unlink(missing_ok=True)
    for segment in job.out.glob("parts/*/*.tar"):
        if not segment.with_name(f"{segment.name.partition('.')[0]}.parquet").exists():
            segment.unlink(missing_ok=True)
