"""The guide's example of a detector is run as it stands; the promise of three places is kept."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import yaml

from dfdetect.detectors import create_detector
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.testing import check_detector


def block(project_root: Path, language: str) -> str:
    text = (project_root / "CONTRIBUTING.md").read_text()
    found = re.search(rf"```{language}\n(.*?)```", textwrap.dedent(text), re.DOTALL)
    assert found is not None
    return textwrap.dedent(found[1])


def test_the_example_detector_keeps_the_contract(project_root: Path, tmp_path: Path) -> None:
    module = tmp_path / "tiny.py"
    module.write_text(block(project_root, "python"))
    assert "tiny" not in DETECTORS
    try:
        exec(compile(module.read_text(), str(module), "exec"), {"__name__": "tiny"})
        settings = yaml.safe_load(block(project_root, "yaml"))
        network = create_detector(settings["name"], **settings["kwargs"])
        assert network.name == "tiny"
        check_detector("tiny")
    finally:
        DETECTORS._entries.pop("tiny", None)
