"""What watches over a run: it restores, validates, keeps the best weights and stops in time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np

from dfdetect.data.crops import CropStore
from dfdetect.detectors.base import ORACLE
from dfdetect.detectors.checkpoint import make_header, save_checkpoint
from dfdetect.provenance import written_whole
from dfdetect.training.module import DetectorModule
from dfdetect.training.ranks import Ranks
from dfdetect.training.record import BEST, LAST
from dfdetect.training.settings import FitSettings
from dfdetect.training.state import SELECTED_BY, Best, load_state, read_best, save_state
from dfdetect.training.validation import (
    DatasetAuc,
    aucs,
    items_to_score,
    live_detector,
    require_selectable,
    score_videos,
)

NOTES = "validation.jsonl"


class Keeper(lightning.Callback):
    """Restores, validates, keeps the best weights and stops in time.

    Of several processes that train together all validate, each its share of the faces, and the
    first one writes.
    """

    def __init__(
        self, module: DetectorModule, stores: tuple[CropStore, ...], settings: FitSettings
    ) -> None:
        """Take the faces that select out of the stores."""
        self.module, self.settings = module, settings
        self.best = Best()
        self.ranks = Ranks()
        told = settings.validation
        self._faces = items_to_score(stores, told.split, module.network, told.faces_per_video)
        require_selectable(self._faces)
        self._deadline: float | None = None
        if settings.trainer.max_minutes is not None:
            self._deadline = time.monotonic() + 60 * settings.trainer.max_minutes

    @property
    def has_finished(self) -> bool:
        """Whether the last step was taken, or patience has run out."""
        return self.module.step >= self.settings.trainer.steps or self._out_of_patience()

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Restore an interrupted run, once the optimiser exists and before data flows."""
        run_dir = self.settings.run_dir
        load_state(run_dir, self.module)
        best = read_best(run_dir)
        # what a time limit forced to be validated must not change what the run ends in
        self.best = best if self._is_due(best.step) else Best()
        self.ranks.wait()
        if self.ranks.is_first:
            _forget_after(run_dir / NOTES, self.module.step, self._is_due)
        self.ranks.wait()
        trainer.fit_loop.epoch_loop.on_load_checkpoint({"_batches_that_stepped": self.module.step})
        if self.has_finished:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Validate and save at the steps that ask for it; the last step always does."""
        told = self.settings.trainer
        if (batch_idx + 1) % told.accumulate:
            return
        step = self.module.step
        late = self._is_late()
        if self._is_due(step):
            found = self.validate(str(pl_module.device))
            curves = {f"val/auc_{auc.dataset}": auc.auc for auc in found}
            pl_module.log_dict(curves, prog_bar=True, logger=False)
            for logger in trainer.loggers:
                # the loss is logged every few steps only; Lightning counts steps from 0
                logger.log_metrics(curves, step - 1)
        ends = late or self.has_finished
        if step % told.save_every == 0 or ends:
            if self.ranks.is_first:
                save_state(self.settings.run_dir, self.module)
            for logger in trainer.loggers:
                logger.save()
        if ends:
            trainer.should_stop = True

    def validate(self, device: str) -> tuple[DatasetAuc, ...]:
        """Score the validation split and keep the candidate where it is the best so far."""
        candidate = self.module.candidate
        was_training = candidate.training
        detector = live_detector(candidate, device)
        found = aucs(score_videos(detector, self._faces, self.ranks))
        candidate.train(was_training)
        mean = float(np.mean([auc.auc for auc in found]))
        is_best = mean > self.best.auc
        if is_best:
            self.best = Best(mean, self.module.step)
        if self.ranks.is_first:
            header = make_header(candidate, trained=True, provenance=self._facts(mean, found))
            if is_best:
                save_checkpoint(self.settings.run_dir / BEST, candidate, header, half=True)
            save_checkpoint(self.settings.run_dir / LAST, candidate, header, half=True)
            self._note(mean, found)
        self.ranks.wait()
        return found

    def _facts(self, mean: float, found: tuple[DatasetAuc, ...]) -> dict[str, str]:
        split = self.settings.validation.split
        facts = {f"{split}_{auc.dataset}": _in_words(auc) for auc in found}
        facts |= {"step": str(self.module.step), "seed": str(self.settings.seed)}
        facts[SELECTED_BY] = repr(mean)
        if self.settings.validation.oracle:
            facts[ORACLE] = f"selected on {split}: figures on it are no measurement"
        return facts

    def _is_due(self, step: int) -> bool:
        told = self.settings.trainer
        return step % told.validate_every == 0 or step == told.steps

    def _is_late(self) -> bool:
        late = self._deadline is not None and time.monotonic() > self._deadline
        # clocks differ: where one process is late, all of them stop
        own = np.full(1, late, dtype=np.float32)
        return bool(self.ranks.together(own, self.ranks.n).any())

    def _out_of_patience(self) -> bool:
        told = self.settings.trainer
        if not told.patience or self.best.step == 0:
            return False
        return (self.module.step - self.best.step) // told.validate_every >= told.patience

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


def _in_words(auc: DatasetAuc) -> str:
    return f"video AUC {auc.auc:.4f} (n={auc.n_real}+{auc.n_fake})"
