"""Errors by condition through the command: beside the results, without changing them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dfdetect.data.crops import extract_crops
from dfdetect.evaluation.conditions.files import read_conditions
from dfdetect.evaluation.results import read_results
from dfdetect.evaluation.run_files import read_run
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy
from tests.extractions import lay_clips

Command = Callable[..., Any]


def test_conditions_are_measured_beside_the_results(
    dfdetect: Command, detectors: Any, tmp_path: Path
) -> None:
    root, crops = tmp_path / "clips", tmp_path / "crops"
    manifest = lay_clips(root, 10, n_frames=4)
    extract_crops(manifest, root, crops, CropPolicy("square", 1.3, 64), FrameSampler(count=3))
    words = [f"checkpoint={detectors.clear}", f"crops=[{crops}]", "n_bootstrap=20"]
    words.append("protocol.split=null")
    plain, told = tmp_path / "plain", tmp_path / "told"
    assert dfdetect("evaluate", *words, f"out={plain}").code == 0
    asked = ["conditions=true", f"data_root={root}", f"out={told}"]
    answer = dfdetect("evaluate", *words, *asked)
    assert answer.code == 0, answer.err
    assert not (plain / "conditions.parquet").exists()
    assert read_results(told / "results.parquet")[0] == read_results(plain / "results.parquet")[0]
    rows, header = read_conditions(told)
    run = read_run(told)
    assert {row.condition for row in rows} >= {"face size", "brightness", "compression"}
    n_faces = {
        name: sum(row.n_real + row.n_fake for row in rows if row.condition == name)
        for name in ("face size", "brightness", "compression")
    }
    assert set(n_faces.values()) == {run.scores.n_scored}
    assert dict(header.parents)["weights"] == dict(run.parents)["weights"]
    assert np.isfinite([row.auc for row in rows if row.auc is not None]).all()


def test_conditions_of_no_pictures_are_refused(dfdetect: Command, tmp_path: Path) -> None:
    out = f"out={tmp_path / 'x'}"
    answer = dfdetect("evaluate", "scores=a.csv", "manifest=m.parquet", "conditions=true", out)
    assert answer.code == 2
    assert "give the crops that were scored" in answer.complaint
    answer = dfdetect("evaluate", "crops=[a]", "data_root=clips", out)
    assert answer.code == 2
    assert "add conditions=true" in answer.complaint
