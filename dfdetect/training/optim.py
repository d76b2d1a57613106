"""The optimiser, its schedule and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dfdetect.detectors.network import Detector
from dfdetect.training.settings import OptimSettings


def adamw(network: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """Return AdamW; norms, biases and scales (tensors of one dimension) are not decayed."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trainable if parameter.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {
            "params": [parameter for parameter in trainable if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    return torch.optim.AdamW(groups, lr=settings.lr)


def learning_rate(step: int, n_steps: int, settings: OptimSettings) -> float:
    """Return the learning rate of a step: linear warm-up, then half a cosine down to 0.

    A pure function of the step, so that a resumed run needs no scheduler state.

    Example:
        >>> settings = OptimSettings(1.0, 0.0, 10, 0.0, 0.0, 0.0)
        >>> learning_rate(4, 110, settings), round(learning_rate(60, 110, settings), 6)
        (0.5, 0.5)
    """
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, n_steps - settings.warmup_steps)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def averaged(network: Detector, decay: float) -> AveragedModel:
    """Return an exponential moving average of weights and batch-norm statistics.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NIPS 2017, section 2.
    """
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
