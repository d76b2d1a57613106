"""What makes our number differ from a published one is found among the definitions first."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dfdetect.errors import UsageError
from dfdetect.evaluation.diagnosis import causes
from dfdetect.evaluation.diagnosis.diagnose import diagnose
from dfdetect.evaluation.diagnosis.diagnosis import EXPLAINED, PARTLY, UNEXPLAINED, WITHIN
from dfdetect.evaluation.diagnosis.reading import Reading
from dfdetect.evaluation.published.numbers import PublishedNumber, published_number
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.scoring import metrics
from dfdetect.scoring.units import unit_scores
from tests.scored_runs import generated, manifest, run_of, trembling

PLAIN = Reading(video_rule="all_faces")


def number(value: float, **facts: object) -> PublishedNumber:
    whole = {
        "table": "generated", "row": "a", "column": "b", "detector": "a", "title": "A",
        "in_dfdetect": False, "dataset": "ffpp", "method": "all", "compression": "",
        "metric": "auc", "unit": "video", "source": "nowhere", **facts,
    }  # fmt: skip
    return PublishedNumber(value=round(value, 4), **whole)  # type: ignore[arg-type]


def auc_of(run: ScoredRun, unit: str, aggregate: str = "mean_logit") -> float:
    found = {one.unit: one for one in unit_scores(run.scores, aggregate, "all_faces", 8)}[unit]
    labels = np.array(run.videos.column("label").to_pylist())[found.video]
    return metrics.roc_auc(labels, found.logit)


def test_the_level_of_a_published_number_is_found() -> None:
    ours = trembling(6)
    found = diagnose(ours, number(auc_of(ours, "frame"), unit="frame"), reading=PLAIN)
    assert [cause.name for cause in found.causes] == [causes.LEVEL]
    assert found.causes[0].evidence == "stated"
    assert found.causes[0].explained == pytest.approx(1, abs=0.01)
    assert found.verdict == EXPLAINED


def test_level_and_aggregation_of_a_published_number_are_both_found() -> None:
    ours = trembling(6)
    theirs = number(auc_of(ours, "video", "mean_p"), aggregate="mean_p")
    found = diagnose(ours, theirs, reading=Reading(unit="frame"))
    assert {cause.name for cause in found.causes} == {causes.LEVEL, causes.AGGREGATION}
    assert found.verdict == EXPLAINED


def test_an_unstated_aggregation_is_tried_and_said_to_be_a_guess() -> None:
    ours = trembling(6)
    found = diagnose(ours, number(auc_of(ours, "video", "max")), reading=PLAIN)
    assert causes.AGGREGATION in {cause.name for cause in (*found.causes, *found.others)}
    assert found.causes[-1].evidence == "tried"
    assert any("cannot tell" in note for note in found.notes)


def test_a_published_number_inside_the_interval_or_the_tolerance_needs_no_cause() -> None:
    names, logits = generated(6, 20)
    ours = run_of(names, logits)
    near = auc_of(ours, "video") - 0.02
    found = diagnose(ours, number(near), reading=PLAIN)
    assert found.verdict == WITHIN
    assert found.causes == ()
    tolerated = diagnose(ours, number(near, tolerance=0.03, unit="frame"), reading=PLAIN)
    assert "0.03" in tolerated.conclusion
    assert any("Definitions differ" in note for note in tolerated.notes)


def test_what_was_selected_on_test_keeps_the_remainder() -> None:
    names, logits = generated(6, 150, spread=0.2)
    found = diagnose(
        run_of(names, logits),
        number(0.9999, selected_on_test=True, selection="the best of many", status="recalled"),
        reading=PLAIN,
    )
    assert found.causes[-1].name == causes.CHECKPOINT
    assert "the best of many" in found.causes[-1].sentence
    assert found.verdict in (UNEXPLAINED, PARTLY)
    assert any("recalled" in note for note in found.notes)


def test_the_frames_that_a_table_states_are_found() -> None:
    ours = trembling(12)
    few = run_of(ours.scores.video_ids, ours.scores.logit.reshape(-1, 12)[:, :1])
    theirs = number(auc_of(few, "video"), frames_per_video=1)
    found = diagnose(ours, theirs, reading=PLAIN)
    assert [cause.name for cause in found.causes] == [causes.FRAMES]
    assert "first 1 frames" in found.causes[0].sentence


def test_the_compression_that_a_table_states_is_found() -> None:
    names, logits = generated(8, 150, spread=0.2)
    low = [f"{name}-c40" for name in names]
    every = sorted([*names, *low])
    mixed = manifest(every, ["c40" if name.endswith("c40") else "c23" for name in every])
    hard = -0.5 * logits
    ours = run_of([*names, *low], [*logits, *hard], mixed)
    theirs = number(auc_of(run_of(names, logits), "video"), compression="c23")
    found = diagnose(ours, theirs, reading=PLAIN)
    assert [cause.name for cause in found.causes] == [causes.COMPRESSION]
    assert found.causes[0].is_exact


def test_an_accuracy_at_the_threshold_of_val_is_found() -> None:
    ours = dataclasses.replace(trembling(3), threshold=2.0)
    found = {one.unit: one for one in unit_scores(ours.scores, "mean_logit", "all_faces", 8)}[
        "video"
    ]
    labels = np.array(ours.videos.column("label").to_pylist())
    theirs = number(metrics.accuracy(labels, found.logit, 2.0), metric="accuracy")
    diagnosis = diagnose(ours, theirs, reading=PLAIN)
    assert diagnosis.causes[0].name == causes.THRESHOLD
    assert "chosen on val" in diagnosis.causes[0].sentence


def test_a_row_of_the_registry_names_dataset_method_and_metric() -> None:
    ours = trembling(6)
    row = published_number("deepfakebench-table2/xception/face2face")
    with pytest.raises(UsageError, match="of ffpp, Face2Face"):
        diagnose(ours, row)
    found = diagnose(ours, published_number("deepfakebench-table2/xception/faceswap"))
    assert found.what == "auc by video, ffpp, FaceSwap"
    assert found.theirs == 0.9833
    assert "DeepfakeBench" in " ".join(found.notes)


def test_a_mean_over_datasets_is_refused() -> None:
    with pytest.raises(UsageError, match="mean over several"):
        diagnose(trembling(6), number(0.9, mean_of=("a", "b")))


def test_another_compression_is_said_to_be_other_videos() -> None:
    theirs = number(auc_of(trembling(6), "video"), compression="c40")
    found = diagnose(trembling(6), theirs, reading=PLAIN)
    assert any("Ours is of c23, theirs of c40" in note for note in found.notes)
