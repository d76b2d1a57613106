"""Several processes that train together see every pair once and end where one alone would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.data.crops import CropStore
from dfdetect.errors import UsageError
from dfdetect.training import FitSettings, fit
from dfdetect.training.feed import FromStep
from dfdetect.training.ranks import Ranks

# a network without batch norm or dropout: its mean gradient does not depend on who sees what
SCRIPT = r"""
import os
import sys
from pathlib import Path
from torch import Tensor, nn
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.network import Detector
from dfdetect.config import settings_from
from dfdetect.data.augment import AugmentSettings
from dfdetect.data.training_items import Source
from dfdetect.training import FitSettings, fit
from dfdetect.training.settings import *
from dfdetect.types import CropPolicy

@DETECTORS.register("plain")
class Plain(Detector):
    def __init__(self) -> None:
        super().__init__(Preprocess(64, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.6, 64)))
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 7 * 7, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels).squeeze(1)

crops, run_dir, devices, rho = sys.argv[1:]
result = fit(FitSettings(
    DetectorSettings("plain", {}), (Path(crops),), (Source("synthetic", 1.0, 0.5),),
    AugmentSettings(), OptimSettings(0.05, 0.01, 2, 0.5, 0.02, 5.0, "sgd", sam_rho=float(rho)),
    TrainerSettings(
        4, 8, 2, 0, 1, "32-true", "cpu", 2, 2, None, "csv", int(devices),
        strategy="ddp" if int(devices) > 1 else "auto",
    ),
    ValidationSettings(2, ()), 3, Path(run_dir),
))
assert result.finished
# in one write, which two processes that share a pipe cannot mix
os.write(1, f"\nreached {result.best_auc}\n".encode())
"""


def trained(script: Path, store: CropStore, run_dir: Path, n: int, rho: float) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    command = [sys.executable, *(launcher if n > 1 else []), str(script)]
    done = subprocess.run(
        [*command, str(store.folder), str(run_dir), str(n), str(rho)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={"OMP_NUM_THREADS": "1", "PATH": "", "PYTHONPATH": str(Path.cwd())},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if line.startswith("reached ")]


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_two_processes_end_where_one_does(store: CropStore, tmp_path: Path, rho: float) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    alone = trained(script, store, tmp_path / "one", 1, rho)
    together = trained(script, store, tmp_path / "two", 2, rho)
    # each process says what it reached, and both say the same as one alone
    assert len(alone) == 1
    assert together == alone * 2
    one, two = (
        safetensors.torch.load_file(tmp_path / run / "resume.safetensors") for run in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)
    notes = (tmp_path / "two" / "validation.jsonl").read_text().splitlines()
    assert len(notes) == 2


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_every_pair_is_seen_once(n_ranks: int, share: int, accumulate: int, done: int) -> None:
    per_batch, n_steps = n_ranks * share, 3
    samplers = [
        FromStep(lambda: min(done, n_steps), n_steps, accumulate, per_batch, Ranks(rank, n_ranks))
        for rank in range(n_ranks)
    ]
    positions = [list(sampler) for sampler in samplers]
    assert [len(one) for one in positions] == [len(sampler) for sampler in samplers]
    first = min(done, n_steps) * accumulate * per_batch
    assert sorted(p for one in positions for p in one) == list(
        range(first, n_steps * accumulate * per_batch)
    )
    # batch by batch, so that together they take what one alone would
    for batch in range((n_steps - min(done, n_steps)) * accumulate):
        together = {p for one in positions for p in one[batch * share : (batch + 1) * share]}
        start = first + batch * per_batch
        assert together == set(range(start, start + per_batch))


@given(st.integers(0, 20), st.integers(1, 5))
def test_shares_are_disjoint_and_complete(n_items: int, n_ranks: int) -> None:
    shares = [Ranks(rank, n_ranks).own(range(n_items)) for rank in range(n_ranks)]
    assert sorted(item for share in shares for item in share) == list(range(n_items))


def test_one_process_keeps_its_numbers() -> None:
    values = np.arange(3, dtype=np.float32)
    assert Ranks().together(values, 3) is values


def test_several_devices_need_a_launcher(settings: FitSettings, tmp_path: Path) -> None:
    import dataclasses

    trainer = dataclasses.replace(settings.trainer, devices=2)
    with pytest.raises(UsageError, match="torchrun --nproc-per-node 2"):
        fit(dataclasses.replace(settings, trainer=trainer))
    assert not settings.run_dir.exists()
