"""One run under one protocol: its rows, and all that was said on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from dfdetect.evaluation.measure import MeasurePlan, measure
from dfdetect.evaluation.protocols.protocol import (
    Protocol,
    ProtocolView,
    protocol_views,
    under_protocol,
)
from dfdetect.evaluation.results import CLEAN, ResultRow
from dfdetect.evaluation.runs import ScoredRun


@dataclass(frozen=True, slots=True)
class Measured:
    """What a protocol makes of a run.

    Attributes:
        rows: Every number.
        undefined: Sentences on what has none, and why.
        whole: The protocol's view of all videos at once, with its footnotes and coverage.
        views: Those that the rows were measured on; one, but with Q3 one for each method.
    """

    rows: tuple[ResultRow, ...]
    undefined: tuple[str, ...]
    whole: ProtocolView = field(repr=False)
    views: tuple[ProtocolView, ...] = field(repr=False)


def measured(
    run: ScoredRun, protocol: Protocol, n_bootstrap: int, seed: int, condition: str = CLEAN
) -> Measured:
    """Measure a run by the rules of a protocol.

    Args:
        run: The scores.
        protocol: By which definitions; how many videos need a score is not asked here.
        n_bootstrap: Resamples of every interval.
        seed: Of the resampling.
        condition: What was done to the clips before faces were looked for.

    Raises:
        UsageError: The protocol refuses the run.
    """
    views = protocol_views(run, protocol)
    rows: list[ResultRow] = []
    undefined: list[str] = []
    for view in views:
        plan = _plan(run, protocol, view, (n_bootstrap, seed, condition))
        found, without = measure(view.units, view.videos, plan)
        rows += found
        undefined += without
    # of several views none says what holds for the whole run
    whole = views[0] if len(views) == 1 else under_protocol(run, protocol)
    return Measured(tuple(rows), tuple(undefined), whole, views)


def _plan(
    run: ScoredRun, protocol: Protocol, view: ProtocolView, told: tuple[int, int, str]
) -> MeasurePlan:
    n_bootstrap, seed, condition = told
    fitted = run.calibration
    # a calibration and a threshold hold for logits that came about as those they were fitted on
    holds = fitted is None or protocol.aggregate in (None, fitted.aggregate)
    return MeasurePlan(
        detector=run.name,
        protocol=protocol.name,
        calibration=fitted if holds else None,
        threshold=run.threshold if holds else None,
        n_bootstrap=n_bootstrap,
        seed=seed,
        condition=condition,
        trained_on=view.trained_on,
        ranked_only=run.ranked_only,
        methods=view.methods,
    )
