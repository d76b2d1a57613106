"""Runs that are interrupted, repeated or fed by a worker end in the same tensors, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from dfdetect.data.augment import AugmentSettings
from dfdetect.data.batches import Source, TrainingPairs
from dfdetect.data.crops import CropStore
from dfdetect.detectors import load_detector, read_header
from dfdetect.errors import UsageError
from dfdetect.training import FitSettings, fit
from dfdetect.training.settings import (
    DetectorSettings,
    OptimSettings,
    TrainerSettings,
    ValidationSettings,
)
from dfdetect.types import Image
from tests.stores import make_store

AT_ONCE = 1e-9  # minutes: ends a run after the step that is under way


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    return make_store(tmp_path_factory.mktemp("stores") / "toy", portrait, n_videos=6, n_frames=1)


def told(toy: CropStore, run_dir: Path, **trainer: Any) -> FitSettings:
    machinery: dict[str, Any] = {
        "steps": 4, "batch_size": 4, "accumulate": 1, "workers": 0, "threads": 1,
        "precision": "32-true", "accelerator": "cpu", "validate_every": 2, "save_every": 1,
        "max_minutes": None, "logger": "none",
    }  # fmt: skip
    return FitSettings(
        # dropout on purpose: a resumed run must drop the same units
        detector=DetectorSettings("meso4", {"dropout": 0.5}),
        crops=(toy.folder,),
        sources=(Source("toy", 1.0, 0.5),),
        augment=AugmentSettings(),
        optim=OptimSettings(2e-3, 0.02, 2, 0.5, 0.02, 5.0),
        trainer=TrainerSettings(**machinery | trainer),
        validation=ValidationSettings(4, ()),
        seed=3,
        run_dir=run_dir,
    )


def state(run_dir: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(run_dir / "resume.safetensors")


def assert_same_state(first: Path, second: Path) -> None:
    one, other = state(first), state(second)
    assert one.keys() == other.keys()
    differing = [key for key in one if not torch.equal(one[key], other[key])]
    assert not differing


@pytest.fixture(scope="module")
def finished(toy: CropStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    result = fit(told(toy, run_dir))
    assert (result.finished, result.n_steps) == (True, 4)
    assert result.checkpoint == run_dir / "best.safetensors"
    assert result.best_step in (2, 4)
    return run_dir


def test_nothing_it_leaves_is_a_pickle(finished: Path) -> None:
    for path in finished.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not content.startswith((b"\x80", b"PK")), path


def test_a_finished_run_is_not_trained_again(finished: Path, toy: CropStore) -> None:
    before = state(finished)
    result = fit(told(toy, finished))
    assert (result.finished, result.n_steps) == (True, 4)
    after = state(finished)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_equal_settings_give_equal_weights(finished: Path, toy: CropStore, tmp_path: Path) -> None:
    fit(told(toy, tmp_path / "again"))
    assert_same_state(finished, tmp_path / "again")


def test_a_worker_process_changes_nothing(finished: Path, toy: CropStore, tmp_path: Path) -> None:
    fit(told(toy, tmp_path / "worker", workers=1))
    assert_same_state(finished, tmp_path / "worker")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_in_pieces_ends_in_the_same_weights(
    toy: CropStore, tmp_path: Path, accumulate: int
) -> None:
    fit(told(toy, tmp_path / "whole", accumulate=accumulate))
    pieces = told(toy, tmp_path / "pieces", accumulate=accumulate, max_minutes=AT_ONCE)
    steps = [fit(pieces).n_steps for _ in range(4)]
    assert steps == [1, 2, 3, 4]
    assert_same_state(tmp_path / "whole", tmp_path / "pieces")


def test_a_crash_between_two_saves_costs_no_exactness(
    finished: Path, toy: CropStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = told(toy, tmp_path / "crashed", save_every=2)
    draw = TrainingPairs.__getitem__

    def fail_in_step_four(self: TrainingPairs, position: int) -> Any:
        if position >= 6:
            raise MemoryError("the machine went away")
        return draw(self, position)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingPairs, "__getitem__", fail_in_step_four)
        with pytest.raises(MemoryError):
            fit(settings)
    assert fit(settings).finished
    assert_same_state(finished, tmp_path / "crashed")


def test_the_test_split_has_no_say(finished: Path, portrait: Image, tmp_path: Path) -> None:
    # the same train and val; there is no test split to look at
    blind = make_store(tmp_path / "toy", portrait, n_videos=6, n_frames=1, splits=("train", "val"))
    fit(told(blind, tmp_path / "run"))
    assert_same_state(finished, tmp_path / "run")
    kept = [load_detector(run / "best.safetensors") for run in (finished, tmp_path / "run")]
    pictures = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    assert np.array_equal(*(detector.logits(pictures) for detector in kept))


def test_the_best_validation_is_what_is_kept(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "validation.jsonl").open()]
    # the first of equals: a later one has not been better
    best = max(lines, key=lambda line: line["mean_auc"])
    assert dict(read_header(finished / "best.safetensors").provenance)["step"] == str(best["step"])


def test_a_val_split_of_one_class_is_refused(portrait: Image, tmp_path: Path) -> None:
    store = make_store(tmp_path / "toy", portrait, n_videos=2, n_frames=1, splits=("train",))
    with pytest.raises(UsageError, match="no dataset has genuine and forged videos in its val"):
        fit(told(store, tmp_path / "run", steps=2))
