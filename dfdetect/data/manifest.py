"""A dataset becomes a manifest: one row per video, with its label, split, hash and facts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfdetect.data.datasets.base import (
    CONTROLS,
    DatasetAdapter,
    DatasetEntry,
    Misnamed,
    check_entry,
)
from dfdetect.data.manifest_file import Manifest as Manifest
from dfdetect.data.manifest_file import Problem as Problem
from dfdetect.data.manifest_file import require_unique
from dfdetect.data.splits import SplitRule, assign_splits, require_no_leak
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import ContractError, UnreadableVideo
from dfdetect.media import DecodeLimits, probe
from dfdetect.provenance import sha256_bytes, sha256_file, sha256_value
from dfdetect.types import VideoInfo

HASH_SPLIT = SplitRule(strategy="hash")
DEFAULT_LIMITS = DecodeLimits()

MISSING = "missing"
UNREADABLE = "unreadable"
MISNAMED = "misnamed"

_ENTRIES_AT_A_TIME = 4096

Progress = Callable[[int, int], None]
"""Called with the number of items done and the number of all of them."""


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
    not in the rows but in `problems`, with status `missing`, `unreadable` or `misnamed`.

    Raises:
        UsageError: The folder is not the dataset's, or nothing in it can be read.
        ContractError: Two entries have one name, or related videos are in different splits.
    """
    manifest = survey(dataset, root, limits, workers, progress)
    if not len(manifest.rows):
        raise ContractError(
            f"none of the {len(manifest.problems)} videos below {root} can be read (the first: "
            f"{manifest.problems[0].reason}); unpack the dataset again"
        )
    assigned = assign_splits(manifest.rows, split)
    require_no_leak(assigned)
    config = {"dataset": _describe(dataset), "split": split, "limits": limits}
    return dataclasses.replace(
        manifest, rows=assigned, config_hash=sha256_value(config), split_rule=split.strategy
    )


def survey(
    dataset: DatasetAdapter,
    root: Path,
    limits: DecodeLimits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: Progress | None = None,
) -> Manifest:
    """Hash and probe what a dataset lists, with the dataset's own splits, whatever is wrong.

    Raises:
        UsageError: The folder is not the dataset's.
        ContractError: It holds no video of it, or two entries have one name.
    """
    listed = [_with_text_name(item) for item in dataset.entries(root)]
    entries = [check_entry(item) for item in listed if isinstance(item, DatasetEntry)]
    entries.sort(key=lambda entry: entry.name)
    names = pa.chunked_array([[entry.name for entry in entries]], type=pa.string())
    require_unique(f"dataset {dataset.name}", names)
    if not listed:
        raise ContractError(
            f"{root} holds no video of the dataset {dataset.name}; see its section in "
            "data/README.md"
        )
    problems = [
        Problem(item.path, MISNAMED, item.reason) for item in listed if isinstance(item, Misnamed)
    ]
    readings = _readings(dataset.name, root, entries, limits, workers)

    def rows() -> Iterator[ManifestRow]:
        for n_done, outcome in enumerate(readings, 1):
            if isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                yield outcome
            if progress is not None:
                progress(n_done, len(entries))

    found = _only_known_originals(Videos.of(rows()))
    problems.sort(key=lambda problem: problem.path)
    config = {"dataset": _describe(dataset), "limits": limits}
    return Manifest(found, sha256_value(config), dataset.parents(root), tuple(problems))


def _with_text_name(item: DatasetEntry | Misnamed) -> DatasetEntry | Misnamed:
    # a disk may hold names that no table or no other system can: they cost one video each
    if "\\" in item.path:
        return Misnamed(item.path, "its name holds a backslash; rename it")
    if CONTROLS & set(item.path):
        return Misnamed(item.path, "its name holds a line break or the like; rename it")
    try:
        item.path.encode()
    except UnicodeEncodeError:
        return Misnamed(item.path, "its name is not UTF-8; rename it")
    return item


def _readings(
    dataset: str, root: Path, entries: Sequence[DatasetEntry], limits: DecodeLimits, workers: int
) -> Iterator[ManifestRow | Problem]:
    with ThreadPoolExecutor(workers) as pool:
        # a pool takes in all that it is given at once, so it is given a part at a time
        for start in range(0, len(entries), _ENTRIES_AT_A_TIME):
            part = entries[start : start + _ENTRIES_AT_A_TIME]
            yield from pool.map(lambda entry: _read_entry(dataset, root, entry, limits), part)


def _only_known_originals(videos: Videos) -> Videos:
    originals = videos.column("original_id")
    known = pc.is_in(originals, value_set=videos.column("video_id").combine_chunks())
    absent = pa.scalar(None, pa.string())
    return videos.with_column("original_id", pc.if_else(known, originals, absent).combine_chunks())


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
        return Problem(entry.path, MISSING, f"{entry.path} is listed but not there")
    try:
        video = probe(path, limits)
        sha256 = hash_of(video)
    except UnreadableVideo as error:
        # a manifest moves between machines, so it names no folder of this one
        return Problem(entry.path, UNREADABLE, str(error).replace(f"{root}/", ""))
    except OSError as error:
        return Problem(entry.path, UNREADABLE, f"{entry.path}: {error.strerror}")
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
        original_id=f"{dataset}/{entry.original}" if entry.original else None,
        mask_path=entry.mask if entry.mask and (root / entry.mask).exists() else None,
    )


def _describe(dataset: DatasetAdapter) -> dict[str, Any]:
    fields = dataclasses.asdict(dataset)  # type: ignore[call-overload]
    return {"adapter": type(dataset).__name__, **fields}
