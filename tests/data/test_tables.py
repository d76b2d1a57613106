"""Tables that are written in parts are those that would have been written at once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.data import tables
from dfdetect.data.tables import TableContract, TableHeader, read_header, read_table, write_parts
from dfdetect.errors import ContractError

CONTRACT = TableContract(
    "numbers",
    1,
    pa.schema([pa.field("n", pa.int64(), nullable=False), pa.field("name", pa.string())]),
    repair="count again",
)
HEADER = TableHeader("0" * 64, parents=(("manifest", "1" * 64),), facts=(("n_odd", 3),))


def numbers(start: int, stop: int) -> pa.Table:
    names = [None if n % 3 else str(n) for n in range(start, stop)]
    return pa.table({"n": range(start, stop), "name": names}, schema=CONTRACT.schema)


@given(st.sets(st.integers(0, 60)))
@settings(max_examples=40, deadline=None)
def test_parts_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory, boundaries: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    edges = [0, *sorted(boundaries), 60]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "GROUP_ROWS", 16)
        parts = (numbers(*pair) for pair in pairwise(edges))
        write_parts(folder / "parts.parquet", parts, CONTRACT, HEADER)
        write_parts(folder / "whole.parquet", [numbers(0, 60)], CONTRACT, HEADER)
    assert (folder / "parts.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert pq.ParquetFile(folder / "parts.parquet").num_row_groups == 4
    table, header = read_table(folder / "parts.parquet", CONTRACT)
    assert table.equals(numbers(0, 60))
    assert header == HEADER == read_header(folder / "parts.parquet", CONTRACT)


def test_no_parts_are_an_empty_table(tmp_path: Path) -> None:
    write_parts(tmp_path / "empty.parquet", [], CONTRACT, HEADER)
    table, header = read_table(tmp_path / "empty.parquet", CONTRACT)
    assert (table.num_rows, header) == (0, HEADER)


def test_a_part_of_another_contract_leaves_no_file(tmp_path: Path) -> None:
    parts = [numbers(0, 3), numbers(3, 6).drop_columns(["name"])]
    with pytest.raises(ContractError, match=r"no column 'name'; make it again with `count again`"):
        write_parts(tmp_path / "t.parquet", parts, CONTRACT, HEADER)
    assert list(tmp_path.iterdir()) == []
