"""Training as a whole: it learns, resumes exactly, selects on val and refuses what it must."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dfdetect.data.crops import CropStore
from dfdetect.data.loading import CropDataset
from dfdetect.data.training_items import Source
from dfdetect.detectors import load_detector
from dfdetect.detectors.checkpoint import load_checkpoint, read_header
from dfdetect.errors import ContractError, UsageError
from dfdetect.training import FitSettings, fit
from dfdetect.training.settings import ValidationSettings
from dfdetect.training.state import FILE


def with_trainer(settings: FitSettings, **changes: object) -> FitSettings:
    trainer = dataclasses.replace(settings.trainer, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(settings, trainer=trainer)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(path).network.state_dict())


def test_a_run_leaves_a_checkpoint_that_loads_and_says_where_it_came_from(
    settings: FitSettings,
) -> None:
    result = fit(settings)
    assert result.finished
    assert result.n_steps == 6
    assert result.best_step in (3, 6)
    header = load_detector(result.checkpoint).header
    assert header.trained
    assert dict(header.provenance)["seed"] == "3"
    record = json.loads((settings.run_dir / "run.json").read_text())
    assert record["seed"] == 3
    assert len(record["parents"][0][1]) == 64


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    settings: FitSettings, tmp_path: Path
) -> None:
    whole = fit(settings)
    parts = dataclasses.replace(settings, run_dir=tmp_path / "parts")
    stopped = fit(with_trainer(parts, max_minutes=0.0))
    assert not stopped.finished
    assert stopped.n_steps == 1
    resumed = fit(parts)
    assert resumed.finished
    one, other = (weights(run.checkpoint.with_name("last.safetensors")) for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(settings: FitSettings, tmp_path: Path) -> None:
    whole = fit(settings)
    run_dir = tmp_path / "killed"
    command = [
        *(sys.executable, "-m", "dfdetect", "train", "detector=meso4", f"run_dir={run_dir}"),
        f"crops=[{settings.crops[0]}]",
        "sources=[{dataset: synthetic, weight: 1, blend_share: 0.5}]",
        *("optim.lr=1e-3", "optim.weight_decay=0.01", "optim.warmup_steps=2"),
        *("optim.ema_decay=0.9", "seed=3", "validation.faces_per_video=2"),
        *("trainer.steps=6", "trainer.batch_size=8", "trainer.validate_every=3"),
        *("trainer.save_every=2", "trainer.threads=1", "trainer.workers=0"),
        *("trainer.logger=none", "trainer.accelerator=cpu"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run_dir / FILE).is_file() and process.poll() is None:
        assert time.monotonic() < deadline, "the run takes too long"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run_dir / FILE).is_file(), "the run never saved its state"
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    one, other = (weights(folder / "last.safetensors") for folder in (settings.run_dir, run_dir))
    assert whole.finished
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_selection_sees_val_only(settings: FitSettings, store: CropStore, tmp_path: Path) -> None:
    """Test videos whose pictures are gone change nothing: they are never opened."""
    result = fit(settings)
    test_videos = {row.video_id for row in store.videos if row.split == "test"}
    assert test_videos
    opened: list[str] = []
    original = CropDataset.image

    def watched(self: CropDataset, position: int) -> object:
        opened.append(self.key(position).video_id)
        return original(self, position)

    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(CropDataset, "image", watched)
        again = fit(dataclasses.replace(settings, run_dir=tmp_path / "again"))
    assert opened
    assert not test_videos & set(opened)
    assert (result.best_auc, result.best_step) == (again.best_auc, again.best_step)


def test_a_folder_with_another_run_is_refused(settings: FitSettings) -> None:
    fit(settings)
    with pytest.raises(UsageError, match=r"other settings \(seed=3 there, seed=4 here\)"):
        fit(dataclasses.replace(settings, seed=4))


def test_a_damaged_state_is_refused_with_a_repair(settings: FitSettings) -> None:
    fit(with_trainer(settings, max_minutes=0.0))
    (settings.run_dir / FILE).write_bytes(b"not a state")
    with pytest.raises(ContractError, match="delete it"):
        fit(settings)


def test_an_odd_batch_is_refused(settings: FitSettings) -> None:
    with pytest.raises(UsageError, match="give a multiple of 2"):
        fit(with_trainer(settings, batch_size=7))


def test_a_source_without_faces_is_named(settings: FitSettings) -> None:
    strange = dataclasses.replace(settings, sources=(Source("nowhere", 1.0, 1.0),))
    with pytest.raises(UsageError, match="nowhere"):
        fit(strange)


def test_selecting_on_test_needs_the_word_oracle_and_says_it(settings: FitSettings) -> None:
    with pytest.raises(UsageError, match=r"validation\.oracle=true"):
        ValidationSettings(2, (), split="test")
    told = dataclasses.replace(settings, validation=ValidationSettings(2, (), "test", True))
    result = fit(told)
    facts = dict(read_header(result.checkpoint).provenance)
    assert "test" in facts["oracle"]
    assert "test_synthetic" in facts


def test_patience_ends_a_run_for_good(settings: FitSettings) -> None:
    # a rate of almost nothing: no validation is better than the first
    still = dataclasses.replace(
        with_trainer(settings, steps=40, validate_every=1, patience=2),
        optim=dataclasses.replace(settings.optim, lr=1e-30, ema_decay=0.0),
    )
    result = fit(still)
    assert (result.finished, result.best_step, result.n_steps) == (True, 1, 3)
    assert fit(still).n_steps == 3
