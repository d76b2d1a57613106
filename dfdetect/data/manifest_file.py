"""Manifests on disk: what is listed, and what could not be read; needs nothing that reads clips."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dfdetect.data.tables import TableHeader, content_hash, read_table, write_table
from dfdetect.data.videos import MANIFEST, Videos
from dfdetect.errors import ContractError


@dataclass(frozen=True, slots=True)
class Problem:
    """A listed video that the manifest has no row for: its `status` and the reason in words."""

    path: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The videos of a dataset, sorted by video id, and those that could not be read.

    `split_rule` names the strategy that divided them (`SplitRule`), '' where nothing did.
    """

    rows: Videos
    config_hash: str
    parents: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()
    split_rule: str = ""

    @property
    def n_skipped(self) -> dict[str, int]:
        """The number of listed videos without a row, by status."""
        return dict(sorted(Counter(problem.status for problem in self.problems).items()))

    def counts(self) -> dict[tuple[str, str, int], int]:
        """Return the number of videos by split (`-` for none), method and label."""
        names = ("split", "method", "label")
        groups = self.rows.table.group_by(list(names)).aggregate([([], "count_all")])
        cells = [groups.column(name).to_pylist() for name in (*names, "count_all")]
        counted = zip(*cells, strict=True)
        return dict(
            sorted(((split or "-", method, label), n) for split, method, label, n in counted)
        )

    def content_hash(self) -> str:
        """Return the SHA-256 of the rows, the same wherever and whenever they were written."""
        return content_hash(self.rows.table)

    def write(self, path: Path) -> None:
        """Write `manifest.parquet`, whole or not at all."""
        problems = [dataclasses.asdict(problem) for problem in self.problems]
        facts = (("problems", problems), ("split_rule", self.split_rule))
        header = TableHeader(self.config_hash, self.parents, facts)
        write_table(path, self.rows.table, MANIFEST, header)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ContractError: It is missing, no manifest of this version, or names a video twice.
        """
        table, header = read_table(path, MANIFEST)
        rows = Videos(table)
        require_unique(str(path), rows.column("video_id"))
        problems = tuple(Problem(**problem) for problem in header.fact("problems", []))
        rule = header.fact("split_rule", "")
        return cls(rows, header.config_hash, header.parents, problems, rule)


def require_unique(where: str, names: pa.ChunkedArray) -> None:
    """Refuse names of which one stands there twice.

    Raises:
        ContractError: One does.
    """
    if pc.count_distinct(names).as_py() == len(names):
        return
    counted = pc.value_counts(names)
    twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    raise ContractError(
        f"{where} has {len(twice)} video(s) more than once (the first: {twice[0]}); rename "
        "the files or correct the list, then index again"
    )
