"""The method as Lightning runs it: one training step, the optimiser, the averaged weights."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.training.optim import adamw, averaged, learning_rate
from dfdetect.training.settings import FitSettings


class DetectorModule(lightning.LightningModule):
    """A detector, what it is optimised for and how; `step` counts optimiser steps over resumes."""

    def __init__(self, network: Detector, settings: FitSettings) -> None:
        """Wrap a network from `create_detector`."""
        super().__init__()
        self.network: Detector = network.to(memory_format=torch.channels_last)
        self.settings = settings
        self.step = 0
        decay = settings.optim.ema_decay
        self.average: AveragedModel | None = averaged(network, decay) if decay > 0 else None

    @property
    def candidate(self) -> Detector:
        """The network that would be saved now: the average where there is one."""
        network = self.network if self.average is None else self.average.module
        assert isinstance(network, Detector)  # noqa: S101 — tells the type checker
        return network

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set what depends on the step alone: learning rate and the seed of dropout."""
        micro_batch = batch_idx % self.settings.trainer.accumulate
        rate = learning_rate(self.step, self.settings.trainer.steps, self.settings.optim)
        optimizer = self.optimizers()
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = rate
        # a resumed run must drop the same units as one that was never interrupted
        seed = (self.settings.seed, self.step, micro_batch, 0xD0)
        torch.manual_seed(hash(seed) & 0x7FFF_FFFF_FFFF_FFFF)

    def training_step(self, given: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of normalised pixels (B, 3, S, S) and labels (B,)."""
        pixels, labels = given
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        batch = TrainingBatch(pixels, labels)
        terms = self.network.loss_terms(batch, self.settings.optim.label_smoothing)
        loss = total_loss(terms)
        self.log("train/loss", loss, prog_bar=True)
        if len(terms) > 1:
            self.log_dict({f"train/{term.name}": term.value for term in terms})
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, count it and move the average."""
        super().optimizer_step(*args, **kwargs)
        self.step += 1
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser; its rate is set step by step."""
        return adamw(self.network, self.settings.optim)
