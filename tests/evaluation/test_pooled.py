"""Scores of folds are measured together, and nothing that was trained on slips in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfdetect.cli.main import main
from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.evaluation.evaluate import evaluate_run
from dfdetect.evaluation.pooled import pooled
from dfdetect.evaluation.results import read_results
from dfdetect.evaluation.run_files import read_run, write_run
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from tests.scored_runs import generated, run_of

GENUINE = ("ffpp", "original")


def fold(seed: int, learned: str = "Deepfakes") -> ScoredRun:
    """Generated scores of people that no other fold has, by weights of their own."""
    names, logits = generated(seed, 10)
    named = [f"{name}-{seed}" for name in names]
    return dataclasses.replace(
        run_of(named, logits.tolist()),
        network=(("detector", '"meso4"'),),
        parents=(("weights", f"{seed:064x}"), ("scores", f"{seed + 100:064x}")),
        trained_on=TrainedOn((GENUINE, ("ffpp", learned))),
        split_rule=f"fold:{seed}/3",
    )


FOLDS = [fold(seed) for seed in range(3)]
LABELS = ["a", "b", "c"]


def test_it_measures_what_all_scores_together_give() -> None:
    run = pooled(FOLDS, LABELS)
    means, labels = [], []
    for one in FOLDS:
        for place, row in enumerate(one.videos):
            means.append(float(np.mean(one.scores.logit[one.scores.video == place])))
            labels.append(row.label)
    result = evaluate_run(run, "test", n_bootstrap=50)
    found = {(row.method, row.unit): row for row in result.rows if row.metric == "auc"}
    assert found["all", "video"].value == pytest.approx(roc_auc_score(labels, means))
    faces = np.concatenate([one.scores.logit for one in FOLDS])
    truth = np.concatenate(
        [np.array([row.label for row in one.videos])[one.scores.video] for one in FOLDS]
    )
    assert found["all", "frame"].value == pytest.approx(roc_auc_score(truth, faces))
    assert (found["all", "video"].n_real, found["all", "video"].n_fake) == (30, 60)


def test_the_order_of_the_folds_does_not_matter() -> None:
    one, other = pooled(FOLDS, LABELS), pooled(FOLDS[::-1], LABELS[::-1])
    assert one.scores == other.scores
    assert one.videos.column("video_id") == other.videos.column("video_id")


def test_it_says_whose_scores_they_are() -> None:
    run = pooled([FOLDS[0], fold(1, "FaceSwap")], ["a", "b"])
    assert dict(run.parents) == {
        "weights of a": f"{0:064x}", "scores of a": f"{100:064x}",
        "weights of b": f"{1:064x}", "scores of b": f"{101:064x}",
    }  # fmt: skip
    assert "2 weights of one recipe" in run.notes[0]
    assert run.trained_on is not None
    # what any of the weights learned from is no unknown method of the recipe
    assert {run.trained_on.exposure("ffpp", name) for name in ("Deepfakes", "FaceSwap")} == {"seen"}
    assert run.calibration is None
    untold = dataclasses.replace(FOLDS[1], trained_on=None)
    assert pooled([FOLDS[0], untold], ["a", "b"]).trained_on is None


def test_what_cannot_be_pooled_is_refused() -> None:
    first, second = FOLDS[:2]
    other = dataclasses.replace(second, network=(("detector", '"xception"'),))
    untold = dataclasses.replace(second, network=())
    rows = [dataclasses.replace(row, split="train") for row in second.videos]
    trained = dataclasses.replace(second, videos=Videos.of(rows))
    copies = [dataclasses.replace(row, sha256=first.videos[0].sha256) for row in second.videos]
    copied = dataclasses.replace(second, videos=Videos.of(copies))
    for runs, match in (
        ([first], "two or more"),
        ([first, other], "another network"),
        ([untold, untold], "which network"),
        ([first, trained], "train split"),
        ([first, first], "both hold a video"),
        ([first, copied], "both hold a video"),
    ):
        with pytest.raises(UsageError, match=match):
            pooled(runs, LABELS[: len(runs)])


def test_the_command_pools_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / label for label in LABELS]
    for folder, one in zip(folders, FOLDS, strict=True):
        folder.mkdir()
        write_run(one, folder)
    named = ",".join(map(str, folders))
    done = main(["evaluate", f"runs=[{named}]", f"out={tmp_path / 'all'}", "n_bootstrap=20"])
    assert done == 0
    assert "30 genuine and 60 fake" in capsys.readouterr().out
    assert len(read_results(tmp_path / "all" / "results.parquet")[0]) > 0
    assert read_run(tmp_path / "all").scores == pooled(FOLDS, LABELS).scores
    assert main(["evaluate", f"runs=[{named}]", f"out={folders[0]}"]) == 2
    assert main(["evaluate", f"runs=[{named}]", "crops=[x]", f"out={tmp_path / 'x'}"]) == 2
