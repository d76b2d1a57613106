"""The method as Lightning runs it: one training step, the optimiser, the averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dfdetect.detectors.losses import LossTerm, total_loss
from dfdetect.detectors.network import PICTURES, Detector, TrainingBatch, channels_last
from dfdetect.training.device_pairs import DevicePairs, Unblended
from dfdetect.training.optim import SharpnessAware, averaged, learning_rate, make_optimizer
from dfdetect.training.settings import FitSettings

Given = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""The fields of a `TrainingBatch` as a loader hands them over."""


class DetectorModule(lightning.LightningModule):
    """A detector, what it is optimised for and how; `step` counts optimiser steps over resumes.

    A step is made of `trainer.accumulate` batches. Lightning's own optimisation would see them one
    by one; a sharpness-aware step needs all of them twice, so the steps are taken here.
    """

    def __init__(self, network: Detector, settings: FitSettings) -> None:
        """Wrap a network from `create_detector`."""
        super().__init__()
        self.automatic_optimization = False
        self.network: Detector = channels_last(network)
        self.settings = settings
        self.step = 0
        decay, rho = settings.optim.ema_decay, settings.optim.sam_rho
        self.average: AveragedModel | None = averaged(network, decay) if decay > 0 else None
        self._sharpness = SharpnessAware(network.parameters(), rho) if rho > 0 else None
        self._held: list[TrainingBatch] = []
        self._pairs = DevicePairs(network.preprocess, network.needs, settings.augment)

    @property
    def candidate(self) -> Detector:
        """The network that would be saved now: the average where there is one."""
        network = self.network if self.average is None else self.average.module
        assert isinstance(network, Detector)  # noqa: S101 — tells the type checker
        return network

    def training_step(self, given: Given | Unblended, batch_idx: int) -> None:
        """Go down the gradient of a batch, and take a step when enough of them were seen."""
        accumulate = self.settings.trainer.accumulate
        part = batch_idx % accumulate
        batch = _channels_last(
            self._blended(given, part) if isinstance(given, Unblended) else TrainingBatch(*given)
        )
        is_last = part + 1 == accumulate
        optimizer = self._optimizer
        with optimizer.toggle_model(sync_grad=is_last):
            terms = self._backward(batch, part)
        self._log(terms)
        if self._sharpness is not None:
            self._held.append(batch)
        if is_last:
            if self._sharpness is not None:
                self._climb(self._sharpness)
            self._take_step(optimizer)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser; its rate is set step by step."""
        return make_optimizer(self.network, self.settings.optim)

    @property
    def _optimizer(self) -> LightningOptimizer:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # noqa: S101 — there is one
        return optimizer

    def _blended(self, given: Unblended, part: int) -> TrainingBatch:
        # a resumed run must blend as one that was never interrupted, and no two ranks alike
        generator = torch.Generator(self.device)
        generator.manual_seed(self._seed(part, 0xB1))
        batch = self._pairs(given, generator)
        # what Lightning does to batches where weights themselves are of half precision
        dtype = next(self.network.parameters()).dtype
        masks = None if batch.masks is None else batch.masks.to(dtype)
        return replace(batch, pixels=batch.pixels.to(dtype), masks=masks)

    def _seed(self, part: int, purpose: int) -> int:
        seed = (self.settings.seed, self.step, part, purpose, *range(self.global_rank, 0, -1))
        return hash(seed) & 0x7FFF_FFFF_FFFF_FFFF

    def _backward(self, batch: TrainingBatch, part: int) -> tuple[LossTerm, ...]:
        # a resumed run must drop the same units as one that was never interrupted, the second
        # pass of a sharpness-aware step the same as the first, and no two ranks the same
        torch.manual_seed(self._seed(part, 0xD0))
        terms = self.network.loss_terms(batch, self.settings.optim.label_smoothing)
        self.manual_backward(total_loss(terms) / self.settings.trainer.accumulate)
        return terms

    def _climb(self, sharpness: SharpnessAware) -> None:
        """Replace the gradient by that of the place up the hill, over all batches of the step."""
        sharpness.ascend()
        with _frozen_statistics(self.network):
            for part, batch in enumerate(self._held):
                is_last = part + 1 == len(self._held)
                with self._optimizer.toggle_model(sync_grad=is_last):
                    self._backward(batch, part)
        sharpness.descend()
        self._held = []

    def _take_step(self, optimizer: LightningOptimizer) -> None:
        told = self.settings
        rate = learning_rate(self.step, told.trainer.steps, told.optim)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if told.optim.clip_norm:
            _unscale(self.trainer, optimizer)
            self.clip_gradients(
                optimizer.optimizer,
                gradient_clip_val=told.optim.clip_norm,
                gradient_clip_algorithm="norm",
            )
        optimizer.step()
        optimizer.zero_grad()
        self.step += 1
        if self.average is not None:
            self.average.update_parameters(self.network)

    def _log(self, terms: tuple[LossTerm, ...]) -> None:
        self.log("train/loss", total_loss(terms).detach(), prog_bar=True)
        if len(terms) > 1:
            self.log_dict({f"train/{term.name}": term.value.detach() for term in terms})


def _channels_last(batch: TrainingBatch) -> TrainingBatch:
    if batch.pixels.ndim != PICTURES:
        return batch
    pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
    return TrainingBatch(pixels, batch.labels, batch.masks, batch.methods)


@contextmanager
def _frozen_statistics(network: nn.Module) -> Iterator[None]:
    # the weights of the second pass are those of no network that will ever be used
    norms = [one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, momentum, seen in kept:
            norm.momentum, norm.num_batches_tracked = momentum, seen


def _unscale(trainer: Any, optimizer: LightningOptimizer) -> None:
    # gradients of half precision are scaled up against underflow; a norm is of the true ones
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None:
        scaler.unscale_(optimizer.optimizer)
