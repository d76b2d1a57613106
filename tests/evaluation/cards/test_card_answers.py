"""The answers on measured clips, counted one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dfdetect.evaluation.cards.answers import answers_of
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.scoring.calibrate import band_of
from dfdetect.types import FAKE
from tests.cards import calibration
from tests.score_runs import run_of

SETTINGS = {"aggregate": "mean_logit", "video_rule": "highest_track", "min_faces": 1}


def run() -> ScoredRun:
    rng = np.random.default_rng(3)
    videos = {
        f"{name}/{'swap' if n % 2 else 'original'}/{n:02d}": (
            n % 2,
            [float(x) for x in rng.normal(3 * (n % 2) - 1, 1, 4)],
        )
        for name in ("a", "b")
        for n in range(40)
    }
    return run_of({**videos, "c/original/0": (0, [0.0, 1.0])}, calibration=calibration())


def test_every_answer_is_counted_by_dataset() -> None:
    scored, fitted = run(), calibration()
    found = tuple(answers_of(scored, SETTINGS))
    # the dataset c has no fake
    assert [one.dataset for one in found] == ["a", "b"]
    for one in found:
        told = []
        for video in scored.videos:
            if video.dataset == one.dataset:
                mine = scored.scores.video_ids.index(video.video_id)
                mean = float(np.mean(scored.scores.logit[scored.scores.video == mine]))
                told.append((video.label == FAKE, mean))
        limits = math.log(fitted.lr_min), math.log(fitted.lr_max)
        bands = [
            (fake, band_of(float(np.clip(fitted.slope * x + fitted.intercept, *limits))))
            for fake, x in told
        ]
        for line in one.bands:
            assert line.real_found == bands.count((False, line.band))
            assert line.fake_found == bands.count((True, line.band))
            assert (line.n_real, line.n_fake) == (20, 20)
            assert line.low <= line.measured <= line.high
        assert one.inconclusive.n == 40
        # the point without a threshold says nothing here
        (point,) = one.operating
        assert point.false_alarm == 0.05
        assert point.real_flagged.count == sum(x > 1.213 for fake, x in told if not fake)
        assert point.fake_flagged.count == sum(x > 1.213 for fake, x in told if fake)
        p = [1 / (1 + math.exp(-np.clip(fitted.slope * x + fitted.intercept, *limits)))
             for _, x in told]  # fmt: skip
        assert 0 <= one.calibration_error <= max(*p, 1 - min(p))


def test_what_cannot_be_answered_is_left_out() -> None:
    assert list(answers_of(replace(run(), calibration=None), SETTINGS)) == []
    assert list(answers_of(run(), {**SETTINGS, "aggregate": "max"})) == []
    nothing = run_of({"a/original/0": (0, ["no_face"])}, calibration=calibration())
    assert list(answers_of(nothing, SETTINGS)) == []
    with pytest.raises(KeyError):
        list(answers_of(run(), {"aggregate": "mean_logit"}))
