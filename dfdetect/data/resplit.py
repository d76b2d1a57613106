"""A crop store under another division into splits, without looking at one video again."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from dfdetect.data.claim import alone_in, claim
from dfdetect.data.manifest_file import Manifest
from dfdetect.data.shards import CROPS, RECORD, ShardWriter
from dfdetect.data.tables import TableHeader, read_table, write_parts
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_value, written_whole

_Places = dict[str, tuple[int, int]]


def resplit(source: Path, manifest: Manifest, out: Path) -> int:
    """Make the store that extracting a manifest anew would make, from one of the same videos.

    Pictures are copied as they are. The same call may be given again.

    Args:
        source: A finished crop store of videos that differ from the manifest's in `split` only.
        manifest: The videos with the splits that they shall have.
        out: The folder of the new store.

    Returns:
        The number of rows.

    Raises:
        UsageError: The videos are others, or another run is writing to `out`.
        ContractError: `source` is damaged, or `out` holds crops of other settings.
    """
    table, header = read_table(source / "crops.parquet", CROPS)
    before = Manifest.read(source / "manifest.parquet")
    if not _without_split(before).equals(_without_split(manifest)):
        raise UsageError(
            f"the videos of {source} are not those of the manifest: only their splits may differ; "
            "index the same data_root again, or extract without crops_from"
        )
    try:
        settings = json.loads((source / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContractError(
            f"{source / RECORD} does not say how the crops were made ({type(error).__name__}); "
            f"extract again with `{CROPS.repair}`"
        ) from error
    settings["manifest"] = manifest.content_hash()
    with alone_in(out):
        claim(out, settings)
        rows = manifest.rows
        splits = dict(
            zip(rows.column("video_id").to_pylist(), rows.column("split").to_pylist(), strict=True)
        )
        places: _Places = {}
        for shard in sorted(set(table.column("shard").to_pylist()) - {None}):
            (out / shard).parent.mkdir(parents=True, exist_ok=True)
            places |= _rewritten(source / shard, out / shard, splits)
        manifest.write(out / "manifest.parquet")
        parents = (("manifest", manifest.content_hash()),)
        told = TableHeader(sha256_value(settings), parents, header.facts)
        write_parts(out / "crops.parquet", [_moved(table, places)], CROPS, told)
    return int(table.num_rows)


def _without_split(manifest: Manifest) -> pa.Table:
    return manifest.rows.table.drop_columns(["split"]).combine_chunks()


def _rewritten(source: Path, target: Path, splits: Mapping[str, str | None]) -> _Places:
    """Write a shard again, whose pictures say which split they are of; return their places."""
    places: _Places = {}
    try:
        with (
            tarfile.open(source) as shard,
            written_whole(target) as part,
            part.open("wb") as stream,
        ):
            writer, members = ShardWriter(stream), iter(shard)
            for picture in members:
                key = picture.name.removesuffix(".png")
                content = _content(shard, picture)
                facts = json.loads(_content(shard, next(members)))
                facts["split"] = splits[facts["video_id"]]
                places[key] = writer.add_encoded(key, content, facts)
            writer.close()
    except (OSError, tarfile.TarError, ValueError, KeyError, StopIteration) as error:
        raise ContractError(
            f"{source} is missing or damaged ({type(error).__name__}), and its store with it; "
            "extract it again"
        ) from None
    return places


def _content(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = shard.extractfile(member)
    if stream is None:
        raise ValueError(f"{member.name} is no file")
    return stream.read()


def _moved(table: pa.Table, places: _Places) -> pa.Table:
    """Return the rows of crops with the places of their pictures in the shards written now."""
    found = [places.get(crop_id, (None, None)) for crop_id in table.column("crop_id").to_pylist()]
    for at, name in enumerate(("offset", "size")):
        column = table.schema.get_field_index(name)
        values = pa.array([place[at] for place in found], table.schema.field(name).type)
        table = table.set_column(column, table.schema.field(name), values)
    return table
