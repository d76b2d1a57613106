"""A robustness run → results under every condition, curves, and the folder that holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfdetect.data.engines import create_engine
from dfdetect.data.manifest import Manifest
from dfdetect.data.tables import TableHeader
from dfdetect.detectors.base import LoadedDetector
from dfdetect.detectors.checkpoint import load_detector
from dfdetect.errors import UsageError
from dfdetect.evaluation.measured import measured as measure_run
from dfdetect.evaluation.protocols.protocol import PLAIN, Protocol
from dfdetect.evaluation.results import CLEAN, ResultRow, write_rows
from dfdetect.evaluation.robustness.curves import (
    FOUND,
    CurvePoint,
    curves,
    worst_points,
    write_curves,
)
from dfdetect.evaluation.robustness.laundering import conditions_of, described
from dfdetect.evaluation.robustness.run import OnProgress, RobustnessResult, robustness
from dfdetect.evaluation.robustness.settings import RobustnessSettings
from dfdetect.evaluation.run_files import write_run
from dfdetect.provenance import RunRecord, environment, sha256_value, written_whole

RUNS, RESULTS_FILE, PAGE, RECORD = "runs", "results.parquet", "robustness.md", "run.json"


@dataclass(frozen=True, slots=True)
class RobustnessMeasured:
    """All numbers of a robustness run.

    `points` are the curves, worst family first; `undefined` says in sentences what has no number,
    and `notes` by which definitions the others were found.
    """

    rows: tuple[ResultRow, ...]
    points: tuple[CurvePoint, ...]
    undefined: tuple[str, ...]
    notes: tuple[str, ...]

    def headline(self) -> tuple[str, ...]:
        """Return a line for each detector and method: its AUC by video, clean and at its worst."""
        told = [point for point in self.points if point.metric == "auc"]
        clean = {
            (point.detector, point.dataset, point.method): point.value
            for point in told
            if point.condition == CLEAN
        }
        return tuple(
            f"{point.detector} on {point.dataset}, {point.method} ({point.exposure}): AUC by video "
            f"{clean.get((point.detector, point.dataset, point.method), math.nan):.3f} clean, "
            f"{point.value:.3f} at worst ({point.condition}), {point.n_videos} videos, "
            f"{point.n_skipped} without a usable face there"
            for point in worst_points(told)
        )


def measured(
    result: RobustnessResult, protocol: Protocol = PLAIN, n_bootstrap: int = 2000, seed: int = 0
) -> RobustnessMeasured:
    """Measure every detector under every condition.

    A condition that left no face at all has no metric, which `undefined` says; the share of found
    faces is a curve all the same.

    Args:
        result: What `robustness` returned.
        protocol: By which definitions; how many videos need a score is not asked.
        n_bootstrap: Resamples of every interval.
        seed: Of the resampling.
    """
    rows: list[ResultRow] = []
    undefined: list[str] = []
    notes: dict[str, None] = {}
    for one in result.runs:
        where = f"{one.run.name}, {one.condition.name}"
        if not one.run.scores.n_scored:
            counts = ", ".join(f"{n} {status}" for status, n in one.run.scores.n_by_status())
            undefined.append(f"{where}: nothing was left to score ({counts})")
            continue
        numbers = measure_run(one.run, protocol, n_bootstrap, seed, one.condition.name)
        rows += numbers.rows
        undefined += [f"{where}: {sentence}" for sentence in numbers.undefined]
        notes |= dict.fromkeys(numbers.whole.notes)
    points = curves(rows, result.found, n_bootstrap=n_bootstrap, seed=seed)
    return RobustnessMeasured(tuple(rows), points, tuple(undefined), tuple(notes))


def run_robustness(
    settings: RobustnessSettings, command: str, progress: OnProgress | None = None
) -> RobustnessMeasured:
    """Do what `dfdetect benchmark robustness` does: load, launder, score, measure and write.

    Raises:
        UsageError: A condition, file or setting is unknown or absent.
        ContractError: A file does not hold what it should.
    """
    conditions = conditions_of(settings.conditions)
    manifest = Manifest.read(settings.manifest)
    # no checkpoint: the bundled detector
    loaded = [load_detector(path) for path in settings.checkpoints or (None,)]
    detectors = named(loaded, settings.names)
    result = robustness(
        manifest,
        settings.data_root,
        detectors,
        conditions,
        settings.work,
        settings.plan,
        engine=create_engine(settings.engine),
        progress=progress,
    )
    seed = settings.plan.seed
    numbers = measured(result, n_bootstrap=settings.n_bootstrap, seed=seed)
    told = {
        "plan": settings.plan,
        "conditions": {one.name: repr(one.steps) for one in conditions},
        "n_bootstrap": settings.n_bootstrap,
    }
    parents = (
        ("manifest", manifest.content_hash()),
        *((f"weights {name}", one.weights_sha256) for name, one in detectors.items()),
    )
    header = TableHeader(sha256_value(told), parents, (("undefined", list(numbers.undefined)),))
    write_robustness(result, numbers, settings.out, header, command, seed)
    return numbers


def named(
    detectors: Sequence[LoadedDetector], wanted: Sequence[str] = ()
) -> dict[str, LoadedDetector]:
    """Return detectors by the names wanted, or else by their own.

    Those that share their own name have the start of their hash in it too.

    Raises:
        UsageError: There are not as many names as detectors, or two are one.
    """
    if wanted:
        if len(set(wanted)) != len(detectors) or len(wanted) != len(detectors):
            raise UsageError(
                f"names={', '.join(wanted)} does not name {len(detectors)} checkpoints; give one "
                "name for each"
            )
        return dict(zip(wanted, detectors, strict=True))
    names = [one.header.detector for one in detectors]
    return {
        name if names.count(name) == 1 else f"{name} {one.weights_sha256[:8]}": one
        for name, one in zip(names, detectors, strict=True)
    }


def write_robustness(
    result: RobustnessResult,
    numbers: RobustnessMeasured,
    out: Path,
    header: TableHeader,
    command: str,
    seed: int,
) -> None:
    """Write `results.parquet`, `curves.parquet`, `robustness.md`, `run.json` and all runs.

    The scores of every detector and condition are folders below `runs`, as `dfdetect evaluate`
    leaves them. Each file is written whole or not at all.
    """
    for one in result.runs:
        folder = one.run.name.replace("/", "-").replace(" ", "-")
        write_run(one.run, out / RUNS / folder / one.condition.slug)
    write_rows(numbers.rows, out / RESULTS_FILE, header)
    write_curves(numbers.points, out, header)
    with written_whole(out / PAGE) as part:
        part.write_text(markdown(result, numbers), encoding="utf-8")
    record = RunRecord(command, header.config_hash, seed, header.parents, environment())
    record.write(out / RECORD)


def markdown(result: RobustnessResult, numbers: RobustnessMeasured) -> str:
    """Return the curves as a readable page: the worst of all first, then every point."""
    # weights that were selected on what they are measured on say so wherever a figure stands
    oracles = {one.run.name for one in result.runs if one.run.oracle}
    mark = "oracle: " if oracles else ""
    lines = [f"# {mark}Robustness", "", f"## {mark}Worst case", ""]
    lines += [*_table(worst_points(numbers.points)), ""]
    groups: dict[tuple[str, str, str, str, str], list[CurvePoint]] = {}
    for point in numbers.points:
        key = (point.detector, point.dataset, point.method, point.exposure, point.metric)
        groups.setdefault(key, []).append(point)
    for (detector, dataset, method, exposure, metric), members in groups.items():
        mark = "oracle: " if detector in oracles else ""
        known = f" ({exposure})" if exposure else ""
        title = f"{mark}{detector}, {dataset}, {method}{known}: {_words(metric)}"
        lines += [f"## {title}", "", *_table(members), ""]
    lines += ["## What has no number", ""]
    lines += [f"- {sentence}" for sentence in numbers.undefined] or ["Nothing."]
    problems = {
        f"{one.condition.name}: {problem.path}: {problem.reason}": None
        for one in result.runs
        for problem in one.problems
    }
    if problems:
        lines += ["", "## Clips that could not be read or coded", ""]
        lines += [f"- {sentence}" for sentence in problems]
    lines += ["", "## Conditions", "", "| condition | what is done | source |", "|---|---|---|"]
    conditions = [one.condition for one in result.runs]
    lines += [f"| {name} | {what} | {source} |" for name, what, source in described(conditions)]
    if numbers.notes:
        lines += ["", "## Definitions", "", *(f"- {note}" for note in numbers.notes)]
    return "\n".join([*lines, ""])


def _words(metric: str) -> str:
    return "share of frames with a usable face" if metric == FOUND else metric


def _table(points: Sequence[CurvePoint]) -> list[str]:
    lines = [
        "| detector | dataset | exposure | metric | condition | value | 95 % interval "
        "| videos | skipped |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        interval = "not known"
        if point.ci_low is not None and point.ci_high is not None:
            interval = f"{point.ci_low:.4f} – {point.ci_high:.4f}"
        lines.append(
            f"| {point.detector} | {point.dataset}, {point.method} | {point.exposure or '–'} "
            f"| {_words(point.metric)} | {point.condition} | {point.value:.4f} | {interval} "
            f"| {point.n_videos} | {point.n_skipped} |"
        )
    return lines
