"""The laboratory verbs that measure: each is a library call, and lines that say what came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dfdetect.cli.places import check_file, check_out
from dfdetect.cli.terminal import progress_bar, say, say_lines
from dfdetect.errors import LowCoverage, UsageError
from dfdetect.evaluation.pooled import pooled
from dfdetect.evaluation.run_files import read_run
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.provenance import sha256_file, written_whole

if TYPE_CHECKING:
    from dfdetect.evaluation.benchmark.benchmark import BenchmarkSettings
    from dfdetect.evaluation.benchmark.compare import CompareSettings
    from dfdetect.evaluation.protocols.protocol import Protocol
    from dfdetect.evaluation.robustness.run import OnProgress, RobustnessProgress
    from dfdetect.evaluation.robustness.settings import RobustnessSettings
    from dfdetect.evaluation.settings import DiagnoseSettings, EvaluateSettings

OUT = "out=FOLDER"


def evaluate(settings: EvaluateSettings, command: str) -> None:
    """Measure a detector, or scores that are there already, and print the headline rows."""
    from dfdetect.evaluation.evaluate import evaluate_run

    check_out(settings.out, OUT)
    run = _read(settings)
    if settings.name is not None:
        run = dataclasses.replace(run, name=settings.name)
    if settings.trained_on:
        parts = tuple(tuple(part.split("/")) for part in settings.trained_on)
        run = dataclasses.replace(run, trained_on=TrainedOn(parts))  # type: ignore[arg-type]
    try:
        result = evaluate_run(
            run,
            settings.protocol.split,
            out=settings.out,
            protocol=settings.protocol,
            n_bootstrap=settings.n_bootstrap,
            seed=settings.seed,
            command=command,
        )
    except LowCoverage:
        say(f"scores, results and their hashes, of the videos that have a score: {settings.out}")
        raise
    if settings.conditions:
        _by_condition(settings, run)
    say_lines(result.headline())
    say(f"scores, results and their hashes: {settings.out}")


def _read(settings: EvaluateSettings) -> ScoredRun:
    if settings.runs:
        _require_apart(settings.out, settings.runs)
        return pooled(_runs(settings.runs, ()), [str(folder) for folder in settings.runs])
    return _imported(settings) if settings.scores is not None else _scored(settings)


def _scored(settings: EvaluateSettings) -> ScoredRun:
    # scores that are there already are measured without any of this
    from dfdetect.data.crops import CropStore
    from dfdetect.detectors.checkpoint import load_detector
    from dfdetect.evaluation.scored import score_stores

    detector = load_detector(settings.checkpoint)
    stores = [CropStore.open(folder) for folder in settings.crops]
    split = settings.protocol.split
    with progress_bar(f"Scoring {split or 'all videos'}") as progress:
        return score_stores(stores, detector, split, progress=progress)


def _by_condition(settings: EvaluateSettings, run: ScoredRun) -> None:
    # as above
    from dfdetect.data.crops import CropStore
    from dfdetect.evaluation.conditions.bins import errors_by_condition
    from dfdetect.evaluation.conditions.files import write_conditions
    from dfdetect.evaluation.conditions.values import measured_faces

    stores = [CropStore.open(folder) for folder in settings.crops]
    with progress_bar("Measuring faces") as progress:
        faces = measured_faces(run, stores, settings.data_root, progress)
    rows = errors_by_condition(faces, settings.n_bootstrap, settings.seed)
    write_conditions(rows, settings.out, run.parents, settings.n_bootstrap, settings.seed)


def _imported(settings: EvaluateSettings) -> ScoredRun:
    from dfdetect.data.manifest_file import Manifest
    from dfdetect.evaluation.imported import imported_scores

    assert settings.scores is not None  # noqa: S101 — the settings refuse one without the other
    assert settings.manifest is not None  # noqa: S101
    manifest = Manifest.read(settings.manifest)
    split = settings.protocol.split
    videos = manifest.rows.where(split=split)
    if not len(videos):
        there = sorted({str(each or "none") for each in manifest.rows.column("split").to_pylist()})
        raise UsageError(
            f"{settings.manifest} has no video of split {split!r} (it has: {', '.join(there)}); "
            "say protocol.split=…, or null for all that it has"
        )
    run = imported_scores(
        settings.scores,
        videos,
        settings.columns,
        settings.polarity,
        settings.name or settings.scores.stem,
        settings.labels,
    )
    parents = (("manifest file", sha256_file(settings.manifest)), *run.parents)
    return dataclasses.replace(run, split_rule=manifest.split_rule, parents=parents)


def diagnose(settings: DiagnoseSettings, command: str) -> None:  # noqa: ARG001
    """Say what makes our number differ from theirs."""
    from dfdetect.evaluation.diagnosis.diagnose import diagnose as find_causes
    from dfdetect.evaluation.diagnosis.reading import Reading
    from dfdetect.evaluation.published.numbers import published_number

    if settings.out is not None:
        check_file(settings.out, "out=FILE")
    ours, *others = _runs(settings.runs, ())
    theirs = others[0] if settings.published is None else published_number(settings.published)
    told = dataclasses.asdict(settings.reading)
    found = find_causes(
        ours,
        theirs,
        dataset=told.pop("dataset"),
        method=told.pop("method"),
        reading=Reading(**told),
        n_bootstrap=settings.n_bootstrap,
        seed=settings.seed,
    )
    if settings.out is not None:
        with written_whole(settings.out) as part:
            part.write_text(found.markdown(), encoding="utf-8")
    say_lines(found.lines())


def benchmark(settings: BenchmarkSettings, command: str) -> None:
    """Write the tables, figures and page of several evaluations, and print where they are."""
    from dfdetect.evaluation.benchmark.benchmark import BenchmarkPlan
    from dfdetect.evaluation.benchmark.benchmark import benchmark as tabulate
    from dfdetect.evaluation.robustness.curves import read_curves

    _require_apart(settings.out, settings.runs)
    runs = _runs(settings.runs, settings.names)
    names = [run.name for run in runs]
    _require_as_many("published_as", settings.published_as, names)
    plan = BenchmarkPlan(
        n_bootstrap=settings.n_bootstrap,
        seed=settings.seed,
        title=settings.title,
        published_as=tuple(zip(names, settings.published_as, strict=False)),
        curves=tuple(point for folder in settings.robustness for point in read_curves(folder)),
        command=command,
    )
    protocols = [_protocol(name, settings.rules) for name in settings.protocols]
    with progress_bar("Measuring") as progress:
        result = tabulate(
            runs, protocols, plan, settings.out, design=settings.design, progress=progress
        )
    for row in result.rows:
        if (row.metric, row.unit) == ("auc", "video"):
            say(
                f"{row.protocol}, {row.exposure}: {row.detector} on {row.dataset}, {row.method}: "
                f"AUC by video {row.value:.3f}{row.interval(3)}, {row.n_real} genuine and "
                f"{row.n_fake} fake"
            )
    say_lines(result.undefined)
    say_lines(result.left_out)
    say(f"tables, figures and the page: {settings.out}")
    result.require_coverage()


def compare(settings: CompareSettings, command: str) -> None:
    """Test whether detectors differ on the same videos, and print a sentence a pair."""
    from dfdetect.evaluation.benchmark.compare import compare as test_pairs
    from dfdetect.evaluation.benchmark.compare_page import write_comparison

    _require_apart(settings.out, settings.runs)
    result = test_pairs(
        _runs(settings.runs, settings.names),
        settings.protocol,
        fewest=settings.fewest,
        alpha=settings.alpha,
    )
    write_comparison(result, settings.out, command)
    say_lines(row.sentence for row in result.rows)
    say(f"the comparison and its hashes: {settings.out}")


def robustness(settings: RobustnessSettings, command: str) -> None:
    """Measure detectors on degraded clips and print the worst of each first."""
    from dfdetect.evaluation.robustness.results import run_robustness

    check_out(settings.out, OUT)
    with _stage_bar() as progress:
        measured = run_robustness(settings, command, progress)
    say_lines(measured.headline())
    say_lines(measured.undefined)
    say(f"results, curves and scores: {settings.out}")


@contextmanager
def _stage_bar() -> Iterator[OnProgress]:
    with progress_bar("Robustness") as progress:

        def tell(told: RobustnessProgress) -> None:
            progress(told.n_done, told.n_all)

        yield tell


def _runs(folders: Sequence[Path], names: Sequence[str]) -> list[ScoredRun]:
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError(f"a results folder is given twice: {', '.join(map(str, folders))}")
    _require_as_many("names", names, folders)
    if not all(map(str.strip, names)):
        raise UsageError("a name is empty; say what tables call each run: names=[A,B]")
    runs = [read_run(folder) for folder in folders]
    if not names:
        return runs
    return [dataclasses.replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def _require_apart(out: Path, runs: Sequence[Path]) -> None:
    check_out(out, OUT)
    if out.resolve() in {run.resolve() for run in runs}:
        raise UsageError(f"{out} holds the scores that are to be measured; name another {OUT}")


def _require_as_many(what: str, given: Sequence[str], runs: Sequence[object]) -> None:
    if given and len(given) != len(runs):
        raise UsageError(f"{what} has {len(given)} entries for {len(runs)} runs; give one for each")


def _protocol(name: str, rules: Mapping[str, Protocol]) -> Protocol:
    if name not in rules:
        raise UsageError(f"unknown protocol {name!r}; choose one of {', '.join(sorted(rules))}")
    return rules[name]
