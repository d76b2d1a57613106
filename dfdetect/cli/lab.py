"""What each laboratory verb does: one library call, and lines that say what came out.

Every verb is given its settings and the command that made them, which it keeps where it keeps a
record of the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from dfdetect.cli.terminal import progress_bar, say
from dfdetect.config import EvaluateSettings, ExportSettings, ExtractSettings, IndexSettings
from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.provenance import sha256_file
from dfdetect.training.settings import FitSettings

S = TypeVar("S")


def index(settings: IndexSettings, command: str) -> None:  # noqa: ARG001
    """List a dataset's videos in a manifest and say how many there are of each kind."""
    dataset = create_dataset(settings.dataset.name, **settings.dataset.options)
    with progress_bar(f"Indexing {dataset.name}") as progress:
        manifest = build_manifest(dataset, settings.data_root, settings.split, progress=progress)
    manifest.write(settings.out)
    for (split, method, _), number in manifest.counts().items():
        say(f"{split:6}{method:20}{number:6} videos")
    for problem in manifest.problems:
        say(f"skipped: {problem.path}: {problem.status}: {problem.reason}")
    say(f"{len(manifest.rows)} videos, {len(manifest.problems)} skipped: {settings.out}")


def extract(settings: ExtractSettings, command: str) -> None:  # noqa: ARG001
    """Cut the faces out of a manifest's videos and say what became of every sampled frame."""
    manifest = Manifest.read(settings.manifest)
    faces = settings.faces
    with progress_bar(f"Extracting {settings.manifest.stem}") as progress:
        summary = extract_crops(
            manifest,
            settings.data_root,
            settings.out,
            faces.crop,
            settings.sampling,
            faces.finder,
            faces.keep,
            landmarks=faces.landmarks,
            min_side_px=faces.min_side_px,
            workers=settings.workers,
            progress=progress,
        )
    for status, number in summary.n_by_status:
        say(f"{status:20}{number:8} rows")
    say(f"{summary.n_videos} videos, {summary.n_rows} rows: {settings.out}")


def train(settings: FitSettings, command: str) -> None:
    """Train a detector and say which checkpoint was selected and on what."""
    from dfdetect.training import fit

    result = fit(settings, command)
    if not result.finished:
        say(f"stopped after {result.n_steps} of {settings.trainer.steps} steps; run again to go on")
    say(f"selected on val: step {result.best_step}, mean video AUC {result.best_auc:.4f}")
    if result.not_calibrated:
        say(f"not calibrated: {result.not_calibrated}")
    say(f"checkpoint: {result.checkpoint}")


def evaluate(settings: EvaluateSettings, command: str) -> None:
    """Measure a detector on crop stores and print the headline rows of the results."""
    from dfdetect.detectors.checkpoint import load_detector
    from dfdetect.evaluation import evaluate as measure

    detector = load_detector(settings.checkpoint)
    with progress_bar(f"Scoring {settings.split}") as progress:
        result = measure(
            [CropStore.open(folder) for folder in settings.crops],
            detector,
            settings.split,
            out=settings.out,
            n_bootstrap=settings.n_bootstrap,
            seed=settings.seed,
            command=command,
            progress=progress,
        )
    _say_lines(result.headline())
    say(f"scores, results and their hashes: {settings.out}")


def export(settings: ExportSettings, command: str) -> None:  # noqa: ARG001
    """Write a checkpoint's ONNX twin, or all that is bundled, and say how closely they agree."""
    from dfdetect.export import bundle, export_onnx

    if not settings.bundle:
        report = export_onnx(settings.checkpoint, settings.out, tolerance=settings.tolerance)
    else:
        from dfdetect.detectors.checkpoint import read_header
        from dfdetect.evaluation.card import headline, read_measurement, write_card

        measured = [read_measurement(folder) for folder in settings.results]
        report = bundle(
            settings.checkpoint,
            settings.out,
            tolerance=settings.tolerance,
            facts=headline(measured),
        )
        weights = settings.out / "default.safetensors"
        hashes = [(path.name, sha256_file(path)) for path in (weights, report.path)]
        limits = settings.limits.read_text(encoding="utf-8")
        write_card(settings.out / "default.md", read_header(weights), hashes, limits, measured)
    say(f"logits agree within {report.max_difference:.1e}: {report.path}")


def in_subfolder(settings: S, folder: Path) -> tuple[str, S]:
    """Return the settings with their output moved into a folder of its own, and its key."""
    name = "run_dir" if hasattr(settings, "run_dir") else "out"
    out: Path = getattr(settings, name)
    moved = out / folder if not out.suffix else out.parent / folder / out.name
    return name, dataclasses.replace(settings, **{name: moved})  # type: ignore[type-var]


def _say_lines(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
