"""MesoNet's two losses, and that the choice of one leaves no trace in a file of weights."""

import math

import pytest
import torch

from dfdetect.detectors import DETECTORS, create_detector
from dfdetect.detectors.fidelity import fidelity_card
from dfdetect.detectors.network import TrainingBatch
from dfdetect.errors import UsageError

NAMES = ("meso4", "meso_inception4")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_what_the_papers_write(name: str, smoothing: float) -> None:
    torch.manual_seed(0)
    pixels, labels = torch.rand(4, 3, 256, 256), [0.0, 1.0, 0.0, 1.0]
    batch = TrainingBatch(pixels, torch.tensor(labels))
    found = {}
    for loss in ("mse", "bce"):
        torch.manual_seed(1)
        network = create_detector(name, loss=loss).eval()
        (term,) = network.loss_terms(batch, smoothing)
        assert (term.name, term.weight) == (loss, 1.0)
        found[loss] = float(term.value)
        logits = network(pixels).tolist()
    odds = [1 / (1 + math.exp(-logit)) for logit in logits]
    wanted = [label * (1 - smoothing) + smoothing / 2 for label in labels]
    pairs = list(zip(odds, wanted, strict=True))
    squared = sum((p - t) ** 2 for p, t in pairs) / 4
    crossed = -sum(t * math.log(p) + (1 - t) * math.log(1 - p) for p, t in pairs) / 4
    assert found == pytest.approx({"mse": squared, "bce": crossed}, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_choice_matters_to_training_alone(name: str) -> None:
    plain, paper = create_detector(name), create_detector(name, loss="mse")
    assert plain.kwargs == paper.kwargs
    assert "loss" not in dict(paper.kwargs)
    assert plain.loss_terms(TrainingBatch(torch.rand(2, 3, 256, 256), torch.ones(2)))[0].name == (
        "bce"
    )
    with pytest.raises(UsageError, match="loss must be one of bce, mse"):
        create_detector(name, loss="hinge")
    assert "mse" in fidelity_card(DETECTORS.get(name)).differs
