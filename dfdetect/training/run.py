"""One training run, from settings to a selected, calibrated checkpoint."""

from __future__ import annotations

import json
import logging
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from dfdetect.data.batches import TrainingPairs, labels_of, require_distinct, split_faces
from dfdetect.data.crops import CropStore
from dfdetect.data.splits import require_no_leak
from dfdetect.data.videos import Videos
from dfdetect.detectors import create_detector
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.checkpoint import load_checkpoint, make_header, save_checkpoint
from dfdetect.errors import UsageError
from dfdetect.provenance import written_whole
from dfdetect.training.curves import open_logger
from dfdetect.training.module import DetectorModule
from dfdetect.training.record import (
    BEST,
    LAST,
    parents_of,
    require_same_run,
    run_hash,
    write_record,
)
from dfdetect.training.settings import FitSettings
from dfdetect.training.state import (
    SELECTED_BY,
    Best,
    load_state,
    read_best,
    save_state,
    saved_step,
)
from dfdetect.training.validation import (
    DatasetAuc,
    aucs,
    calibration,
    live_detector,
    require_selectable,
    score_videos,
)
from dfdetect.types import REAL

NOTES = "validation.jsonl"


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a run left.

    `finished` is False where `max_minutes` ended it before its last step. `not_calibrated` says
    why the checkpoint has no calibration, and is empty where it has one; without one its scores
    can be measured, but `predict` refuses it.
    """

    checkpoint: Path
    best_auc: float
    best_step: int
    n_steps: int
    finished: bool
    not_calibrated: str


def fit(settings: FitSettings, command: str = "dfdetect.fit") -> FitResult:
    """Train a detector, or go on with a run that was interrupted.

    The weights with the highest mean video AUC over the datasets' val splits are kept as
    `best.safetensors`, with a calibration fitted to val; `last.safetensors` holds the newest. A
    run that `max_minutes` ends before its first validation is validated once, so that it leaves
    weights; they do not count when it is resumed, which ends as if it had never been stopped.

    Args:
        settings: Everything that decides what comes out.
        command: What the records say was run.

    Raises:
        UsageError: The settings cannot be met, or `run_dir` holds a run with other settings.
        ContractError: A crop store or the state to resume from is damaged, or splits leak.
    """
    stores = tuple(CropStore.open(folder) for folder in settings.crops)
    clips = tuple(CropStore.open(folder) for folder in settings.validation.calibrate_on)
    for group in (stores, clips):
        require_distinct(group)
    # people to calibrate on that training saw would make the detector look surer than it is
    require_no_leak(Videos.joined([store.videos for store in (*stores, *clips)]))
    parents = parents_of(stores)
    digest = run_hash(settings, parents)
    require_same_run(settings, digest)
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    lightning.seed_everything(settings.seed, verbose=False)
    network = create_detector(settings.detector.name, **settings.detector.kwargs)
    module = DetectorModule(network, settings)
    keeper = Keeper(module, stores, settings)
    feed = _Feed(settings, stores, network.preprocess, keeper)
    trainer = _trainer(settings, keeper)
    write_record(settings, digest, parents, parents_of(clips), command)
    _run(trainer, module, feed)
    if keeper.best.step == 0:
        keeper.validate("cpu")
    return FitResult(
        settings.run_dir / BEST,
        keeper.best.auc,
        keeper.best.step,
        module.step,
        module.step >= settings.trainer.steps,
        _calibrate(settings, stores, clips or stores, command),
    )


class Keeper(lightning.Callback):
    """Restores, validates, keeps the best weights and stops in time."""

    def __init__(
        self, module: DetectorModule, stores: tuple[CropStore, ...], settings: FitSettings
    ) -> None:
        """Take the validation faces out of the stores."""
        self.module, self.settings = module, settings
        self.best = Best()
        self._faces = split_faces(stores, "val", settings.validation.faces_per_video)
        require_selectable(self._faces)
        self._deadline: float | None = None
        if settings.trainer.max_minutes is not None:
            self._deadline = time.monotonic() + 60 * settings.trainer.max_minutes

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Restore an interrupted run, once the optimiser exists and before data flows."""
        run_dir = self.settings.run_dir
        load_state(run_dir, self.module)
        best = read_best(run_dir)
        # what a time limit forced to be validated must not change what the run ends in
        self.best = best if self._is_due(best.step) else Best()
        _forget_after(run_dir / NOTES, self.module.step, self._is_due)
        trainer.fit_loop.epoch_loop.on_load_checkpoint({"_batches_that_stepped": self.module.step})
        if self.module.step >= self.settings.trainer.steps:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Validate and save at the steps that ask for it; the last step always does."""
        told = self.settings.trainer
        if (batch_idx + 1) % told.accumulate:
            return
        step = self.module.step
        late = self._deadline is not None and time.monotonic() > self._deadline
        if self._is_due(step):
            found = self.validate(str(pl_module.device))
            curves = {f"val/auc_{auc.dataset}": auc.auc for auc in found}
            pl_module.log_dict(curves, prog_bar=True, logger=False)
            for logger in trainer.loggers:
                # the loss is logged every few steps only; Lightning counts steps from 0
                logger.log_metrics(curves, step - 1)
        if step % told.save_every == 0 or step == told.steps or late:
            save_state(self.settings.run_dir, self.module)
            for logger in trainer.loggers:
                logger.save()
        if late or step >= told.steps:
            trainer.should_stop = True

    def validate(self, device: str) -> tuple[DatasetAuc, ...]:
        """Score the validation split and keep the candidate where it is the best so far."""
        candidate = self.module.candidate
        was_training = candidate.training
        detector = live_detector(candidate, device)
        found = aucs(score_videos(detector, self._faces))
        candidate.train(was_training)
        mean = float(np.mean([auc.auc for auc in found]))
        facts = {f"val_{auc.dataset}": _in_words(auc) for auc in found}
        facts |= {"step": str(self.module.step), "seed": str(self.settings.seed)}
        facts[SELECTED_BY] = repr(mean)
        header = make_header(candidate, trained=True, provenance=facts)
        if mean > self.best.auc:
            self.best = Best(mean, self.module.step)
            save_checkpoint(self.settings.run_dir / BEST, candidate, header, half=True)
        save_checkpoint(self.settings.run_dir / LAST, candidate, header, half=True)
        self._note(mean, found)
        return found

    def _is_due(self, step: int) -> bool:
        told = self.settings.trainer
        return step % told.validate_every == 0 or step == told.steps

    def _note(self, mean: float, found: tuple[DatasetAuc, ...]) -> None:
        line = {"step": self.module.step, "mean_auc": mean}
        line |= {auc.dataset: auc.auc for auc in found}
        with (self.settings.run_dir / NOTES).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def _forget_after(path: Path, step: int, is_due: Callable[[int], bool]) -> None:
    """Drop the notes of what a resumed run will do again, or never had to do."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            noted = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            # torn by a kill: its step was not saved yet
            continue
        if noted <= step and is_due(noted):
            kept.append(f"{line}\n")
    with written_whole(path) as part:
        part.write_text("".join(kept), encoding="utf-8")


class _FromStep(Sampler[int]):
    """The positions of training pairs in order, from the step that the run has reached."""

    def __init__(self, keeper: Keeper, n_pairs: int, pairs_per_step: int) -> None:
        self._keeper, self._n_pairs, self._per_step = keeper, n_pairs, pairs_per_step

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._keeper.module.step * self._per_step, self._n_pairs))

    def __len__(self) -> int:
        return self._n_pairs - self._keeper.module.step * self._per_step


class _Feed(lightning.LightningDataModule):
    """The training pairs as Lightning takes them."""

    def __init__(
        self,
        settings: FitSettings,
        stores: tuple[CropStore, ...],
        preprocess: Preprocess,
        keeper: Keeper,
    ) -> None:
        super().__init__()
        told = settings.trainer
        if told.batch_size % 2:
            raise UsageError(
                f"trainer.batch_size={told.batch_size} is odd; half of a batch is genuine"
            )
        per_step = told.batch_size // 2 * told.accumulate
        n_pairs = told.steps * per_step
        pairs = TrainingPairs(
            stores, settings.sources, preprocess, settings.augment, settings.seed, n_pairs
        )
        self._workers = told.workers
        self._arguments: dict[str, Any] = {
            "dataset": pairs,
            "batch_size": told.batch_size // 2,
            "sampler": _FromStep(keeper, n_pairs, per_step),
            "num_workers": told.workers,
            "collate_fn": _Collate(preprocess),
            "worker_init_fn": _one_thread,
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader; forked workers would inherit threads, so they are spawned."""
        context = "forkserver" if self._workers else None
        return DataLoader(**self._arguments, multiprocessing_context=context)


def _one_thread(worker: int) -> None:  # noqa: ARG001
    # pictures are small: OpenCV's threads would only take cores from the network
    cv2.setNumThreads(1)


@dataclass(frozen=True, slots=True)
class _Collate:
    preprocess: Preprocess

    def __call__(self, pairs: list[NDArray[np.uint8]]) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = self.preprocess.normalise(np.concatenate(pairs))
        return torch.from_numpy(pixels), torch.from_numpy(labels_of(len(pairs)))


def _trainer(settings: FitSettings, keeper: Keeper) -> lightning.Trainer:
    told = settings.trainer
    # hardware lists and advertisements; warnings and errors still come through
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning's own use of a torch function that will change; nobody here can act on it
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    # the curves of a run that is resumed are kept, see `open_logger`
    warnings.filterwarnings("ignore", message=r"Experiment logs directory .* is not empty")
    # a run that is resumed has little left to draw, a finished one nothing
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller")
    warnings.filterwarnings("ignore", message=r"Total length of .* across ranks is zero")
    logger = open_logger(told.logger, settings.run_dir, saved_step(settings.run_dir))
    try:
        return lightning.Trainer(
            accelerator=told.accelerator,
            devices=1,
            precision=told.precision,  # type: ignore[arg-type]
            max_epochs=1,
            accumulate_grad_batches=told.accumulate,
            gradient_clip_val=settings.optim.clip_norm or None,
            limit_val_batches=0,
            logger=logger or False,
            log_every_n_steps=10,
            callbacks=[keeper, RichProgressBar()],
            # our own safetensors are the only checkpoints; Lightning's are pickles
            enable_checkpointing=False,
            enable_model_summary=False,
            deterministic=True,
        )
    except (ValueError, MisconfigurationException) as error:
        raise UsageError(
            f"Lightning refuses trainer.accelerator={told.accelerator}, "
            f"trainer.precision={told.precision}: {str(error).partition(chr(10))[0]}"
        ) from error


def _run(trainer: lightning.Trainer, module: DetectorModule, feed: _Feed) -> None:
    try:
        trainer.fit(module, feed)
    except SystemExit:
        # Lightning ends the process on Ctrl-C and goes deaf to it; the caller decides here
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None


def _calibrate(
    settings: FitSettings,
    stores: tuple[CropStore, ...],
    clips: tuple[CropStore, ...],
    command: str,
) -> str:
    """Fit the calibration to the kept weights and store it; return why that cannot be, or ''."""
    path = settings.run_dir / BEST
    trained = load_checkpoint(path)
    fitted, problem = None, ""
    try:
        faces = split_faces(clips, "val")
        fitted = calibration(score_videos(live_detector(trained.network, "cpu"), faces))
    except UsageError as error:
        # hours of training must not be lost to a validation split that is too small
        problem = str(error)
    facts = dict(trained.header.provenance)
    facts |= {"command": command, "trained_on": _trained_on(stores, settings)}
    header = make_header(trained.network, trained=True, calibration=fitted, provenance=facts)
    save_checkpoint(path, trained.network, header, half=True)
    return problem


def _trained_on(stores: tuple[CropStore, ...], settings: FitSettings) -> str:
    used = {source.dataset for source in settings.sources}
    counted = Counter(
        (row.dataset, "genuine" if row.label == REAL else "manipulated")
        for store in stores
        for row in store.videos.where(split="train")
        if row.dataset in used
    )
    return ", ".join(f"{n} {kind} of {dataset}" for (dataset, kind), n in sorted(counted.items()))


def _in_words(auc: DatasetAuc) -> str:
    return f"video AUC {auc.auc:.4f} (n={auc.n_real}+{auc.n_fake})"
