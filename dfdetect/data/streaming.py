"""Crops out of shards that are read from front to back, from a disk or an object store.

A shard is a WebDataset: `key.png` and `key.json`, one after the other. It may come from anywhere,
so nothing in it is trusted: sizes, names, kinds and pictures have limits, and nothing is written.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dfdetect.data.items import CropFacts, CropItem, Transform
from dfdetect.data.shards import decode_png
from dfdetect.errors import ContractError, UsageError

# WebDataset's rule: the key ends at the first dot of the last part of the name
_NAME = re.compile(r"((?:[^\\\x00-\x1f]*/)?[^/.\\\x00-\x1f]+)\.(png|json)")
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
_READ_AHEAD = 1 << 20
_LONG_NAME = 1 << 16


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one crop of a shard may take before the shard is refused."""

    picture_bytes: int = 32 << 20
    facts_bytes: int = 1 << 16
    side_px: int = 4096


@dataclass(frozen=True, slots=True)
class _Found:
    facts: CropFacts
    picture: bytes
    where: str
    crop_id: str


def stream_crops(
    shards: Sequence[str | Path],
    split: str | None = None,
    *,
    shuffle: int = 0,
    seed: int = 0,
    epoch: int = 0,
    part: int = 0,
    n_parts: int = 1,
    transform: Transform | None = None,
    limits: StreamLimits = StreamLimits(),
) -> Iterator[CropItem]:
    """Yield the crops of some shards; what comes is a function of the arguments alone.

    Args:
        shards: Paths, or URLs of any kind that fsspec reads; see `store_shards`.
        split: `train`, `val`, `test`, or None for all.
        shuffle: 0 yields crops in the order of the shards; above 0, the shards are taken in
            another order every epoch, and a crop leaves at random among so many that wait.
        seed: What all chance comes from.
        epoch: Counts from 0.
        part: Which of `n_parts` readers this is, from 0; each shard is read by one of them.
        n_parts: How many read at once: ranks × workers.
        transform: Changes each picture, by chance that is a function of `seed`, `epoch` and the
            crop alone. Landmarks stay those of the stored picture.
        limits: What a crop may take.

    Raises:
        UsageError: fsspec, or its driver for a kind of URL, is not installed.
        ContractError: A shard cannot be read, is cut short or damaged, or holds what no shard of
            crops does; the sentence names it. It has yielded the crops before that.

    Example:
        >>> list(stream_crops([]))
        []
    """
    order = np.arange(len(shards))
    rng = np.random.default_rng([seed, epoch])
    if shuffle:
        order = rng.permutation(order)
    mine = order[part::n_parts].tolist()
    found = (
        crop
        for number in mine
        for crop in _read_shard(str(shards[number]), limits)
        if split is None or crop.facts.split == split
    )
    mixed = _mixed(found, shuffle, np.random.default_rng([seed, epoch, part])) if shuffle else found
    for crop in mixed:
        image = decode_png(crop.picture, crop.where)
        if transform is not None:
            chance = [seed, epoch, zlib.crc32(crop.crop_id.encode())]
            image = transform(image, np.random.default_rng(chance))
        yield CropItem(image, crop.facts)


def store_shards(folder: str | Path) -> tuple[str, ...]:
    """Return the shards of a crop store, in order; the store's folder may be a URL.

    Raises:
        UsageError: There is none.
    """
    if "://" in str(folder):
        files, path = _fsspec().core.url_to_fs(str(folder))
        names = sorted(files.glob(f"{path.rstrip('/')}/shards/*.tar"))
        found = tuple(str(files.unstrip_protocol(name)) for name in names)
    else:
        found = tuple(sorted(str(path) for path in Path(folder).glob("shards/*.tar")))
    if not found:
        raise UsageError(f"no shards/*.tar in {folder}; name the folder that extract wrote")
    return found


def _mixed(found: Iterable[_Found], size: int, rng: np.random.Generator) -> Iterator[_Found]:
    # pictures wait as PNG, which is a fraction of what they take decoded
    waiting: list[_Found] = []
    for crop in found:
        if len(waiting) < size:
            waiting.append(crop)
            continue
        place = int(rng.integers(size))
        waiting[place], leaving = crop, waiting[place]
        yield leaving
    for place in rng.permutation(len(waiting)).tolist():
        yield waiting[place]


def _read_shard(shard: str, limits: StreamLimits) -> Iterator[_Found]:
    try:
        with _open(shard) as stream:
            yield from _crops(shard, _Tar(shard, stream, limits))
    except OSError as error:
        raise ContractError(
            f"{shard} cannot be read ({error.strerror or error}); see whether it is there and whole"
        ) from error


def _open(shard: str) -> AbstractContextManager[IO[bytes]]:
    if "://" not in shard:
        return Path(shard).open("rb", buffering=_READ_AHEAD)
    try:
        opened: AbstractContextManager[IO[bytes]] = _fsspec().open(shard, "rb")
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{shard} cannot be opened: {error}; install fsspec's driver for it (s3fs, gcsfs, …), "
            "or name a local path"
        ) from error
    return opened


def _fsspec() -> Any:
    try:
        import fsspec  # only for URLs: its drivers take long to load
    except ImportError as error:
        raise UsageError(
            "shards at a URL need fsspec; install it with `pip install fsspec`, or name local paths"
        ) from error
    return fsspec


def _crops(shard: str, members: Iterable[tuple[str, str, bytes]]) -> Iterator[_Found]:
    key, parts = "", dict[str, bytes]()
    for member_key, kind, content in members:
        if parts and member_key != key:
            break
        if kind in parts:
            raise _refused(shard, f"has two {member_key}.{kind}")
        key, parts[kind] = member_key, content
        if len(parts) == 2:
            where = f"{shard} in {key}.png"
            facts = CropFacts.from_json(parts["json"], key, f"{shard} in {key}.json")
            yield _Found(facts, parts["png"], where, key)
            parts = {}
    if parts:
        missing = "json" if "png" in parts else "png"
        raise _refused(shard, f"has no {key}.{missing} beside the other")


class _Tar:
    """The members of a tar stream as (key, kind, content), as far as a shard of crops has any."""

    def __init__(self, shard: str, stream: IO[bytes], limits: StreamLimits) -> None:
        self._shard, self._stream, self._limits = shard, stream, limits

    def __iter__(self) -> Iterator[tuple[str, str, bytes]]:
        long_name: str | None = None
        while any(block := self._take(tarfile.BLOCKSIZE)):
            info = self._header(block)
            if info.type == tarfile.XHDTYPE:
                long_name = self._long_name(self._content(info, _LONG_NAME))
                continue
            name = long_name or info.name
            long_name = None
            named = _NAME.fullmatch(name)
            if info.type not in _REGULAR or named is None or not _is_plain(name):
                raise _refused(self._shard, f"holds {name!r}, which is no picture or its facts")
            key, kind = named.groups()
            if kind == "json":
                yield key, kind, self._content(info, self._limits.facts_bytes)
            else:
                picture = self._content(info, self._limits.picture_bytes)
                self._check_picture(name, picture)
                yield key, kind, picture

    def _take(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing = size
        while missing and (piece := self._stream.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        if missing:
            raise _refused(self._shard, "ends before its end mark: it was cut short")
        return b"".join(pieces)

    def _header(self, block: bytes) -> tarfile.TarInfo:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise _refused(self._shard, f"has a damaged header ({error})") from error
        if info.size < 0:
            raise _refused(self._shard, "has a member of negative size")
        return info

    def _content(self, info: tarfile.TarInfo, limit: int) -> bytes:
        if info.size > limit:
            raise _refused(
                self._shard, f"holds {info.name!r} of {info.size} bytes, more than {limit}"
            )
        content = self._take(info.size)
        self._take(-info.size % tarfile.BLOCKSIZE)
        return content

    def _long_name(self, records: bytes) -> str | None:
        """Return the name in a pax header, whose records read `length key=value`."""
        name = None
        while records:
            length, _, _ = records.partition(b" ")
            size = int(length) if length.isdigit() and len(length) < 6 else 0
            record, records = records[:size], records[size:]
            key, is_record, value = record[len(length) + 1 : -1].partition(b"=")
            if not is_record or not record.endswith(b"\n") or key not in _PAX:
                raise _refused(self._shard, f"has an extended header with {key[:40]!r}")
            if key == b"path":
                try:
                    name = value.decode()
                except UnicodeDecodeError as error:
                    raise _refused(self._shard, f"has a damaged name ({error})") from error
        return name

    def _check_picture(self, name: str, picture: bytes) -> None:
        # the sides stand in the first chunk; a few bytes can claim a picture that fills memory
        if not picture.startswith(b"\x89PNG\r\n\x1a\n") or picture[12:16] != b"IHDR":
            raise _refused(self._shard, f"holds {name!r}, which is no PNG")
        width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
        if not 0 < max(width, height) <= self._limits.side_px:
            raise _refused(self._shard, f"holds {name!r} of {width} × {height} pixels")


# what the pax header of a file may say; anything else (a size, a link, holes) is no shard's
_PAX = (b"path", b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname")


def _is_plain(name: str) -> bool:
    return not {"", ".", ".."} & set(name.split("/"))


def _refused(shard: str, fault: str) -> ContractError:
    return ContractError(
        f"{shard} {fault}; fetch it again, or extract again with "
        "`dfdetect extract manifest=FILE out=FOLDER`"
    )
