"""Scores that are there already are measured where nothing that looks at pictures is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.score_files import AS_THEIRS, videos_of, write_manifest, write_theirs

ABSENT = ("torch", "torchvision", "timm", "lightning", "cv2", "av", "onnxruntime")
WITHOUT = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed")
sys.meta_path.insert(0, Refuse())
from dfdetect.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def without(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that can import none of `ABSENT`."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    rows = videos_of(6)
    write_manifest(folder / "m.parquet", rows)
    for seed, name in enumerate("ab"):
        write_theirs(folder / f"{name}.csv", rows, seed)
        words = [f"scores={name}.csv", "manifest=m.parquet", *AS_THEIRS, "n_bootstrap=10"]
        done = without(folder, "evaluate", *words, f"out={name}")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "diagnose", "a", "b"],
        ["evaluate", "diagnose", "a", "published=deepfakebench-table2/xception/ffpp_c23"],
        ["benchmark", "runs=[a,b]", "n_bootstrap=10", "out=tables"],
        ["benchmark", "compare", "a", "b", "out=compared"],
        ["benchmark", "compare", "--help"],
    ],
)
def test_tables_need_nothing_that_looks_at_pictures(measured: Path, words: list[str]) -> None:
    done = without(measured, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_refusal_works(measured: Path) -> None:
    done = without(measured, "evaluate", "crops=[absent]", "out=c")
    assert done.returncode == 1
    assert "is not installed" in done.stderr
