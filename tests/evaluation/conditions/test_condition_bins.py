"""Errors by condition, against the same numbers counted the long way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfdetect.evaluation.conditions import FEWEST
from dfdetect.evaluation.conditions.bins import ConditionRow, errors_by_condition
from dfdetect.evaluation.conditions.files import read_conditions, write_conditions
from dfdetect.evaluation.conditions.values import CONDITIONS, FACE_SIZE, Condition, MeasuredFaces
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.types import Calibration
from tests.score_runs import run_of

CALIBRATION = Calibration("platt", 1.5, 0.2, 1e-3, 1e3, 100, 100, "a set", "2026-01-01")


def faces_of(seed: int = 0, fitted: Calibration | None = CALIBRATION) -> MeasuredFaces:
    """Return 24 videos of 6 faces each, two kinds of fakes, one frame in ten without a face."""
    rng = np.random.default_rng(seed)
    videos: dict[str, tuple[int, list[float | str]]] = {}
    for number in range(24):
        label = number % 2
        method = ("original", "swap", "original", "talk")[number % 4]
        frames: list[float | str] = [
            "no_face" if rng.random() < 0.1 else round(float(rng.normal(label, 1)), 1)
            for _ in range(6)
        ]
        frames[0] = float(label)
        videos[f"d/{method}/{number:02d}"] = (label, frames)
    run = run_of(videos, calibration=fitted)
    n = run.scores.n_scored
    values = {one.name: np.full(n, np.nan) for one in CONDITIONS}
    values[FACE_SIZE.name] = rng.choice([40.0, 64.0, 100.0, 128.0, 200.0, np.nan], n)
    # six faces of two genuine videos, too few of them
    values[FACE_SIZE.name][:3] = 300.0
    return MeasuredFaces(run, values)


def by_hand(faces: MeasuredFaces, low: float | None, high: float | None) -> tuple[object, ...]:
    table, run = faces.run.scores.scored(), faces.run
    labels = dict(
        zip(run.videos.column("video_id").to_pylist(), run.videos.column("label").to_pylist(),
            strict=True)
    )  # fmt: skip
    inside = [
        (table.video_ids[video], float(logit))
        for video, logit, value in zip(
            table.video.tolist(), table.logit.tolist(), faces.values["face size"].tolist(),
            strict=True,
        )
        if not math.isnan(value)
        and (low is None or value >= low)
        and (high is None or value < high)
    ]  # fmt: skip
    names = sorted({name for name, _ in inside})
    reals = [name for name in names if not labels[name]]
    fakes = [name for name in names if labels[name]]
    n_fake = sum(labels[name] for name, _ in inside)
    auc, flagged, missed = None, None, None
    if min(len(reals), len(fakes)) >= FEWEST:
        auc = roc_auc_score([labels[name] for name, _ in inside], [logit for _, logit in inside])

    def has_signs(name: str) -> bool:
        mean = np.mean([logit for one, logit in inside if one == name])
        return bool(1.5 * mean + 0.2 >= 0.5 * math.log(10))

    if len(reals) >= FEWEST:
        flagged = sum(map(has_signs, reals))
    if len(fakes) >= FEWEST:
        missed = sum(not has_signs(name) for name in fakes)
    return len(inside) - n_fake, n_fake, len(reals), len(fakes), auc, flagged, missed


def found(row: ConditionRow) -> tuple[object, ...]:
    counts = (row.n_real, row.n_fake, row.n_real_videos, row.n_fake_videos)
    auc = None if row.auc is None else pytest.approx(row.auc)
    return (*counts, auc, row.real_flagged, row.fake_missed)


@pytest.mark.parametrize("seed", range(4))
def test_every_bin_is_what_counting_by_hand_gives(seed: int) -> None:
    faces = faces_of(seed)
    rows = errors_by_condition(faces, n_bootstrap=50)
    # a condition that nobody measured has no rows, and all fakes stand together
    assert [row.bin for row in rows] == list(FACE_SIZE.bins)
    assert {row.dataset for row in rows} == {"d"}
    for row in rows:
        assert found(row) == by_hand(faces, row.low, row.high)
    assert sum(row.n_real + row.n_fake for row in rows) + rows[0].n_unknown == len(
        faces.run.scores.scored()
    )


def test_an_edge_belongs_to_the_bin_above_it() -> None:
    assert [one.bins[0] for one in CONDITIONS][:1] == ["below 64 px"]
    rows = errors_by_condition(faces_of(), n_bootstrap=0)
    values = faces_of().values["face size"]
    assert rows[0].n_real + rows[0].n_fake == int(np.sum(values == 40))
    assert rows[1].n_real + rows[1].n_fake == int(np.sum((values == 64) | (values == 100)))


def test_a_bin_with_too_few_videos_has_no_number() -> None:
    last = errors_by_condition(faces_of(), n_bootstrap=50)[-1]
    assert (last.n_real, last.n_fake, last.n_real_videos) == (3, 0, 1)
    assert (last.auc, last.ci_low, last.real_flagged, last.fake_missed) == (None,) * 4


def test_without_a_calibration_nobody_is_flagged_or_missed() -> None:
    rows = errors_by_condition(faces_of(fitted=None), n_bootstrap=0)
    assert {(row.real_flagged, row.fake_missed) for row in rows} == {(None, None)}
    assert any(row.auc is not None for row in rows)
    assert {(row.ci_low, row.ci_high) for row in rows} == {(None, None)}


def test_intervals_hold_the_value_and_a_perfect_bin_is_not_certain() -> None:
    for row in errors_by_condition(faces_of(2), n_bootstrap=200):
        if row.auc is not None:
            assert row.ci_low is not None
            assert row.ci_high is not None
            assert row.ci_low <= row.auc <= row.ci_high
    videos = {
        f"d/{'swap' if n % 2 else 'original'}/{n}": (n % 2, [float(n % 2)]) for n in range(12)
    }
    run: ScoredRun = run_of(videos)
    values = {one.name: np.full(12, np.nan) for one in CONDITIONS} | {
        "brightness": np.full(12, 9.0)
    }
    first = errors_by_condition(MeasuredFaces(run, values), n_bootstrap=100)[0]
    assert (first.auc, first.ci_high) == (1.0, 1.0)
    assert first.ci_low == pytest.approx(0.025 ** (1 / 6))


def test_rows_come_back_from_their_file(tmp_path: Path) -> None:
    rows = errors_by_condition(faces_of(), n_bootstrap=20)
    write_conditions(rows, tmp_path, (("weights", "ab"),), 20, 0)
    read, header = read_conditions(tmp_path)
    assert read == rows
    assert header.fact("what")["face size"] == FACE_SIZE.what
    assert header.fact("settings")["edges"]["face size"] == [64.0, 128.0, 256.0]


def test_edges_rise_and_bins_are_named() -> None:
    for condition in CONDITIONS:
        assert list(condition.edges) == sorted(set(condition.edges))
        assert len(condition.bins) == len(condition.edges) + 1
    assert Condition("x", "y", "", (1.0, 2.5)).bins == ("below 1", "1 to 2.5", "2.5 or more")
