"""Attacks on crops: they move the answer the way they should, and no pixel by more than allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfdetect.detectors import create_detector
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.checkpoint import make_header, save_checkpoint
from dfdetect.detectors.network import Detector
from dfdetect.errors import UsageError
from dfdetect.evaluation.robustness.adversarial import (
    TOWARDS_FAKE,
    TOWARDS_REAL,
    Attack,
    adversarial_run,
    attacked,
)
from dfdetect.evaluation.scored import score_stores
from dfdetect.types import CropPolicy, Image
from tests.stores import SCALE, make_store

SIZE = 32
PREPROCESS = Preprocess(
    SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), CropPolicy("square", 1.3, SIZE)
)


class Weighted(Detector):
    """A linear network: what the best attack on it is can be written down."""

    def __init__(self) -> None:
        super().__init__(PREPROCESS)
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(3, SIZE, SIZE, generator=generator))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * self.weight).sum(dim=(1, 2, 3))


def crops(n: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("direction", [TOWARDS_FAKE, TOWARDS_REAL])
def test_on_a_linear_network_the_attack_is_the_best_one(steps: int, direction: int) -> None:
    network, pictures = Weighted().eval(), crops()
    moved = attacked(network, PREPROCESS, pictures, Attack(3, steps), direction)
    sign = np.sign(network.weight.detach().numpy()).transpose(1, 2, 0)
    best = np.clip(pictures + 3 * direction * sign, 0, 255)
    assert moved.dtype == np.uint8
    assert np.array_equal(moved, best)


def test_a_deep_network_is_moved_within_epsilon() -> None:
    torch.manual_seed(0)
    network = create_detector("backbone", model_name="resnet10t", size=64, crop_scale=SCALE).eval()
    pictures = np.random.default_rng(2).integers(0, 256, (4, 64, 64, 3), np.uint8)

    def loss(images: np.ndarray) -> float:
        """The cross-entropy of genuine pictures."""
        with torch.no_grad():
            logits = network(torch.from_numpy(network.preprocess.normalise(images)))
        return float(torch.nn.functional.softplus(logits).mean())

    once, often = (
        attacked(network, network.preprocess, pictures, Attack(2, steps), TOWARDS_FAKE)
        for steps in (1, 8)
    )
    for moved in (once, often):
        change = moved.astype(int) - pictures
        assert 0 < np.abs(change).max() <= 2
    assert loss(pictures) < loss(once) < loss(often)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_split_is_pushed_against_its_labels(portrait: Image, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", portrait, n_videos=2)
    torch.manual_seed(1)
    network = create_detector("backbone", model_name="resnet10t", size=96, crop_scale=SCALE).eval()
    header = make_header(network, trained=True, provenance={"trained_on": "nothing"})
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, network, header)
    from dfdetect.detectors.checkpoint import load_detector

    clean = score_stores(store, load_detector(path))
    run = adversarial_run(path, store, Attack(2))
    labels = run.videos.column("label").to_numpy()[run.scores.video]
    change = run.scores.logit - clean.scores.logit
    assert (change[labels == 0] > 0).all()
    assert (change[labels == 1] < 0).all()
    assert (Attack(2).condition, Attack(4, 10).condition) == ("fgsm 2/255", "pgd-10 4/255")


def test_attacks_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epsilon 0"):
        Attack(0)
    with pytest.raises(UsageError, match="0 steps"):
        Attack(1, 0)
    with pytest.raises(UsageError, match="gives no gradients"):
        adversarial_run(tmp_path / "net.onnx", [], Attack())
