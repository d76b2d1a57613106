"""A dataset becomes a manifest: one row per video, with its label, split, hash and facts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfdetect.data.datasets.base import DatasetAdapter, DatasetEntry, check_entry
from dfdetect.data.splits import SplitRule, assign_splits, require_no_leak
from dfdetect.data.tables import TableContract, TableHeader, content_hash, read_table, write_table
from dfdetect.errors import ContractError, UnreadableVideo
from dfdetect.media import DecodeLimits, probe
from dfdetect.provenance import sha256_bytes, sha256_file, sha256_value
from dfdetect.types import VideoInfo

MANIFEST = TableContract(
    name="manifest",
    version=1,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("dataset", pa.string(), nullable=False),
            pa.field("method", pa.string(), nullable=False),
            pa.field("label", pa.int8(), nullable=False),
            pa.field("split", pa.string()),
            pa.field("source_ids", pa.list_(pa.string()), nullable=False),
            pa.field("compression", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("fps", pa.float64(), nullable=False),
            pa.field("n_frames", pa.int64()),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("duration_s", pa.float64(), nullable=False),
        ]
    ),
    repair="dfdetect index dataset=NAME data_root=FOLDER",
)

HASH_SPLIT = SplitRule(strategy="hash")
DEFAULT_LIMITS = DecodeLimits()

Progress = Callable[[int, int], None]
"""Called with the number of items done and the number of all of them."""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One video of a dataset.

    `path` is POSIX and relative to the data root; for a folder of pictures it is the folder, and
    `sha256` is then of the names and hashes of its pictures. `method` is `original` for a genuine
    video. `n_frames` is the container's claim, None where it makes none; `width` and `height` are
    those of the upright picture.
    """

    video_id: str
    dataset: str
    method: str
    label: int
    split: str | None
    source_ids: tuple[str, ...]
    compression: str
    path: str
    sha256: str
    fps: float
    n_frames: int | None
    width: int
    height: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Problem:
    """A listed video that the manifest has no row for: its `status` and the reason in words."""

    path: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The videos of a dataset, sorted by video id, and those that could not be read."""

    rows: tuple[ManifestRow, ...]
    config_hash: str
    parents: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def n_skipped(self) -> dict[str, int]:
        """The number of listed videos without a row, by status."""
        return dict(sorted(Counter(problem.status for problem in self.problems).items()))

    def counts(self) -> dict[tuple[str, str, int], int]:
        """Return the number of videos by split (`-` for none), method and label."""
        counted = Counter((row.split or "-", row.method, row.label) for row in self.rows)
        return dict(sorted(counted.items()))

    def content_hash(self) -> str:
        """Return the SHA-256 of the rows, the same wherever and whenever they were written."""
        return content_hash(self.to_table())

    def to_table(self) -> pa.Table:
        """Return the rows as an Arrow table with the contract's columns."""
        names = [field.name for field in dataclasses.fields(ManifestRow)]
        columns = {name: [getattr(row, name) for row in self.rows] for name in names}
        return pa.table(columns, schema=MANIFEST.schema)

    def write(self, path: Path) -> None:
        """Write `manifest.parquet`, whole or not at all."""
        problems = [dataclasses.asdict(problem) for problem in self.problems]
        header = TableHeader(self.config_hash, self.parents, (("problems", problems),))
        write_table(path, self.to_table(), MANIFEST, header)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ContractError: It is missing, no manifest of this version, or names a video twice.
        """
        table, header = read_table(path, MANIFEST)
        columns = [table.column(field.name).to_pylist() for field in MANIFEST.schema]
        rows = tuple(_row(values) for values in zip(*columns, strict=True))
        _require_unique(str(path), (row.video_id for row in rows))
        problems = tuple(Problem(**problem) for problem in header.fact("problems", []))
        return cls(rows, header.config_hash, header.parents, problems)


def build_manifest(
    dataset: DatasetAdapter,
    root: Path,
    split: SplitRule = HASH_SPLIT,
    limits: DecodeLimits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: Progress | None = None,
) -> Manifest:
    """Hash and probe every video that a dataset lists; return the manifest, with its splits.

    Equal files give an equal manifest, whatever `workers` (threads) is. What cannot be read is
    not in the rows but in `problems`, with status `missing` or `unreadable`.

    Raises:
        UsageError: The folder is not the dataset's, or nothing in it can be read.
        ContractError: Two entries have one name, or related videos are in different splits.
    """
    entries = sorted((check_entry(entry) for entry in dataset.entries(root)), key=_entry_order)
    _require_unique(f"dataset {dataset.name}", (entry.name for entry in entries))
    if not entries:
        raise ContractError(
            f"{root} holds no video of the dataset {dataset.name}; see its section in "
            "data/README.md"
        )
    rows: list[ManifestRow] = []
    problems: list[Problem] = []
    with ThreadPoolExecutor(workers) as pool:
        read = pool.map(lambda entry: _read_entry(dataset.name, root, entry, limits), entries)
        for n_done, outcome in enumerate(read, 1):
            if isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                rows.append(outcome)
            if progress is not None:
                progress(n_done, len(entries))
    if not rows:
        raise ContractError(
            f"none of the {len(entries)} videos below {root} can be read (the first: "
            f"{problems[0].reason}); unpack the dataset again"
        )
    assigned = assign_splits(rows, split)
    require_no_leak(assigned)
    config = {"dataset": _describe(dataset), "split": split, "limits": limits}
    return Manifest(assigned, sha256_value(config), dataset.parents(root), tuple(problems))


def hash_of(video: VideoInfo) -> str:
    """Return the SHA-256 of a file, or of the names and hashes of a folder's pictures."""
    if video.path in video.images or not video.images:
        return sha256_file(video.path)
    lines = (f"{sha256_file(picture)}  {picture.name}\n" for picture in video.images)
    return sha256_bytes("".join(lines).encode())


def _read_entry(
    dataset: str, root: Path, entry: DatasetEntry, limits: DecodeLimits
) -> ManifestRow | Problem:
    path = root / entry.path
    if not path.exists():
        return Problem(entry.path, "missing", f"{entry.path} is listed but not there")
    try:
        video = probe(path, limits)
        sha256 = hash_of(video)
    except UnreadableVideo as error:
        # a manifest moves between machines, so it names no folder of this one
        return Problem(entry.path, "unreadable", str(error).replace(f"{root}/", ""))
    except OSError as error:
        return Problem(entry.path, "unreadable", f"{entry.path}: {error.strerror}")
    return ManifestRow(
        video_id=f"{dataset}/{entry.name}",
        dataset=dataset,
        method=entry.method,
        label=entry.label,
        split=entry.split,
        source_ids=tuple(sorted(entry.source_ids)),
        compression=entry.compression,
        path=entry.path,
        sha256=sha256,
        fps=video.fps,
        n_frames=video.n_frames,
        width=video.width,
        height=video.height,
        duration_s=video.duration_s,
    )


def _row(values: Sequence[Any]) -> ManifestRow:
    row = ManifestRow(*values)
    return dataclasses.replace(row, source_ids=tuple(row.source_ids))


def _describe(dataset: DatasetAdapter) -> dict[str, Any]:
    fields = dataclasses.asdict(dataset)  # type: ignore[call-overload]
    return {"adapter": type(dataset).__name__, **fields}


def _entry_order(entry: DatasetEntry) -> str:
    return entry.name


def _require_unique(where: str, names: Iterable[str]) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ContractError(
            f"{where} has {len(twice)} video(s) more than once (the first: {twice[0]}); rename "
            "the files or correct the list, then index again"
        )
