"""Videos without a score are counted, and count as their policy says by every metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from dfdetect.data.videos import Videos
from dfdetect.errors import LowCoverage, UsageError
from dfdetect.evaluation.measure import MeasurePlan, measure
from dfdetect.evaluation.protocols.coverage import (
    POLICIES,
    Coverage,
    coverage_of,
    files_under_several_ids,
    require_coverage,
    sets_of,
    with_policy,
)
from dfdetect.evaluation.protocols.protocol import PLAIN, under_protocol
from dfdetect.scoring.aggregate import sigmoid
from dfdetect.scoring.units import UnitScores
from tests.score_runs import run_of, video

VIDEOS = {
    "ffpp/A/1": (1, [2.0, "no_face"]),
    "ffpp/A/2": (1, ["no_face", "no_face"]),
    "ffpp/B/1": (1, []),
    "ffpp/original/1": (0, [-1.0]),
    "ffpp/original/2": (0, [3.0]),
    "ffpp/original/3": (0, ["decode_error"]),
}
LABELS = np.array([1, 1, 1, 0, 0, 0])


def test_coverage_counts_videos_and_rows_of_each_method() -> None:
    run = run_of(VIDEOS)
    assert coverage_of(run.scores, run.videos) == (
        Coverage("ffpp", "A", 1, n_videos=2, n_scored=1, n_rows=4, n_rows_scored=1),
        Coverage("ffpp", "B", 1, n_videos=1, n_scored=0, n_rows=1, n_rows_scored=0),
        Coverage("ffpp", "original", 0, n_videos=3, n_scored=2, n_rows=3, n_rows_scored=2),
    )


def values(policy: str) -> tuple[np.ndarray, dict[str, float]]:
    run, protocol = run_of(VIDEOS), replace(PLAIN, coverage=policy)
    view = under_protocol(run, protocol)
    found = next(unit for unit in view.units if unit.unit == "video")
    logits = np.full(6, np.nan)
    logits[found.video] = found.logit
    rows, _ = measure(view.units, view.videos, MeasurePlan("a", "p", None, None, 0, 0))
    said = next(note for note in view.notes if "videos have no score" in note)
    assert said.startswith("3 of 6 videos have no score (the first: ffpp/A/2)")
    assert POLICIES[policy] in said
    assert all(found.n_skipped == [0, 1, 1, 0, 0, 1])
    return logits, {
        row.metric: row.value for row in rows if (row.unit, row.method) == ("video", "all")
    }


@pytest.mark.parametrize(
    ("policy", "given_score"), [("as-chance", 0.0), ("as-real", -2.0), ("as-fake", 4.0)]
)
def test_each_policy_gives_a_score_that_every_metric_takes(policy: str, given_score: float) -> None:
    logits, numbers = values(policy)
    assert logits.tolist() == [2.0, given_score, given_score, -1.0, 3.0, given_score]
    assert numbers["auc"] == pytest.approx(roc_auc_score(LABELS, logits))
    assert numbers["log_loss"] == pytest.approx(log_loss(LABELS, sigmoid(logits)))


def test_missing_videos_stand_in_no_number() -> None:
    logits, numbers = values("as-missing")
    assert np.isnan(logits).tolist() == [False, True, True, False, False, True]
    scored = ~np.isnan(logits)
    assert numbers["auc"] == roc_auc_score(LABELS[scored], logits[scored])


@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=6),
)
def test_real_and_fake_lie_beyond_all_scores_and_on_their_side(
    logits: list[float], absent: list[bool]
) -> None:
    rows = [video(f"a/b/{number:02d}", 1) for number in range(len(logits) + len(absent))]
    unit = UnitScores(
        "video", np.arange(len(logits)), np.array(logits), np.ones(len(rows), np.int64)
    )
    for policy, sign in (("as-real", -1), ("as-fake", 1)):
        found = with_policy(unit, Videos.of(rows), policy)
        assert found.video.tolist() == list(range(len(rows)))
        given_scores = sign * found.logit[len(logits) :]
        assert (given_scores > max(sign * np.array(logits))).all()
        assert (given_scores >= 1).all()
        assert np.unique(given_scores).size == 1


def test_each_test_set_has_scores_of_its_own() -> None:
    rows = [video("x/m/1", 1), video("x/m/2", 1), video("y/m/1", 1), video("y/m/2", 1)]
    unit = UnitScores("video", np.array([0, 2]), np.array([5.0, 9.0]), np.array([0, 1, 0, 1]))
    assert with_policy(unit, Videos.of(rows), "as-fake").logit.tolist() == [5.0, 6.0, 9.0, 10.0]


def test_a_compression_is_a_test_set_where_there_are_several() -> None:
    rows = [
        video("x/m/1", 1),
        video("x/m/2", 1, compression=""),
        video("y/m/1", 1, compression="c40"),
    ]
    sets = sets_of(Videos.of(rows))
    assert [sets.names[code] for code in sets.code] == ["x/c23", "x/uncompressed", "y"]
    assert sets.datasets == ("x", "x", "y")


def test_low_coverage_names_the_class_and_what_would_do() -> None:
    view = under_protocol(run_of(VIDEOS), PLAIN)
    with pytest.raises(LowCoverage) as caught:
        require_coverage(view, replace(PLAIN, min_coverage=0.5))
    assert caught.value.exit_code == 6
    text = str(caught.value)
    assert "wanted 50% of every class (ffpp: 1 of 3 fake videos)" in text
    assert "protocol.min_coverage=0.33" in text
    require_coverage(view, replace(PLAIN, min_coverage=0.33))
    require_coverage(view, PLAIN)


def test_one_file_under_several_ids_is_found() -> None:
    rows = [
        video("x/a/1", 1, sha256="s"),
        video("x/b/1", 0, sha256="s"),
        video("x/b/2", 0, sha256="t"),
        video("x/b/3", 0, sha256=""),
        video("x/b/4", 0, sha256=""),
    ]
    assert files_under_several_ids(Videos.of(rows)) == (("x/a/1", "x/b/1"),)
    notes = under_protocol(run_of([(row, [0.0]) for row in rows]), PLAIN).notes
    assert any("genuine under one id and fake under another" in note for note in notes)
    unique = under_protocol(run_of(VIDEOS), PLAIN).notes
    assert "Video ids are unique, and no file stands under two" in unique


def test_chance_needs_a_scale() -> None:
    run = run_of(VIDEOS, ranked_only=True)
    with pytest.raises(UsageError, match="none of them is chance"):
        under_protocol(run, replace(PLAIN, coverage="as-chance"))
    assert under_protocol(run, replace(PLAIN, coverage="as-real")).notes
