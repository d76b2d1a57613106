"""Tables on disk: Parquet that names its contract, its settings' hash and its parents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfdetect.errors import ContractError
from dfdetect.provenance import sha256_value, written_whole

KEY = b"dfdetect"


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


def content_hash(table: pa.Table) -> str:
    """Return the SHA-256 of a table's values, whatever its file's layout and metadata are."""
    return sha256_value({name: table.column(name).to_pylist() for name in table.column_names})


def write_table(path: Path, table: pa.Table, contract: TableContract, header: TableHeader) -> None:
    """Write a table with its header, whole or not at all.

    Raises:
        ContractError: The table does not have the contract's columns.
    """
    _check_schema(path, table.schema, contract)
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
    stamped = table.replace_schema_metadata({KEY: text.encode()})
    with written_whole(path) as part:
        pq.write_table(stamped, part, compression="zstd")


def read_table(path: Path, contract: TableContract) -> tuple[pa.Table, TableHeader]:
    """Read a table and its header.

    Raises:
        ContractError: The file is missing, is no Parquet, or follows another contract.
    """
    if not path.is_file():
        raise ContractError(f"{path} is missing; make it with `{contract.repair}`")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(
            f"{path} cannot be read as Parquet ({error}); make it again with `{contract.repair}`"
        ) from error
    stamp = _stamp(path, table.schema.metadata or {}, contract)
    _check_schema(path, table.schema, contract)
    header = TableHeader(
        config_hash=stamp["config_hash"],
        parents=tuple(sorted(stamp["parents"].items())),
        facts=tuple(sorted(stamp["facts"].items())),
    )
    return table, header


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
