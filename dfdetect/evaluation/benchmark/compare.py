"""Detectors against each other on the same videos: differences of AUC that chance may explain."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dfdetect.errors import UsageError
from dfdetect.evaluation.benchmark.result_tables import method_words
from dfdetect.evaluation.benchmark.tables import number, p_words, signed
from dfdetect.evaluation.measure import LEVEL
from dfdetect.evaluation.parts import Part, parts_of
from dfdetect.evaluation.protocols.protocol import Protocol, under_protocol
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import UNKNOWN, ScoredRun
from dfdetect.provenance import sha256_value
from dfdetect.scoring.bootstrap import interval_of_unanimous
from dfdetect.scoring.comparison import holm, paired_delong
from dfdetect.scoring.metrics import delong_variance

FEWEST = 5


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """`dfdetect benchmark compare`: results folders in, paired tests out.

    Attributes:
        runs: Folders that `dfdetect evaluate` wrote, two at least.
        names: What tables call them, as many as `runs`; empty: the names they have.
        protocol: By which definitions frames become the score of a video.
        out: Where the files go.
        fewest: Pairs with fewer genuine or fewer fake videos get a sentence and no number.
        alpha: How often chance alone may be called a difference, over all pairs together.
    """

    runs: tuple[Path, ...]
    names: tuple[str, ...]
    protocol: Protocol
    out: Path
    fewest: int = FEWEST
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what no test can be made with."""
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha={self.alpha} must lie between 0 and 1")
        if self.fewest < 2:
            raise UsageError(f"fewest={self.fewest} must be 2 or more")


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """Two detectors on the fakes of one method and the genuine videos of its dataset.

    Only videos that both scored count. `difference` is the AUC of `a` less that of `b`, with its
    95 % interval; `p_value` is DeLong's for paired curves, `p_holm` adjusted for all comparisons
    made together. Numbers are None where there are too few videos, and `sentence` then says so.
    `n_only_a` and `n_only_b` count videos that the other was never given, `n_unscored` those that
    one of the two could not score, `n_conflicting` those with two labels or methods.
    """

    dataset: str
    method: str
    a: str
    b: str
    exposure_a: str
    exposure_b: str
    protocol: str
    unit: str
    n_real: int
    n_fake: int
    n_only_a: int
    n_only_b: int
    n_unscored: int
    n_conflicting: int
    auc_a: float | None = None
    auc_a_low: float | None = None
    auc_a_high: float | None = None
    auc_b: float | None = None
    auc_b_low: float | None = None
    auc_b_high: float | None = None
    difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs, largest doubt last, and by which definitions they were made."""

    rows: tuple[ComparisonRow, ...]
    notes: tuple[str, ...]
    oracles: tuple[tuple[str, str], ...]
    alpha: float
    parents: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str | int | float], ...]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A run's videos under a protocol: ids, columns that must agree, and a score or NaN."""

    run: ScoredRun
    ids: NDArray[np.str_] = field(repr=False)
    keys: NDArray[np.str_] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    logits: NDArray[np.float64] = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)
    notes: tuple[str, ...] = ()


def compare(
    runs: Sequence[ScoredRun],
    protocol: Protocol,
    *,
    fewest: int = FEWEST,
    alpha: float = 0.05,
) -> Comparison:
    """Compare every two runs on every method of every dataset that both were given, by video.

    Args:
        runs: Two at least, with names of their own.
        protocol: How faces become one score a video; the same for all.
        fewest: Genuine and fake videos that a number needs, at least 2.
        alpha: Error rate over all comparisons together, for the sentences.

    Raises:
        UsageError: Fewer than two runs, two of one name, or no video in common.
    """
    names = [run.name for run in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise UsageError(
            f"comparing needs two runs or more with names of their own, got {', '.join(names)}; "
            "name them with names=[A,B]"
        )
    scored = [_under(run, protocol) for run in runs]
    found = [
        row
        for a, b in combinations(scored, 2)
        for row in _pair(a, b, protocol.name, max(2, fewest))
    ]
    if not found:
        raise UsageError(
            f"{', '.join(names)} have no dataset with a video in common; score the same manifest"
        )
    tested = [row for row in found if row.p_value is not None]
    adjusted = dict(zip(map(id, tested), holm([row.p_value or 0.0 for row in tested]), strict=True))
    rows = [dataclasses.replace(row, p_holm=adjusted.get(id(row))) for row in found]
    rows = [dataclasses.replace(row, sentence=_sentence(row, fewest, alpha)) for row in rows]
    return Comparison(
        rows=tuple(sorted(rows, key=_rank)),
        notes=tuple(dict.fromkeys(note for one in scored for note in (*one.notes, *one.run.notes))),
        oracles=tuple((run.name, run.oracle) for run in runs if run.oracle),
        alpha=alpha,
        parents=tuple((f"{run.name}: {role}", sha) for run in runs for role, sha in run.parents),
        settings=(
            ("runs", ", ".join(names)),
            ("protocol", sha256_value(protocol)),
            ("fewest", fewest),
            ("alpha", alpha),
        ),
    )


def _under(run: ScoredRun, protocol: Protocol) -> _Scored:
    view = under_protocol(run, protocol)
    videos = view.videos
    logits = np.full(len(videos), np.nan)
    for unit in view.units:
        if unit.unit == "video":
            logits[unit.video] = unit.logit
    columns = [videos.column(name).to_pylist() for name in ("dataset", "method", "label")]
    return _Scored(
        run,
        np.array(videos.column("video_id").to_pylist(), dtype=np.str_),
        np.array(["\0".join(map(str, cells)) for cells in zip(*columns, strict=True)], np.str_),
        np.array(columns[2], dtype=np.int64),
        logits,
        parts_of(videos),
        view.notes,
    )


def _pair(a: _Scored, b: _Scored, protocol: str, fewest: int) -> list[ComparisonRow]:
    _, in_a, in_b = np.intersect1d(a.ids, b.ids, return_indices=True)
    # where each video of a stands in b, -1 where b was not given it
    place = np.full(a.ids.size, -1)
    place[in_a] = in_b
    agree = np.zeros(a.ids.size, dtype=bool)
    agree[in_a] = a.keys[in_a] == b.keys[in_b]
    others = {(part.dataset, part.method): part for part in b.parts}
    rows = []
    for part in a.parts:
        other = others.get((part.dataset, part.method))
        if other is None:
            continue
        shared = part.members & agree
        if not shared.any():
            continue
        ours, theirs = a.logits[shared], b.logits[place[shared]]
        both = np.isfinite(ours) & np.isfinite(theirs)
        given_to_both = int(np.count_nonzero(part.members & (place >= 0)))
        row = ComparisonRow(
            part.dataset, part.method, a.run.name, b.run.name,
            _exposure(a.run, part), _exposure(b.run, part), protocol, "video",
            n_real=int(np.count_nonzero(a.labels[shared][both] == 0)),
            n_fake=int(np.count_nonzero(a.labels[shared][both] == 1)),
            n_only_a=int(part.members.sum()) - given_to_both,
            n_only_b=int(other.members.sum()) - int(other.members[in_b].sum()),
            n_unscored=int(both.size - both.sum()),
            n_conflicting=given_to_both - int(shared.sum()),
        )  # fmt: skip
        if min(row.n_real, row.n_fake) >= fewest:
            row = _tested(row, a.labels[shared][both], ours[both], theirs[both])
        rows.append(row)
    return rows


def _tested(
    row: ComparisonRow,
    labels: NDArray[np.int64],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
) -> ComparisonRow:
    try:
        test = paired_delong(labels, ours, theirs)
    except ValueError as error:
        return dataclasses.replace(
            row,
            sentence=f"On {where_words(row)}, {row.a} and {row.b} are not compared: {error}.",
        )
    ends = []
    for auc, logits in ((test.auc_a, ours), (test.auc_b, theirs)):
        reach = NormalDist().inv_cdf(0.5 + LEVEL / 2) * delong_variance(labels, logits) ** 0.5
        whole = interval_of_unanimous(auc, (row.n_real, row.n_fake), LEVEL)
        ends.append(whole or (max(0.0, auc - reach), min(1.0, auc + reach)))
    return dataclasses.replace(
        row,
        auc_a=test.auc_a, auc_a_low=ends[0][0], auc_a_high=ends[0][1],
        auc_b=test.auc_b, auc_b_low=ends[1][0], auc_b_high=ends[1][1],
        difference=test.difference, ci_low=test.interval.low, ci_high=test.interval.high,
        p_value=test.p_value,
    )  # fmt: skip


def _exposure(run: ScoredRun, part: Part) -> str:
    if run.trained_on is None:
        return UNKNOWN
    found = {run.trained_on.exposure(part.stem, method) for method in part.methods}
    return found.pop() if len(found) == 1 else "mixed"


def _rank(row: ComparisonRow) -> tuple[str, bool, float]:
    lowest = 2.0 if row.auc_a is None or row.auc_b is None else min(row.auc_a, row.auc_b)
    return row.dataset, row.method == ALL, lowest


def _sentence(row: ComparisonRow, fewest: int, alpha: float) -> str:
    if row.sentence:
        return row.sentence
    where = where_words(row)
    on = f"{row.n_real:,} genuine and {row.n_fake:,} fake videos"
    if row.difference is None or row.ci_low is None or row.ci_high is None:
        return (
            f"On {where}, {row.a} and {row.b} are not compared: both scored {on}, and {fewest} of "
            "each are needed at least."
        )
    higher, lower = (row.a, row.b) if row.difference >= 0 else (row.b, row.a)
    low, high = row.ci_low, row.ci_high
    if row.difference < 0:
        low, high = -high, -low
    chances = f"p {p_words(row.p_value)}, after Holm {p_words(row.p_holm)}"
    if row.p_holm is not None and row.p_holm < alpha:
        return (
            f"On {where}, the AUC of {higher} is higher than that of {lower} by "
            f"{number(abs(row.difference))} (95 % interval {number(low)} to {number(high)}; "
            f"{chances}; {on})."
        )
    return (
        f"On {where}, {row.a} and {row.b} cannot be told apart: their AUCs differ by "
        f"{signed(row.difference)} (95 % interval {signed(row.ci_low)} to {signed(row.ci_high)}; "
        f"{chances}; {on})."
    )


def where_words(row: ComparisonRow) -> str:
    """Return the dataset and method of a comparison, as its sentence names them."""
    return f"{row.dataset}, {method_words(row.method)}"
