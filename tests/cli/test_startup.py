"""`predict` starts at once and without torch; these run the command in processes of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]

# of our own: what people verbs leave to the laboratory
OURS = ("dfdetect.training", "dfdetect.data", "dfdetect.config")


def seconds_to_first_line(root: Path, words: list[str]) -> float:
    start = time.perf_counter()
    running = subprocess.Popen(
        [sys.executable, "-m", "dfdetect", *words],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stderr is not None
    line = running.stderr.readline()
    taken = time.perf_counter() - start
    running.communicate(timeout=120)
    assert line.decode() == "Reading clip.mp4 …\n"
    return taken


def test_first_line_comes_at_once(
    project_root: Path, film: Path, detectors: Any, tmp_path: Path
) -> None:
    words = ["predict", str(film), "--detector", str(detectors.clear), "--out", str(tmp_path)]
    # the best of three: other work on the machine only ever adds
    assert min(seconds_to_first_line(project_root, words) for _ in range(3)) < 1.5


def test_predict_never_imports_torch(
    heavy_packages: tuple[str, ...], project_root: Path, film: Path, detectors: Any, tmp_path: Path
) -> None:
    words = ["predict", str(film), "--detector", str(detectors.clear), "--out", str(tmp_path)]
    code = (
        f"import sys; from dfdetect.cli.main import main; code = main({words!r});"
        f"print([n for n in {(*heavy_packages, *OURS)!r} if n in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr


def test_help_and_refusals_import_nothing_heavy(
    heavy_packages: tuple[str, ...], project_root: Path
) -> None:
    words = ["predict", "video=clip.mp4"]
    unwanted = [*heavy_packages, *OURS, "numpy", "av", "cv2", "rich"]
    code = (
        f"import sys; from dfdetect.cli.main import main; main({words!r}); main(['predict', '-h']);"
        f"print([n for n in {unwanted!r} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
