"""What the files of a dataset should hash to: another copy's manifest, or a list of checksums."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dfdetect.data.datasets.base import VIDEO_SUFFIXES, DatasetEntry
from dfdetect.data.manifest import Manifest
from dfdetect.data.videos import Videos
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_file

CHECKSUM_NAMES = frozenset(
    f"{stem}{suffix}"
    for stem in ("md5sum", "md5sums", "sha256sum", "sha256sums")
    for suffix in ("", ".txt")
)
CHECKSUM_SUFFIXES = (".md5", ".sha256")

_LINE = re.compile(
    r"(?P<escaped>\\?)(?P<digest>[0-9a-fA-F]{64}|[0-9a-fA-F]{32})"
    r"(?:[ \t]+\*?(?P<path>.*\S.*))?[ \t]*"
)
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_FILES_AT_A_TIME = 4096
_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Reference:
    """Hashes by the paths of this copy.

    `digests` are in lower-case hexadecimal, 64 digits for SHA-256 and 32 for MD5; `videos` are the
    paths that this copy should hold: they are of the kinds or in the folders that it lists.
    """

    name: str
    digests: Mapping[str, str]
    videos: frozenset[str]


def published_checksums(root: Path) -> tuple[Path, ...]:
    """Return the checksum files that lie in a folder, as some releases come with them."""
    return tuple(
        path
        for path in sorted(root.iterdir())
        if (path.name.lower() in CHECKSUM_NAMES or path.suffix.lower() in CHECKSUM_SUFFIXES)
        and not path.name.startswith(".")
        and path.is_file()
    )


def read_reference(path: Path, entries: Collection[DatasetEntry], videos: Videos) -> Reference:
    """Return the hashes of another copy's `manifest.parquet` or of a checksum file.

    Paths that start at another folder than this copy's root are understood, as long as they end
    alike. A manifest's videos are also found by their ids.

    Args:
        path: The manifest or checksum file.
        entries: What this copy lists, there or not.
        videos: What can be read of it.

    Raises:
        UsageError: There is no such file.
        ContractError: It is neither a manifest nor a list of checksums.
    """
    if not path.is_file():
        raise UsageError(f"the reference {path} is not there; check the path")
    with path.open("rb") as stream:
        is_parquet = stream.read(4) == b"PAR1"
    if is_parquet:
        return _of_manifest(path, entries, videos)
    listed = dict(_checksums(path))
    known = {entry.path for entry in entries}
    folders = {str(PurePosixPath(path).parent) for path in known}
    digests, wanted = {}, set()
    for whole, inside in _below_root(listed, known):
        digests[inside] = listed[whole]
        place = PurePosixPath(inside)
        is_video = place.suffix.lower() in VIDEO_SUFFIXES and str(place.parent) in folders
        # a picture of a folder that is one video
        if is_video or str(place.parent) in known:
            wanted.add(inside)
    return Reference(path.name, digests, frozenset(wanted))


def _of_manifest(path: Path, entries: Collection[DatasetEntry], videos: Videos) -> Reference:
    table = Manifest.read(path).rows.table
    known = {entry.path for entry in entries}
    kinds = {(entry.method, entry.compression) for entry in entries}
    ids, paths = (videos.column(name).to_pylist() for name in ("video_id", "path"))
    path_of = dict(zip(ids, paths, strict=True))
    names = ("path", "video_id", "sha256", "method", "compression")
    columns = (table.column(name).to_pylist() for name in names)
    digests, wanted = {}, set()
    for there, video_id, sha256, method, compression in zip(*columns, strict=True):
        here = there if there in known else path_of.get(video_id, there)
        digests[here] = sha256
        if (method, compression) in kinds:
            wanted.add(here)
    return Reference(path.name, digests, frozenset(wanted))


def _checksums(path: Path) -> Iterator[tuple[str, str]]:
    for number, ended in enumerate(_text(path).split("\n"), 1):
        line = ended.removesuffix("\r")
        if not line.strip() or line.startswith(("#", ";")):
            continue
        match = _LINE.fullmatch(line)
        # a file that holds a digest alone is named after the file that it is of
        named = match and (match["path"] or (path.stem if path.suffix else ""))
        if not match or not named:
            raise ContractError(
                f"{path} line {number} is {line[:80]!r}, wanted <SHA-256 or MD5>  <path> as "
                "sha256sum and md5sum write it; correct the line or move the file elsewhere"
            )
        name = _unescaped(named) if match["escaped"] else named.replace("\\", "/")
        yield name, match["digest"].lower()


def _text(path: Path) -> str:
    content = path.read_bytes()
    # PowerShell writes UTF-16 where `>` is used
    encoding = "utf-16" if content.startswith(_BYTE_ORDER_MARKS) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ContractError(
            f"{path} is neither a manifest nor text (byte {error.start} is not UTF-8); give a "
            "manifest.parquet or what sha256sum or md5sum wrote"
        ) from None


def _unescaped(name: str) -> str:
    # how sha256sum writes names that hold a backslash or a line break
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), name)


def _below_root(listed: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each listed path and where it is below this copy's root.

    The list may start at a folder above the root, so that its paths have some parts more. What
    would lead out of the root is left out.
    """
    inside = {}
    for path in listed:
        words = [word for word in PurePosixPath(path).parts if word != "/" and word[-1] != ":"]
        if ".." not in words:
            inside[path] = words
    deepest = max(map(len, inside.values()), default=0)

    def n_known(n_above: int) -> int:
        rests = (words[n_above:] for words in inside.values())
        return sum("/".join(rest) in known or "/".join(rest[:-1]) in known for rest in rests)

    n_above = max(range(deepest), key=n_known, default=0)
    for path, words in inside.items():
        if len(words) > n_above:
            yield path, "/".join(words[n_above:])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which files differ from a reference, with the reason, and which of its videos are absent.

    `n_elsewhere` counts what the reference names and this copy neither has nor should have.
    """

    reference: Reference
    altered: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    n_elsewhere: int


def compare(
    reference: Reference,
    root: Path,
    hashes: Mapping[str, str],
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare a copy with a reference.

    `hashes` are the SHA-256 that are known already; any other file that the reference names
    (a mask, a list, a picture; every file where the reference states MD5) is read here, once.
    """
    altered: list[tuple[str, str]] = []
    absent: list[str] = []
    unread: list[str] = []
    n_elsewhere = 0
    for path, digest in reference.digests.items():
        if len(digest) == _SHA256_DIGITS and path in hashes:
            if hashes[path] != digest:
                altered.append((path, _difference(reference, digest, hashes[path])))
        elif (root / path).is_file():
            unread.append(path)
        elif not (root / path).exists():
            absent.extend([path] if path in reference.videos else ())
            n_elsewhere += path not in reference.videos
    for n_done, (path, found) in enumerate(_read(reference, root, unread, workers), 1):
        digest = reference.digests[path]
        if found != digest:
            altered.append((path, _difference(reference, digest, found)))
        if progress is not None:
            progress(n_done, len(unread))
    return Comparison(reference, tuple(sorted(altered)), tuple(sorted(absent)), n_elsewhere)


def _read(
    reference: Reference, root: Path, paths: Sequence[str], workers: int
) -> Iterator[tuple[str, str]]:
    def read(path: str) -> tuple[str, str]:
        return path, _digest(root / path, len(reference.digests[path]))

    with ThreadPoolExecutor(workers) as pool:
        # a pool takes in all that it is given at once, so it is given a part at a time
        for start in range(0, len(paths), _FILES_AT_A_TIME):
            yield from pool.map(read, paths[start : start + _FILES_AT_A_TIME])


def _digest(path: Path, n_digits: int) -> str:
    """Return the digest of a file, or nothing where it cannot be read."""
    try:
        if n_digits == _SHA256_DIGITS:
            return sha256_file(path)
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError:
        return ""


def _difference(reference: Reference, wanted: str, found: str) -> str:
    kind = "SHA-256" if len(wanted) == _SHA256_DIGITS else "MD5"
    here = f"is {found[:12]}…" if found else "cannot be computed, as the file cannot be read"
    return f"its {kind} {here}; {reference.name} says {wanted[:12]}…"
