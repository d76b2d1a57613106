"""Loss, schedule, decay groups and the average, against formulas written out again."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.data.augment import NO_AUGMENT
from dfdetect.detectors import create_detector
from dfdetect.detectors.losses import binary_cross_entropy
from dfdetect.training.module import DetectorModule
from dfdetect.training.optim import averaged, learning_rate, make_optimizer
from dfdetect.training.settings import (
    DetectorSettings,
    FitSettings,
    OptimSettings,
    TrainerSettings,
    ValidationSettings,
)

OPTIM = OptimSettings(1e-3, 0.05, 10, 0.9, 0.1, 5.0)


def settings_with(optim: OptimSettings) -> FitSettings:
    trainer = TrainerSettings(10, 4, 1, 0, 1, "32-true", "cpu", 5, 5, None, "none")
    return FitSettings(
        DetectorSettings("meso4", {}), (), (), NO_AUGMENT, optim, trainer,
        ValidationSettings(4, ()), 0, Path(),
    )  # fmt: skip


# loss


@given(
    st.lists(st.tuples(st.floats(-20, 20), st.integers(0, 1)), min_size=1, max_size=8),
    st.floats(0, 0.5),
)
def test_loss_is_the_smoothed_cross_entropy(
    rows: list[tuple[float, int]], smoothing: float
) -> None:
    logits = torch.tensor([logit for logit, _ in rows], dtype=torch.float64)
    labels = torch.tensor([float(label) for _, label in rows], dtype=torch.float64)
    expected = []
    for logit, label in rows:
        # -log p and -log(1 - p), written so that they do not overflow
        fake, real = np.logaddexp(0, -logit), np.logaddexp(0, logit)
        target = label * (1 - smoothing) + smoothing / 2
        expected.append(target * fake + (1 - target) * real)
    assert float(binary_cross_entropy(logits, labels, smoothing)) == pytest.approx(
        np.mean(expected), abs=1e-9
    )


def test_a_small_batch_is_learnt_by_heart() -> None:
    torch.manual_seed(0)
    network = create_detector("meso4", dropout=0.0)
    pixels, labels = torch.rand(6, 3, 256, 256), torch.tensor([0.0, 1.0] * 3)
    optimizer = make_optimizer(network, OptimSettings(5e-3, 0.0, 1, 0.0, 0.0, 0.0))
    loss = torch.tensor(math.inf)
    for _ in range(60):
        optimizer.zero_grad()
        loss = binary_cross_entropy(network(pixels), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss.detach()) < 0.02


# schedule


def test_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [learning_rate(step, 100, OPTIM) for step in range(100)]
    assert rates[0] == pytest.approx(OPTIM.lr / 10)
    assert max(rates) == pytest.approx(OPTIM.lr)
    assert all(later > earlier for earlier, later in pairwise(rates[:10]))
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] < 0.002 * OPTIM.lr


@given(st.integers(0, 300), st.integers(1, 200), st.integers(0, 50))
def test_rate_stays_between_nothing_and_its_peak(step: int, n_steps: int, warmup: int) -> None:
    optim = OptimSettings(1.0, 0.0, warmup, 0.0, 0.0, 0.0)
    assert 0 <= learning_rate(step, n_steps, optim) <= 1


# decay


def test_every_parameter_is_optimised_once_and_only_matrices_decay() -> None:
    network = create_detector("meso4")
    decayed, kept = make_optimizer(network, OPTIM).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (OPTIM.weight_decay, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim <= 1 for parameter in kept["params"])
    grouped = [id(parameter) for group in (decayed, kept) for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())


def test_frozen_parameters_are_left_out() -> None:
    network = create_detector("meso4")
    frozen = next(network.parameters())
    frozen.requires_grad_(False)
    groups = make_optimizer(network, OPTIM).param_groups
    assert all(parameter is not frozen for group in groups for parameter in group["params"])


# average


def test_average_follows_its_formula_with_statistics() -> None:
    network = create_detector("meso4")
    average = averaged(network, 0.9)
    average.update_parameters(network)
    expected = {key: value.clone() for key, value in network.state_dict().items()}
    for step in range(3):
        torch.manual_seed(step)
        with torch.no_grad():
            for value in network.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.rand_like(value))
        average.update_parameters(network)
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                expected[key] = 0.9 * expected[key] + 0.1 * value
    found = average.module.state_dict()
    for key, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[key], value)


def test_the_average_is_the_candidate_where_there_is_one() -> None:
    network = create_detector("meso4")
    module = DetectorModule(network, settings_with(OPTIM))
    assert module.average is not None
    assert module.candidate is module.average.module
    plain = DetectorModule(
        create_detector("meso4"), settings_with(OptimSettings(1e-3, 0, 1, 0.0, 0.0, 0.0))
    )
    assert plain.candidate is plain.network
