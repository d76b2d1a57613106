"""The card states what was measured: every number in it is one of the results' rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfdetect.data.videos import Videos
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.errors import ContractError
from dfdetect.evaluation.card import Measurement, headline, read_measurement, write_card
from dfdetect.evaluation.results import EvaluationResult, ResultRow, write_results
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.scoring.score_table import ScoreTable
from dfdetect.types import Band, BandRate, Calibration, CropPolicy


def row(method: str, value: float, metric: str = "auc", unit: str = "video") -> ResultRow:
    return ResultRow(
        "meso4", "test", "clips", method, metric, unit, value, value - 0.1, value + 0.1, 7, 5, 2
    )


ROWS = (row("swap", 0.71), row("all", 0.62), row("all", 0.4, "log_loss"), row("all", 0.9, "eer"))


def header() -> CheckpointHeader:
    rates = (BandRate(Band.WEAK, 1, 11, 6, 13), BandRate(Band.NONE, 8, 11, 2, 13))
    fitted = Calibration("platt", 1.5, -0.25, 0.1, 9.0, 11, 13, "clips (val)", "2026-11-22", rates)
    size = Preprocess(64, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.2, 64))
    return CheckpointHeader("meso4", (), size, fitted, (("trained_on", "9 clips"),), True)


def test_the_card_states_what_was_measured_and_how(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    measured = Measurement(ROWS, "dfdetect evaluate out=x", 4, (("weights", "ab" * 32),), "test")
    write_card(card, header(), [("default.onnx", "cd" * 32)], "- It errs.", [measured])
    text = card.read_text()
    for part in (
        "It errs.", "9 clips", "0.620 (0.520 – 0.720)", "0.710", "| 7 | 5 | 2 |", "seed 4",
        "dfdetect evaluate out=x", "abababab", "cd" * 32, "1 of 11", "6 of 13", "1.500", "eer",
    ):  # fmt: skip
        assert part in text, part
    assert "log_loss" not in text
    assert "%" not in text.replace("95 % intervals", "")


def test_the_headline_is_over_all_methods() -> None:
    measured = Measurement(ROWS, "c", 0, (), "test")
    assert headline([measured]) == (
        (
            "measured_clips",
            "test split, AUC by video 0.620 (0.520 – 0.720), 7 genuine and 5 manipulated",
        ),
    )


def result() -> EvaluationResult:
    run = ScoredRun("meso4", ScoreTable.of([]), Videos.of([]), parents=(("weights", "ab" * 32),))
    settings = (("split", "test"), ("seed", 3))
    return EvaluationResult(ROWS, run, (), (), 0, settings, "cd" * 32)


def test_a_measurement_is_read_back_from_its_folder(tmp_path: Path) -> None:
    write_results(result(), tmp_path, "dfdetect evaluate here")
    read = read_measurement(tmp_path)
    assert (read.rows, read.command, read.seed, read.split) == (
        ROWS, "dfdetect evaluate here", 3, "test",
    )  # fmt: skip
    assert ("weights", "ab" * 32) in read.parents


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"parents": []})])
def test_a_broken_record_is_refused_with_the_repair(tmp_path: Path, content: str) -> None:
    write_results(result(), tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ContractError, match="measure again"):
        read_measurement(tmp_path)
