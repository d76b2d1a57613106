"""Tables on disk: Parquet that names its contract, its settings' hash and its parents."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from typing_extensions import Self

from dfdetect.errors import ContractError
from dfdetect.provenance import canonical_json, written_whole

KEY = b"dfdetect"

# rows are turned into objects and back by so many, which bounds what is alive at a time
BATCH_ROWS = 16_384
# of a table that is written in parts so many rows are in memory
GROUP_ROWS = 131_072

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableContract:
    """What a table must look like: its name, version and columns; `repair` makes it again."""

    name: str
    version: int
    schema: pa.Schema
    repair: str


@dataclass(frozen=True, slots=True)
class TableHeader:
    """What a table says of itself in its Parquet metadata.

    `config_hash` is the SHA-256 of the settings it was made with, `parents` name and hash what it
    was made from, `facts` are further JSON values (counts, problems).
    """

    config_hash: str
    parents: tuple[tuple[str, str], ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()

    def fact(self, name: str, default: Any = None) -> Any:
        """Return one of the facts, or `default` where the table does not state it."""
        return dict(self.facts).get(name, default)


class Rows(Sequence[T], ABC):
    """The rows of a table as typed objects, each made when it is asked for.

    The table stays what it is in memory, columns of numbers and texts, so that a million rows
    cost hundreds of bytes each and not thousands; processes that are forked share it.
    """

    schema: ClassVar[pa.Schema]

    def __init__(self, table: pa.Table) -> None:
        """Show the rows of a table that has the contract's columns."""
        # Parquet names the items of lists in its own way
        self._table = table.select(self.schema.names).cast(self.schema).combine_chunks()

    @classmethod
    def of(cls, rows: Iterable[T]) -> Self:
        """Return the rows that an iterable yields; it may be longer than memory has objects for."""
        remaining, batches = iter(rows), []
        while members := list(islice(remaining, BATCH_ROWS)):
            batches.append(pa.table(cls.columns_of(members), schema=cls.schema))
        return cls(pa.concat_tables(batches) if batches else cls.schema.empty_table())

    @classmethod
    @abstractmethod
    def columns_of(cls, rows: Sequence[T]) -> Mapping[str, Sequence[Any]]:
        """Return the values of every column for some rows."""

    @classmethod
    @abstractmethod
    def rows_of(cls, columns: Mapping[str, Sequence[Any]]) -> Iterator[T]:
        """Yield the rows that some columns of equal length hold."""

    @property
    def table(self) -> pa.Table:
        """The table itself."""
        return self._table

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column of the table."""
        return self._table.column(name)

    def take(self, which: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Self:
        """Return some rows, by their positions or by a mask as long as the rows."""
        chosen = np.asarray(which)
        positions = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return type(self)(self._table.take(pa.array(positions, type=pa.int64())))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, which: int) -> T: ...

    @overload
    def __getitem__(self, which: slice) -> Self: ...

    def __getitem__(self, which: int | slice) -> T | Self:
        if isinstance(which, slice):
            return self.take(np.arange(*which.indices(len(self)), dtype=np.int64))
        position = range(len(self))[which]
        return next(self._objects(self._table.slice(position, 1)))

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), BATCH_ROWS):
            yield from self._objects(self._table.slice(start, BATCH_ROWS))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bool(self._table.equals(other._table))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows)"

    def _objects(self, part: pa.Table) -> Iterator[T]:
        return self.rows_of({name: part.column(name).to_pylist() for name in self.schema.names})


def content_hash(table: pa.Table) -> str:
    """Return the SHA-256 of a table's values, whatever its file's layout and metadata are.

    It is that of the canonical JSON of `{column: values}`, of which only a part exists at a time.
    """
    digest = hashlib.sha256()
    opening = "{"
    for name in sorted(table.column_names):
        digest.update(f"{opening}{json.dumps(name)}:[".encode())
        column = table.column(name)
        for start in range(0, len(column), BATCH_ROWS):
            values = canonical_json(column.slice(start, BATCH_ROWS).to_pylist())[1:-1]
            digest.update(("," + values if start else values).encode())
        digest.update(b"]")
        opening = ","
    digest.update(b"}")
    return digest.hexdigest()


def write_table(path: Path, table: pa.Table, contract: TableContract, header: TableHeader) -> None:
    """Write a table with its header, whole or not at all.

    Raises:
        ContractError: The table does not have the contract's columns.
    """
    _check_schema(path, table.schema, contract)
    stamped = table.replace_schema_metadata({KEY: _stamp_of(contract, header)})
    with written_whole(path) as part:
        pq.write_table(stamped, part, compression="zstd")


def write_parts(
    path: Path, parts: Iterable[pa.Table], contract: TableContract, header: TableHeader
) -> None:
    """Write some tables as one, whole or not at all; they need not fit into memory together.

    The file depends on their rows, not on where one of them ends and the next begins.

    Raises:
        ContractError: A table does not have the contract's columns.
    """
    schema = contract.schema.with_metadata({KEY: _stamp_of(contract, header)})
    with written_whole(path) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for group in _row_groups(path, parts, contract):
            writer.write_table(group)


def _row_groups(
    path: Path, parts: Iterable[pa.Table], contract: TableContract
) -> Iterator[pa.Table]:
    held = contract.schema.empty_table()
    for table in parts:
        _check_schema(path, table.schema, contract)
        chosen = table.select(contract.schema.names).replace_schema_metadata(None)
        held = pa.concat_tables([held, chosen])
        while held.num_rows >= GROUP_ROWS:
            yield held.slice(0, GROUP_ROWS).combine_chunks()
            held = held.slice(GROUP_ROWS)
    if held.num_rows:
        yield held.combine_chunks()


def _stamp_of(contract: TableContract, header: TableHeader) -> bytes:
    text = json.dumps(
        {
            "contract": contract.name,
            "version": contract.version,
            "config_hash": header.config_hash,
            "parents": dict(header.parents),
            "facts": dict(header.facts),
        },
        sort_keys=True,
    )
    return text.encode()


def read_table(path: Path, contract: TableContract) -> tuple[pa.Table, TableHeader]:
    """Read a table and its header.

    Raises:
        ContractError: The file is missing, is no Parquet, or follows another contract.
    """
    with _parquet(path, contract):
        table = pq.read_table(path)
    header = _header(path, table.schema, contract)
    return table, header


def read_header(path: Path, contract: TableContract) -> TableHeader:
    """Read what a table says of itself, and none of its rows.

    Raises:
        ContractError: The file is missing, is no Parquet, or follows another contract.
    """
    with _parquet(path, contract):
        schema = pq.read_schema(path)
    return _header(path, schema, contract)


@contextmanager
def _parquet(path: Path, contract: TableContract) -> Iterator[None]:
    if not path.is_file():
        raise ContractError(f"{path} is missing; make it with `{contract.repair}`")
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(
            f"{path} cannot be read as Parquet ({error}); make it again with `{contract.repair}`"
        ) from error


def _header(path: Path, schema: pa.Schema, contract: TableContract) -> TableHeader:
    stamp = _stamp(path, schema.metadata or {}, contract)
    _check_schema(path, schema, contract)
    return TableHeader(
        config_hash=stamp["config_hash"],
        parents=tuple(sorted(stamp["parents"].items())),
        facts=tuple(sorted(stamp["facts"].items())),
    )


def _stamp(path: Path, metadata: Mapping[bytes, bytes], contract: TableContract) -> dict[str, Any]:
    try:
        stamp: dict[str, Any] = json.loads(metadata[KEY])
        found = f"{stamp['contract']} version {stamp['version']}"
        complete = {"config_hash", "parents", "facts"} <= stamp.keys()
    except (KeyError, ValueError, TypeError):
        found, complete = "a table that dfdetect did not write", False
    if not complete or found != f"{contract.name} version {contract.version}":
        raise ContractError(
            f"{path} is {found}, wanted {contract.name} version {contract.version}; "
            f"make it again with `{contract.repair}`"
        )
    return stamp


def _check_schema(path: Path, schema: pa.Schema, contract: TableContract) -> None:
    for field in contract.schema:
        index = schema.get_field_index(field.name)
        if index < 0:
            fault = f"has no column {field.name!r}"
        elif schema.field(index).type != field.type:
            fault = f"has {schema.field(index).type} in column {field.name!r}, not {field.type}"
        else:
            continue
        raise ContractError(f"{path} {fault}; make it again with `{contract.repair}`")
