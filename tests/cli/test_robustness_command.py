"""Robustness through the command: clips of both classes under conditions, and going on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfdetect.evaluation.results import read_results
from dfdetect.evaluation.robustness.curves import read_curves
from tests.extractions import lay_clips

Command = Callable[..., Any]


@pytest.fixture
def words(tmp_path: Path, detectors: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of two genuine clips and a forgery of each."""
    monkeypatch.chdir(tmp_path)
    lay_clips(Path("clips"), 10, n_frames=6).write(Path("m.parquet"))
    return [
        "manifest=m.parquet", "data_root=clips", f"checkpoints=[{detectors.clear}]",
        "plan.sampler.count=3", "conditions=[jpeg 5,messenger]", "n_bootstrap=20",
        "work=kept", "out=results",
    ]  # fmt: skip


def test_conditions_become_curves_and_a_second_run_goes_on(
    words: list[str], dfdetect: Command
) -> None:
    answer = dfdetect("benchmark", "robustness", *words)
    assert answer.code == 0, answer.err
    assert answer.lines[-1] == "results, curves and scores: results"
    rows, _ = read_results(Path("results/results.parquet"))
    assert {row.condition for row in rows} == {"clean", "jpeg 5", "messenger"}
    assert {(row.n_real, row.n_fake) for row in rows if row.unit == "video"} == {(2, 2)}
    assert {point.condition for point in read_curves(Path("results"))} >= {"clean", "jpeg 5"}
    record = json.loads(Path("results/run.json").read_text())
    assert record["command"] == shlex.join(["dfdetect", "benchmark", "robustness", *words])
    scores = sorted(Path("kept").rglob("scores.parquet"))
    before = [path.stat().st_mtime_ns for path in scores]
    assert len(before) == 3
    # one more condition: the others are not made again
    more = [word.replace("messenger]", "messenger,blur 1]") for word in words]
    assert dfdetect("benchmark", "robustness", *more).code == 0
    assert [path.stat().st_mtime_ns for path in scores] == before
    again, _ = read_results(Path("results/results.parquet"))
    assert {row.condition for row in again} == {"clean", "jpeg 5", "messenger", "blur 1"}
    assert [row for row in again if row.condition != "blur 1"] == list(rows)
    # the curves go into the page of a benchmark
    run = next(Path("results/runs").rglob("clean"))
    tables = ["runs=[" + str(run) + "]", "robustness=[results]", "protocols=[plain]", "out=tables"]
    assert dfdetect("benchmark", *tables, "n_bootstrap=0").code == 0
    assert "messenger" in Path("tables/benchmark.html").read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"conditions": "[jpg 5]"}, "jpg"),
        ({"conditions": "[jpeg 9]"}, "jpeg"),
        ({"manifest": "absent.parquet"}, "absent.parquet is missing"),
        ({"data_root": "elsewhere"}, "none of the 4 videos"),
        ({"checkpoints": "[absent.onnx]"}, "absent.onnx"),
        ({"plan.split": "dev"}, "no video in the split 'dev'"),
        ({"plan.window_s": "0"}, "window_s=0"),
        ({"plan.faces": "mask"}, "masks"),
        ({"n_bootstrap": "-1"}, "n_bootstrap=-1"),
        ({"names": "[a,b]"}, "names"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(
    words: list[str], dfdetect: Command, change: dict[str, str], told: str
) -> None:
    given = [word for word in words if word.partition("=")[0] not in change]
    asked = [f"{key}={value}" for key, value in change.items()]
    answer = dfdetect("benchmark", "robustness", *given, *asked)
    assert answer.code == 2
    assert told in answer.complaint
    assert not Path("results").exists()
    assert not any(Path("kept").rglob("*.parquet"))
