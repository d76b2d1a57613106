"""The card of a trained detector: what it was trained on, what was measured, what follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.errors import ContractError
from dfdetect.evaluation.results import ResultRow, read_results
from dfdetect.provenance import written_whole
from dfdetect.types import Band, BandRate, Calibration

METRICS = ("auc", "eer", "ap", "cllr")
UNITS = {"video": "videos", "frame": "faces", "clip": "clips"}

BANDS = {
    Band.STRONG: "strong signs",
    Band.MODERATE: "moderate signs or more",
    Band.WEAK: "weak signs or more",
    Band.NONE: "no signs found",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One evaluation: its rows, the command that made it, its seed and the hashes it rests on.

    `split` names whose videos were measured.
    """

    rows: tuple[ResultRow, ...]
    command: str
    seed: int | None
    parents: tuple[tuple[str, str], ...]
    split: str


def read_measurement(folder: Path) -> Measurement:
    """Read what `dfdetect evaluate out=FOLDER` wrote.

    Raises:
        ContractError: A file is missing or of another contract.
    """
    rows, header = read_results(folder / "results.parquet")
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        parents = tuple((role, digest) for role, digest in record["parents"])
        split = str(header.fact("settings", {})["split"])
        return Measurement(rows, record["command"], record["seed"], parents, split)
    except (OSError, ValueError, KeyError) as error:
        raise ContractError(
            f"{folder / 'run.json'} does not say how the results were made "
            f"({type(error).__name__}); measure again with `dfdetect evaluate out={folder}`"
        ) from error


def headline(measurements: Sequence[Measurement]) -> tuple[tuple[str, str], ...]:
    """Return facts for a checkpoint's header: the AUC by video of each dataset, with interval."""
    return tuple(
        (
            f"measured_{row.dataset}",
            f"{measurement.split} split, AUC by video {row.value:.3f}{row.interval(3)}, "
            f"{row.n_real} genuine and {row.n_fake} manipulated",
        )
        for measurement in measurements
        for row in _overall(measurement)
    )


def write_card(
    path: Path,
    header: CheckpointHeader,
    hashes: Sequence[tuple[str, str]],
    limits: str,
    measurements: Sequence[Measurement],
    *,
    title: str = "The bundled detector",
    compared: Sequence[str] = (),
) -> None:
    """Write the card as Markdown.

    Args:
        path: Where to write; the file appears whole or not at all.
        header: Of the trained checkpoint, with its calibration.
        hashes: Pairs of file name and SHA-256.
        limits: What a reader must know before relying on it, as Markdown.
        measurements: What was measured on data that training and selection never saw.
        title: What the card is of.
        compared: For an exported file: how far it is from its checkpoint, as lines of Markdown.
    """
    kwargs = ", ".join(f"{name}={value}" for name, value in header.kwargs)
    crop = header.preprocess.crop
    clips = f", {header.frames} of a track at a time" if header.frames > 1 else ""
    lines = [
        f"# {title}",
        "",
        f"`{header.detector}` ({kwargs}); {crop.name} face crops, {crop.scale:g} × the face box, "
        f"{crop.size} px{clips}. Written by `dfdetect export`; do not edit.",
        "",
        "## Limits",
        "",
        limits.strip(),
        "",
        "## Training",
        "",
        "| what | value |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {value} |" for name, value in header.provenance),
        "",
    ]
    if compared:
        lines += ["## Compared with its checkpoint", "", *compared, ""]
    if measurements:
        lines += [
            "The weights were chosen on the val splits; `measured` and the tables below are of "
            "test splits, whose people neither training nor selection saw (DFDC names no people: "
            "there, whose source videos).",
            "",
        ]
    for measurement in measurements:
        lines += _measured(measurement)
    if header.calibration is not None:
        lines += _calibrated(header.calibration)
    lines += ["## Files", "", "| file | SHA-256 |", "|---|---|"]
    lines += [f"| {name} | `{digest}` |" for name, digest in hashes]
    with written_whole(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _measured(measurement: Measurement) -> list[str]:
    names = ", ".join(dict.fromkeys(row.dataset for row in measurement.rows))
    lines = [
        f"## Measured on {names}",
        "",
        f"`{measurement.command}`, seed {measurement.seed}; 95 % intervals by bootstrap over "
        "videos.",
        "",
        "| dataset | method | metric | counted by | value | real | fake | skipped |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.dataset} | {row.method} | {row.metric} | {UNITS[row.unit]} "
        f"| {row.value:.3f}{row.interval(3)} | {row.n_real} | {row.n_fake} | {row.n_skipped} |"
        for row in measurement.rows
        if row.metric in METRICS and row.unit in UNITS
    ]
    hashes = ", ".join(f"{role} `{digest[:16]}`" for role, digest in measurement.parents)
    return [*lines, "", f"Made from {hashes}.", ""]


def _calibrated(calibration: Calibration) -> list[str]:
    covered = f"{calibration.n_real} authentic and {calibration.n_fake} manipulated videos"
    return [
        "## Calibration",
        "",
        f"{calibration.method} on {calibration.set_name}: {covered}, {calibration.date}. "
        f"log LR = {calibration.slope:.3f} · logit + {calibration.intercept:.3f}, held between "
        f"{calibration.lr_min:.3g} and {calibration.lr_max:.3g}, the most that so few videos "
        "support. How often a finding was reached there, each video judged by a calibration "
        "fitted without its people:",
        "",
        "| finding | authentic videos | manipulated videos |",
        "|---|---|---|",
        *(_rate(rate) for rate in calibration.rates),
        "",
    ]


def _rate(rate: BandRate) -> str:
    return (
        f"| {BANDS.get(rate.band, rate.band.value)} | {rate.real_flagged} of {rate.n_real} "
        f"| {rate.fake_flagged} of {rate.n_fake} |"
    )


def _overall(measurement: Measurement) -> list[ResultRow]:
    """The AUC by video of each dataset, of all its methods where there are several."""
    found: dict[str, ResultRow] = {}
    for row in measurement.rows:
        if (row.metric, row.unit) == ("auc", "video") and (
            row.dataset not in found or row.method == "all"
        ):
            found[row.dataset] = row
    return list(found.values())
