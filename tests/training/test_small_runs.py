"""The small runs of the README: they differ in one thing, and its table names their files."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from dfdetect.config import config_dir, register_schemas, settings_from
from dfdetect.training import FitSettings

RUNS = ("small_ce", "small_sbi")
SECTION = re.compile(r"### Small runs\n(.*?)\n###? ", re.DOTALL)


def settings(name: str) -> FitSettings:
    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("train", [f"experiment={name}", f"run_dir=work/runs/{name}"])
    return settings_from(config, FitSettings)


def test_the_two_runs_differ_in_where_forgeries_come_from_only() -> None:
    by_entropy, by_blends = (settings(name) for name in RUNS)
    shares = [run.sources[0].blend_share for run in (by_entropy, by_blends)]
    assert shares == [0, 1]
    sources, run_dir = by_entropy.sources, by_entropy.run_dir
    assert dataclasses.replace(by_blends, sources=sources, run_dir=run_dir) == by_entropy


@pytest.mark.parametrize("name", RUNS)
def test_the_readme_states_command_count_interval_and_hashes_of_a_run(
    name: str, project_root: Path
) -> None:
    (section,) = SECTION.findall((project_root / "README.md").read_text())
    (row,) = [line for line in section.splitlines() if line.startswith(f"| `{name}`")]
    assert re.search(r"seed 0\b", section)
    assert re.search(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", row)
    assert "11 + 10" in section
    assert len(re.findall(r"`[0-9a-f]{12}`", row)) >= 1
    for kind in ("manifest", "crops"):
        assert re.search(rf"{kind} `[0-9a-f]{{12}}`", section), kind
    assert f"experiment={name} " in (config_dir() / "experiment" / f"{name}.yaml").read_text()
