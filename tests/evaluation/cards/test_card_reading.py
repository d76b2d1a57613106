"""A card states what other verbs wrote: the rows as they are, how they were made, and of whom."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dfdetect.data.tables import TableHeader
from dfdetect.data.videos import Videos
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.cards.card import SHIPPED, SIBLING, TRAINED
from dfdetect.evaluation.cards.reading import (
    ABLATION_COLUMNS,
    Weights,
    headline,
    read_ablation,
    read_curve,
    read_gates,
    read_measurement,
)
from dfdetect.evaluation.conditions.bins import ConditionRow
from dfdetect.evaluation.conditions.files import write_conditions
from dfdetect.evaluation.results import EvaluationResult, ResultRow, write_results
from dfdetect.evaluation.robustness.curves import CurvePoint, write_curves
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.provenance import RunRecord, environment
from dfdetect.scoring.score_table import ScoreTable

OWN = "ab" * 32
WEIGHTS = Weights(("ef" * 32,), OWN)


def row(method: str, value: float, metric: str = "auc", unit: str = "video") -> ResultRow:
    return ResultRow(
        "meso4", "test", "clips", method, metric, unit, value, value - 0.1, value + 0.1, 7, 5, 2
    )


ROWS = (row("swap", 0.71), row("all", 0.62), row("all", 0.4, "log_loss"), row("all", 0.9, "eer"))


def write_evaluation(folder: Path, weights: str = OWN) -> Path:
    run = ScoredRun("meso4", ScoreTable.of([]), Videos.of([]), parents=(("weights", weights),))
    result = EvaluationResult(ROWS, run, (), (), 0, (("split", "test"), ("seed", 3)), "cd" * 32)
    write_results(result, folder, "dfdetect evaluate here")
    return folder


def test_a_measurement_is_read_from_its_folder(tmp_path: Path) -> None:
    read = read_measurement(write_evaluation(tmp_path), WEIGHTS)
    assert (read.made.command, read.made.seed, read.split) == ("dfdetect evaluate here", 3, "test")
    assert dict(read.made.parents)["weights"] == read.weights_sha256 == OWN
    assert (read.title, read.whose) == ("Measured on clips", TRAINED)
    assert [(one.method, one.metric, one.value) for one in read.numbers] == [
        ("swap", "auc", 0.71), ("all", "auc", 0.62), ("all", "eer", 0.9),
    ]  # fmt: skip
    assert read.conditions == ()
    assert headline([read, read]) == (
        (
            "measured_clips",
            "test split, AUC by video 0.620 (0.520 – 0.720), 7 genuine and 5 manipulated",
        ),
    )


def test_other_weights_are_named_or_refused(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "98" * 32)
    with pytest.raises(UsageError, match="measured other weights"):
        read_measurement(tmp_path, WEIGHTS, "Left out")
    read = read_measurement(tmp_path, WEIGHTS, "Left out", "A sibling without swaps. ")
    assert (read.whose, read.about) == (SIBLING, "A sibling without swaps.")
    assert headline([read]) == ()
    assert read_measurement(tmp_path, Weights(("98" * 32,), OWN), "Same").whose == SHIPPED


@pytest.mark.parametrize("content", ["", "{}", "[]", json.dumps({"parents": []})])
def test_a_broken_record_is_refused_with_the_repair(tmp_path: Path, content: str) -> None:
    write_evaluation(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ContractError, match="measure again"):
        read_measurement(tmp_path, WEIGHTS)


def test_errors_by_condition_come_with_their_intervals(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    told = ("meso4", "clips", "face size", "below 64 px", None, 64.0)
    rows = [ConditionRow(*told, 40, 50, 20, 4, None, None, None, 0, None, 3)]
    write_conditions(rows, tmp_path, (("weights", OWN),), 100, 0)
    (found,) = read_measurement(tmp_path, WEIGHTS).conditions
    assert found.what.startswith("longer side")
    assert (found.auc, found.fake_missed, found.n_unknown) == (None, None, 3)
    assert found.real_flagged is not None
    # the rule of three, exactly: 1 - 0.025 ** (1 / 20)
    assert found.real_flagged.high == pytest.approx(1 - 0.025 ** (1 / 20))
    write_conditions(rows, tmp_path, (("weights", "98" * 32),), 100, 0)
    with pytest.raises(ContractError, match="of other scores"):
        read_measurement(tmp_path, WEIGHTS)


def write_robustness(folder: Path, names: tuple[str, ...]) -> Path:
    points = [
        CurvePoint(name, "clips", "all", metric, "jpeg", 5, "jpeg 5", 0.7, 0.6, 0.8, 9, 1)
        for name in names
        for metric in ("auc", "ece", "found_faces")
    ]
    folder.mkdir()
    write_curves(points, folder, TableHeader("0" * 64))
    digests = {"mine": OWN, "other": "98" * 32, "third": "76" * 32}
    parents = tuple((f"weights {name}", digests[name]) for name in names)
    RunRecord("dfdetect benchmark robustness", "0" * 64, 5, parents, environment()).write(
        folder / "run.json"
    )
    return folder


def test_the_curve_is_that_of_the_cards_weights(tmp_path: Path) -> None:
    curve = read_curve(write_robustness(tmp_path / "a", ("other", "mine")), WEIGHTS)
    assert (curve.whose, curve.weights_sha256, curve.made.seed) == (TRAINED, OWN, 5)
    assert [point.metric for point in curve.points] == ["auc", "found_faces"]
    alone = read_curve(write_robustness(tmp_path / "b", ("other",)), WEIGHTS)
    assert alone.whose == SIBLING
    with pytest.raises(UsageError, match="measured other, third; the card needs one detector"):
        read_curve(write_robustness(tmp_path / "c", ("other", "third")), WEIGHTS)


def test_what_was_tried_is_read_failures_too(tmp_path: Path) -> None:
    path = tmp_path / "tried.csv"
    cells = 'base,"a, b",dfdetect train,0,20,auc,clips,0.8,0.7,0.9,11,13,abc\nbad,c,d,,,,,,,,,,\n'
    path.write_text(f"{','.join(ABLATION_COLUMNS)}\n{cells}")
    first, second = read_ablation(path).rows
    assert (first.changed, first.step, first.value, first.n_fake) == ("a, b", 20, 0.8, 13)
    assert dataclasses.astuple(second)[3:] == (None, None, "", "", *[None] * 5, "")
    for broken in ("name,value\n", "", f"{','.join(ABLATION_COLUMNS)}\na,b\n"):
        path.write_text(broken)
        with pytest.raises(ContractError, match="no table of what was tried"):
            read_ablation(path)
    path.write_text(f"{','.join(ABLATION_COLUMNS)}\n{cells.replace('0.8', 'good')}")
    with pytest.raises(ContractError, match="no table of what was tried"):
        read_ablation(path)


GATE = {"kind": "drawings", "n": 9, "inconclusive": 3, "no_face": 4, "flagged": 1, "cleared": 1}


def test_rates_of_gates_are_read_and_must_add_up(tmp_path: Path) -> None:
    path = tmp_path / "gates.json"
    path.write_text(json.dumps([{**GATE, "source": "drawn.py"}]))
    (found,) = read_gates(path, WEIGHTS).rows
    assert (found.kind, found.held_back, found.source) == ("drawings", 7, "drawn.py")
    whole = {"command": "gate_rates.py x", "seed": 8, "weights_sha256": OWN, "other": 1}
    kind = {**GATE, "source": "drawn.py", "too_strange": 2, "skipped": 5}
    path.write_text(json.dumps({**whole, "kinds": [kind]}))
    gates = read_gates(path, WEIGHTS)
    assert (gates.whose, gates.made.command, gates.made.seed) == (TRAINED, "gate_rates.py x", 8)
    assert (gates.rows[0].too_strange, gates.rows[0].skipped) == (2, 5)
    for change in ({"n": 10}, {"n": "9"}, {"flagged": -1, "cleared": 3}, {"extra": 1}):
        path.write_text(json.dumps([{**GATE, "source": "drawn.py", **change}]))
        with pytest.raises(ContractError, match="states no rates of gates"):
            read_gates(path, WEIGHTS)
    for text in ("", "3", "[3]", "{}x"):
        path.write_text(text)
        with pytest.raises(ContractError, match="states no rates of gates"):
            read_gates(path, WEIGHTS)
