"""What each laboratory verb does: one library call, and lines that say what came out.

Every verb is given its settings and the command that made them, which it keeps where it keeps a
record of the run.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfdetect.cli.terminal import (
    extraction_bar,
    note,
    progress_bar,
    say,
    say_lines,
    say_table,
)
from dfdetect.data.crops import extract_crops
from dfdetect.data.datasets import DatasetAdapter, DatasetInfo, create_dataset
from dfdetect.data.engines import create_engine
from dfdetect.data.estimate import Range, estimate_extraction
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.resplit import resplit
from dfdetect.data.settings import ExtractSettings, IndexSettings
from dfdetect.data.shards import VIDEO_FAULTS
from dfdetect.data.verify import require_apart, verify_dataset
from dfdetect.data.verify_report import VerifyReport, part_name
from dfdetect.errors import FaultyCopy
from dfdetect.training.settings import FitSettings
from dfdetect.types import FAKE, REAL

# of each kind on the terminal; the file or manifest that is written holds all
_MOST_SHOWN = 20


def index(settings: IndexSettings, command: str) -> None:  # noqa: ARG001
    """List a dataset's videos in a manifest, look for faults of a copy, or say what is known."""
    dataset = create_dataset(settings.dataset.name, **settings.dataset.options)
    if settings.mode == "describe":
        _describe(settings.dataset.name, dataset)
    elif settings.mode == "verify":
        _verify(settings, dataset)
    else:
        _build(settings, dataset)


def _build(settings: IndexSettings, dataset: DatasetAdapter) -> None:
    say(_terms(dataset.info))
    others = [Manifest.read(path).rows for path in settings.against]
    with progress_bar(f"Indexing {dataset.name}") as progress:
        manifest = build_manifest(dataset, settings.data_root, settings.split, progress=progress)
    require_apart(manifest.rows, others)
    manifest.write(settings.out)
    words = {REAL: "genuine", FAKE: "fake"}
    rows = [(*key[:2], words[key[2]], number) for key, number in manifest.counts().items()]
    say_table(("split", "method", "label", "videos"), rows)
    for problem in manifest.problems[:_MOST_SHOWN]:
        say(f"skipped: {problem.path}: {problem.status}: {problem.reason}")
    if len(manifest.problems) > _MOST_SHOWN:
        say(f"skipped: and {len(manifest.problems) - _MOST_SHOWN} more in the manifest")
    say(f"{len(manifest.rows)} videos, {len(manifest.problems)} skipped: {settings.out}")


def _verify(settings: IndexSettings, dataset: DatasetAdapter) -> None:
    others = [Manifest.read(path).rows for path in settings.against]
    with progress_bar(f"Verifying {dataset.name}") as progress:
        report = verify_dataset(
            dataset,
            settings.data_root,
            split=settings.split,
            reference=settings.reference,
            against=others,
            progress=progress,
        )
    written = settings.out.with_name(f"{settings.out.stem}.findings.csv")
    report.write(written)
    say_table(
        ("part", "wanted", "found", "missing", "unreadable"),
        (
            (part.name, _known(part.n_wanted), part.n_found, _known(part.n_missing),
             part.n_unreadable)
            for part in report.parts
        ),
    )  # fmt: skip
    if report.findings:
        say_table(("finding", "path", "detail"), _shown(report))
    say_lines(report.remarks)
    say(f"all findings: {written}")
    if report.findings:
        raise FaultyCopy(f"{report.sentence()}; see {written}")
    say(report.sentence())


def _shown(report: VerifyReport) -> Iterator[tuple[str, str, str]]:
    for kind, findings in report.by_kind.items():
        for finding in findings[:_MOST_SHOWN]:
            yield kind, finding.path, finding.detail
        if len(findings) > _MOST_SHOWN:
            yield kind, "", f"and {len(findings) - _MOST_SHOWN} more"


def _describe(name: str, dataset: DatasetAdapter) -> None:
    info, expected = dataset.info, dataset.expected()
    rows = [
        ("licence", info.licence),
        ("access", info.access),
        ("labels", info.polarity),
        ("splits", info.splits),
        *(("expected", f"{kind.n} videos: {part_name(kind)}") for kind in expected),
    ]
    if not expected:
        rows.append(("expected", "no number is published for these options"))
    default = create_dataset(name)
    for field in dataclasses.fields(dataset):  # type: ignore[arg-type]
        usual, chosen = (_as_value(getattr(one, field.name)) for one in (default, dataset))
        here = "" if chosen == usual else f"   (here {chosen})"
        rows.append(("option", f"dataset.options.{field.name}={usual}{here}"))
    say_table((name, info.title), rows)


def _as_value(value: object) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, Sequence):
        return f"[{','.join(map(_as_value, value))}]"
    return "null" if value is None else str(value).lower()


def _terms(info: DatasetInfo) -> str:
    return f"{info.title}. Licence: {info.licence}. Access: {info.access}"


def _known(number: int | None) -> int | str:
    return "-" if number is None else number


def extract(settings: ExtractSettings, command: str) -> None:  # noqa: ARG001
    """Cut the faces out of a manifest's videos and say what became of every sampled frame."""
    manifest, engine = Manifest.read(settings.manifest), create_engine(settings.engine)
    if settings.crops_from is not None:
        n_rows = resplit(settings.crops_from, manifest, settings.out)
        say(f"{n_rows} rows taken over from {settings.crops_from}: {settings.out}")
        return
    told = _cutting(settings, manifest)
    if settings.dry_run:
        _estimate(settings, told)
        return
    with extraction_bar(f"Extracting {settings.manifest.stem}") as progress:
        summary = extract_crops(**told, out=settings.out, engine=engine, progress=progress)
    n_skipped = sum(number for _, number in summary.n_skipped)
    rows: list[tuple[str, int]] = [("videos", summary.n_videos)]
    if summary.n_videos_kept:
        rows.append(("  done by an earlier run", summary.n_videos_kept))
    rows += [("rows", summary.n_rows), ("  ok", summary.n_rows - n_skipped)]
    rows += [(f"  skipped: {status}", number) for status, number in summary.n_skipped]
    if settings.faces.reuse_boxes:
        rows.append(("rows with a box taken over", summary.n_reused))
        rows.append(("forgeries searched all the same", summary.n_searched))
    say_table(("extracted", "number"), rows)
    say(f"{summary.n_videos} videos, {summary.n_rows} rows, {n_skipped} skipped: {settings.out}")
    if {status for status, _ in summary.n_skipped} & set(VIDEO_FAULTS):
        say(
            "skipped videos are not looked at again: when they are there and whole, remove the "
            f"store with `rm -r {settings.out}` and extract again"
        )


def _cutting(settings: ExtractSettings, manifest: Manifest) -> dict[str, Any]:
    """Return what an extraction and its estimate are both told."""
    faces = settings.faces
    return {
        "manifest": manifest,
        "data_root": settings.data_root,
        "policy": faces.crop,
        "sampler": settings.sampling,
        "finder": faces.finder,
        "faces": faces.keep,
        "landmarks": faces.landmarks,
        "min_side_px": faces.min_side_px,
        "reuse_boxes": faces.reuse_boxes,
    }


def _estimate(settings: ExtractSettings, told: Mapping[str, Any]) -> None:
    with extraction_bar("Sampling") as progress:
        estimate = estimate_extraction(**told, n_sampled=settings.dry_run_videos, progress=progress)
    workers = settings.engine.workers
    time, n_bytes = estimate.seconds(workers or 1), estimate.n_bytes
    by = "1 CPU" if workers is None else f"{workers} worker{'s' * (workers > 1)}"
    rows = [(f"  {status}", str(number)) for status, number in estimate.n_by_status]
    say_table(
        ("estimated", f"from {estimate.n_sampled} of {estimate.n_videos} videos", "90 % interval"),
        [
            (f"time with {by}", _duration(time.value), _interval(time, _duration)),
            ("disk", _size(n_bytes.value), _interval(n_bytes, _size)),
            ("  free", _size(_free_bytes(settings.out)), ""),
            ("rows in the sample", str(sum(n for _, n in estimate.n_by_status)), ""),
            *((name, number, "") for name, number in rows),
        ],
    )
    say(f"dry run: nothing was written to {settings.out}")


def _interval(measured: Range, worded: Callable[[float], str]) -> str:
    return f"{worded(measured.low)} – {worded(measured.high)}"


def _duration(seconds: float) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(n_bytes: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes / 1e3:.1f} kB"


def _free_bytes(out: Path) -> int:
    absolute = out.absolute()
    place = next(folder for folder in (absolute, *absolute.parents) if folder.exists())
    return shutil.disk_usage(place).free


def train(settings: FitSettings, command: str) -> float:
    """Train a detector and say which checkpoint was selected and on what.

    Returns the figure that selected it, for sweeps that search for the highest.
    """
    from dfdetect.training import fit

    result = fit(settings, command, tell=note)
    if not result.finished:
        say(f"stopped after {result.n_steps} of {settings.trainer.steps} steps; run again to go on")
    where = f"selected on {settings.validation.split}: step {result.best_step}"
    say(f"{where}, mean video AUC {result.best_auc:.4f}")
    if result.not_calibrated:
        say(f"not calibrated: {result.not_calibrated}")
    say(f"checkpoint: {result.checkpoint}")
    return result.best_auc
