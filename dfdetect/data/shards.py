"""The crop store on disk: uncompressed tar shards and the table that points into them.

A shard is a WebDataset: for each crop `key.png` (lossless) and `key.json` (what a streaming reader
needs to know). The table `crops.parquet` holds the byte offset of every picture, so the same
files serve random access: open, seek, read.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfdetect.data.manifest import Manifest
from dfdetect.data.tables import Rows, TableContract, read_table
from dfdetect.data.videos import Videos
from dfdetect.detectors.score import CropKey
from dfdetect.errors import ContractError
from dfdetect.types import CropPolicy, FaceBox, FaceQuality, Image, Point

RECORD = "extract.json"

OK = "ok"
NO_FACE = "no_face"
TOO_SMALL = "too_small"
DECODE_ERROR = "decode_error"
UNREADABLE = "unreadable"
MISSING = "missing"
UNTOUCHED = "untouched"
MASK_ERROR = "mask_error"
ALTERED = "altered"

VIDEO_FAULTS = (MISSING, UNREADABLE, DECODE_ERROR, ALTERED, MASK_ERROR)
"""The statuses that are of a file and not of what it shows."""

POINTS = ("landmarks", "points")
BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
QUALITY = ("side_px", "inter_eye_px", "sharpness", "yaw")
_PLAIN = (
    *("crop_id", "video_id", "track_id", "frame_index", "time_s", "confidence"),
    *("shard", "offset", "size", "status", "box_from"),
)

CROPS = TableContract(
    name="crops",
    version=2,
    schema=pa.schema(
        [
            pa.field("crop_id", pa.string(), nullable=False),
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("track_id", pa.int32(), nullable=False),
            pa.field("frame_index", pa.int64(), nullable=False),
            pa.field("time_s", pa.float64(), nullable=False),
            *(pa.field(name, pa.float32()) for name in BOX),
            # ten numbers or null; pyarrow 25 cannot read null lists of a fixed size back
            pa.field("landmarks", pa.list_(pa.float32())),
            pa.field("points", pa.list_(pa.float32())),
            pa.field("confidence", pa.float32()),
            *(pa.field(name, pa.float32()) for name in QUALITY),
            pa.field("shard", pa.string()),
            pa.field("offset", pa.int64()),
            pa.field("size", pa.int64()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("box_from", pa.string()),
        ]
    ),
    repair="dfdetect extract manifest=FILE out=FOLDER",
)

# Filtered pixels of a photo hardly repeat, so looking for repeats only costs time: Huffman codes
# alone take a sixth less of it than level 1 with them, and 7 % less room.
_PNG_OPTIONS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
]


@dataclass(frozen=True, slots=True)
class CropRow:
    """One sampled frame, or one face in it.

    `track_id` and `frame_index` are -1 where there is no face, or no frame, to speak of. `box` is
    in source pixels, `landmarks` are the five points in the crop's own pixels and `points` the
    same in source pixels, both empty when unknown. `shard` (relative to the store), `offset` and
    `size` (bytes) say where the PNG lies; they are None unless `status` is `ok`. `box_from` names
    the video whose box and points, or want of a face, were taken over; it is None where this one
    was searched.
    """

    crop_id: str
    video_id: str
    track_id: int
    frame_index: int
    time_s: float
    status: str
    box: FaceBox | None = None
    landmarks: tuple[Point, ...] = ()
    points: tuple[Point, ...] = ()
    confidence: float | None = None
    quality: FaceQuality | None = None
    shard: str | None = None
    offset: int | None = None
    size: int | None = None
    box_from: str | None = None

    @property
    def key(self) -> CropKey:
        """What a score of this crop is filed under."""
        return CropKey(self.video_id, self.track_id, self.frame_index, self.time_s)


class Crops(Rows[CropRow]):
    """The rows of one or more crop stores, in order."""

    schema: ClassVar[pa.Schema] = CROPS.schema

    @classmethod
    def columns_of(cls, rows: Sequence[CropRow]) -> Mapping[str, Sequence[Any]]:
        """Return the values of every column for some crops."""
        columns: dict[str, list[Any]] = {name: [] for name in CROPS.schema.names}
        for row in rows:
            for name in POINTS:
                columns[name].append([x for point in getattr(row, name) for x in point] or None)
            for name, value in zip(BOX, _corners(row.box), strict=True):
                columns[name].append(value)
            for name in QUALITY:
                columns[name].append(None if row.quality is None else getattr(row.quality, name))
            for name in _PLAIN:
                columns[name].append(getattr(row, name))
        return columns

    @classmethod
    def rows_of(cls, columns: Mapping[str, Sequence[Any]]) -> Iterator[CropRow]:
        """Yield the crops that some columns hold."""
        for values in zip(*columns.values(), strict=True):
            yield _row(dict(zip(columns, values, strict=True)))


def _corners(box: FaceBox | None) -> tuple[float | None, ...]:
    return (None,) * 4 if box is None else (box.x0, box.y0, box.x1, box.y1)


@dataclass(frozen=True, slots=True)
class CropStore:
    """Face crops on disk with random access; it may be shared by threads and pickled."""

    folder: Path
    crops: Crops
    videos: Videos
    config_hash: str
    n_by_status: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> CropStore:
        """Open the store that `extract_crops` made in a folder.

        Raises:
            ContractError: A table is missing or of another contract, or the two do not belong
                together.
        """
        table, header = read_table(folder / "crops.parquet", CROPS)
        videos = Manifest.read(folder / "manifest.parquet").rows
        named = pc.unique(table.column("video_id"))
        strangers = named.filter(pc.invert(pc.is_in(named, videos.column("video_id"))))
        if len(strangers):
            raise ContractError(
                f"{folder}: crops.parquet names {len(strangers)} video(s) that manifest.parquet "
                f"does not (the first: {strangers[0]}); extract again into an empty folder"
            )
        counts = header.fact("n_by_status", {})
        return cls(folder, Crops(table), videos, header.config_hash, counts)

    @property
    def policy(self) -> CropPolicy:
        """How the faces were cut out.

        Raises:
            ContractError: The record of the extraction is missing or says nothing of it.
        """
        record = self.folder / RECORD
        try:
            cut = json.loads(record.read_text(encoding="utf-8"))["cutter"]["policy"]
            return CropPolicy(str(cut["name"]), float(cut["scale"]), int(cut["size"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ContractError(
                f"{record} does not say how the faces were cut out ({type(error).__name__}); "
                f"extract again with `{CROPS.repair}`"
            ) from error

    def usable(self, split: str | None = None) -> Crops:
        """Return the crops with a picture, of one split or of all."""
        chosen = pc.equal(self.crops.column("status"), OK)
        if split is not None:
            members = self.videos.where(split=split).column("video_id")
            chosen = pc.and_(chosen, pc.is_in(self.crops.column("video_id"), members))
        return self.crops.take(np.asarray(chosen, dtype=bool))

    def without(self, dataset: str, method: str) -> CropStore:
        """Return the store as if the videos of one method of a dataset were not in it."""
        videos = self.videos
        gone = pc.and_(
            pc.equal(videos.column("dataset"), dataset), pc.equal(videos.column("method"), method)
        )
        kept = videos.take(~np.asarray(gone, dtype=bool))
        known = pc.is_in(self.crops.column("video_id"), kept.column("video_id").combine_chunks())
        crops = self.crops.take(np.asarray(known, dtype=bool))
        return replace(self, crops=crops, videos=kept)

    def image(self, crop: CropRow) -> Image:
        """Read one crop, RGB uint8, `size` × `size` of the crop policy.

        Raises:
            ContractError: The crop has no picture, or the shard is missing or damaged.
        """
        if crop.shard is None or crop.offset is None or crop.size is None:
            raise ContractError(
                f"crop {crop.crop_id} has status {crop.status} and no picture; take the rows of "
                "CropStore.usable()"
            )
        path = self.folder / crop.shard
        try:
            # a handle of its own for every read: nothing to share between threads or forks
            with path.open("rb", buffering=0) as stream:
                stream.seek(crop.offset)
                content = stream.read(crop.size)
        except OSError as error:
            raise ContractError(
                f"{path} cannot be read ({error.strerror}); extract again with `{CROPS.repair}`"
            ) from error
        return decode_png(content, f"{path} at byte {crop.offset}")


class ShardWriter:
    """Writes pictures into one open tar file; equal pictures give equal bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        """Start a shard in a binary stream at position 0."""
        self._stream = stream

    def add(self, key: str, image: Image, facts: Mapping[str, Any]) -> tuple[int, int]:
        """Append `key.png` and `key.json`; return the picture's byte offset and size."""
        return self.add_encoded(key, encode_png(image), facts)

    def add_encoded(self, key: str, content: bytes, facts: Mapping[str, Any]) -> tuple[int, int]:
        """Append a picture that is PNG already, as `add` does."""
        offset = self._member(f"{key}.png", content)
        self._member(f"{key}.json", json.dumps(facts, sort_keys=True).encode())
        return offset, len(content)

    def close(self) -> None:
        """Write the end-of-archive blocks; the stream stays open."""
        self._stream.write(bytes(2 * tarfile.BLOCKSIZE))
        self._pad(tarfile.RECORDSIZE)

    def _member(self, name: str, content: bytes) -> int:
        # no time, owner or mode of the machine: a shard is a function of its pictures
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self._stream.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        offset = self._stream.tell()
        self._stream.write(content)
        self._pad(tarfile.BLOCKSIZE)
        return offset

    def _pad(self, block: int) -> None:
        self._stream.write(bytes(-self._stream.tell() % block))


def encode_png(image: Image) -> bytes:
    """Return an RGB picture as PNG."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _PNG_OPTIONS)
    return encoded.tobytes()


def decode_png(content: bytes, where: str) -> Image:
    """Return the RGB picture in a PNG.

    Raises:
        ContractError: It is no PNG; `where` names the place.
    """
    picture = None
    if content:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or not content.startswith(b"\x89PNG"):
        raise ContractError(f"{where} holds no PNG; extract again with `{CROPS.repair}`")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _row(cells: Mapping[str, Any]) -> CropRow:
    box = [cells[name] for name in BOX]
    quality = None
    if cells["side_px"] is not None:
        measures = {name: cells[name] for name in QUALITY}
        quality = FaceQuality(confidence=cells["confidence"], **measures)
    return CropRow(
        crop_id=cells["crop_id"],
        video_id=cells["video_id"],
        track_id=cells["track_id"],
        frame_index=cells["frame_index"],
        time_s=cells["time_s"],
        status=cells["status"],
        box=None if box[0] is None else FaceBox(*box),
        landmarks=_points(cells["landmarks"]),
        points=_points(cells["points"]),
        confidence=cells["confidence"],
        quality=quality,
        shard=cells["shard"],
        offset=cells["offset"],
        size=cells["size"],
        box_from=cells["box_from"],
    )


def _points(flat: Sequence[float] | None) -> tuple[Point, ...]:
    return () if flat is None else tuple(zip(flat[::2], flat[1::2], strict=True))
