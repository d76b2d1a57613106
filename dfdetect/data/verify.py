"""A copy of a dataset is compared with what it should be: numbers, lists, hashes, names, splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.compute as pc

from dfdetect.data.datasets.base import DatasetAdapter, DatasetEntry, Expected, Misnamed
from dfdetect.data.filenames import (
    APPLE_DOUBLE,
    NearestNames,
    VideoFiles,
    is_apple_double,
    strays,
    unportable,
    video_files,
)
from dfdetect.data.manifest import (
    DEFAULT_LIMITS,
    MISNAMED,
    MISSING,
    UNREADABLE,
    Manifest,
    Problem,
    Progress,
    survey,
)
from dfdetect.data.references import (
    Comparison,
    Reference,
    compare,
    published_checksums,
    read_reference,
)
from dfdetect.data.splits import Leak, SplitRule, assign_splits, leak_check
from dfdetect.data.verify_report import (
    ALTERED,
    DUPLICATE,
    KINDS,
    LEAK,
    UNPORTABLE,
    Finding,
    PartCount,
    VerifyReport,
    part_name,
)
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import ContractError, UsageError
from dfdetect.media import DecodeLimits
from dfdetect.types import FAKE, REAL

_OWN_SPLITS = ("official", "given")


@dataclass(frozen=True, slots=True)
class _Copy:
    """What lies on disk: what the adapter lists, what of it can be read, and all video files."""

    dataset: DatasetAdapter
    root: Path
    listed: tuple[DatasetEntry | Misnamed, ...]
    found: Manifest
    files: VideoFiles

    @property
    def entries(self) -> list[DatasetEntry]:
        return [item for item in self.listed if isinstance(item, DatasetEntry)]


def verify_dataset(
    dataset: DatasetAdapter,
    root: Path,
    *,
    split: SplitRule | None = None,
    reference: Path | None = None,
    against: Sequence[Videos] = (),
    limits: DecodeLimits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: Progress | None = None,
) -> VerifyReport:
    """Read every video of a copy once and return what is wrong with it.

    Args:
        dataset: The adapter; its options say which parts there should be.
        root: Where the copy lies.
        split: Where to look for leaks: the splits that the rule gives, for `official` and `given`
            the dataset's own, as far as it has them.
        reference: Another copy's `manifest.parquet`, or what sha256sum or md5sum wrote. Checksum
            files that lie in `root` are compared with as well.
        against: Videos of other manifests; related ones must not be in another split here.
        limits: What a decoder is allowed.
        workers: Threads that hash and probe.
        progress: Called with the number of files done and of all, once more for each reference
            that names further files.

    Raises:
        UsageError: The folder is not the dataset's, or the reference names nothing in it.
        ContractError: Two entries have one name, or a list or the reference is malformed.
    """
    found = survey(dataset, root, limits, workers, progress)
    copy = _Copy(dataset, root, tuple(dataset.entries(root)), found, video_files(root))
    hashes = dict(zip(*_columns(found.rows, "path", "sha256"), strict=True))
    references = _references(reference, copy)
    compared = [compare(known, root, hashes, workers, progress) for known in references]
    leaks, remarks = _leaks(found.rows, split, against)
    missing = _missing(copy, compared)
    parts = _parts(copy, len(missing))
    findings = [*_findings(copy, parts, missing, compared), *leaks]
    return VerifyReport(
        dataset=dataset.name,
        n_videos=len(found.rows),
        parts=parts,
        findings=tuple(sorted(findings, key=lambda f: (KINDS.index(f.kind), f.path))),
        compared_with=_basis(copy, references),
        remarks=(*remarks, *_remarks(copy, compared)),
    )


def _findings(
    copy: _Copy,
    parts: Iterable[PartCount],
    missing: Mapping[str, str],
    compared: Sequence[Comparison],
) -> Iterator[Finding]:
    altered = {path: detail for outcome in compared for path, detail in outcome.altered}
    yield from (part.finding for part in parts if part.finding is not None)
    yield from (Finding(MISSING, path, detail) for path, detail in missing.items())
    yield from _unreadable(copy)
    yield from (Finding(ALTERED, path, detail) for path, detail in altered.items())
    yield from _misnamed(copy, NearestNames(missing))
    yield from (Finding(UNPORTABLE, path, detail) for path, detail in unportable(_names(copy)))
    yield from duplicates(copy.found.rows)


def duplicates(videos: Videos) -> Iterator[Finding]:
    """Yield a finding for each video that has the bytes of one before it, by path.

    Of two with different labels one must be wrong; the finding says so.
    """
    hashes = videos.column("sha256")
    counted = pc.value_counts(hashes)
    twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    alike: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in videos.take(np.asarray(pc.is_in(hashes, value_set=twice), dtype=np.bool_)):
        alike[row.sha256].append(row)
    for rows in alike.values():
        rows.sort(key=lambda row: row.path)
        opposite = {row.label: row for row in reversed(rows)}
        for row in rows[1:]:
            other = opposite.get(1 - row.label, rows[0])
            detail = f"equal bytes as {other.path}"
            if other.label != row.label:
                words = {REAL: "genuine", FAKE: "fake"}
                detail += (
                    f", which is {words[other.label]} while this is {words[row.label]}: one of "
                    "the two labels must be wrong"
                )
            yield Finding(DUPLICATE, row.path, detail)


def require_apart(videos: Videos, others: Sequence[Videos]) -> None:
    """Raise when videos are in another split than related ones of other manifests.

    Raises:
        ContractError: The sentence shows the first chain and the number of leaks.
    """
    leaks = leak_check(Videos.joined([videos, *others])) if others else ()
    if leaks:
        raise ContractError(
            f"{len(leaks)} leak(s) between this manifest and those it must keep apart from; "
            f"{_chain(leaks[0])}; give both the same official splits, or use only one of them"
        )


def _parts(copy: _Copy, n_missing: int) -> tuple[PartCount, ...]:
    rows, entries = copy.found.rows, copy.entries
    lost = {problem.path for problem in copy.found.problems if problem.status == UNREADABLE}
    unreadable = [entry for entry in entries if entry.path in lost]

    def counted(kind: Expected) -> PartCount:
        asked = {name: getattr(kind, name) for name in ("method", "label", "split", "compression")}
        given = {name: value for name, value in asked.items() if value is not None}
        fitting = (
            all(getattr(entry, name) == value for name, value in given.items())
            for entry in unreadable
        )
        n_found, n_lost = len(rows.where(**given)), sum(fitting)
        return PartCount(
            part_name(kind), kind.n, n_found, max(0, kind.n - n_found - n_lost), n_lost
        )

    parts = [counted(kind) for kind in copy.dataset.expected()]
    if not parts:
        kinds = sorted({(entry.method, entry.compression) for entry in entries})
        # nothing is published of these
        parts = [
            replace(counted(Expected(0, method, compression=c)), n_wanted=None, n_missing=None)
            for method, c in kinds
        ]
    # counts alone say that videos are missing, not which
    unnamed = n_missing == 0 and any(part.n_missing for part in parts)
    n_named = None if unnamed else n_missing
    return (*parts, PartCount("all", None, len(rows), n_named, len(unreadable)))


def _references(given: Path | None, copy: _Copy) -> list[Reference]:
    entries, videos = copy.entries, copy.found.rows
    references = [
        read_reference(path, entries, videos)
        for path in published_checksums(copy.root)
        if given is None or path.resolve() != given.resolve()
    ]
    if given is not None:
        reference = read_reference(given, entries, videos)
        if not reference.videos:
            raise UsageError(
                f"{given} names no video of {copy.root}; give a reference of the same dataset, "
                "made from the same folder"
            )
        references.insert(0, reference)
    return references


def _missing(copy: _Copy, compared: Iterable[Comparison]) -> dict[str, str]:
    """Return why each path that is not there should be."""
    missing = {
        problem.path: "it is listed, but not there"
        for problem in copy.found.problems
        if problem.status == MISSING
    }
    (paths,) = _columns(copy.found.rows, "path")
    present = set(paths)
    for path in copy.dataset.complete(copy.root):
        if path not in present and not (copy.root / path).exists():
            missing.setdefault(path, "a full copy has it")
    for outcome in compared:
        for path in outcome.absent:
            missing.setdefault(path, f"{outcome.reference.name} names it")
    return missing


def _unreadable(copy: _Copy) -> Iterator[Finding]:
    for problem in copy.found.problems:
        if problem.status == UNREADABLE and not is_apple_double(problem.path):
            yield Finding(UNREADABLE, problem.path, _without_path(problem))
    for folder in copy.files.closed:
        yield Finding(UNREADABLE, folder, "the folder may not be entered; check its permissions")


def _misnamed(copy: _Copy, nearest: NearestNames) -> Iterator[Finding]:
    stray = strays(copy.dataset, copy.root, copy.listed, copy.files.videos)
    faults = dict.fromkeys(stray, "the dataset has no video of this name")
    for problem in copy.found.problems:
        if problem.status == MISNAMED:
            faults[problem.path] = _without_path(problem)
        elif problem.status == UNREADABLE and is_apple_double(problem.path):
            faults[problem.path] = ""
    for path, reason in faults.items():
        place = PurePosixPath(path)
        if is_apple_double(path):
            beside = place.name.removeprefix(APPLE_DOUBLE)
            detail = f"no video: macOS left it beside {beside}; delete it"
        elif place.name.startswith("."):
            detail = f"{reason}; it is a hidden file"
        elif near := nearest.of(path):
            other = PurePosixPath(near)
            detail = f"{reason}; perhaps {other.name if other.parent == place.parent else near}"
        else:
            detail = reason
        yield Finding(MISNAMED, path, detail)


def _names(copy: _Copy) -> Iterator[str]:
    for entry in copy.entries:
        yield from (entry.path, entry.mask) if entry.mask else (entry.path,)
    yield from (path for path in copy.files.videos if not is_apple_double(path))


def _leaks(
    videos: Videos, rule: SplitRule | None, against: Sequence[Videos]
) -> tuple[list[Finding], list[str]]:
    if rule is None and not against:
        return [], []
    remarks = []
    if rule is not None and rule.strategy not in _OWN_SPLITS:
        try:
            videos = assign_splits(videos, rule)
        except UsageError as error:
            return [], [f"leaks were not looked for: {error}"]
    elif n_without := videos.column("split").null_count:
        remarks.append(f"{n_without} of {len(videos)} videos have no split of the dataset's own")
    leaks = leak_check(Videos.joined([videos, *against]))
    return [Finding(LEAK, leak.chain[0], _chain(leak)) for leak in leaks], remarks


def _chain(leak: Leak) -> str:
    return f"{leak.splits[0]} and {leak.splits[1]} share: {' → '.join(leak.chain)}"


def _basis(copy: _Copy, references: Iterable[Reference]) -> tuple[str, ...]:
    n_numbers = len(copy.dataset.expected())
    lists = copy.dataset.parents(copy.root)
    return (
        *([f"{n_numbers} published numbers"] if n_numbers else ()),
        *([f"{len(lists)} of its lists"] if lists else ()),
        *(["the names of a full copy"] if any(copy.dataset.complete(copy.root)) else ()),
        *(reference.name for reference in references),
    )


def _remarks(copy: _Copy, compared: Sequence[Comparison]) -> Iterator[str]:
    if copy.files.n_clutter:
        yield f"{copy.files.n_clutter} hidden files (.DS_Store and the like) do no harm"
    for outcome in compared:
        if outcome.n_elsewhere:
            name = outcome.reference.name
            yield f"{outcome.n_elsewhere} files of {name} are of no part that was asked for"
    if compared:
        named = {path for outcome in compared for path in outcome.reference.digests}
        # pictures stand for the folder that is one video
        named |= {str(PurePosixPath(path).parent) for path in named}
        (paths,) = _columns(copy.found.rows, "path")
        if n_new := sum(path not in named for path in paths):
            yield f"{n_new} videos are named by no reference"


def _columns(videos: Videos, *names: str) -> Iterator[list[str]]:
    return (videos.column(name).to_pylist() for name in names)


def _without_path(problem: Problem) -> str:
    return problem.reason.removeprefix(problem.path).lstrip(": ")
