"""`import dfdetect`: quick, light and complete."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dfdetect

HEAVY = ("torch", "numpy", "av", "cv2", "onnxruntime", "sklearn", "scipy", "pyarrow", "hydra")


def run_python(code: str, root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_import_is_quick(project_root: Path) -> None:
    code = "import time; t = time.perf_counter(); import dfdetect; print(time.perf_counter() - t)"
    assert min(float(run_python(code, project_root)) for _ in range(3)) < 0.2


def test_import_brings_nothing_heavy(project_root: Path) -> None:
    code = f"import sys, dfdetect; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_python(code, project_root).strip() == "[]"


def test_analyze_needs_no_training_code(project_root: Path) -> None:
    unwanted = ("torch", "timm", "lightning", "sklearn", "scipy", "pandas", "matplotlib")
    unwanted += ("pyarrow", "hydra", "omegaconf", "dfdetect.training", "dfdetect.data")
    code = (
        "import sys; from dfdetect import analyze, write_report, load_detector;"
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )
    assert run_python(code, project_root).strip() == "[]"


@pytest.mark.parametrize("name", dfdetect.__all__)
def test_every_public_name_is_there(name: str) -> None:
    thing = getattr(dfdetect, name)
    assert callable(thing)
    assert thing.__name__ == name
    assert thing.__doc__
    # kept after the first use
    assert vars(dfdetect)[name] is thing


def test_type_checkers_see_what_runs() -> None:
    tree = ast.parse(Path(dfdetect.__file__).read_text())
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == dfdetect._HOMES
    assert sorted(seen) == dfdetect.__all__
    assert (Path(dfdetect.__file__).parent / "py.typed").is_file()


def test_names_are_listed_and_others_refused() -> None:
    assert set(dfdetect.__all__) <= set(dir(dfdetect))
    assert dfdetect.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="analyse"):
        _ = dfdetect.analyse
