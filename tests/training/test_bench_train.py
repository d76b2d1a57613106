"""The benchmark of training says what a step waits for, on whatever crops it is given."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dfdetect.types import Image
from tests.stores import make_store

ROW = re.compile(
    r"^  (fakes|per-sample SBI|batched SBI) +(\d+) +(\d+|–) +(\d+) +(\d+) +(\d+) % +–$",
    re.MULTILINE,
)


@pytest.mark.slow
def test_the_benchmark_shows_the_waiting_part(
    project_root: Path, tmp_path: Path, portrait: Image
) -> None:
    store = make_store(tmp_path / "toy", portrait, n_videos=2)
    told = "train --detector meso4 --device cpu --batch 4 --steps 2 --workers 0 --repeats 1"
    done = subprocess.run(
        [
            *(sys.executable, project_root / "scripts" / "bench_train.py", *told.split()),
            *("--crops", store.folder),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "batches of 4 faces, 0 worker(s), cpu" in done.stdout
    rows = {name: numbers for name, *numbers in ROW.findall(done.stdout)}
    assert list(rows) == ["fakes", "per-sample SBI", "batched SBI"]
    for name, (data, blend, step, together, waits) in rows.items():
        assert (blend == "–") == (name != "batched SBI")
        assert min(int(data), int(step), int(together)) > 0
        assert 0 <= int(waits) < 100
