"""Every command that the README shows is run, in its order, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hydra import compose, initialize_config_dir

from dfdetect.config import SETTINGS, config_dir, register_schemas, settings_from

FENCE = re.compile(r"```sh\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
# needs research data that cannot be redistributed; `make` is what runs these tests
BUNDLED = re.compile(r"<!-- commands:bundled -->.*?<!-- /commands:bundled -->", re.DOTALL)
NOT_HERE = ("make ", "pip ")


def commands(project_root: Path) -> list[str]:
    text = BUNDLED.sub("", (project_root / "README.md").read_text())
    lines = [line for block in FENCE.findall(text) for line in block.splitlines()]
    return [line for line in lines if line.strip() and not line.startswith(NOT_HERE)]


@pytest.mark.slow
def test_the_commands_of_the_readme_run(
    project_root: Path, tmp_path: Path, portrait: object, clips: ModuleType
) -> None:
    clips.write_clip(tmp_path / "clip.mp4", [portrait] * 40, fps=10)
    shown = commands(project_root)
    assert len(shown) >= 7
    for line in shown:
        words = [os.path.expandvars(word) for word in shlex.split(line.partition("#")[0])]
        if words[0] == "dfdetect":
            words = [sys.executable, "-m", *words]
        elif words[0] == "python":
            words = [sys.executable, str(project_root / words[1]), *words[2:]]
        else:
            pytest.fail(f"the README shows a command that no test can run: {line}")
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        # a verdict may be inconclusive; that is an answer, not a failure
        allowed = (0, 3) if "predict" in line else (0,)
        assert done.returncode in allowed, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, line
    assert (tmp_path / "work" / "results" / "results.parquet").is_file()
    assert (tmp_path / "work" / "quickstart.onnx").is_file()
    assert (tmp_path / "work" / "benchmark" / "benchmark.html").is_file()
    assert (tmp_path / "work" / "compared" / "comparison.md").is_file()


def bundled_commands(project_root: Path) -> list[str]:
    (block,) = BUNDLED.findall((project_root / "README.md").read_text())
    (lines,) = FENCE.findall(block)
    return [line for line in lines.splitlines() if line.startswith("dfdetect ")]


def test_the_commands_of_the_bundled_detector_compose(project_root: Path) -> None:
    """They need data that is not here; their keys and values are checked all the same."""
    shown = bundled_commands(project_root)
    assert [line.split()[1] for line in shown].count("extract") == 5
    register_schemas()
    for line in shown:
        _, verb, *overrides = shlex.split(line)
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            settings_from(compose(verb, overrides), SETTINGS[verb])


def test_the_python_of_the_readme_runs(
    project_root: Path,
    tmp_path: Path,
    portrait: object,
    clips: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips.write_clip(tmp_path / "clip.mp4", [portrait] * 12, fps=10)
    monkeypatch.chdir(tmp_path)
    (block,) = PYTHON.findall((project_root / "README.md").read_text())
    exec(compile(block, "README.md", "exec"), {})


def test_the_figures_of_the_readme_are_those_of_the_card(project_root: Path) -> None:
    figure = re.compile(r"\d\.\d{3} \(\d\.\d{3} – \d\.\d{3}\)")
    shown = figure.findall((project_root / "README.md").read_text())
    card = (project_root / "dfdetect/detectors/weights/default.md").read_text()
    measured = set(figure.findall("\n".join(card.splitlines()[:40])))
    assert len(shown) == 2
    assert set(shown) <= measured


def test_every_file_that_the_readme_links_exists(project_root: Path) -> None:
    text = (project_root / "README.md").read_text()
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets
    assert [target for target in targets if not (project_root / target).exists()] == []
