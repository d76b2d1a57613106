"""UCF: its decoder and losses against loops, what each trains, forgeries of no listed method."""

import copy
import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dfdetect.detectors import create_detector
from dfdetect.detectors.losses import LossTerm, total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.ucf import (
    Decoder,
    Ucf,
    contrastive_loss,
    method_cross_entropy,
    pairs,
    recipes,
    restyled,
    shuffled_within,
    triplet_loss,
)
from dfdetect.errors import ContractError, UsageError

SIZE = 64


def faces(methods: tuple[int, ...] = (0, 1, 0, 3), seed: int = 0) -> TrainingBatch:
    """Genuine and forged faces of smooth noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(len(methods), 3, 8, 8, generator=generator) * 2 - 1
    pixels = nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")
    made = torch.tensor(methods)
    return TrainingBatch(pixels, (made != 0).float(), methods=made)


@pytest.fixture(scope="module")
def network() -> Ucf:
    torch.manual_seed(0)
    made = create_detector("ucf", size=SIZE)
    assert isinstance(made, Ucf)
    return made


def terms_of(network: Ucf, batch: TrainingBatch) -> dict[str, LossTerm]:
    return {term.name: term for term in network.loss_terms(batch)}


def test_layers_and_maps_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = create_detector("ucf")
        assert isinstance(network, Ucf)
        pixels = torch.zeros(2, 3, 256, 256)
        encoded = network.forgery(pixels)
        face = network.decoder(network.content(pixels), encoded)
    assert encoded.shape == (2, 512, 8, 8)
    assert network.common(encoded).shape == network.specific(encoded).shape == (2, 256, 8, 8)
    assert face.shape == (2, 3, 64, 64)
    # without two unused classifiers of two classes, and with one logit instead of two
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 46_838_430 - 2 * 2 * 2049 - 513
    assert network.needs.methods == ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    assert network.method_head[-1].out_features == 5


@pytest.mark.shared
def test_every_tensor_has_a_partner_in_the_published_network(shared_data: Path) -> None:
    listed = json.loads((shared_data / "checkpoint_keys" / "DeepfakeBench__ucf.json").read_text())
    theirs = Counter(
        tuple(shape) for name, shape, _ in listed["keys"] if ".last_linear." not in name
    )
    with torch.device("meta"):
        network = create_detector("ucf")
    ours = Counter(tuple(tensor.shape) for tensor in network.state_dict().values())
    assert ours - theirs == Counter({(1, 512): 1, (1,): 1})
    assert theirs - ours == Counter({(2, 512): 1, (2,): 1})


def test_the_score_needs_the_common_features_only(network: Ucf) -> None:
    stored = {name.partition(".")[0] for name in network.stored_state()}
    assert stored == {"forgery", "common", "head"}
    names, parameters = zip(*network.named_parameters(), strict=True)
    logits = network.train()(faces().pixels)
    gradients = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
    used = {n for n, gradient in zip(names, gradients, strict=True) if gradient is not None}
    assert {name.partition(".")[0] for name in used} == stored


def test_restyling_takes_mean_and_deviation_of_every_channel() -> None:
    generator = torch.Generator().manual_seed(1)
    content = torch.randn(2, 3, 6, 5, generator=generator)
    style = 4 * torch.randn(2, 3, 7, 7, generator=generator) + 2
    found = restyled(content, style)
    for b, c in itertools.product(range(2), range(3)):
        flat, like = found[b, c].flatten(), style[b, c].flatten()
        assert flat.mean().item() == pytest.approx(like.mean().item(), abs=1e-4)
        assert flat.std(correction=0).item() == pytest.approx(
            like.std(correction=0).item(), rel=1e-3
        )
        assert torch.corrcoef(torch.stack((flat, content[b, c].flatten())))[0, 1] > 1 - 1e-5
    assert torch.allclose(restyled(content, content), content, atol=1e-5)


def test_the_decoder_sees_statistics_of_the_forgery_and_not_its_places() -> None:
    torch.manual_seed(2)
    decoder = Decoder()
    content = torch.randn(1, 512, 4, 4)
    with torch.no_grad():
        flat = torch.randn(1, 512, 1, 1).expand(-1, -1, 4, 4)
        face = decoder(content, flat)
        assert face.shape == (1, 3, 32, 32)
        assert face.abs().max() <= 1
        # a scaled and shifted content is the same content
        assert torch.allclose(decoder(3 * content + 1, flat), face, atol=1e-4)
        assert not torch.allclose(decoder(content, torch.randn(1, 512, 4, 4)), face, atol=1e-3)


def test_pairs_and_recipes() -> None:
    real, fake = pairs(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert (real.tolist(), fake.tolist()) == ([1, 2], [0, 3])
    found = [(r.content.tolist(), r.forgery.tolist()) for r in recipes(real, fake)]
    assert found == [
        ([1, 2], [1, 2]),
        ([1, 2], [0, 3]),
        ([0, 3], [1, 2]),
        ([0, 3], [0, 3]),
    ]
    assert recipes(*pairs(torch.ones(3))) == ()


def test_shuffling_keeps_every_label_in_its_place() -> None:
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    orders = set()
    for seed in range(50):
        torch.manual_seed(seed)
        order = shuffled_within(labels)
        assert sorted(order.tolist()) == list(range(7))
        assert torch.equal(labels[order], labels)
        orders.add(tuple(order.tolist()))
    assert len(orders) > 30


@pytest.mark.parametrize("kinds", [(0, 1, 0, 1, 0), (0, 1, 2, 0, 1)])
def test_triplets_are_what_three_loops_give(kinds: tuple[int, ...]) -> None:
    points = 3 * torch.randn(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows = points.tolist()
    excess = [
        max(0.0, math.dist(rows[a], rows[p]) - math.dist(rows[a], rows[n]) + 3)
        for a, p, n in itertools.product(range(5), repeat=3)
        if a != p and kinds[a] == kinds[p] and kinds[a] != kinds[n]
    ]
    found = triplet_loss(points, torch.tensor(kinds), 3.0)
    assert found.item() == pytest.approx(sum(excess) / len(excess), rel=1e-12)


def test_triplets_rest_where_kinds_are_a_margin_apart() -> None:
    points = torch.tensor([[0.0], [1.0], [4.0], [5.0]], requires_grad=True)
    kinds = torch.tensor([0, 0, 1, 1])
    assert triplet_loss(points, kinds, 2.0).item() == 0
    assert triplet_loss(points, kinds, 3.0).item() == pytest.approx(2 * 1 / 8)
    # no two of a kind, no second kind: nothing to compare, and no NaN on the way back
    for few in (kinds[1:3], kinds[:2]):
        loss = triplet_loss(points[: len(few)], few, 3.0)
        (gradient,) = torch.autograd.grad(loss, points)
        assert loss.item() == gradient.abs().max().item() == 0
    same = torch.zeros(4, 2, requires_grad=True)
    loss = triplet_loss(same, kinds, 3.0)
    (gradient,) = torch.autograd.grad(loss, same)
    assert loss.item() == 3
    assert gradient.isfinite().all()


def test_forgeries_of_no_listed_method_are_left_out_of_specific_losses() -> None:
    generator = torch.Generator().manual_seed(4)
    logits, features = (
        torch.randn(6, 5, generator=generator),
        torch.randn(6, 8, generator=generator),
    )
    methods = torch.tensor([0, -1, 0, 2, -1, 2])
    listed = methods >= 0
    log_p = logits.log_softmax(dim=1)
    expected = -sum(log_p[i, methods[i]] for i in (0, 2, 3, 5)) / 4
    assert torch.allclose(method_cross_entropy(logits, methods), expected)
    assert method_cross_entropy(logits, torch.full((6,), -1)).item() == 0
    labels = (methods != 0).float()
    both = triplet_loss(features, labels, 3.0) + triplet_loss(
        features[listed], methods[listed], 3.0
    )
    assert torch.allclose(contrastive_loss(features, features, labels, methods, 3.0), both)
    moved = features.clone()
    moved[~listed] += 100
    kept = contrastive_loss(features, moved, labels, methods, 3.0)
    assert torch.allclose(kept, both)


def test_self_blends_train_the_other_terms(network: Ucf) -> None:
    network.train()
    terms = terms_of(network, faces((0, -1, 0, -1)))
    assert all(term.value.isfinite() for term in terms.values())
    assert total_loss(tuple(terms.values())).item() > 0
    # two genuine faces remain for the methods' head
    batch = faces((0, -1, 0, -1))
    network.eval()
    with torch.no_grad():
        found = terms_of(network, batch)["specific"].value
        specific = network.specific(network.forgery(batch.pixels)).mean((2, 3))
        expected = -network.method_head(specific).log_softmax(dim=1)[[0, 2], 0].mean()
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.fixture(scope="module")
def lively(network: Ucf) -> Ucf:
    """A network in training, without dropout, whose random decoder rebuilds different faces."""
    made = copy.deepcopy(network).train()
    for module in made.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    torch.manual_seed(1)
    for part in (made.specific, made.common, made.decoder):
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():
        for layer in (made.specific[-1], made.common[-1]):
            layer.weight.mul_(3)
    return made


@torch.no_grad()
def rebuilt(network: Ucf, batch: TrainingBatch, order: Tensor, swapped: bool = False) -> float:
    """The four reconstructions of each pair one by one, with the common features in `order`."""
    content, forgery = network.content(batch.pixels), network.forgery(batch.pixels)
    style = torch.cat((network.specific(forgery), network.common(forgery)[order]), dim=1)
    total = 0.0
    for first in range(0, len(order), 2):
        pair = (first, first + 1)
        for owner, partner in itertools.product(pair, repeat=2):
            face = network.decoder(content[[owner]], style[[partner]])
            whole = nn.functional.interpolate(face, size=(SIZE, SIZE), mode="bilinear")
            target = batch.pixels[[partner if swapped else owner]]
            total += (whole - target).abs().mean().item() / (len(order) // 2)
    return total


def test_reconstruction_is_the_sum_of_two_own_and_two_crossed_ones(lively: Ucf) -> None:
    batch, order = faces(), torch.arange(4)
    lively.shuffle_probability = 0.0
    with torch.no_grad():
        found = terms_of(lively, batch)
        plain = nn.functional.binary_cross_entropy_with_logits(lively(batch.pixels), batch.labels)
    expected = rebuilt(lively, batch, order)
    assert found["reconstruction"].value.item() == pytest.approx(expected, rel=1e-4)
    # the content's owner is what a face is compared with
    assert abs(rebuilt(lively, batch, order, swapped=True) - expected) > 1e-3
    assert torch.allclose(found["bce"].value, plain, atol=1e-6)
    weights = {name: term.weight for name, term in found.items()}
    assert weights == {"bce": 1, "specific": 0.1, "reconstruction": 0.3, "contrastive": 0.05}


def test_shuffling_moves_common_features_between_reconstructions_of_a_kind(lively: Ucf) -> None:
    batch = faces((0, 1, 0, 2, 0, 3))
    lively.shuffle_probability = 1.0
    runs = []
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            runs.append({n: term.value.item() for n, term in terms_of(lively, batch).items()})
        torch.manual_seed(seed)
        torch.rand(())
        expected = rebuilt(lively, batch, shuffled_within(batch.labels))
        assert runs[-1]["reconstruction"] == pytest.approx(expected, rel=1e-4)
    assert len({round(run["reconstruction"], 4) for run in runs}) == 3
    for name in ("bce", "specific", "contrastive"):
        assert len({run[name] for run in runs}) == 1


def test_batches_are_shuffled_as_often_as_asked_for(lively: Ucf) -> None:
    batch = faces((0, 1, 0, 2, 0, 3))
    lively.shuffle_probability = 0.7
    plain = rebuilt(lively, batch, torch.arange(6))
    for seed in range(6):
        torch.manual_seed(seed)
        coin, order = torch.rand(()).item(), shuffled_within(batch.labels)
        torch.manual_seed(seed)
        with torch.no_grad():
            found = terms_of(lively, batch)["reconstruction"].value.item()
        moved = coin < 0.7 and order.tolist() != list(range(6))
        assert (abs(found - plain) > 1e-3 * plain) == moved


def test_each_term_trains_what_it_should(network: Ucf) -> None:
    network.train()
    terms = terms_of(network, faces((0, 1, 0, 1)))
    names, parameters = zip(*network.named_parameters(), strict=True)

    def reached(value: Tensor) -> set[str]:
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        given = {n: g for n, g in zip(names, gradients, strict=True) if g is not None}
        parts = {name.partition(".")[0] for name in given}
        # a part is reached as a whole or not at all, and not by zeros alone
        assert set(given) == {name for name in names if name.partition(".")[0] in parts}
        for part in parts:
            own = [g for name, g in given.items() if name.partition(".")[0] == part]
            assert any(gradient.abs().max() > 0 for gradient in own)
        return parts

    assert reached(terms["bce"].value) == {"forgery", "common", "head"}
    assert reached(terms["specific"].value) == {"forgery", "specific", "method_head"}
    assert reached(terms["reconstruction"].value) == {
        "forgery",
        "content",
        "common",
        "specific",
        "decoder",
    }
    assert reached(terms["contrastive"].value) == {"forgery", "common", "specific"}


def test_four_faces_are_learned_in_a_few_steps() -> None:
    torch.manual_seed(0)
    network, batch = create_detector("ucf", size=SIZE, dropout=0.0), faces()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    values = []
    for _ in range(9):
        terms = network.loss_terms(batch)
        optimizer.zero_grad()
        total_loss(terms).backward()
        optimizer.step()
        values.append({term.name: term.value.item() for term in terms})
    assert values[-1]["bce"] < 0.1
    assert values[-1]["specific"] < 0.8
    assert values[-1]["reconstruction"] < values[0]["reconstruction"]


def test_a_batch_without_methods_is_refused(network: Ucf) -> None:
    with pytest.raises(ContractError, match="ucf learns methods apart"):
        network.loss_terms(replace(faces(), methods=None))


@pytest.mark.parametrize("methods", [(), ("A", "A")])
def test_methods_are_different_names(methods: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="methods must be one or more different names"):
        create_detector("ucf", methods=methods)
