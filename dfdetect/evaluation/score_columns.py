"""Anybody's CSV or Parquet → typed columns of scores, or a sentence that says what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dfdetect.errors import ContractError, UsageError

SCALES = ("logit", "probability", "any")
SHOWN = 60
"""Characters of a foreign text that a message shows."""

DELIMITERS = (",", ";", "\t")
HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """What the columns of a file of scores are called, and what its scores are.

    Attributes:
        video: The video's id, file name or path.
        score: The score.
        frame: The frame's number; None where a row is of a whole video.
        track: The number of the face in its video; None: all faces of a video are one track.
        time: Seconds; None: the frame's number over the manifest's frame rate.
        label: 0 or 1, real or fake, to be compared with the manifest's; None where there is none.
        split: train, val or test, likewise.
        scale: `logit`, `probability`, or `any` where only the order of the scores means something.
    """

    video: str = "video_id"
    score: str = "logit"
    frame: str | None = None
    track: str | None = None
    time: str | None = None
    label: str | None = None
    split: str | None = None
    scale: str = "logit"

    def __post_init__(self) -> None:
        """Refuse a scale that nobody knows, and two roles for one column."""
        if self.scale not in SCALES:
            raise UsageError(
                f"unknown columns.scale={self.scale}; choose one of {', '.join(SCALES)}"
            )
        names = self.names()
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"column {twice[0]!r} is given two roles; each column has one")

    def names(self) -> list[str]:
        """Return the names of all columns that are read."""
        named = (self.video, self.score, self.frame, self.track, self.time, self.label, self.split)
        return [name for name in named if name is not None]


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """The N rows of a file of scores.

    Attributes:
        keys: The distinct texts that name videos, in any order.
        key: N positions in `keys`.
        score: N, NaN where the file has none.
        frame, track, time, label: N each, or None where the file has no such column.
        split: N positions in `splits`, or None.
        splits: The distinct words of that column.
    """

    keys: tuple[str, ...]
    key: NDArray[np.int64]
    score: NDArray[np.float64]
    frame: NDArray[np.int64] | None
    track: NDArray[np.int64] | None
    time: NDArray[np.float64] | None
    label: NDArray[np.int64] | None
    split: NDArray[np.int64] | None
    splits: tuple[str, ...]


def shown(text: str) -> str:
    """Return a foreign text as messages quote it: short, and on one line.

    Example:
        >>> shown("a" * 100)[-4:], len(shown("a" * 100)) < 70
        ("aa…'", True)
    """
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def read_score_columns(path: Path, columns: ColumnMap) -> ScoreColumns:
    """Read a file of scores.

    Rows without a score (empty, null or NaN) stay, with NaN. A file that starts as Parquet does is
    Parquet, any other is CSV, whose cells are parted by commas, semicolons or tabs.

    Raises:
        ContractError: The file is missing, empty or unreadable, or a cell is not what its column
            holds.
        UsageError: A column is not there; the nearest name is suggested.
    """
    table = _table(path, columns)
    if not table.num_rows:
        raise ContractError(f"{path} has no rows; export the scores again")
    keys, key = _coded(path, table, columns.video)
    splits: tuple[str, ...] = ()
    split = None
    if columns.split is not None:
        splits, split = _coded(path, table, columns.split)
    score = _floats(path, table, columns.score)
    infinite = np.flatnonzero(np.isinf(score))
    if infinite.size:
        raise _bad_cell(path, columns.score, int(infinite[0]), "inf", "a finite number")
    return ScoreColumns(
        keys,
        key,
        score,
        None if columns.frame is None else _whole(path, table, columns.frame),
        None if columns.track is None else _whole(path, table, columns.track),
        None if columns.time is None else _all_floats(path, table, columns.time),
        None if columns.label is None else _labels(path, table, columns.label),
        split,
        splits,
    )


def _table(path: Path, columns: ColumnMap) -> pa.Table:
    if not path.is_file():
        raise ContractError(f"{path} is no file; name a CSV or Parquet file of scores")
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    if not head.strip():
        raise ContractError(f"{path} is empty; export the scores again")
    try:
        if head.startswith(b"PAR1"):
            _require_columns(path, pq.read_schema(path).names, columns)
            return pq.read_table(path, columns=columns.names())
        return _csv(path, head, columns)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ContractError(
            f"{path} cannot be read as Parquet or CSV ({reason}); export the scores again"
        ) from error


def _csv(path: Path, head: bytes, columns: ColumnMap) -> pa.Table:
    first = head.removeprefix(b"\xef\xbb\xbf").splitlines()[0].decode("utf-8", "replace")
    delimiter = max(DELIMITERS, key=first.count)
    parsing = pcsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pcsv.open_csv(
        path, parse_options=parsing, convert_options=_as_text([])
    ) as reader:  # the header alone, as the reader itself parts it
        names = reader.schema.names
    _require_columns(path, names, columns)
    wanted = columns.names()
    return pcsv.read_csv(path, parse_options=parsing, convert_options=_as_text(wanted))


def _as_text(names: Sequence[str]) -> pcsv.ConvertOptions:
    # texts are turned into numbers here, so that a message can say which cell is none
    types = {name: pa.string() for name in names}
    return pcsv.ConvertOptions(
        column_types=types, include_columns=list(names), strings_can_be_null=False
    )


def _require_columns(path: Path, names: Sequence[str], columns: ColumnMap) -> None:
    for name in columns.names():
        if list(names).count(name) > 1:
            raise ContractError(f"{path} has several columns {shown(name)}; rename them")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {shown(near[0])}?" if near else "."
            there = ", ".join(shown(each) for each in list(names)[:12])
            raise UsageError(f"{path} has no column {shown(name)}{hint} It has {there}")


def _bad_cell(path: Path, name: str, row: int, cell: object, wanted: str) -> ContractError:
    return ContractError(
        f"{path} has {shown(str(cell))} in column {name!r} of row {row + 1} (the header not "
        f"counted), wanted {wanted}; correct the file, or name another column"
    )


def _plain(column: pa.ChunkedArray) -> pa.Array:
    flat = column.combine_chunks()
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], flat.type)
    if isinstance(flat, pa.ExtensionArray):
        flat = flat.storage
    return flat.dictionary_decode() if pa.types.is_dictionary(flat.type) else flat


def _is_text(kind: pa.DataType) -> bool:
    return (
        any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string))
        or kind == getattr(pa, "string_view", lambda: None)()
    )


def _coded(path: Path, table: pa.Table, name: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    flat = _plain(table.column(name))
    if not (_is_text(flat.type) or pa.types.is_integer(flat.type)):
        raise ContractError(
            f"{path} has {flat.type} in column {name!r}, wanted text; name the column of ids"
        )
    text = flat.cast(pa.large_string())
    blank = pc.fill_null(pc.equal(text, ""), True)
    if (row := pc.index(blank, True).as_py()) >= 0:
        raise _bad_cell(path, name, row, "", "a text")
    encoded = text.dictionary_encode()
    places = np.asarray(encoded.indices).astype(np.int64)
    return tuple(encoded.dictionary.to_pylist()), places


def _floats(path: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    flat = _plain(table.column(name))
    kind = flat.type
    if _is_text(kind):
        return _parsed(path, name, flat)
    numeric = any(
        test(kind) for test in (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal)
    )
    if not (numeric or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise ContractError(
            f"{path} has {kind} in column {name!r}, wanted numbers; name another column"
        )
    if pa.types.is_boolean(kind):
        flat = flat.cast(pa.int8())
    # whole numbers beyond 2**53 lose digits, which no score needs
    return np.asarray(pc.fill_null(flat.cast(pa.float64(), safe=False), np.nan), np.float64)


def _parsed(path: Path, name: str, texts: pa.Array) -> NDArray[np.float64]:
    trimmed = pc.utf8_trim_whitespace(texts.cast(pa.large_string()))
    lower = pc.utf8_lower(trimmed)
    absent = pc.is_in(
        lower, value_set=pa.array(["", "nan", "na", "null", "none", "n/a"], lower.type)
    )
    absent = pc.or_(absent, pc.is_null(trimmed))
    cells = pc.if_else(absent, pa.scalar(None, trimmed.type), trimmed)
    try:
        numbers = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        for row, cell in enumerate(cells.to_pylist()):
            if cell is not None and not _is_number(cell):
                raise _bad_cell(path, name, row, cell, "a number") from None
        raise ContractError(
            f"{path} has numbers in column {name!r} that are written in an unusual way; write "
            "them with a point and no other signs"
        ) from None
    return np.asarray(pc.fill_null(numbers, np.nan), np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _all_floats(path: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    found = _floats(path, table, name)
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise _bad_cell(path, name, int(bad[0]), found[bad[0]], "a finite number")
    return found


def _whole(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    found = _all_floats(path, table, name)
    bad = np.flatnonzero((found != np.floor(found)) | (found < 0) | (found > 2**53))
    if bad.size:
        raise _bad_cell(path, name, int(bad[0]), found[bad[0]], "a whole number from 0")
    return found.astype(np.int64)


def _labels(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    words: dict[Any, int] = {
        **dict.fromkeys(("0", "0.0", "real", "genuine", "original", "false"), 0),
        **dict.fromkeys(("1", "1.0", "fake", "forged", "manipulated", "true"), 1),
    }
    flat = _plain(table.column(name))
    if not _is_text(flat.type):
        flat = pa.array(_all_floats(path, table, name)).cast(pa.string())
    encoded = pc.utf8_lower(
        pc.utf8_trim_whitespace(flat.cast(pa.large_string()))
    ).dictionary_encode()
    if encoded.null_count:
        row = pc.index(pc.is_null(encoded), True).as_py()
        raise _bad_cell(path, name, row, "", "0 or 1, real or fake")
    places = np.asarray(encoded.indices)
    codes = [words.get(word, -1) for word in encoded.dictionary.to_pylist()]
    found: NDArray[np.int64] = np.array(codes, np.int64)[places]
    bad = np.flatnonzero(found < 0)
    if bad.size:
        cell = encoded.dictionary[int(places[bad[0]])].as_py()
        raise _bad_cell(path, name, int(bad[0]), cell, "0 or 1, real or fake")
    return found
