"""Check a report afterwards: against the clip, the weights, its own page and itself.

This finds any later change to one of them, but for the seconds that the run took. It does not
prove who wrote the report: whoever rewrites all of it can make the hashes agree again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from dfdetect.detectors.checkpoint import bundled_detector
from dfdetect.errors import ContractError, DfdetectError, UsageError
from dfdetect.evidence.hashes import hash_clip
from dfdetect.inference.document import JSON_NAME, SCHEMA, SCHEMA_VERSION, content_hash
from dfdetect.media import probe
from dfdetect.provenance import sha256_file

MAX_REPORT_BYTES = 256 << 20


class Check(str, Enum):
    """How one part of a report stands."""

    OK = "ok"
    ALTERED = "altered"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One part of a report, how it stands, and a sentence on it."""

    part: str
    check: Check
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """All lines of a check."""

    lines: tuple[CheckLine, ...]

    @property
    def is_altered(self) -> bool:
        """Whether anything differs from what the report says."""
        return any(line.check is Check.ALTERED for line in self.lines)

    @property
    def is_complete(self) -> bool:
        """Whether everything was there and agrees."""
        return all(line.check is Check.OK for line in self.lines)


def verify_report(
    report_json: Path, clip: Path | None = None, weights: Path | None = None
) -> VerifyResult:
    """Re-hash everything that a report names.

    Args:
        report_json: The `report.json`; its page is looked for beside it.
        clip: The clip. None: a file of the reported name beside the report, or up to two
            folders above.
        weights: The weights. None: those that come with this installation.

    Raises:
        UsageError: There is no such file.
        ContractError: It is no report of a version that is understood here.
    """
    document = read_report(report_json)
    given = document["input"]
    parts = [
        CheckLine("schema", Check.OK, f"{SCHEMA} {SCHEMA_VERSION}"),
        _content(document, report_json.parent),
        *_artefacts(document, report_json.parent),
        _compare(
            "clip",
            clip or _find_beside(report_json, given["name"]),
            given["sha256"],
            _clip_sha256,
            "name the clip to compare it",
        ),
        _weights(weights, document["tool"]["weights"]["sha256"]),
    ]
    return VerifyResult(tuple(parts))


def read_report(path: Path) -> dict[str, Any]:
    """Return a report's data after checking that it is one.

    Raises:
        UsageError: There is no such file, or it cannot be read.
        ContractError: It is too large, no JSON, no report, or of another version.
    """
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ContractError(f"{path.name!r} is too large for a report; name a report.json")
        document = json.loads(path.read_bytes(), object_pairs_hook=_once)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be read ({error.strerror}); name the report.json that "
            "`dfdetect predict` wrote"
        ) from None
    except (ValueError, RecursionError):
        raise ContractError(
            f"{path.name!r} is no JSON, or says a thing twice; expected the report.json that "
            "`dfdetect predict` wrote"
        ) from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION or document.get("schema") != SCHEMA:
        raise ContractError(
            f"{path.name!r} is no report of schema {SCHEMA} {SCHEMA_VERSION}; check it with the "
            "version of dfdetect that wrote it"
        )
    checked: dict[str, Any] = document
    _check_shape(checked, path)
    return checked


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # of two equal keys a reader may see the first and a program the second
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _check_shape(document: dict[str, Any], path: Path) -> None:
    try:
        words = [
            document["content_sha256"],
            document["input"]["sha256"],
            document["input"]["name"],
            document["tool"]["weights"]["sha256"],
            document["time"]["analysed_at"],
            *(entry["path"] for entry in document["artefacts"]),
            *(entry[key] for entry in document["time"]["artefacts"] for key in ("path", "sha256")),
        ]
    except (KeyError, TypeError):
        words = [None]
    if not all(isinstance(word, str) for word in words):
        raise ContractError(
            f"{path.name!r} lacks parts that every report has; analyse the clip again"
        )


def _content(document: dict[str, Any], folder: Path) -> CheckLine:
    stated, found = document["content_sha256"], content_hash(document)
    if stated != found:
        return CheckLine("report.json", Check.ALTERED, "its content is not what was written")
    # the page prints both; the date stands outside what the content's hash covers
    printed = stated, f'datetime="{document["time"]["analysed_at"]}"'
    for entry in document["time"]["artefacts"]:
        page = folder / Path(entry["path"]).name
        content = _content_of(page)
        if content is not None and not all(text.encode() in content for text in printed):
            return CheckLine("report.json", Check.ALTERED, f"it does not belong to {page.name!r}")
    return CheckLine("report.json", Check.OK, f"content {found}")


def _content_of(page: Path) -> bytes | None:
    try:
        return page.read_bytes() if page.is_file() else None
    except OSError:
        return None  # `_compare` says so


def _artefacts(document: dict[str, Any], folder: Path) -> tuple[CheckLine, ...]:
    hashed = {entry["path"]: entry["sha256"] for entry in document["time"]["artefacts"]}
    # the list of files is part of the content that is hashed; their hashes are not
    unhashed = [
        entry["path"]
        for entry in document["artefacts"]
        if entry["path"] not in {JSON_NAME, *hashed}
    ]
    hint = "keep it beside report.json"
    return (
        # a report from a stranger must not make this read files elsewhere
        *(
            _compare(name, folder / Path(name).name, sha256, sha256_file, hint)
            for name, sha256 in hashed.items()
        ),
        *(
            CheckLine(name, Check.ALTERED, "report.json no longer holds its SHA-256")
            for name in unhashed
        ),
    )


def _weights(path: Path | None, sha256: str) -> CheckLine:
    try:
        found = path or bundled_detector()
    except DfdetectError as error:
        return CheckLine("weights", Check.MISSING, str(error))
    line = _compare("weights", found, sha256, sha256_file, "name the file of weights")
    if path is None and line.check is Check.ALTERED:
        return CheckLine(
            "weights",
            Check.MISSING,
            f"this installation comes with other weights than {sha256}; name their file",
        )
    return line


def _compare(
    part: str, path: Path | None, sha256: str, hashed: Callable[[Path], str], hint: str
) -> CheckLine:
    # neither a pipe nor a device: reading one could wait for ever
    try:
        if path is None or not (path.is_file() or path.is_dir()):
            return CheckLine(part, Check.MISSING, f"it is not here; {hint}")
        found = hashed(path)
    except OSError as error:
        return CheckLine(part, Check.MISSING, f"it cannot be read ({error.strerror}); {hint}")
    except DfdetectError as error:
        return CheckLine(part, Check.MISSING, f"it cannot be read ({error}); {hint}")
    if found != sha256:
        return CheckLine(part, Check.ALTERED, f"SHA-256 is {found}, the report has {sha256}")
    return CheckLine(part, Check.OK, f"SHA-256 {found}")


def _clip_sha256(path: Path) -> str:
    return hash_clip(path, probe(path).images if path.is_dir() else ()).sha256


def _find_beside(report_json: Path, name: str) -> Path | None:
    folder, plain = report_json.resolve().parent, Path(name).name
    if plain in {"", ".."}:
        return None
    candidates = [place / plain for place in (folder, *folder.parents[:2])]
    try:
        return next((path for path in candidates if path.exists()), None)
    except OSError:
        return None  # a name that no file can have here, or a folder that may not be looked into
