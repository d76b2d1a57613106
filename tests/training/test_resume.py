"""Runs that are interrupted, repeated or fed by a worker end in the same tensors, bit by bit."""

from __future__ import annotations

import csv
import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from dfdetect.data.augment import AugmentSettings
from dfdetect.data.crops import CropStore
from dfdetect.data.manifest import Manifest
from dfdetect.data.shards import CROPS
from dfdetect.data.tables import read_table, write_table
from dfdetect.data.training_items import Source, TrainingItems
from dfdetect.data.videos import Videos
from dfdetect.detectors import load_detector, read_header
from dfdetect.errors import ContractError, UsageError
from dfdetect.training import FitSettings, fit
from dfdetect.training.module import DetectorModule
from dfdetect.training.settings import (
    DetectorSettings,
    OptimSettings,
    TrainerSettings,
    ValidationSettings,
)
from dfdetect.training.state import save_state
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
    draw = TrainingItems.__getitem__

    def fail_in_step_four(self: TrainingItems, position: int) -> Any:
        if position >= 6:
            raise MemoryError("the machine went away")
        return draw(self, position)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingItems, "__getitem__", fail_in_step_four)
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


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "validation.jsonl").open()]


def kept_weights(run_dir: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(run_dir / "best.safetensors")


def assert_same_selection(first: Path, second: Path) -> None:
    assert lines_of(first) == lines_of(second)
    one, other = kept_weights(first), kept_weights(second)
    assert all(torch.equal(one[key], other[key]) for key in one)
    facts = [dict(read_header(run / "best.safetensors").provenance) for run in (first, second)]
    assert facts[0]["val_mean_auc"] == facts[1]["val_mean_auc"]
    assert facts[0]["step"] == facts[1]["step"]


def test_a_validation_forced_by_the_time_limit_does_not_count_after_a_resume(
    finished: Path, toy: CropStore, tmp_path: Path
) -> None:
    stopped = fit(told(toy, tmp_path / "run", max_minutes=AT_ONCE))
    assert (stopped.n_steps, stopped.best_step) == (1, 1)
    assert read_header(stopped.checkpoint).trained
    resumed = fit(told(toy, tmp_path / "run"))
    assert resumed.best_step in (2, 4)
    assert_same_selection(finished, tmp_path / "run")


def test_the_best_weights_survive_a_resume(finished: Path, toy: CropStore, tmp_path: Path) -> None:
    pieces = told(toy, tmp_path / "run", max_minutes=AT_ONCE)
    results = [fit(pieces) for _ in range(4)]
    assert (results[2].best_auc, results[2].best_step) == (results[1].best_auc, 2)
    assert_same_selection(finished, tmp_path / "run")


def test_a_crash_between_validation_and_saving_repeats_no_line(
    finished: Path, toy: CropStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = told(toy, tmp_path / "crashed")
    save = save_state

    def fail_at_two(run_dir: Path, module: DetectorModule) -> None:
        if module.step == 2:
            raise MemoryError("the machine went away")
        save(run_dir, module)

    with monkeypatch.context() as patch:
        patch.setattr("dfdetect.training.keeper.save_state", fail_at_two)
        with pytest.raises(MemoryError):
            fit(settings)
    assert [line["step"] for line in lines_of(settings.run_dir)] == [2]
    with (settings.run_dir / "validation.jsonl").open("a") as stream:
        stream.write('{"step": 2, "mea')  # as a kill tears it
    assert fit(settings).finished
    assert_same_selection(finished, settings.run_dir)


def test_a_resumed_run_keeps_its_curve(toy: CropStore, tmp_path: Path) -> None:
    whole = told(toy, tmp_path / "whole", steps=12, logger="csv")
    fit(whole)
    pieces = told(toy, tmp_path / "pieces", steps=12, logger="csv", max_minutes=AT_ONCE)
    for _ in range(5):
        fit(pieces)
    fit(told(toy, tmp_path / "pieces", steps=12, logger="csv"))
    fit(told(toy, tmp_path / "pieces", steps=12, logger="csv"))  # finished: nothing to add
    curves = [
        list(csv.DictReader((tmp_path / name / "log" / "metrics.csv").open(newline="")))
        for name in ("whole", "pieces")
    ]
    # a piece also notes the loss of its last step
    assert [row for row in curves[0] if row not in curves[1]] == []
    steps = [int(row["step"]) for row in curves[1]]
    assert steps == sorted(steps)
    for curve in curves:
        validated = [int(row["step"]) + 1 for row in curve if row["val/auc_toy"]]
        assert validated == [2, 4, 6, 8, 10, 12]


def test_a_refused_command_leaves_its_folder_free(toy: CropStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a multiple of 2"):
        fit(told(toy, tmp_path / "run", batch_size=3))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match=r"trainer\.precision=17"):
        fit(told(toy, tmp_path / "run", precision="17"))
    assert fit(told(toy, tmp_path / "run", steps=2)).finished


def test_counts_below_one_are_refused(toy: CropStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"trainer\.validate_every=0"):
        told(toy, tmp_path / "run", validate_every=0)


def test_other_clips_to_calibrate_on_do_not_need_another_training(
    toy: CropStore, portrait: Image, tmp_path: Path
) -> None:
    settings = told(toy, tmp_path / "run", steps=2)
    fit(settings)
    before = kept_weights(settings.run_dir)
    clips = make_store(tmp_path / "clips", portrait, n_videos=6, n_frames=1)
    again = dataclasses.replace(settings, validation=ValidationSettings(4, (clips.folder,)))
    assert fit(again).finished
    after = kept_weights(settings.run_dir)
    assert all(torch.equal(before[key], after[key]) for key in before)
    record = json.loads((settings.run_dir / "run.json").read_text())
    assert [name for name, _ in record["parents"]] == ["toy", "calibration clips"]


def test_clips_to_calibrate_on_are_looked_at_before_training(
    toy: CropStore, portrait: Image, tmp_path: Path
) -> None:
    absent = ValidationSettings(4, (tmp_path / "absent",))
    with pytest.raises(ContractError, match="absent"):
        fit(dataclasses.replace(told(toy, tmp_path / "run"), validation=absent))
    # the same videos in other splits: training has seen what calibration would call new
    swapped = {row.video_id: {"train": "val", "val": "train"} for row in toy.videos}
    manifest = Manifest.read(toy.folder / "manifest.parquet")
    rows = Videos.of(
        dataclasses.replace(row, split=swapped[row.video_id].get(str(row.split), row.split))
        for row in manifest.rows
    )
    leaking = make_store(tmp_path / "leaking", portrait, n_videos=6, n_frames=1)
    dataclasses.replace(manifest, rows=rows).write(leaking.folder / "manifest.parquet")
    table, header = read_table(toy.folder / "crops.parquet", CROPS)
    write_table(leaking.folder / "crops.parquet", table, CROPS, header)
    leak = ValidationSettings(4, (leaking.folder,))
    with pytest.raises(ContractError, match="leak"):
        fit(dataclasses.replace(told(toy, tmp_path / "run"), validation=leak))
    assert not (tmp_path / "run").exists()


def test_a_run_may_move_with_its_crops(
    toy: CropStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(told(toy, tmp_path / "run", steps=2))
    monkeypatch.chdir(toy.folder.parent)
    moved = dataclasses.replace(
        told(toy, tmp_path / "run", steps=2), crops=(Path(toy.folder.name),)
    )
    assert fit(moved).finished


def test_an_interrupt_stays_one(
    toy: CropStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: TrainingItems, position: int) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingItems, "__getitem__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(told(toy, tmp_path / "run"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_val_split_of_one_class_is_refused(portrait: Image, tmp_path: Path) -> None:
    store = make_store(tmp_path / "toy", portrait, n_videos=2, n_frames=1, splits=("train",))
    with pytest.raises(UsageError, match="no dataset has genuine and forged videos in its val"):
        fit(told(store, tmp_path / "run", steps=2))


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(toy: CropStore, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pieces = told(toy, tmp_path / "run", steps=12, logger="mlflow", max_minutes=AT_ONCE)
    fit(pieces)
    fit(told(toy, tmp_path / "run", steps=12, logger="mlflow"))
    (auc,) = (tmp_path / "run" / "log" / "mlruns").rglob("metrics/val/auc_toy")
    validated = [int(line.split()[2]) + 1 for line in auc.read_text().splitlines()]
    assert validated == [2, 4, 6, 8, 10, 12]
