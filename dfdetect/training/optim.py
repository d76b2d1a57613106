"""Optimisers, schedules, sharpness-aware steps and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dfdetect.detectors.network import Detector
from dfdetect.training.settings import OptimSettings


def make_optimizer(network: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """Return the optimiser by its name, over the parameters that are to be trained.

    Unless `decay_all`, norms, biases and scales (tensors of one dimension) are not decayed. `adam`
    adds its decay to the gradient, as papers before AdamW did.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [one for one in trainable if settings.decay_all or one.ndim > 1]
    others = [one for one in trainable if not (settings.decay_all or one.ndim > 1)]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
        )
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.lr)


def _cosine(done: float, settings: OptimSettings) -> float:  # noqa: ARG001
    return 0.5 * (1 + math.cos(math.pi * done))


def _poly(done: float, settings: OptimSettings) -> float:
    return float((1 - done) ** settings.power)


def _stairs(done: float, settings: OptimSettings) -> float:
    # a hair more than its share, so that a step which rounding puts just before it counts
    return float(settings.gamma) ** int(done * settings.n_stairs + 1e-9)


def _constant(done: float, settings: OptimSettings) -> float:  # noqa: ARG001
    return 1.0


SCHEDULES: Mapping[str, Callable[[float, OptimSettings], float]] = {
    "cosine": _cosine,
    "poly": _poly,
    "stairs": _stairs,
    "constant": _constant,
}
"""How the rate falls, as a share of its peak, over the part of the run that it falls in."""


def learning_rate(step: int, n_steps: int, settings: OptimSettings) -> float:
    """Return the learning rate of a step: linear warm-up, `hold` of the rest at the peak, a fall.

    A pure function of the step, so that a resumed run needs no scheduler state.

    Example:
        >>> settings = OptimSettings(1.0, 0.0, 10, 0.0, 0.0, 0.0)
        >>> learning_rate(4, 110, settings), round(learning_rate(60, 110, settings), 6)
        (0.5, 0.5)
    """
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    after = (step - settings.warmup_steps) / max(1, n_steps - settings.warmup_steps)
    done = (min(1.0, after) - settings.hold) / (1 - settings.hold)
    return settings.lr * SCHEDULES[settings.schedule](max(0.0, done), settings)


class SharpnessAware:
    """The two halves of a sharpness-aware step around an optimiser.

    `ascend` moves the weights `rho` up the normalised gradient; after another backward pass there,
    `descend` puts them back exactly, and the optimiser steps with the gradient of the higher place.

    Source: Foret et al., "Sharpness-Aware Minimization", ICLR 2021, algorithm 1.
    """

    def __init__(self, parameters: Iterable[Tensor], rho: float) -> None:
        """Remember which weights are moved, and how far."""
        self._parameters = [one for one in parameters if one.requires_grad]
        self._rho = rho
        self._before: list[Tensor] = []

    @torch.no_grad()
    def ascend(self) -> None:
        """Move up the gradient that the weights hold, and forget it."""
        moved = [(one, one.grad) for one in self._parameters if one.grad is not None]
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(gradient) for _, gradient in moved])
        )
        self._before = [one.detach().clone() for one in self._parameters]
        for one, gradient in moved:
            one.add_(gradient, alpha=float(self._rho / (norm + 1e-12)))
        for one in self._parameters:
            one.grad = None

    @torch.no_grad()
    def descend(self) -> None:
        """Put the weights back where they were; their gradient stays."""
        for one, before in zip(self._parameters, self._before, strict=True):
            one.copy_(before)
        self._before = []


def averaged(network: Detector, decay: float) -> AveragedModel:
    """Return an exponential moving average of weights and batch-norm statistics.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NIPS 2017, section 2.
    """
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    moving = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    # no gradient ever reaches it, which several processes that train together would wait for
    return moving.requires_grad_(False)
