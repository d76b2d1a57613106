"""CORE: its two terms against computations of their own, and what each of them trains."""

import math

import pytest
import torch
from torch import Tensor, nn

from dfdetect.detectors import create_detector
from dfdetect.detectors.core import Core, consistency, weighted_cross_entropy
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.errors import UsageError

SIZE = 64


def views(n_pairs: int = 2, seed: int = 0) -> TrainingBatch:
    """Genuine and forged faces of smooth noise in two views, which differ in their contrast."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2 * n_pairs, 3, 8, 8, generator=generator) * 2 - 1
    first = nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")
    labels = torch.tensor([0.0, 1.0] * n_pairs)
    return TrainingBatch(torch.cat((first, 0.8 * first)), labels.repeat(2))


@pytest.fixture(scope="module")
def network() -> Core:
    torch.manual_seed(0)
    made = create_detector("core", size=SIZE)
    assert isinstance(made, Core)
    return made


def test_a_batch_holds_two_views(network: Core) -> None:
    assert network.needs.views == 2
    assert dict(network.kwargs)["consistency_weight"] == 100


def test_consistency_is_the_squared_cosine_distance() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)
    expected = 0.0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        cosine = dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        expected += (1 - cosine) ** 2 / 5
    assert consistency(first, second).item() == pytest.approx(expected, rel=1e-12)


def test_consistency_of_close_directions_survives_mixed_precision() -> None:
    first = torch.rand(4, 2048, generator=torch.Generator().manual_seed(0)).bfloat16()
    second = first.clone()
    second[:, ::2] *= 1.0625
    wanted = consistency(first.double(), second.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = consistency(first, second)
    assert 0 < wanted.item() < 1e-5
    assert found.item() == pytest.approx(wanted.item(), rel=0.01)


def test_consistency_asks_for_direction_only() -> None:
    features = torch.rand(4, 9, generator=torch.Generator().manual_seed(2))
    scales = torch.tensor([[0.1], [1.0], [3.0], [50.0]])
    assert consistency(features, scales * features).item() == pytest.approx(0, abs=1e-12)
    assert consistency(features, -features).item() == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_entropy_is_that_of_two_logits_with_class_weights(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(3)
    pair = torch.randn(10, 2, generator=generator)
    labels = torch.tensor([0, 1, 1, 1, 1, 0, 1, 1, 1, 1])
    if smoothing:
        log_p = pair.log_softmax(dim=1)
        entropies = [
            -(1 - smoothing / 2) * row[kind] - smoothing / 2 * row[1 - kind]
            for row, kind in zip(log_p, labels, strict=True)
        ]
        weights = [4.0 if kind == 0 else 1.0 for kind in labels]
        weighed = [w * e for w, e in zip(weights, entropies, strict=True)]
        expected = sum(weighed) / sum(weights)
    else:
        expected = nn.functional.cross_entropy(pair, labels, torch.tensor([4.0, 1.0]))
    logits = pair[:, 1] - pair[:, 0]
    found = weighted_cross_entropy(logits, labels.float(), 4.0, smoothing)
    assert torch.allclose(found, torch.as_tensor(expected), atol=1e-6)


def test_four_to_one_on_unbalanced_batches_is_one_to_one_on_balanced_ones() -> None:
    """Why batches that are half genuine need no weight: both weigh the two kinds alike."""
    real, fake = torch.tensor([0.3, -1.0]), torch.randn(8, generator=torch.Generator())
    logits, labels = torch.cat((real, fake)), torch.tensor([0.0] * 2 + [1.0] * 8)
    even = torch.cat((real.repeat(4), fake))
    expected = weighted_cross_entropy(even, torch.tensor([0.0] * 8 + [1.0] * 8), 1.0)
    assert weighted_cross_entropy(logits, labels, 4.0).item() == pytest.approx(expected.item())


def test_terms_are_those_of_the_pooled_features_of_both_views(network: Core) -> None:
    batch = views()
    network.eval()
    with torch.no_grad():
        entropy, agreement = network.loss_terms(batch)
        features = network.features(batch.pixels)
        logits = network(batch.pixels)
    assert features.shape == (8, 2048)
    assert features.min() >= 0
    assert (entropy.name, entropy.weight) == ("bce", 1)
    assert (agreement.name, agreement.weight) == ("consistency", 100)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
    assert torch.allclose(entropy.value, expected, atol=1e-6)
    cosines = nn.functional.cosine_similarity(features[:4], features[4:])
    assert torch.allclose(agreement.value, ((1 - cosines) ** 2).mean(), atol=1e-6)


def reached(network: nn.Module, value: Tensor) -> set[str]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def test_consistency_trains_the_body_and_the_entropy_all(network: Core) -> None:
    network.train()
    entropy, agreement = network.loss_terms(views())
    everything = {name for name, _ in network.named_parameters()}
    assert reached(network, entropy.value) == everything
    assert reached(network, agreement.value) == {n for n in everything if n.startswith("body.")}


def test_four_faces_are_learned_in_a_few_steps() -> None:
    torch.manual_seed(0)
    network, batch = create_detector("core", size=SIZE), views()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    values = []
    for _ in range(10):
        terms = network.loss_terms(batch)
        loss = total_loss(terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append([term.value.item() for term in terms])
    assert values[0][0] == pytest.approx(math.log(2), abs=0.1)
    assert values[-1][0] < 0.05
    assert values[-1][1] < 0.01


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_are_positive(weight: float) -> None:
    with pytest.raises(UsageError, match="real_weight must be positive"):
        create_detector("core", real_weight=weight)
