"""The example result is what its commands say, and holds nothing but numbers, names and hashes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from dfdetect.config import SETTINGS, config_dir, register_schemas, settings_from
from dfdetect.evaluation.benchmark.compare import compare
from dfdetect.evaluation.evaluate import evaluate_run
from dfdetect.evaluation.protocols.protocol import PLAIN
from dfdetect.evaluation.results import ResultRow, read_results
from dfdetect.evaluation.robustness.curves import read_curves
from dfdetect.evaluation.run_files import read_run

FENCE = re.compile(r"```sh\n(.*?)```", re.DOTALL)
VERBS = ("benchmark compare", "benchmark robustness", "evaluate diagnose")
MAX_BYTES = 3_000_000
# scores under each degradation, which git leaves out
NOT_KEPT = "robustness/runs"


@pytest.fixture
def example(project_root: Path) -> Path:
    return project_root / "notebooks" / "example_benchmark"


def commands(example: Path) -> list[str]:
    (block,) = FENCE.findall((example / "README.md").read_text())
    return [str(line) for line in block.splitlines()]


def files(example: Path) -> list[Path]:
    found = (path for path in example.rglob("*") if path.is_file())
    return [path for path in found if NOT_KEPT not in path.as_posix()]


def records(example: Path) -> dict[str, str]:
    paths = (path for path in files(example) if path.name == "run.json")
    return {
        path.parent.relative_to(example).as_posix(): json.loads(path.read_text())["command"]
        for path in paths
    }


def test_the_commands_compose(example: Path) -> None:
    """They need videos that are not here; their keys and values are checked all the same."""
    register_schemas()
    for line in commands(example):
        _, *words = shlex.split(line)
        two = " ".join(words[:2])
        verb, rest = (words[1], words[2:]) if two in VERBS else (words[0], words[1:])
        folders = [word for word in rest if "=" not in word]
        keys = [word for word in rest if "=" in word]
        if folders:
            keys.append(f"runs=[{','.join(folders)}]")
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            settings_from(compose(verb, keys), SETTINGS[verb])


def test_every_folder_was_made_by_a_command_that_is_shown(example: Path) -> None:
    told = records(example)
    assert len([name for name in told if name.startswith("scores/")]) == 5
    assert {"in_domain", "cross_manipulation", "compared", "robustness"} < set(told)
    shown = {tuple(shlex.split(line)) for line in commands(example)}
    assert {name for name, command in told.items() if tuple(shlex.split(command)) not in shown} == (
        set()
    )


def key(row: ResultRow) -> tuple[str, ...]:
    return row.dataset, row.method, row.metric, row.unit


def test_the_tables_follow_from_the_scores(example: Path) -> None:
    for folder in sorted((example / "scores").iterdir()):
        stored, _ = read_results(folder / "results.parquet")
        found = {key(row): row for row in evaluate_run(read_run(folder), "test").rows}
        assert len(found) == len(stored)
        for row in stored:
            again = found[key(row)]
            assert again.value == pytest.approx(row.value, abs=1e-9)
            assert again.ci_low == pytest.approx(row.ci_low, abs=1e-9)
            assert again.ci_high == pytest.approx(row.ci_high, abs=1e-9)


@pytest.mark.parametrize("table", ["in_domain", "cross_manipulation"])
def test_the_tables_name_the_scores_that_are_here(example: Path, table: str) -> None:
    _, header = read_results(example / table / "results.parquet")
    here = {
        (f"{run.name}: {role}", digest)
        for run in map(read_run, (example / "scores").iterdir())
        for role, digest in run.parents
    }
    told = {parent for parent in header.parents if parent[0].endswith((": scores", ": weights"))}
    assert told
    assert told <= here


def test_seen_and_held_out_methods_are_apart(example: Path) -> None:
    for table, wanted in (("in_domain", "seen"), ("cross_manipulation", "held-out")):
        rows, _ = read_results(example / table / "results.parquet")
        assert {row.exposure for row in rows} == {wanted}
        assert {row.protocol for row in rows} == {"plain", "deepfakebench"}


def test_the_comparison_follows_from_the_scores(example: Path) -> None:
    pair = [read_run(example / "scores" / name) for name in ("small_ce", "small_sbi")]
    page = (example / "compared" / "comparison.md").read_text()
    for row in compare(pair, PLAIN).rows:
        assert f"{row.n_real} + {row.n_fake}" in page
        if row.auc_a is not None:
            assert f"{row.auc_a:.3f}" in page


def test_the_figures_of_the_readme_are_those_of_the_example(
    project_root: Path, example: Path
) -> None:
    text = (project_root / "README.md").read_text()
    for name in ("small_ce", "small_sbi"):
        run = read_run(example / "scores" / name)
        rows, _ = read_results(example / "scores" / name / "results.parquet")
        (row,) = [row for row in rows if key(row) == ("ffpp", "all", "auc", "video")]
        assert row.ci_low is not None
        assert row.ci_high is not None
        figure = f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]"
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
        assert figure in line
        assert dict(run.parents)["weights"][:12] in line


def test_every_condition_has_a_point(example: Path) -> None:
    points = read_curves(example / "robustness")
    assert {point.detector for point in points} == {"small_ce", "small_sbi"}
    steps = {(point.family, point.severity) for point in points if point.severity not in (None, 0)}
    assert steps == {(family, n) for family in ("jpeg", "blur", "h264") for n in range(1, 6)}
    profiles = {point.family for point in points if point.severity is None}
    assert {"messenger", "repost_chain"} <= profiles


def test_it_is_small_and_shows_no_face(example: Path) -> None:
    found = files(example)
    assert sum(path.stat().st_size for path in found) < MAX_BYTES
    kinds = {path.suffix for path in found}
    assert kinds <= {".parquet", ".csv", ".md", ".tex", ".svg", ".html", ".json"}
    for path in found:
        if path.suffix in (".svg", ".html"):
            text = path.read_text()
            assert "<image" not in text, path
            assert "<img" not in text, path
            assert "data:image" not in text, path
