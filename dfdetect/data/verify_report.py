"""What verifying a copy of a dataset finds out: numbers by part, and findings of eight kinds."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from dfdetect.data.datasets.base import Expected
from dfdetect.data.manifest import MISNAMED, MISSING, UNREADABLE
from dfdetect.provenance import written_whole
from dfdetect.types import FAKE, REAL

COUNT, ALTERED, UNPORTABLE, DUPLICATE, LEAK = "count", "altered", "unportable", "duplicate", "leak"
KINDS = (COUNT, MISSING, UNREADABLE, ALTERED, MISNAMED, UNPORTABLE, DUPLICATE, LEAK)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a copy.

    `kind` is one of `KINDS`. `path` is POSIX and relative to the root; for `count` it is the name
    of the part and for `leak` the id of a video. `detail` is the reason in words.
    """

    kind: str
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class PartCount:
    """The videos of one part: how many there should be, are readable, absent and unreadable.

    `n_wanted` is None where nothing is published, `n_missing` where nothing says what is missing.
    """

    name: str
    n_wanted: int | None
    n_found: int
    n_missing: int | None
    n_unreadable: int

    @property
    def finding(self) -> Finding | None:
        """What is wrong with the number, None where it is met or not published."""
        if self.n_wanted in (None, self.n_found):
            return None
        return Finding(COUNT, self.name, f"wanted {self.n_wanted} videos, found {self.n_found}")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found out about a copy.

    `compared_with` names what it was compared with, beyond itself; `remarks` are sentences on what
    is no fault but worth knowing.
    """

    dataset: str
    n_videos: int
    parts: tuple[PartCount, ...]
    findings: tuple[Finding, ...]
    compared_with: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def by_kind(self) -> dict[str, tuple[Finding, ...]]:
        """The findings of each kind that has any, in the order of `KINDS`."""
        grouped = {kind: tuple(f for f in self.findings if f.kind == kind) for kind in KINDS}
        return {kind: found for kind, found in grouped.items() if found}

    def sentence(self) -> str:
        """Return the outcome in one sentence."""
        if self.findings:
            counted = ", ".join(f"{len(found)} {kind}" for kind, found in self.by_kind.items())
            noun = "finding" if len(self.findings) == 1 else "findings"
            return f"{len(self.findings)} {noun} in {self.dataset}: {counted}"
        videos = f"complete: {self.n_videos} videos of {self.dataset} are readable"
        if not self.compared_with:
            return f"{videos}; there is no number, list or hash to compare them with"
        return f"{videos} and agree with {', '.join(self.compared_with)}"

    def write(self, path: Path) -> None:
        """Write all findings as CSV, whole or not at all."""
        with (
            written_whole(path) as part,
            # a name may hold bytes that are no text
            part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
        ):
            lines = csv.writer(stream, lineterminator="\n")
            lines.writerow(("kind", "path", "detail"))
            lines.writerows((f.kind, f.path, f.detail) for f in self.findings)


def part_name(kind: Expected) -> str:
    """Return a kind of videos in words.

    Example:
        >>> part_name(Expected(720, method="original", compression="c23", split="train"))
        'original/c23 train'
        >>> part_name(Expected(1000))
        'all'
    """
    folders = "/".join(filter(None, (kind.method, kind.compression)))
    label = {None: "", REAL: "genuine", FAKE: "fake"}[kind.label]
    return " ".join(filter(None, (folders, kind.split, label))) or "all"
