"""Weights that were selected on what they are measured on say so wherever a figure stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfdetect.detectors import create_detector
from dfdetect.detectors.base import ORACLE
from dfdetect.detectors.checkpoint import make_header
from dfdetect.detectors.runtime_torch import TorchDetector
from dfdetect.evaluation.evaluate import evaluate
from dfdetect.types import Image
from tests.stores import SCALE, make_store


@pytest.mark.parametrize("oracle", [True, False])
def test_every_title_says_oracle(oracle: bool, portrait: Image, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", portrait, n_videos=3)
    network = create_detector("backbone", model_name="resnet10t", size=96, crop_scale=SCALE)
    facts = {ORACLE: "selected on test: figures on it are no measurement"} if oracle else {}
    header = make_header(network, trained=True, provenance={"trained_on": "nothing", **facts})
    detector = TorchDetector(network, header, "seeded", "cpu")
    result = evaluate(store, detector, "test", out=tmp_path / "results", n_bootstrap=20)
    page = (tmp_path / "results" / "results.md").read_text()
    titles = [line for line in page.splitlines() if line.startswith("#")]
    assert len(titles) > 1
    assert {"oracle" in title for title in titles} == {oracle}
    assert {line.startswith("oracle: ") for line in result.headline()} == {oracle}
