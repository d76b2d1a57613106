"""Results under several conditions → points of curves against severity, worst case first.

Nothing here reads clips: it works on rows of results and on counts of faces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dfdetect.data.tables import TableContract, TableHeader, read_table, write_table
from dfdetect.evaluation.results import ALL, CLEAN, ResultRow
from dfdetect.evaluation.runs import MIXED, UNKNOWN

FOUND = "found_faces"
"""The share of the frames looked at in which a usable face was found."""

METRICS = ("auc", "ece", "cllr")
_LESS_IS_WORSE = ("auc", FOUND)
_LEVEL = 0.95

CURVES_FILE = "curves.parquet"
CURVES = TableContract(
    name="robustness curves",
    version=2,
    schema=pa.schema(
        [
            pa.field("detector", pa.string(), nullable=False),
            pa.field("dataset", pa.string(), nullable=False),
            pa.field("method", pa.string(), nullable=False),
            pa.field("metric", pa.string(), nullable=False),
            pa.field("family", pa.string(), nullable=False),
            pa.field("severity", pa.int64()),
            pa.field("condition", pa.string(), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
            pa.field("ci_low", pa.float64()),
            pa.field("ci_high", pa.float64()),
            pa.field("n_videos", pa.int64(), nullable=False),
            pa.field("n_skipped", pa.int64(), nullable=False),
            pa.field("exposure", pa.string(), nullable=False),
        ]
    ),
    repair="dfdetect benchmark robustness manifest=FILE data_root=FOLDER out=FOLDER",
)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One number of one detector under one condition.

    `family` is the condition without its severity, which is 1 to 5, 0 for the clean clips and None
    for a profile. `metric` is one of the results' or `found_faces`. The interval is at 95 %, None
    where there is none; `n_videos` were measured, `n_skipped` had no usable face at all.
    `exposure` says of the fakes what that of a `ResultRow` does; it is '' of found faces, which are
    of no kind of fakes.
    """

    detector: str
    dataset: str
    method: str
    metric: str
    family: str
    severity: int | None
    condition: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n_videos: int
    n_skipped: int
    exposure: str = UNKNOWN

    @property
    def badness(self) -> float:
        """The value, or its negative, so that more is worse."""
        return -self.value if self.metric in _LESS_IS_WORSE else self.value


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """In how many of the frames that were looked at a usable face was found, video by video.

    `n_frames` and `n_found` have an entry a video of the dataset, in one order under every
    condition; a video that could not be read has no frames.
    """

    detector: str
    condition: str
    dataset: str
    n_frames: NDArray[np.int64] = field(repr=False)
    n_found: NDArray[np.int64] = field(repr=False)

    @property
    def rate(self) -> float | None:
        """The share over all videos; None where not one frame could be read."""
        total = int(self.n_frames.sum())
        return int(self.n_found.sum()) / total if total else None

    def interval(self, n_bootstrap: int, seed: int) -> tuple[float, float] | None:
        """Return the 95 % interval by a bootstrap over videos; None for fewer than two of them."""
        seen = self.n_frames > 0
        if np.count_nonzero(seen) < 2 or n_bootstrap < 1:
            return None
        frames, found = self.n_frames[seen], self.n_found[seen]
        drawn = np.random.default_rng(seed).integers(0, frames.size, (n_bootstrap, frames.size))
        rates = found[drawn].sum(axis=1) / frames[drawn].sum(axis=1)
        low, high = np.quantile(rates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        return float(low), float(high)


def parts_of(condition: str) -> tuple[str, int | None]:
    """Return the family and severity of a condition's name.

    Example:
        >>> parts_of("jpeg 3"), parts_of("messenger"), parts_of("clean")
        (('jpeg', 3), ('messenger', None), ('clean', 0))
    """
    family, _, severity = condition.rpartition(" ")
    if family and severity.isdecimal():
        return family, int(severity)
    return condition, 0 if condition == CLEAN else None


def curves(
    rows: Iterable[ResultRow],
    found: Iterable[FoundFaces] = (),
    *,
    metrics: Sequence[str] = METRICS,
    unit: str = "video",
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> tuple[CurvePoint, ...]:
    """Return the points of the curves, worst family first and by rising severity in each.

    Points are grouped by detector, dataset, method and metric, in the order in which these come;
    within a group the family comes first whose worst point is worst, the clean clips last among
    equals. Of each dataset the row over all methods counts, or each method where there is none
    and where only some of them were trained on, which must not be put together.

    Args:
        rows: Results under several conditions; those of other metrics and units are left out.
        found: Counts of faces under the same conditions.
        metrics: Which metrics become curves.
        unit: What the metrics are counted by.
        n_bootstrap: Resamples of the interval of the found faces.
        seed: Of the resampling.
    """
    kept = [row for row in rows if row.metric in metrics and row.unit == unit]
    pooled = {
        (row.detector, row.dataset) for row in kept if row.method == ALL and row.exposure != MIXED
    }
    points = [
        CurvePoint(
            row.detector, row.dataset, row.method, row.metric, *parts_of(row.condition),
            row.condition, row.value, row.ci_low, row.ci_high, row.n_real + row.n_fake,
            row.n_skipped, row.exposure,
        )
        for row in kept
        if (row.method == ALL) == ((row.detector, row.dataset) in pooled)
    ]  # fmt: skip
    points += [point for one in found for point in _found_point(one, n_bootstrap, seed)]
    groups: dict[tuple[str, ...], list[CurvePoint]] = defaultdict(list)
    for point in points:
        groups[point.detector, point.dataset, point.method, point.metric].append(point)
    return tuple(point for group in groups.values() for point in _worst_first(group))


def worst_points(points: Iterable[CurvePoint]) -> tuple[CurvePoint, ...]:
    """Return the worst point of every detector, dataset, method and metric, in their order."""
    worst: dict[tuple[str, ...], CurvePoint] = {}
    for point in points:
        key = (point.detector, point.dataset, point.method, point.metric)
        if key not in worst or point.badness > worst[key].badness:
            worst[key] = point
    return tuple(worst.values())


def write_curves(points: Sequence[CurvePoint], folder: Path, header: TableHeader) -> None:
    """Write `curves.parquet` into a folder, whole or not at all."""
    columns = {name: [getattr(point, name) for point in points] for name in CURVES.schema.names}
    write_table(folder / CURVES_FILE, pa.table(columns, schema=CURVES.schema), CURVES, header)


def read_curves(folder: Path) -> tuple[CurvePoint, ...]:
    """Read what `write_curves` wrote, in its order.

    Raises:
        ContractError: The file is missing or no table of this version.
    """
    table, _ = read_table(folder / CURVES_FILE, CURVES)
    columns = [table.column(name).to_pylist() for name in CURVES.schema.names]
    return tuple(CurvePoint(*cells) for cells in zip(*columns, strict=True))


def _found_point(one: FoundFaces, n_bootstrap: int, seed: int) -> tuple[CurvePoint, ...]:
    if one.rate is None:
        return ()
    low, high = one.interval(n_bootstrap, seed) or (None, None)
    n_seen = int(np.count_nonzero(one.n_frames))
    n_faceless = int(np.count_nonzero(one.n_found == 0))
    return (
        CurvePoint(
            one.detector, one.dataset, ALL, FOUND, *parts_of(one.condition), one.condition,
            one.rate, low, high, n_seen, n_faceless, "",
        ),
    )  # fmt: skip


def _worst_first(group: Sequence[CurvePoint]) -> list[CurvePoint]:
    worst: dict[str, float] = {}
    for point in group:
        worst[point.family] = max(point.badness, worst.get(point.family, point.badness))
    return sorted(
        group,
        key=lambda point: (
            -worst[point.family], point.family == CLEAN, point.family, point.severity or 0,
        ),
    )  # fmt: skip
