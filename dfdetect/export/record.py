"""What an export writes beside its file: every figure of the comparison, and whose they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfdetect.export.parity import Estimate, Parity
from dfdetect.provenance import Environment, written_whole


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file by its name, size and SHA-256; `role` says what it is here."""

    role: str
    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One int8 model that was tried: layers left in float32, figures, and why it was refused.

    `refused` is empty for the one that was kept.
    """

    float_layers: int
    parity: Parity
    refused: str


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What was exported from what, how it was compared, and all that came out.

    `compared` says which two are compared. `files` are the checkpoint, the exported file and, for
    int8, the float32 twin that was not kept. `allowed` holds the limits that were set, `parents`
    the crops and manifests by SHA-256, `attempts` every int8 model that was tried, in order.
    """

    format: str
    detector: str
    compared: str
    files: tuple[NamedFile, ...]
    parity: Parity
    allowed: tuple[tuple[str, float], ...]
    attempts: tuple[Attempt, ...]
    n_calibrated: int
    parents: tuple[tuple[str, str], ...]
    seed: int
    n_bootstrap: int
    command: str
    environment: Environment

    def write(self, out: Path) -> tuple[Path, Path]:
        """Write `<name>.parity.json` and `.md` beside the exported file; return both paths."""
        paths = out.with_name(f"{out.name}.parity.json"), out.with_name(f"{out.name}.parity.md")
        texts = json.dumps(dataclasses.asdict(self), indent=2), "\n".join(self.markdown())
        for path, text in zip(paths, texts, strict=True):
            with written_whole(path) as part:
                part.write_text(text + "\n", encoding="utf-8")
        return paths

    def markdown(self) -> list[str]:
        """Return the record as lines of Markdown."""
        lines = [
            f"# {self.files[-1].name}: how it compares",
            "",
            f"{self.compared}. Made by `{self.command}`.",
            "",
            *parity_lines(self.parity),
        ]
        if self.parity.aucs:
            lines += [
                f"Intervals: 95 %, bootstrap over videos ({self.n_bootstrap} resamples, seed "
                f"{self.seed}); for the drop, videos are drawn for both at once.",
                "",
            ]
        if self.attempts:
            lines += self._attempts()
        lines += ["## Allowed", "", *_table(("limit", "value"), self._allowed()), ""]
        rows = [(one.role, one.name, f"{one.n_bytes}", f"`{one.sha256}`") for one in self.files]
        lines += ["## Files", "", *_table(("what", "file", "bytes", "SHA-256"), rows)]
        if self.parents:
            lines += ["", "Measured on " + ", ".join(f"{a} `{b[:16]}`" for a, b in self.parents)]
        machine = f"{self.environment.system} {self.environment.machine}"
        packages = ", ".join(f"{name} {version}" for name, version in self.environment.packages)
        return [*lines, "", f"dfdetect {self.environment.dfdetect} on {machine}; {packages}."]

    def summary(self) -> list[str]:
        """Return what a card says of it, as lines of Markdown."""
        tried = f" {len(self.attempts)} int8 models were tried." if self.attempts else ""
        own = "What is said elsewhere of measurements and calibration is the checkpoint's."
        return [f"{self.compared}.{tried} {own}", "", *parity_lines(self.parity)]

    def headline(self) -> list[str]:
        """Return what the command line says."""
        parity, timing = self.parity, self.parity.timing
        lines = [
            f"logits differ by {parity.max_difference:.1e} at most, {parity.mean_difference:.1e} "
            f"on average, n={parity.n_items} {parity.source}"
        ]
        lines += [
            f"AUC by video on {one.dataset}, n={one.n_real}+{one.n_fake}: {worded(one.before)} → "
            f"{worded(one.after)}"
            for one in parity.aucs
        ]
        sizes = " → ".join(f"{one.n_bytes / 1e6:.1f} MB" for one in self.files)
        return [
            *lines,
            f"{timing.before_ms:.2f} → {timing.after_ms:.2f} ms each ({timing.speedup:.2f} ×)",
            f"{' → '.join(one.role for one in self.files)}: {sizes}",
        ]

    def _allowed(self) -> list[tuple[str, str]]:
        return [(name.replace("_", " "), f"{value:g}") for name, value in self.allowed]

    def _attempts(self) -> list[str]:
        rows = [
            (
                str(one.float_layers),
                f"{one.parity.max_difference:.3f}",
                f"{drop.drop.value:+.4f}" if (drop := one.parity.worst_drop) else "–",
                f"{one.parity.timing.speedup:.2f} ×",
                one.refused or "kept",
            )
            for one in self.attempts
        ]
        header = ("layers in float32", "max │Δ logit│", "worst AUC drop", "speed", "verdict")
        return [
            "## Tried",
            "",
            f"Ranges calibrated on {self.n_calibrated} crops of the split that are not among those "
            "measured; they may show the same people.",
            "",
            *_table(header, rows),
            "",
        ]


def parity_lines(parity: Parity) -> list[str]:
    """Return the figures of a comparison as lines of Markdown."""
    timing = parity.timing
    items = f"{parity.n_items} {parity.source}"
    rows = [
        ("compared on", items + (f", {parity.n_videos} videos" if parity.n_videos else "")),
        ("max │Δ logit│", f"{parity.max_difference:.2e}"),
        ("max │Δ logit│, relative above 1", f"{parity.max_relative:.2e}"),
        ("mean │Δ logit│", f"{parity.mean_difference:.2e}"),
        ("mean Δ logit", f"{parity.mean_shift:+.2e}"),
    ]
    if parity.max_video_difference is not None:
        rows.append(("max │Δ logit│ of a video", f"{parity.max_video_difference:.2e}"))
    rows.append(
        (
            f"ms each, before → after, batches of {timing.batch}, one thread, in turns",
            f"{timing.before_ms:.2f} → {timing.after_ms:.2f} ({timing.speedup:.2f} ×)",
        )
    )
    lines = [*_table(("figure", "value"), rows), ""]
    if parity.aucs:
        header = ("dataset", "genuine", "fake", "AUC by video before", "after", "drop")
        cells = [
            (
                one.dataset, str(one.n_real), str(one.n_fake),
                worded(one.before), worded(one.after), worded(one.drop, "+.4f"),
            )
            for one in parity.aucs
        ]  # fmt: skip
        lines += [*_table(header, cells), ""]
    if parity.undefined:
        names = ", ".join(parity.undefined)
        lines += [f"No AUC for {names}: not both classes there.", ""]
    return lines


def worded(estimate: Estimate, how: str = ".4f") -> str:
    """Return a number with its interval, if it has one."""
    if estimate.interval is None:
        return f"{estimate.value:{how}}"
    low, high = estimate.interval.low, estimate.interval.high
    return f"{estimate.value:{how}} ({low:{how}} – {high:{how}})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
