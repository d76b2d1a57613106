"""Every registered detector learns one small batch by heart, through its own losses."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from dfdetect.config import config_dir, register_schemas, settings_from
from dfdetect.data.crops import CropStore
from dfdetect.detectors import DETECTORS
from dfdetect.detectors.base import Preprocess, Setting
from dfdetect.detectors.losses import LossTerm
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.detectors.testing import LEARNED, overfit_detector
from dfdetect.errors import ContractError
from dfdetect.training import FitSettings, fit
from dfdetect.training.module import DetectorModule
from dfdetect.types import CropPolicy, Image
from tests.stores import make_store

# with flooding the loss is never to come near 0
ARGUMENTS: dict[str, dict[str, Setting]] = {"recce": {"flooding": 0.0}, "capsule": {"size": 32}}
# how fast and how far, where that of a whole network is too slow for a few weights
PACE: dict[str, dict[str, Any]] = {
    "capsule": {"learning_rate": 3e-3},
    "effort": {"learning_rate": 3e-3},
    "lsda": {"learning_rate": 3e-3},
    "vit_linear": {"learning_rate": 0.1, "steps": 200},
}
SMALL = 64


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_learns_a_batch_by_heart(name: str) -> None:
    made = DETECTORS.get(name)
    told: dict[str, Any] = {**ARGUMENTS.get(name, {}), **PACE.get(name, {})}
    if not made.check_kwargs and "size" in inspect.signature(made).parameters:
        told["size"] = SMALL
    losses = overfit_detector(name, **told)
    assert losses[-1] < made.loss_floor + LEARNED < losses[0]


def test_it_is_repeatable_and_leaves_the_callers_chance_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first = overfit_detector("meso4")
    assert torch.equal(torch.rand(3), wanted)
    assert overfit_detector("meso4") == first


class _Faulty(Detector):
    """A detector whose loss has one fault at a time."""

    def __init__(self, fault: str = "none") -> None:
        super().__init__(Preprocess(16, (0.5,) * 3, (0.5,) * 3, CropPolicy(size=16)))
        self.fault = fault
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.layers(pixels).squeeze(1)
        return -logits if self.fault == "sign" and not self.training else logits

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        terms = super().loss_terms(batch, smoothing)
        if self.fault == "detached":
            return (LossTerm("bce", terms[0].value * 0 + 0.7),)
        return terms


def test_a_method_that_cannot_learn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS._entries, "faulty", _Faulty)
    overfit_detector("faulty")
    with pytest.raises(ContractError, match=r"20 steps .* from 0\.700 to 0\.700 only"):
        overfit_detector("faulty", steps=20, fault="detached")
    with pytest.raises(ContractError, match="judges 4 of its faces wrong"):
        overfit_detector("faulty", fault="sign")


@pytest.fixture
def toy(tmp_path: Path, portrait: Image) -> CropStore:
    return make_store(tmp_path / "toy", portrait, n_videos=4)


@pytest.mark.slow
def test_debug_overfit_drives_a_run_to_nothing(
    toy: CropStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_schemas()
    given = [
        "detector=xception", "detector.kwargs.size=64", "debug=overfit", f"crops=[{toy.folder}]",
        "sources=[{dataset: toy, weight: 1, blend_share: 0.5}]", f"run_dir={tmp_path / 'run'}",
        "trainer.steps=20", "trainer.validate_every=20", "trainer.accelerator=cpu",
        "trainer.workers=0", "trainer.logger=none", "optim.lr=1e-3",
    ]  # fmt: skip
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        settings = settings_from(compose("train", given), FitSettings)
    assert (settings.trainer.overfit_items, settings.augment.flip) == (2, 0)
    losses: list[float] = []
    log = DetectorModule._log

    def watched(self: DetectorModule, terms: tuple[LossTerm, ...]) -> None:
        losses.append(float(terms[0].value.detach()))
        log(self, terms)

    monkeypatch.setattr(DetectorModule, "_log", watched)
    result = fit(dataclasses.replace(settings))
    assert result.finished
    assert len(losses) == 20
    assert losses[-1] < LEARNED < losses[0]
