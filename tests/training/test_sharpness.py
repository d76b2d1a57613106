"""A sharpness-aware step is the paper's, over all batches of a step, and leaves no other trace."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from dfdetect.data.crops import CropStore
from dfdetect.detectors import create_detector
from dfdetect.detectors.losses import binary_cross_entropy
from dfdetect.training import FitSettings, fit
from dfdetect.training.optim import SharpnessAware, make_optimizer
from dfdetect.training.settings import OptimSettings


def test_a_step_on_a_quadratic_is_the_one_on_paper() -> None:
    weight = nn.Parameter(torch.tensor([3.0, -4.0]))
    curvature = torch.tensor([1.0, 10.0])

    def loss() -> torch.Tensor:
        return 0.5 * (curvature * weight**2).sum()

    torch.autograd.backward(loss())
    sharpness = SharpnessAware([weight], rho=0.5)
    gradient = curvature * weight.detach()
    above = weight.detach() + 0.5 * gradient / gradient.norm()
    before = weight.detach().clone()
    sharpness.ascend()
    torch.testing.assert_close(weight.detach(), above)
    assert weight.grad is None
    torch.autograd.backward(loss())
    sharpness.descend()
    assert torch.equal(weight.detach(), before)
    torch.testing.assert_close(weight.grad, curvature * above)


def by_hand(network: nn.Module, halves: list[torch.Tensor], labels: torch.Tensor) -> None:
    """One step over two accumulated batches, written out without any of our machinery."""
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)

    def gradients() -> list[torch.Tensor]:
        total = sum(binary_cross_entropy(network(half), labels) / 2 for half in halves)
        return list(torch.autograd.grad(total, parameters))  # type: ignore[arg-type]

    first = gradients()
    norm = torch.sqrt(sum((one**2).sum() for one in first))  # type: ignore[arg-type]
    kept = [one.detach().clone() for one in parameters]
    with torch.no_grad():
        for one, gradient in zip(parameters, first, strict=True):
            one += 0.05 * gradient / norm
    second = gradients()
    with torch.no_grad():
        for one, before, gradient in zip(parameters, kept, second, strict=True):
            one.copy_(before)
            one.grad = gradient
    optimizer.step()


def settings_for(settings: FitSettings, run_dir: Path, rho: float, batch: int) -> FitSettings:
    optim = OptimSettings(
        0.1, 0.0, 0, 0.0, 0.0, 0.0, name="sgd", schedule="constant", sam_rho=rho, decay_all=True
    )
    trainer = dataclasses.replace(
        settings.trainer, steps=1, batch_size=batch, accumulate=2, validate_every=1, save_every=1
    )
    detector = dataclasses.replace(settings.detector, kwargs={"dropout": 0.0})
    return dataclasses.replace(
        settings, optim=optim, trainer=trainer, detector=detector, run_dir=run_dir
    )


def test_training_takes_that_step_over_accumulated_batches(
    settings: FitSettings, store: CropStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    from dfdetect.training import module as training_module

    made = training_module.TrainingBatch

    def watched(*given: torch.Tensor | None) -> object:
        assert given[0] is not None
        seen.append(given[0].clone())
        return made(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(training_module, "TrainingBatch", watched)
    monkeypatch.setattr(training_module, "_channels_last", lambda batch: batch)
    told = settings_for(settings, tmp_path / "sam", 0.05, 4)
    fit(told)
    found = safetensors.torch.load_file(told.run_dir / "resume.safetensors")
    torch.manual_seed(settings.seed)
    import lightning

    lightning.seed_everything(settings.seed, verbose=False)
    network = create_detector("meso4", dropout=0.0)
    network.to(memory_format=torch.channels_last)
    by_hand(network, seen[:2], torch.tensor([0.0, 1.0] * 2))
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            found[f"network.{name}"], parameter.detach(), rtol=1e-4, atol=1e-6
        )


def test_the_second_pass_counts_for_no_statistics(settings: FitSettings, tmp_path: Path) -> None:
    states = []
    for rho in (0.0, 0.05):
        told = settings_for(settings, tmp_path / str(rho), rho, 4)
        fit(told)
        states.append(safetensors.torch.load_file(told.run_dir / "resume.safetensors"))
    plain, sharp = states
    # the weights differ, and what batch norms remember of the first pass does not
    statistics = [name for name in plain if "running" in name or "tracked" in name]
    assert statistics
    for name in statistics:
        torch.testing.assert_close(plain[name], sharp[name])
    weights = [name for name in plain if name.endswith("weight") and name.startswith("network")]
    assert any(not torch.equal(plain[name], sharp[name]) for name in weights)


def test_optimisers_are_the_ones_named() -> None:
    network = create_detector("meso4")
    base = OptimSettings(0.1, 0.2, 0, 0.0, 0.0, 0.0)
    for name, kind in (
        ("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD),
    ):  # fmt: skip
        made = make_optimizer(network, dataclasses.replace(base, name=name, decay_all=True))
        assert type(made) is kind
        assert {group["weight_decay"] for group in made.param_groups if group["params"]} == {0.2}
