"""What a calibrated detector would have said of clips that were measured: its answers, counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dfdetect.evaluation.cards.card import Answers, BandLine, Operating
from dfdetect.evaluation.parts import Part, parts_of
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.scoring.band_checks import calibration_error, check_bands
from dfdetect.scoring.band_ratios import Share
from dfdetect.scoring.units import unit_scores
from dfdetect.types import FAKE, Band, Calibration


def answers_of(run: ScoredRun, settings: Mapping[str, Any]) -> Iterator[Answers]:
    """Yield the answers on each dataset of a run, by the clips' scores alone: no gate is asked.

    Nothing for runs without a calibration, under another aggregate than it was fitted for, and for
    datasets without both classes.

    Args:
        run: The scores.
        settings: Of the evaluation: `aggregate`, `video_rule` and `min_faces` are used.
    """
    fitted = run.calibration
    if fitted is None or settings.get("aggregate") != fitted.aggregate or not run.scores.n_scored:
        return
    *_, by_video = unit_scores(
        run.scores,
        fitted.aggregate,
        settings["video_rule"],
        -(-settings["min_faces"] // run.frames),
        run.unit,
    )
    labels = run.videos.column("label").to_numpy()
    wholes: dict[str, Part] = {}
    for part in parts_of(run.videos):
        if part.method == ALL or part.dataset not in wholes:
            wholes[part.dataset] = part
    for name, part in wholes.items():
        inside = part.members[by_video.video]
        logits, truth = by_video.logit[inside], labels[by_video.video[inside]]
        if len(np.unique(truth)) == 2:
            yield _answers(name, fitted, logits, truth)


def _answers(name: str, fitted: Calibration, logits: Any, truth: Any) -> Answers:
    bands = tuple(
        BandLine(
            one.band, one.real_found, one.n_real, one.fake_found, one.n_fake, one.expected,
            one.measured, one.low, one.high,
        )
        for one in check_bands(fitted, logits, truth)
    )  # fmt: skip
    (open_,) = [one for one in bands if one.band is Band.INCONCLUSIVE]
    is_fake = truth == FAKE
    operating = []
    for point in fitted.operating_points:
        if point.logit is not None:
            flagged = logits > point.logit
            operating.append(
                Operating(
                    point.false_alarm,
                    point.logit,
                    Share.of(int(np.sum(flagged & ~is_fake)), int(np.sum(~is_fake))),
                    Share.of(int(np.sum(flagged & is_fake)), int(np.sum(is_fake))),
                )
            )
    return Answers(
        dataset=name,
        bands=bands,
        inconclusive=Share.of(open_.real_found + open_.fake_found, truth.size),
        calibration_error=calibration_error(fitted, logits, truth),
        operating=tuple(operating),
    )
