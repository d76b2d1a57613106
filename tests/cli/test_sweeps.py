"""Sweeps: a search for the best validation figure, and jobs that a cluster's launcher starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from dfdetect.types import Image
from tests.stores import make_store


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "dfdetect", "train", "-m", "detector=meso4", "trainer=smoke"),
        *(f"crops=[{folder}]", "sources=[{dataset: toy, weight: 1, blend_share: 0}]"),
    ]
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "toy"
    make_store(folder, portrait, n_videos=4, n_frames=1)
    return folder


@pytest.mark.slow
def test_a_search_keeps_the_run_with_the_highest_figure(crops: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    done = train(crops, "hydra=optuna", "hydra.sweeper.n_trials=2", f"run_dir={tmp_path / 'runs'}")
    assert done.returncode == 0, done.stderr
    best = yaml.safe_load((tmp_path / "runs" / "optimization_results.yaml").read_text())
    reached = [
        float(line.rpartition(" ")[2])
        for line in done.stdout.splitlines()
        if line.startswith("selected on val")
    ]
    assert len(reached) == 2
    assert best["best_value"] == pytest.approx(max(reached), abs=1e-4)
    assert 1e-5 <= best["best_params"]["optim.lr"] <= 1e-3
    assert {path.name for path in (tmp_path / "runs").glob("job-*")} == {"job-000", "job-001"}


@pytest.mark.slow
def test_a_launcher_runs_every_job_in_a_folder_of_its_own(crops: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = train(
        crops, "hydra=slurm", "hydra/launcher=submitit_local", "seed=0,1",
        f"run_dir={tmp_path / 'runs'}", f"hydra.launcher.submitit_folder={tmp_path / 'jobs'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for number in (0, 1):
        assert (tmp_path / "runs" / f"job-{number:03d}" / "best.safetensors").is_file()


def test_the_cluster_config_asks_for_what_a_job_needs(project_root: Path) -> None:
    config = OmegaConf.load(project_root / "configs" / "hydra" / "slurm.yaml")
    assert config.launcher.gpus_per_node == 1
    assert {"override launcher": "submitit_slurm"} in OmegaConf.to_container(config.defaults)
