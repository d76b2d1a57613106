"""Errors by condition on disk, beside the results of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from dfdetect.data.tables import TableContract, TableHeader, read_table, write_table
from dfdetect.evaluation.conditions import FEWEST
from dfdetect.evaluation.conditions.bins import ConditionRow
from dfdetect.evaluation.conditions.values import CONDITIONS
from dfdetect.provenance import sha256_value

CONDITIONS_FILE = "conditions.parquet"

_TEXTS = ("detector", "dataset", "condition", "bin")
_COUNTS = ("n_real", "n_fake", "n_real_videos", "n_fake_videos")
CONTRACT = TableContract(
    name="errors by condition",
    version=1,
    schema=pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in _TEXTS),
            *(pa.field(name, pa.float64()) for name in ("low", "high")),
            *(pa.field(name, pa.int64(), nullable=False) for name in _COUNTS),
            *(pa.field(name, pa.float64()) for name in ("auc", "ci_low", "ci_high")),
            *(pa.field(name, pa.int64()) for name in ("real_flagged", "fake_missed")),
            pa.field("n_unknown", pa.int64(), nullable=False),
        ]
    ),
    repair="dfdetect evaluate crops=[FOLDER] conditions=true out=FOLDER",
)


def write_conditions(
    rows: Sequence[ConditionRow],
    folder: Path,
    parents: Sequence[tuple[str, str]],
    n_bootstrap: int,
    seed: int,
) -> None:
    """Write `conditions.parquet` into a folder of results, whole or not at all."""
    edges = {one.name: list(one.edges) for one in CONDITIONS}
    settings = {"n_bootstrap": n_bootstrap, "seed": seed, "fewest": FEWEST, "edges": edges}
    what = {one.name: one.what for one in CONDITIONS}
    header = TableHeader(
        sha256_value(settings), tuple(parents), (("settings", settings), ("what", what))
    )
    columns = {name: [getattr(row, name) for row in rows] for name in CONTRACT.schema.names}
    table = pa.table(columns, schema=CONTRACT.schema)
    write_table(folder / CONDITIONS_FILE, table, CONTRACT, header)


def read_conditions(folder: Path) -> tuple[tuple[ConditionRow, ...], TableHeader]:
    """Read what `write_conditions` wrote, in its order.

    Raises:
        ContractError: The file is missing or no table of this version.
    """
    table, header = read_table(folder / CONDITIONS_FILE, CONTRACT)
    columns = [table.column(name).to_pylist() for name in CONTRACT.schema.names]
    return tuple(ConditionRow(*cells) for cells in zip(*columns, strict=True)), header
