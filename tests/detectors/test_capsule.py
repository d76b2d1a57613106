"""Capsule-Forensics: sizes, statistics, squashing and routing written out by hand, the loss."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from dfdetect.detectors import DETECTORS, create_detector
from dfdetect.detectors.capsule import (
    Capsule,
    Routing,
    mean_logit,
    pooled_statistics,
    squashed,
)
from dfdetect.detectors.fidelity import fidelity_card
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.testing import check_detector
from dfdetect.errors import UsageError

# four dimensions that a squashed vector cannot all lead to 1
FLOOR = 4 * math.log1p(math.exp(-1))


def small(**kwargs: object) -> Capsule:
    network = create_detector("capsule", size=32, **kwargs)
    assert isinstance(network, Capsule)
    return network


def pair(size: int = 32, n: int = 4) -> TrainingBatch:
    pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(3))
    return TrainingBatch(pixels, torch.arange(n).remainder(2).float())


def test_parameters_are_those_of_the_peer() -> None:
    with torch.device("meta"):
        network = create_detector("capsule")
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_896_638
    assert network.preprocess.size == 300


@pytest.mark.shared
def test_shapes_are_those_of_the_peer(shared_data: Path) -> None:
    file = shared_data / "checkpoint_keys" / "DeepfakeBench__capsule_net.json"
    published = json.loads(file.read_text())
    assert published["n_params"] == 3_896_638
    with torch.device("meta"):
        network = create_detector("capsule")
    found = sorted(tuple(tensor.shape) for tensor in network.state_dict().values())
    assert found == sorted(tuple(shape) for _, shape, _ in published["keys"])


def test_maps_and_vectors_have_the_sizes_of_the_paper() -> None:
    network = small().eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        (features,) = network.vgg(pixels)
        assert features.shape == (2, 256, 16, 16)
        part = network.parts[0]
        assert part.maps(features).shape == (2, 16, 16, 16)
        assert part(features).shape == (2, 8)
        classes = network.routing(torch.randn(2, 10, 8))
        assert classes.shape == (2, 2, 4)
        assert bool((classes.norm(dim=-1) < 1).all())
        assert network.capsule_logits(pixels).shape == (2, 4)


def test_features_are_vgg_up_to_its_third_block(tmp_path: Path) -> None:
    torch.manual_seed(0)
    # the classifier's 120 million weights play no part
    whole = timm.create_model("vgg19", num_classes=0).features
    state = {f"features.{key}": value for key, value in whole.state_dict().items()}
    path = tmp_path / "vgg19.safetensors"
    safetensors.torch.save_file(state, path)
    network = small(init=str(path))
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        # eight convolutions, each with its ReLU, and two poolings
        torch.testing.assert_close(network.vgg(pixels)[0], whole[:18](pixels))


def test_statistics_are_mean_and_variance() -> None:
    maps = torch.randn(3, 5, 4, 7)
    flat = maps.numpy().reshape(3, 5, -1).astype(np.float64)
    expected = np.stack([flat.mean(-1), flat.var(-1, ddof=1)], axis=1)
    np.testing.assert_allclose(pooled_statistics(maps).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_squashing_keeps_directions_and_bounds_lengths() -> None:
    vectors = torch.randn(50, 6, dtype=torch.float64) * torch.logspace(-3, 3, 50)[:, None]
    found = squashed(vectors)
    length = vectors.norm(dim=1)
    torch.testing.assert_close(found.norm(dim=1), length**2 / (1 + length**2))
    torch.testing.assert_close(found / found.norm(dim=1)[:, None], vectors / length[:, None])
    still = torch.zeros(1, 4, requires_grad=True)
    squashed(still).sum().backward()
    assert still.grad is not None
    assert bool(still.grad.isfinite().all())


def by_hand(weights: np.ndarray, parts: np.ndarray, rounds: int) -> np.ndarray:
    """Routing of one picture in loops: parts n × 8, weights 2 × n × 4 × 8."""

    def squash(vector: np.ndarray) -> np.ndarray:
        square = float(vector @ vector)
        return square / (1 + square) * vector / math.sqrt(square)

    n = len(parts)
    votes = [[weights[k, i] @ squash(parts[i]) for i in range(n)] for k in range(2)]
    agreed = np.zeros((2, n))
    for _ in range(rounds):
        shares = np.exp(agreed) / np.exp(agreed).sum(axis=0)
        classes = [squash(sum(shares[k, i] * votes[k][i] for i in range(n))) for k in range(2)]
        for k in range(2):
            for i in range(n):
                agreed[k, i] += votes[k][i] @ classes[k]
    return np.stack(classes)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_routing_equals_the_algorithm_written_out_in_loops(rounds: int) -> None:
    torch.manual_seed(rounds)
    routing = Routing(5, rounds, dropout=0.5).double().eval()
    parts = 3 * torch.randn(3, 5, 8, dtype=torch.float64)
    with torch.inference_mode():
        found = routing(parts).numpy()
    weights = routing.weights.detach().numpy()
    expected = np.stack([by_hand(weights, each, rounds) for each in parts.numpy()])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_weights_are_noisy_only_while_training() -> None:
    torch.manual_seed(0)
    routing, parts = Routing(10, 2, dropout=0.0), torch.randn(2, 10, 8)
    assert not torch.equal(routing(parts), routing(parts))
    torch.manual_seed(1)
    first = routing(parts)
    torch.manual_seed(1)
    assert torch.equal(first, routing(parts))
    routing.eval()
    assert torch.equal(routing(parts), routing(parts))


def test_the_logit_is_that_of_the_mean_softmax() -> None:
    classes = torch.randn(6, 2, 4, dtype=torch.float64)
    probability = classes.softmax(dim=1).mean(dim=2)[:, 1]
    found = mean_logit(classes[:, 1] - classes[:, 0])
    torch.testing.assert_close(found, torch.logit(probability))
    # where a probability would round to 0 or 1
    far = torch.tensor([[-300.0, -300.0], [300.0, 300.0]])
    torch.testing.assert_close(mean_logit(far), torch.tensor([-300.0, 300.0]))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_adds_up_cross_entropies_of_two_classes(smoothing: float) -> None:
    torch.manual_seed(0)
    network, batch = small().eval(), pair()
    (term,) = network.loss_terms(batch, smoothing)
    with torch.inference_mode():
        (features,) = network.vgg(batch.pixels)
        parts = torch.stack([part(features) for part in network.parts], dim=1)
        classes = network.routing(parts)
    total = 0.0
    for dimension in range(4):
        # one two-class vector a dimension: real, fake
        total += float(
            torch.nn.functional.cross_entropy(
                classes[:, :, dimension], batch.labels.long(), label_smoothing=smoothing
            )
        )
    assert term.name == "bce"
    assert float(term.value.detach()) == pytest.approx(total, rel=1e-5)


def test_vgg_is_trained_along_unless_it_is_fixed() -> None:
    for tuned in (True, False):
        network = small(tuned=tuned).train()
        total_loss(network.loss_terms(pair())).backward()
        reached = {key for key, each in network.named_parameters() if each.grad is not None}
        vgg = {key for key in reached if key.startswith("vgg.")}
        assert bool(vgg) is tuned
        assert {"routing.weights", "parts.9.vector.0.weight"} <= reached


def test_capsules_start_from_different_weights() -> None:
    network = small()
    one, other = (network.parts[number].maps[0].weight for number in (0, 1))
    assert not torch.equal(one, other)


def test_it_keeps_the_contract_and_learns_four_pictures_by_heart() -> None:
    check_detector("capsule", size=32)
    torch.manual_seed(0)
    network, batch = small(capsules=3, dropout=0.0).train(), pair()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(40):
        loss = total_loss(network.loss_terms(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    reached = float(total_loss(network.loss_terms(batch)))
    assert FLOOR < reached < 1.1 * FLOOR
    assert ((network(batch.pixels) > 0) == (batch.labels > 0)).all()


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"capsules": 0}, "at least one capsule"),
        ({"rounds": 0}, "at least one capsule and one round"),
        ({"size": 24}, "size must be at least 32"),
        ({"dropout": -0.1}, "dropout must lie"),
    ],
)
def test_wrong_settings_are_answered_with_a_sentence(
    kwargs: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        create_detector("capsule", **kwargs)


def test_the_card_says_what_bounds_the_probability() -> None:
    card = fidelity_card(DETECTORS.get("capsule"))
    assert "0.27 and 0.73" in card.differs
    assert 1 / (1 + math.exp(-1)) == pytest.approx(0.73, abs=0.005)
    assert pytest.approx(1.25, abs=0.005) == FLOOR
