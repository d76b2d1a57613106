"""What others published, table by table, with all that a fair comparison has to know.

The tables are YAML files in `tables/`, one a table, whose keys are the fields of
`Table`, `Column` and `Row` here. A key that none of them has, a key given twice, a value of
another type or outside a metric's range is refused with the file and the place in it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import cattrs
import yaml
from cattrs.v import format_exception

from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.results import ALL

PAPER, RE_RUN = "paper", "re-run"
VERIFIED, SECONDARY, RECALLED = "verified", "secondary", "recalled"
UNKNOWN_LEVEL = "unknown"

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": (PAPER, RE_RUN),
    "status": (VERIFIED, SECONDARY, RECALLED),
    "level": ("frame", "video", UNKNOWN_LEVEL),
    "metric": ("auc", "eer", "ap", "accuracy", "log_loss"),
}
_UNBOUNDED = ("log_loss",)


@dataclass(frozen=True, slots=True)
class Column:
    """What a column of a table was measured on.

    `dataset` and `method` are dfdetect's names, or the table's own where dfdetect has no such
    dataset; `compression` is '' where the table does not say. `sole_method` is what dfdetect calls
    the fakes of a dataset that has a single method. A column with `mean_of` is the mean of others.
    """

    title: str
    dataset: str = ""
    method: str = ALL
    compression: str = ""
    sole_method: str = ""
    mean_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One detector's values, by column.

    `variant` tells rows of one detector apart. `status`, `trained_on` and `at_least` (the lowest
    value that counts as reproduced) are of single values and go before the table's.
    `does_not_add` names printed averages that do not follow from their members.
    """

    detector: str
    title: str
    values: dict[str, float]
    in_dfdetect: bool = True
    variant: str = ""
    trained_on: str = ""
    status: dict[str, str] = field(default_factory=dict)
    at_least: dict[str, float] = field(default_factory=dict)
    does_not_add: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A published table.

    `read` says where its numbers were read, `level` what one score is of. `aggregate` is how faces
    became a video (a name in `scoring.AGGREGATES`) and `frames_per_video` how many there were,
    None where nobody says. `selection` is how the weights were chosen, `selected_on_test` whether
    by what is reported. Within `tolerance` a value counts as reproduced.
    """

    id: str
    title: str
    source: str
    read: str
    status: str
    kind: str
    level: str
    metric: str
    trained_on: str
    columns: dict[str, Column]
    rows: tuple[Row, ...]
    aggregate: str | None = None
    frames_per_video: int | None = None
    selection: str = ""
    selected_on_test: bool = False
    tolerance: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def digits(self) -> int:
        """The decimals that its values are printed with."""
        values = [value for row in self.rows for value in row.values.values()]
        return max(len(repr(value).partition(".")[2]) for value in values)


@dataclass(frozen=True, slots=True)
class PublishedNumber:
    """One published value with everything that was said about it; see `Table`, `Column`, `Row`.

    `unit` is `frame`, `video` or `unknown`. `value` is as printed, to `digits` decimals. For a
    mean of other columns `mean_of` names them and `dataset` is ''.
    """

    table: str
    row: str
    column: str
    detector: str
    title: str
    in_dfdetect: bool
    dataset: str
    method: str
    compression: str
    metric: str
    unit: str
    value: float
    kind: str = PAPER
    status: str = VERIFIED
    trained_on: str = ""
    aggregate: str | None = None
    frames_per_video: int | None = None
    selection: str = ""
    selected_on_test: bool = False
    tolerance: float | None = None
    at_least: float | None = None
    source: str = ""
    note: str = ""
    sole_method: str = ""
    mean_of: tuple[str, ...] = ()
    digits: int = 4

    @property
    def id(self) -> str:
        """The number's name, `table/row/column`."""
        return f"{self.table}/{self.row}/{self.column}"


@cache
def published_tables() -> tuple[Table, ...]:
    """Return all tables that ship with dfdetect, by their ids.

    Raises:
        ContractError: A file breaks the schema.

    Example:
        >>> published_tables()[0].id
        'core-table8'
    """
    folder = files("dfdetect.evaluation.published").joinpath("tables")
    sources = [source for source in folder.iterdir() if source.name.endswith(".yaml")]
    tables = [parse_table(source.read_text(encoding="utf-8"), source.name) for source in sources]
    tables.sort(key=lambda table: table.id)
    _require_distinct("published tables", [table.id for table in tables])
    return tuple(tables)


@cache
def published_numbers() -> tuple[PublishedNumber, ...]:
    """Return every published number, table by table.

    Raises:
        ContractError: A file breaks the schema.
    """
    return tuple(number for table in published_tables() for number in numbers_of(table))


def published_number(name: str) -> PublishedNumber:
    """Return the number of a `table/row/column`.

    Raises:
        UsageError: There is none; the nearest names are suggested.

    Example:
        >>> published_number("deepfakebench-table2/xception/celebdf_v2").value
        0.7365
    """
    known = {number.id: number for number in published_numbers()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    tables = ", ".join(table.id for table in published_tables())
    raise UsageError(f"no published number is called {name!r}; {hint or f'the tables: {tables}'}")


def find_published(
    detector: str | None = None,
    dataset: str | None = None,
    method: str | None = None,
    metric: str | None = None,
    unit: str | None = None,
    compression: str | None = None,
) -> tuple[PublishedNumber, ...]:
    """Return the published numbers that have all the given values; None asks for nothing.

    Names are as in rows of results: `dataset` may end in a compression (`ffpp/c23`), and the
    method of a dataset that has a single one finds what was published for all of its fakes. What
    was published without a compression is found by any. A paper's numbers come before re-runs.

    Example:
        >>> [one.value for one in find_published("ucf", "celebdf_v2", "all", "auc", "frame")]
        [0.7527, 0.7716]
    """
    if dataset and not compression and "/" in dataset:
        dataset, _, compression = dataset.partition("/")

    def matches(one: PublishedNumber) -> bool:
        wanted = (detector, dataset, metric, unit)
        has = (one.detector, one.dataset, one.metric, one.unit)
        return (
            all(want in (None, own) for want, own in zip(wanted, has, strict=True))
            and (method is None or method in (one.method, one.sole_method or one.method))
            and (compression is None or one.compression in ("", compression))
        )

    found = [one for one in published_numbers() if matches(one)]
    return tuple(sorted(found, key=lambda one: one.kind != PAPER))


def parse_table(text: str, source: str) -> Table:
    """Return the table that a YAML text describes; `source` names the file in messages.

    Raises:
        ContractError: It is no YAML, has a key that is unknown or given twice, lacks one, or has a
            value of another type, outside its range or of a column that the table has not.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_twice(root, source)
        table = _converter().structure(yaml.safe_load(text), Table)
    except yaml.YAMLError as error:
        raise ContractError(f"{source} is no YAML: {' '.join(str(error).split())}") from error
    except cattrs.BaseValidationError as error:
        reasons = "; ".join(cattrs.transform_error(error, format_exception=_in_words))
        raise ContractError(f"{source} is no table of published numbers: {reasons}") from error
    for key, problem in _problems(table):
        raise ContractError(f"{source}, {key}: {problem}")
    return table


def numbers_of(table: Table) -> Iterator[PublishedNumber]:
    """Yield the numbers of a table, row by row."""
    for row in table.rows:
        for name, value in row.values.items():
            column = table.columns[name]
            yield PublishedNumber(
                table=table.id,
                row=_row_key(row),
                column=name,
                detector=row.detector,
                title=row.title,
                in_dfdetect=row.in_dfdetect,
                dataset=column.dataset,
                method=column.method,
                compression=column.compression,
                metric=table.metric,
                unit=table.level,
                value=value,
                kind=table.kind,
                status=row.status.get(name, table.status),
                trained_on=row.trained_on or table.trained_on,
                aggregate=table.aggregate,
                frames_per_video=table.frames_per_video,
                selection=table.selection,
                selected_on_test=table.selected_on_test,
                tolerance=table.tolerance,
                at_least=row.at_least.get(name),
                source=f"{table.source} ({table.title}; {table.read})",
                note=" ".join(_as_sentence(text) for text in (*table.notes, row.note) if text),
                sole_method=column.sole_method,
                mean_of=column.mean_of,
                digits=table.digits,
            )


def _row_key(row: Row) -> str:
    return f"{row.detector}-{row.variant}" if row.variant else row.detector


def _as_sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _problems(table: Table) -> Iterator[tuple[str, str]]:
    for key, choices in _CHOICES.items():
        if getattr(table, key) not in choices:
            yield key, f"{getattr(table, key)!r} is none of {', '.join(choices)}"
    if not table.rows:
        yield "rows", "there is none"
    for name, column in table.columns.items():
        if bool(column.dataset) == bool(column.mean_of):
            yield f"columns.{name}", "a column has either a dataset or mean_of"
        yield from _unknown(f"columns.{name}.mean_of", column.mean_of, table)
    keys = [_row_key(row) for row in table.rows]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        yield f"rows.{key}", "it is there twice; tell the rows apart by variant"
    for row in table.rows:
        yield from _problems_of_row(f"rows.{_row_key(row)}", row, table)


def _problems_of_row(key: str, row: Row, table: Table) -> Iterator[tuple[str, str]]:
    if not row.values:
        yield f"{key}.values", "there is none"
    for part in ("values", "status", "at_least", "does_not_add"):
        yield from _unknown(f"{key}.{part}", tuple(getattr(row, part)), table)
    for name, status in row.status.items():
        if status not in _CHOICES["status"]:
            yield f"{key}.status.{name}", f"{status!r} is none of {', '.join(_CHOICES['status'])}"
    highest = math.inf if table.metric in _UNBOUNDED else 1.0
    for part, values in (("values", row.values), ("at_least", row.at_least)):
        for name, value in values.items():
            if not 0 <= value <= highest or math.isinf(value):
                yield f"{key}.{part}.{name}", f"{value} is outside [0, {highest:g}]"


def _unknown(key: str, names: tuple[str, ...], table: Table) -> Iterator[tuple[str, str]]:
    for name in names:
        if name not in table.columns:
            near = difflib.get_close_matches(name, table.columns, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"{key}.{name}", f"the table has no such column{hint}"


def _refuse_twice(node: yaml.Node | None, source: str) -> None:
    # of two equal keys YAML keeps the last without a word
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value]
        for place, (key, _) in enumerate(node.value):
            if key.value in names[:place]:
                line = key.start_mark.line + 1
                raise ContractError(f"{source}, line {line}: the key {key.value!r} is there twice")
    children = [] if node is None or isinstance(node, yaml.ScalarNode) else node.value
    for child in children:
        for part in child if isinstance(child, tuple) else (child,):
            _refuse_twice(part, source)


def _require_distinct(source: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContractError(f"{source} holds two tables of the id {', '.join(twice)}")


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for wanted in (str, bool, int, float):
        converter.register_structure_hook(wanted, _exactly)
    return converter


def _exactly(value: Any, wanted: type) -> Any:
    # cattrs alone would turn 5 into '5' and 'yes' into True
    fits = type(value) is wanted or (wanted is float and type(value) is int)
    if not fits:
        raise TypeError(f"{value!r} is no {wanted.__name__}")
    return wanted(value)


def _in_words(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, TypeError) else format_exception(error, kind)
