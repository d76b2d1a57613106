"""RECCE: its layers and losses against loops, and what each loss trains."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dfdetect.detectors import create_detector
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.recce import (
    GraphReasoning,
    GuidedAttention,
    Recce,
    flooded,
    metric_loss,
    patches,
    reconstruction_loss,
    white_noise,
)
from dfdetect.errors import UsageError

SIZE = 64


def faces(n_pairs: int = 2, seed: int = 0) -> TrainingBatch:
    """Genuine and forged faces of smooth noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2 * n_pairs, 3, 8, 8, generator=generator) * 2 - 1
    pixels = nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")
    return TrainingBatch(pixels, torch.tensor([0.0, 1.0] * n_pairs))


def settle(network: nn.Module, pixels: Tensor) -> None:
    """Let batch norms take the statistics of these pixels, so that evaluation gives no zeros."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(pixels)
    network.eval()


@pytest.fixture(scope="module")
def network() -> Recce:
    torch.manual_seed(0)
    made = create_detector("recce", size=SIZE)
    assert isinstance(made, Recce)
    settle(made, faces().pixels)
    return made


def test_layers_and_maps_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = create_detector("recce")
        assert isinstance(network, Recce)
        pixels = torch.zeros(2, 3, 299, 299)
        seen = network.reconstructed(pixels, pixels)
    # the release stores a classifier of 1000 classes that it does not use
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 25_830_509 - 1000 * 2049
    shapes = [tuple(features.shape) for features in seen.embedded]
    # 19 · 19 = 361 vertices, as often as the release scores pairs
    assert shapes == [(2, 728, 19, 19), (2, 256, 38, 38), (2, 128, 76, 76)]
    assert seen.reconstruction.shape == pixels.shape


@pytest.mark.shared
def test_every_tensor_has_a_partner_in_the_release(shared_data: Path) -> None:
    listed = json.loads((shared_data / "checkpoint_keys" / "RECCE__recce.json").read_text())
    theirs = Counter(
        tuple(shape) for name, shape, _ in listed["keys"] if not name.startswith("encoder.fc.")
    )
    with torch.device("meta"):
        network = create_detector("recce")
    assert Counter(tuple(tensor.shape) for tensor in network.state_dict().values()) == theirs


def test_patches_are_the_vertices_of_the_same_place() -> None:
    ratio, features = 4, torch.arange(2 * 3 * 8 * 12.0).reshape(2, 3, 8, 12)
    found = patches(features, ratio)
    assert found.shape == (2, 2, 3, 16, 3)
    for row in range(2):
        for column in range(3):
            for number in range(16):
                y, x = row * ratio + number // ratio, column * ratio + number % ratio
                assert torch.equal(found[:, row, column, number], features[:, :, y, x])


def test_graph_reasoning_is_what_loops_over_vertices_give() -> None:
    torch.manual_seed(1)
    graph = GraphReasoning()
    features, fine = torch.randn(2, 728, 2, 3), torch.randn(2, 128, 8, 12)
    coarse = torch.randn(2, 256, 4, 6)
    with torch.no_grad():
        found = graph(features, coarse, fine)
        expected = torch.empty_like(found)
        for b in range(2):
            for y in range(2):
                for x in range(3):
                    here = features[b, :, y, x][None, :, None, None]
                    vertex = graph.embed(here)
                    joined = [vertex.flatten()]
                    for part, finer in ((graph.coarse, coarse), (graph.fine, fine)):
                        r = part.ratio
                        below = finer[b, :, r * y : r * y + r, r * x : r * x + r]
                        embedded = [part.embed(n) for n in below.flatten(1).T]
                        scores = [
                            max(part.score(torch.cat((joined[0], n))).item(), 0) for n in embedded
                        ]
                        total = sum(map(math.exp, scores))
                        mixed = sum(
                            math.exp(s) / total * n for s, n in zip(scores, embedded, strict=True)
                        )
                        joined.append(part.gate(here).flatten() * mixed)
                    cell = torch.cat(joined).sigmoid()[None, :, None, None]
                    expected[b, :, y, x] = graph.project(cell).flatten()
    assert torch.allclose(found, expected, atol=1e-5)


def test_attention_is_gated_by_the_difference_alone() -> None:
    torch.manual_seed(2)
    attention = GuidedAttention(dropout=0.2).eval()
    features, difference = torch.randn(2, 728, 4, 4), torch.rand(2, 3, 7, 7)
    with torch.no_grad():
        # corners aligned, 7 → 4: every other pixel
        gate = attention.gate(difference[:, :, ::2, ::2])
        assert gate.shape == (2, 1, 4, 4)
        expected = gate * attention.transform(features) + features
        assert torch.allclose(attention(features, difference), expected, atol=1e-6)
        # no difference: the two convolutions have no bias, so every place counts one half
        even = attention(features, torch.zeros_like(difference))
        assert torch.allclose(even, attention.transform(features) / 2 + features, atol=1e-6)


def test_the_score_depends_on_the_decoder(network: Recce) -> None:
    pixels = faces().pixels
    with torch.no_grad():
        before = network(pixels)
        kept = network.decoder.last.weight.clone()
        network.decoder.last.weight.zero_()
        seen = network.reconstructed(pixels, pixels)
        network.decoder.last.weight.copy_(kept)
    assert seen.reconstruction.abs().max() == 0
    assert (seen.logits - before).abs().max() > 1e-6


def test_attention_is_guided_by_the_distance_to_the_face_without_noise(network: Recce) -> None:
    pixels = faces().pixels
    shown = (pixels + 0.2 * torch.randn(pixels.shape)).clamp(-1, 1)
    given: list[Tensor] = []
    hook = network.attention.register_forward_pre_hook(lambda _, inputs: given.extend(inputs))
    with torch.no_grad():
        seen = network.eval().reconstructed(pixels, shown)
    hook.remove()
    assert torch.equal(given[1], (pixels - seen.reconstruction).abs())


def test_noise_comes_to_some_faces_in_training_only(network: Recce) -> None:
    pixels = torch.rand(1000, 3, 2, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1
    torch.manual_seed(4)
    noisy = white_noise(pixels, 0.1, 0.5)
    changed = (noisy != pixels).flatten(1).any(dim=1)
    assert 440 < changed.sum() < 560
    assert noisy.abs().max() <= 1
    torch.manual_seed(4)
    assert torch.equal(noisy, white_noise(pixels, 0.1, 0.5))
    inside = torch.zeros(1000, 3, 2, 2)
    assert white_noise(inside, 0.1, 1.0).std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(white_noise(pixels, 0.1, 0.0), pixels)
    # evaluation draws nothing
    network.eval()
    state = torch.get_rng_state()
    with torch.no_grad():
        network(faces().pixels)
        network.loss_terms(faces())
    assert torch.equal(torch.get_rng_state(), state)


def test_training_repeats_with_torchs_seed() -> None:
    torch.manual_seed(0)
    network = create_detector("recce", size=SIZE, noise_std=0.3)
    values = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        with torch.no_grad():
            values.append(total_loss(network.loss_terms(faces())).item())
    assert values[0] == values[1] != values[2]


def test_flooding_turns_descent_round_below_its_level() -> None:
    for loss, slope in ((0.01, -1.0), (0.03, -1.0), (0.05, 1.0), (2.0, 1.0)):
        value = torch.tensor(loss, requires_grad=True)
        above = flooded(value, 0.04)
        assert above.item() == pytest.approx(0.04 + abs(loss - 0.04))
        (gradient,) = torch.autograd.grad(above, value)
        assert gradient.item() == slope
    assert flooded(torch.tensor(0.01), 0.0).item() == pytest.approx(0.01)


def test_reconstruction_counts_genuine_faces_only() -> None:
    generator = torch.Generator().manual_seed(6)
    made = torch.randn(4, 3, 5, 5, generator=generator, requires_grad=True)
    pixels = torch.randn(4, 3, 5, 5, generator=generator)
    real = torch.tensor([True, False, True, False])
    loss = reconstruction_loss(made, pixels, real)
    expected = (made[[0, 2]] - pixels[[0, 2]]).abs().mean()
    assert torch.allclose(loss, expected)
    (gradient,) = torch.autograd.grad(loss, made)
    assert gradient[[1, 3]].abs().max() == 0
    assert (gradient[[0, 2]] != 0).all()
    assert reconstruction_loss(made, pixels, torch.zeros(4, dtype=torch.bool)).item() == 0


def brute_metric(embedded: list[list[float]], real: list[bool]) -> float:
    def similarity(a: list[float], b: list[float]) -> float:
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return (1 + sum(x * y for x, y in zip(a, b, strict=True)) / norms) / 2

    places = range(len(real))
    alike = [
        similarity(embedded[i], embedded[j])
        for i in places
        for j in places
        if i != j and real[i] and real[j]
    ]
    mixed = [
        similarity(embedded[i], embedded[j])
        for i in places
        for j in places
        if real[i] and not real[j]
    ]
    return max(0.0, 1 - sum(alike) / len(alike) + sum(mixed) / len(mixed))


def test_metric_loss_is_what_loops_over_pairs_give() -> None:
    embedded = torch.randn(7, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    real = [True, False, True, True, False, False, True]
    expected = brute_metric(embedded.tolist(), real)
    assert metric_loss(embedded, torch.tensor(real)).item() == pytest.approx(expected, rel=1e-12)


def test_metric_loss_survives_mixed_precision() -> None:
    embedded = torch.randn(6, 64, generator=torch.Generator().manual_seed(7)).bfloat16()
    real = torch.tensor([True, False] * 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = metric_loss(embedded, real)
    assert found.item() == pytest.approx(metric_loss(embedded.double(), real).item(), rel=1e-5)


def test_dropout_is_where_the_release_has_it() -> None:
    with torch.device("meta"):
        network = create_detector("recce", dropout=0.3)
    found = {name for name, each in network.named_modules() if isinstance(each, nn.Dropout)}
    assert found == {"dropout", "reasoning.project.3", "attention.dropout", "head.0"}
    assert {network.get_submodule(name).p for name in found} == {0.3}
    torch.manual_seed(0)
    network = create_detector("recce", size=SIZE, dropout=0.3, noise_std=0.0)
    given: list[Tensor] = []
    network.get_submodule("decoder").register_forward_pre_hook(lambda _, each: given.extend(each))
    for training in (True, False):
        network.train(training)
        with torch.no_grad():
            network(faces().pixels)
    shares = [float((each == 0).float().mean()) for each in given]
    assert shares[0] == pytest.approx(0.3, abs=0.05)
    assert shares[1] < 0.05


def test_metric_loss_pulls_genuine_faces_together_and_forged_ones_away() -> None:
    real = torch.tensor([True, True, False, False])
    best = torch.tensor([[1.0, 0], [3.0, 0], [-1.0, 0], [-2.0, 0]])
    worst = torch.tensor([[1.0, 0], [-1.0, 0], [1.0, 0], [-1.0, 0]])
    assert metric_loss(best, real).item() == pytest.approx(0, abs=1e-6)
    assert metric_loss(worst, real).item() == pytest.approx(1.5)
    # nothing to compare: nothing is asked
    assert metric_loss(best[:1], real[:1]).item() == 0
    assert metric_loss(best[2:], real[2:]).item() == 0


def test_terms_and_weights(network: Recce) -> None:
    batch = faces()
    network.eval()
    with torch.no_grad():
        terms = network.loss_terms(batch)
        seen = network.reconstructed(batch.pixels, batch.pixels)
    entropy, reconstruction, metric = terms
    assert [(term.name, term.weight) for term in terms] == [
        ("bce", 1.0),
        ("reconstruction", 0.1),
        ("metric", 0.1),
    ]
    plain = nn.functional.binary_cross_entropy_with_logits(seen.logits, batch.labels)
    assert entropy.value.item() == pytest.approx(abs(plain.item() - 0.04) + 0.04)
    expected = (seen.reconstruction - batch.pixels)[::2].abs().mean()
    assert torch.allclose(reconstruction.value, expected)
    real = (batch.labels == 0).tolist()
    brute = sum(brute_metric(each.mean((2, 3)).tolist(), real) for each in seen.embedded)
    assert metric.value.item() == pytest.approx(brute, abs=1e-4)


def reached(network: nn.Module, value: Tensor) -> set[str]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def test_each_term_trains_what_it_should(network: Recce) -> None:
    network.train()
    entropy, reconstruction, metric = network.loss_terms(faces())
    everything = {name for name, _ in network.named_parameters()}
    early = ("conv1", "bn1", "conv2", "bn2", "block1", "block2", "block3", "block4")
    encoder = tuple(f"body.network.{part}." for part in early)
    compared = tuple(f"decoder.{part}." for part in ("up1", "block1", "up2", "block2"))
    assert reached(network, entropy.value) == everything
    assert reached(network, reconstruction.value) == {
        name for name in everything if name.startswith((*encoder, "decoder."))
    }
    assert reached(network, metric.value) == {
        name for name in everything if name.startswith((*encoder, *compared))
    }


@pytest.mark.parametrize(("flooding", "low", "high"), [(0.0, 0.0, 0.03), (0.3, 0.3, 0.45)])
def test_four_faces_are_learned_down_to_the_flood(flooding: float, low: float, high: float) -> None:
    torch.manual_seed(0)
    network, batch = create_detector("recce", size=SIZE, flooding=flooding, dropout=0.0), faces()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    entropies, rebuilt = [], []
    for _ in range(8):
        terms = network.loss_terms(batch)
        optimizer.zero_grad()
        total_loss(terms).backward()
        optimizer.step()
        entropies.append(terms[0].value.item())
        rebuilt.append(terms[1].value.item())
    assert low <= sum(entropies[-3:]) / 3 <= high
    assert rebuilt[-1] < 0.9 * rebuilt[0]


@pytest.mark.parametrize("wrong", [{"flooding": -0.1}, {"noise_std": -1.0}])
def test_levels_are_not_negative(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must not be negative"):
        create_detector("recce", **wrong)
