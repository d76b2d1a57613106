"""Faces with a value under a condition → the errors in each bin of it, dataset by dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfdetect.evaluation.conditions import FEWEST
from dfdetect.evaluation.conditions.values import CONDITIONS, Condition, MeasuredFaces
from dfdetect.evaluation.parts import Part, parts_of
from dfdetect.evaluation.results import ALL
from dfdetect.scoring.bootstrap import interval_of_unanimous
from dfdetect.scoring.calibrate import BAND_LIMITS, log_likelihood_ratio
from dfdetect.scoring.metrics import bootstrap_ci, roc_auc
from dfdetect.scoring.score_table import SCORED, ScoreTable
from dfdetect.scoring.units import unit_scores
from dfdetect.types import FAKE, Calibration

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """The errors of one detector on a dataset's faces whose value lies in one bin.

    `low` is in the bin and `high` is not; None at an open end. `n_real` and `n_fake` are faces,
    `n_real_videos` and `n_fake_videos` the videos that they are of. `auc` is by face, its 95 %
    interval by a bootstrap over videos; both None where a class has fewer than `FEWEST` videos.
    `real_flagged` genuine videos reach "weak signs" by their faces of this bin alone and
    `fake_missed` fakes do not; None without a calibration and for fewer videos than `FEWEST`.
    `n_unknown` faces of the dataset have no value under the condition.
    """

    detector: str
    dataset: str
    condition: str
    bin: str
    low: float | None
    high: float | None
    n_real: int
    n_fake: int
    n_real_videos: int
    n_fake_videos: int
    auc: float | None
    ci_low: float | None
    ci_high: float | None
    real_flagged: int | None
    fake_missed: int | None
    n_unknown: int


def errors_by_condition(
    faces: MeasuredFaces, n_bootstrap: int = 2000, seed: int = 0
) -> tuple[ConditionRow, ...]:
    """Return a row for each dataset, condition and bin; a condition nobody could measure has none.

    All fakes of a dataset stand against its genuine videos; datasets are never put together.

    Args:
        faces: As `measured_faces` returns them.
        n_bootstrap: Resamples of every interval; 0 leaves them out.
        seed: Of the resampling.
    """
    videos = faces.run.videos
    rows: list[ConditionRow] = []
    wholes: dict[str, Part] = {}
    for part in parts_of(videos):
        if part.method == ALL or part.dataset not in wholes:
            wholes[part.dataset] = part
    for part in wholes.values():
        sample = _Faces(faces, part, n_bootstrap, seed)
        for condition in CONDITIONS:
            rows += sample.rows(condition)
    return tuple(rows)


class _Faces:
    """The scored faces of one dataset."""

    def __init__(self, faces: MeasuredFaces, part: Part, n_bootstrap: int, seed: int) -> None:
        self._faces, self._part = faces, part
        self._n_bootstrap, self._seed = n_bootstrap, seed
        self._table = faces.run.scores.scored()
        self._labels: Ints = faces.run.videos.column("label").to_numpy().astype(np.int64)
        self._members: Mask = part.members[self._table.video]

    def rows(self, condition: Condition) -> Iterator[ConditionRow]:
        values = self._faces.values[condition.name]
        known = self._members & np.isfinite(values)
        if not known.any():
            return
        n_unknown = int(np.count_nonzero(self._members & ~known))
        place = np.searchsorted(condition.edges, values, side="right")
        ends = (None, *condition.edges, None)
        for number, name in enumerate(condition.bins):
            inside = known & (place == number)
            yield self._row(
                (condition.name, name, ends[number], ends[number + 1]), inside, n_unknown
            )

    def _row(
        self, where: tuple[str, str, float | None, float | None], inside: Mask, n_unknown: int
    ) -> ConditionRow:
        table, video = self._table, self._table.video[inside]
        labels, logits = self._labels[video], table.logit[inside]
        of_video = self._labels[np.unique(video)]
        n_videos = int(np.count_nonzero(of_video != FAKE)), int(np.count_nonzero(of_video == FAKE))
        auc, low, high = self._auc(labels, logits, video, n_videos)
        flagged, missed = self._missteps(inside, n_videos)
        n_fake = int(np.count_nonzero(labels == FAKE))
        return ConditionRow(
            self._faces.run.name, self._part.dataset, *where, int(labels.size) - n_fake, n_fake,
            *n_videos, auc, low, high, flagged, missed, n_unknown,
        )  # fmt: skip

    def _auc(
        self, labels: Ints, logits: NDArray[np.float64], video: Ints, n_videos: tuple[int, int]
    ) -> tuple[float | None, float | None, float | None]:
        if min(n_videos) < FEWEST:
            return None, None, None
        auc = roc_auc(labels, logits)
        ends = interval_of_unanimous(auc, n_videos)
        if ends is None and self._n_bootstrap:
            found = bootstrap_ci(
                roc_auc, labels, logits, video, n=self._n_bootstrap, seed=self._seed
            )
            ends = found.low, found.high
        return (auc, *(ends or (None, None)))

    def _missteps(self, inside: Mask, n_videos: tuple[int, int]) -> tuple[int | None, int | None]:
        """Return genuine videos with signs and fakes without, by these faces alone."""
        fitted, table = self._faces.run.calibration, self._table
        if fitted is None or max(n_videos) < FEWEST:
            return None, None
        names = [table.video_ids[place] for place in table.video[inside].tolist()]
        chosen = ScoreTable.from_columns(
            names, table.track_id[inside], table.frame_index[inside], table.time_s[inside],
            table.logit[inside], [SCORED] * len(names),
        )  # fmt: skip
        *_, by_video = unit_scores(chosen, fitted.aggregate, "highest_track", 1)
        flagged = np.array([_has_signs(fitted, logit) for logit in by_video.logit.tolist()])
        label = self._labels[np.unique(table.video[inside])]
        false_alarms = int(np.count_nonzero(flagged & (label != FAKE)))
        misses = int(np.count_nonzero(~flagged & (label == FAKE)))
        return (
            false_alarms if n_videos[0] >= FEWEST else None,
            misses if n_videos[1] >= FEWEST else None,
        )


def _has_signs(calibration: Calibration, logit: float) -> bool:
    return log_likelihood_ratio(calibration, logit) >= math.log(BAND_LIMITS[-1][1])
