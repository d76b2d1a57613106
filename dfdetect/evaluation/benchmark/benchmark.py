"""Several detectors under several protocols → tables, figures and a page, all from one command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfdetect.data.tables import content_hash
from dfdetect.errors import LowCoverage, UsageError
from dfdetect.evaluation.benchmark.drawings import Drawing
from dfdetect.evaluation.benchmark.panels import Panel, panels_of
from dfdetect.evaluation.benchmark.protocol_rules import protocol_rules_table
from dfdetect.evaluation.benchmark.published_beside import Naming, published_tables_beside
from dfdetect.evaluation.benchmark.result_tables import (
    AUCS,
    OTHERS,
    PUBLISHED,
    ROBUSTNESS,
    RULES,
    auc_tables,
    other_tables,
)
from dfdetect.evaluation.benchmark.severity_tables import severity_tables
from dfdetect.evaluation.benchmark.tables import Notes, Table
from dfdetect.evaluation.measured import measured
from dfdetect.evaluation.protocols.coverage import require_coverage
from dfdetect.evaluation.protocols.designs import Design, of_videos, select
from dfdetect.evaluation.protocols.protocol import Protocol, ProtocolView
from dfdetect.evaluation.results import ALL, ResultRow
from dfdetect.evaluation.robustness.curves import CurvePoint
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.evaluation.settings import require_draws
from dfdetect.provenance import sha256_file, sha256_value
from dfdetect.types import FAKE

TRAINED_MARK = "(as trained)"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """`dfdetect benchmark`: results folders in; tables, figures and a page out.

    Attributes:
        runs: Folders that `dfdetect evaluate` wrote, of our detectors or of imported scores.
        names: What tables call them, as many as `runs`; empty: the names they have.
        published_as: What the registry of published numbers calls them; empty: as `names`.
        protocols: Names of protocols of `rules`, side by side in this order; figures follow the
            first.
        rules: Protocols by name.
        design: Which run meets which videos; None: each all that it has.
        robustness: Folders of `dfdetect benchmark robustness`, whose curves are drawn too.
        title: Of the page.
        out: Where the files go.
        n_bootstrap: Resamples of every interval.
        seed: Of the resampling.
    """

    runs: tuple[Path, ...]
    names: tuple[str, ...]
    published_as: tuple[str, ...]
    protocols: tuple[str, ...]
    rules: Mapping[str, Protocol]
    design: Design | None
    robustness: tuple[Path, ...]
    title: str
    out: Path
    n_bootstrap: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be resampled."""
        require_draws(self.n_bootstrap, self.seed)


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """How to measure, and what stands on the page beside the numbers.

    Attributes:
        n_bootstrap: Resamples of every interval.
        seed: Of the resampling.
        title: Of the page.
        published_as: Pairs of a run's name and what the registry calls that detector.
        curves: Points of robustness curves, worst first, as `severity_curves.curves` gives them.
        command: What `run.json` says was run.
    """

    n_bootstrap: int = 2000
    seed: int = 0
    title: str = "Benchmark"
    published_as: tuple[tuple[str, str], ...] = ()
    curves: tuple[CurvePoint, ...] = ()
    command: str = "dfdetect benchmark"


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """All that a benchmark found.

    Attributes:
        rows: Every number, of every run under every protocol.
        tables: For readers: rules of the protocols, AUCs, published numbers, other metrics,
            robustness, in this order.
        drawings: Figures by exposure, and under `robustness`.
        definitions: Footnotes of the protocols and of published numbers, numbered from 1.
        undefined: Sentences on what has no number, and why.
        left_out: Sentences on what the design leaves out.
        low_coverage: What `require_coverage` says of runs with too few scored videos.
        oracles: Runs selected on what they are measured on, and how.
        parents: Pairs of a run's role and a SHA-256.
        settings: What was asked for.
        plan: How it was measured.
    """

    rows: tuple[ResultRow, ...] = field(repr=False)
    tables: tuple[tuple[str, tuple[Table, ...]], ...] = field(repr=False)
    drawings: tuple[tuple[str, tuple[Drawing, ...]], ...] = field(repr=False)
    definitions: tuple[str, ...]
    undefined: tuple[str, ...]
    left_out: tuple[str, ...]
    low_coverage: tuple[str, ...]
    oracles: tuple[tuple[str, str], ...]
    parents: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str | int], ...]
    plan: BenchmarkPlan

    @property
    def config_hash(self) -> str:
        """The SHA-256 of the settings."""
        return sha256_value(dict(self.settings))

    def require_coverage(self) -> None:
        """Raise where a protocol asks for more videos with a score; tables are written before.

        Raises:
            LowCoverage: With the sentence of each run and protocol.
        """
        if self.low_coverage:
            raise LowCoverage("; ".join(self.low_coverage))


@dataclass(slots=True)
class _Found:
    """What piles up run by run."""

    rows: list[ResultRow] = field(default_factory=list)
    undefined: list[str] = field(default_factory=list)
    low_coverage: list[str] = field(default_factory=list)
    covered: dict[tuple[str, str, str, str], tuple[int, int]] = field(default_factory=dict)
    definitions: dict[str, list[str]] = field(default_factory=dict)
    panels: list[Panel] = field(default_factory=list)


def benchmark(
    runs: Sequence[ScoredRun],
    protocols: Sequence[Protocol],
    plan: BenchmarkPlan | None = None,
    out: Path | None = None,
    *,
    design: Design | None = None,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Measure every run under every protocol.

    A run that a protocol refuses has no numbers under it and a sentence instead.

    Args:
        runs: With names of their own.
        protocols: The first decides the order of rows, and figures follow it.
        plan: How to measure; None: as `BenchmarkPlan()`.
        out: Where `write_benchmark` puts the files; None writes nothing.
        design: Which run meets which videos; None: each all that it has.
        progress: Called with the number of measurements done and of all.

    Raises:
        UsageError: There is no run or protocol, two have one name, or nothing can be measured.
    """
    plan = plan or BenchmarkPlan()
    _refuse_twice("runs", [run.name for run in runs])
    _refuse_twice("protocols", [protocol.name for protocol in protocols])
    chosen, left_out = _designed(runs, design)
    found = _Found()
    for done, run in enumerate(chosen):
        for place, protocol in enumerate(protocols):
            _measure(run, protocol, plan, found, drawn=place == 0)
            if progress is not None:
                progress(done * len(protocols) + place + 1, len(chosen) * len(protocols))
    if not found.rows:
        reasons = "; ".join([*found.undefined, *left_out])
        raise UsageError(f"nothing can be measured: {reasons}")
    result = _result(chosen, protocols, design, plan, found, left_out)
    if out is not None:
        from dfdetect.evaluation.benchmark.files import write_benchmark

        write_benchmark(result, out)
    return result


def _refuse_twice(what: str, names: list[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"a benchmark needs one or more {what} with names of their own, got "
            f"{', '.join(names) or 'none'}"
            + ("; name them with names=[A,B]" if names and what == "runs" else "")
        )


def _designed(
    runs: Sequence[ScoredRun], design: Design | None
) -> tuple[list[ScoredRun], list[str]]:
    if design is None:
        return list(runs), []
    selection = select(design, runs)
    ids: dict[str, set[str]] = {}
    said = list(selection.left_out)
    for pairing in selection.pairings:
        # the parts of one run are measured together, so that every part keeps its own name
        names = pairing.videos.column("video_id").to_pylist()
        ids.setdefault(pairing.run.name, set()).update(names)
        if pairing.row.endswith(TRAINED_MARK):
            said.append(f"{pairing.run.name}: {pairing.row}")
    chosen = []
    for run in runs:
        own = ids.get(run.name, set())
        names = run.videos.column("video_id").to_pylist()
        which = np.array([name in own for name in names], dtype=bool)
        if which.any():
            chosen.append(run if which.all() else of_videos(run, run.videos.take(which)))
    return chosen, said


def _measure(
    run: ScoredRun, protocol: Protocol, plan: BenchmarkPlan, found: _Found, *, drawn: bool
) -> None:
    notes = found.definitions.setdefault(protocol.name, [])
    try:
        one = measured(run, protocol, plan.n_bootstrap, plan.seed)
    except UsageError as error:
        reason = _repaired(error, protocol)
        found.undefined.append(f"{run.name} has no numbers under {protocol.name}: {reason}")
        return
    found.rows += one.rows
    found.undefined += [f"{run.name}, {protocol.name}: {text}" for text in one.undefined]
    notes += [f"{protocol.name}, {run.name}: {text}" for text in one.whole.notes]
    _cover(run, protocol, one.whole, found)
    if drawn:
        found.panels += panels_of(run, one.views)


def _repaired(error: Exception, protocol: Protocol) -> str:
    # beside others a protocol's rules have another place on the command line
    return str(error).replace("protocol.", f"rules.{protocol.name}.")


def _cover(run: ScoredRun, protocol: Protocol, view: ProtocolView, found: _Found) -> None:
    try:
        require_coverage(view, protocol)
    except LowCoverage as error:
        found.low_coverage.append(f"{run.name} under {protocol.name}: {_repaired(error, protocol)}")
    for fakes in view.coverage:
        same = [one for one in view.coverage if one.dataset == fakes.dataset]
        for method in (ALL, fakes.method):
            members = [one for one in same if one.label != FAKE or method in (ALL, one.method)]
            found.covered[run.name, protocol.name, fakes.dataset, method] = (
                sum(one.n_scored for one in members),
                sum(one.n_videos for one in members),
            )


def _result(
    runs: Sequence[ScoredRun],
    protocols: Sequence[Protocol],
    design: Design | None,
    plan: BenchmarkPlan,
    found: _Found,
    left_out: Sequence[str],
) -> BenchmarkResult:
    # figures need matplotlib, which nothing else here loads
    from dfdetect.evaluation.benchmark.figures import all_figures

    names = [protocol.name for protocol in protocols]
    oracles = {run.name: run.oracle for run in runs if run.oracle}
    notes = Notes()
    named = Naming(dict(plan.published_as), _compressions(runs))
    texts = _shared(found.definitions)
    tables = (
        (RULES, [protocol_rules_table(protocols)]),
        (AUCS, auc_tables(found.rows, names, found.covered, oracles, notes, texts)),
        (PUBLISHED, published_tables_beside(found.rows, names, named, oracles, notes)),
        (OTHERS, other_tables(found.rows, names, oracles, notes)),
        (ROBUSTNESS, severity_tables(plan.curves, oracles, notes)),
    )
    drawings = all_figures(found.panels, found.rows, plan.curves, names[0], oracles, seed=plan.seed)
    return BenchmarkResult(
        rows=tuple(found.rows),
        tables=tuple((what, tuple(some)) for what, some in tables if some),
        drawings=tuple((exposure, tuple(some)) for exposure, some in drawings.items()),
        definitions=tuple(notes.texts),
        undefined=tuple(dict.fromkeys(found.undefined)),
        left_out=tuple(left_out),
        low_coverage=tuple(found.low_coverage),
        oracles=tuple(oracles.items()),
        parents=_parents(runs),
        settings=(
            ("runs", ", ".join(run.name for run in runs)),
            ("protocols", ", ".join(names)),
            *((f"protocol {one.name}, sha256", sha256_value(one)) for one in protocols),
            ("design", "none" if design is None else design.name),
            ("n_bootstrap", plan.n_bootstrap),
            ("seed", plan.seed),
        ),
        plan=plan,
    )


def _shared(definitions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return each protocol's footnotes, those that are the same for all its runs said once."""
    shared = {}
    for protocol, texts in definitions.items():
        runs: dict[str, list[str]] = {}
        for text in texts:
            head, _, rest = text.removeprefix(f"{protocol}, ").partition(": ")
            runs.setdefault(rest, []).append(head)
        everybody = {name for names in runs.values() for name in names}
        shared[protocol] = [
            f"{protocol}: {text}" if len(set(names)) == len(everybody)
            else f"{protocol}, {', '.join(dict.fromkeys(names))}: {text}"
            # what holds for every run comes first
            for text, names in sorted(runs.items(), key=lambda one: -len(set(one[1])))
        ]  # fmt: skip
    return _of_every_protocol(shared)


def _of_every_protocol(shared: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return footnotes with those that all of several protocols have said once, before others."""
    bodies = [{text.removeprefix(f"{one}: ") for text in texts} for one, texts in shared.items()]
    common = set.intersection(*bodies) if len(bodies) > 1 else set()
    return {
        one: [
            f"every protocol: {body}" if (body := text.removeprefix(f"{one}: ")) in common else text
            for text in sorted(texts, key=lambda text: text.removeprefix(f"{one}: ") not in common)
        ]
        for one, texts in shared.items()
    }


def _compressions(runs: Sequence[ScoredRun]) -> dict[tuple[str, str], str]:
    """Return the compression of each run's datasets that have a single one."""
    found: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        columns = [run.videos.column(name).to_pylist() for name in ("dataset", "compression")]
        for dataset, compression in set(zip(*columns, strict=True)):
            found.setdefault((run.name, dataset), set()).add(compression)
    return {key: next(iter(names)) for key, names in found.items() if len(names) == 1}


def _parents(runs: Sequence[ScoredRun]) -> tuple[tuple[str, str], ...]:
    """Return the hashes that the runs came with, of the videos measured, and of this code."""
    parents = []
    for run in runs:
        parents += [(f"{run.name}: {role}", digest) for role, digest in run.parents]
        parents.append((f"{run.name}: videos measured", content_hash(run.videos.table)))
    return (*parents, ("code", code_sha256()))


def code_sha256() -> str:
    """Return the SHA-256 of the package's modules, by their names and bytes."""
    root = Path(__file__).resolve().parents[2]
    names = sorted(path.relative_to(root) for path in root.rglob("*.py"))
    return sha256_value([(name.as_posix(), sha256_file(root / name)) for name in names])
