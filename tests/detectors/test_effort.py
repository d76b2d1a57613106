"""Effort: the decomposition against numpy's, what learns, and that a file is never decomposed."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from dfdetect.detectors import create_detector, load_detector, save_checkpoint
from dfdetect.detectors.checkpoint import load_checkpoint, make_header
from dfdetect.detectors.effort import Effort, SplitLinear
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.vit import LIGHT
from dfdetect.errors import UsageError
from dfdetect.export import export_onnx

SIZE = 64


def made(**kwargs: str | int | float) -> Effort:
    torch.manual_seed(0)
    network = create_detector("effort", **{"model_name": LIGHT, "size": SIZE, **kwargs})
    assert isinstance(network, Effort)
    return network


def faces(n: int = 4, seed: int = 0) -> TrainingBatch:
    pixels = torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return TrainingBatch(pixels, torch.tensor([0.0, 1.0] * (n // 2)))


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Initial weights: those of a random tower."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("tower") / "tower.safetensors"
    network = timm.create_model(LIGHT, img_size=SIZE)
    for block in network.blocks:
        nn.init.normal_(block.attn.qkv.bias, std=0.1)
    safetensors.torch.save_file(network.state_dict(), path)
    return path


def split(n_trainable: int = 2, blocks: int = 3, width: int = 8) -> tuple[SplitLinear, nn.Linear]:
    torch.manual_seed(3)
    linear = nn.Linear(width, blocks * width)
    layer = SplitLinear(linear, blocks, n_trainable)
    layer.decompose(linear.weight)
    return layer, linear


def test_the_smallest_singular_directions_learn_and_the_others_are_frozen() -> None:
    layer, linear = split()
    weight = linear.weight.detach().double().numpy().reshape(3, 8, 8)
    for number, block in enumerate(weight):
        left, values, right = np.linalg.svd(block)
        frozen = (left[:, :6] * values[:6]) @ right[:6]
        main = layer.main.view(3, 8, 8)[number].numpy()
        np.testing.assert_allclose(main, frozen, atol=1e-6)
        np.testing.assert_allclose(layer.values[number].detach(), values[6:], atol=1e-6)
        signs = np.sign((left[:, 6:] * layer.left[number].detach().numpy()).sum(0))
        np.testing.assert_allclose(
            layer.left[number].detach().numpy() * signs, left[:, 6:], atol=1e-4
        )
    torch.testing.assert_close(layer.weight(), linear.weight)


def test_a_split_layer_answers_like_the_whole_one() -> None:
    layer, linear = split()
    features = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(features), linear(features), atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        layer.values.mul_(3)
        layer.left.add_(0.1)
    expected = nn.functional.linear(features, layer.weight(), linear.bias)
    torch.testing.assert_close(layer(features), expected, atol=1e-6, rtol=1e-5)


def test_random_directions_are_orthogonal_to_the_main_part() -> None:
    linear = nn.Linear(8, 24)
    layer = SplitLinear(linear, 3, 2)
    main = layer.main.view(3, 8, 8)
    assert (layer.left.mT @ main).abs().max() < 1e-6
    assert (main @ layer.right.mT).abs().max() < 1e-6
    assert layer.orthogonality().abs().max() < 1e-5
    assert layer.energy_change().max() < 1e-5


def moved() -> tuple[SplitLinear, nn.Linear]:
    layer, linear = split()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for part in (layer.left, layer.values, layer.right):
            part.add_(0.3 * torch.randn(part.shape, generator=generator))
    return layer, linear


def test_the_loss_of_orthogonality_is_that_of_all_directions() -> None:
    layer, linear = split()
    assert layer.orthogonality().abs().max() < 1e-5
    layer, linear = moved()
    for number, block in enumerate(linear.weight.detach().double().numpy().reshape(3, 8, 8)):
        left, _, right = np.linalg.svd(block)
        columns = np.concatenate([left[:, :6], layer.left[number].detach().numpy()], axis=1)
        rows = np.concatenate([right[:6], layer.right[number].detach().numpy()])
        expected = ((columns.T @ columns - np.eye(8)) ** 2).sum()
        expected += ((rows @ rows.T - np.eye(8)) ** 2).sum()
        assert layer.orthogonality()[number].item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_energy_is_the_change_of_the_sum_of_squares() -> None:
    layer, linear = split()
    assert layer.energy_change().max() < 1e-5
    layer, linear = moved()
    now, before = (
        weight.detach().double().view(3, -1).square().sum(1)
        for weight in (layer.weight(), linear.weight)
    )
    np.testing.assert_allclose(layer.energy_change().detach(), (now - before).abs(), rtol=1e-4)


def test_nothing_changes_until_something_is_learnt(tower: Path) -> None:
    """The network with decomposed weights answers like the one they came from."""
    network = made(init=str(tower)).eval()
    plain = create_detector(
        "vit_linear", model_name=LIGHT, size=SIZE, projected=False, init=str(tower)
    )
    plain.get_submodule("head").load_state_dict(network.head.state_dict())
    pixels = faces().pixels
    with torch.no_grad():
        torch.testing.assert_close(network(pixels), plain.eval()(pixels), atol=1e-5, rtol=1e-4)


def test_a_file_is_loaded_as_it_is_and_never_decomposed(
    tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = made(init=str(tower), n_trainable=3).train()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    total_loss(network.loss_terms(faces())).backward()
    optimizer.step()
    path = tmp_path / "trained.safetensors"
    save_checkpoint(path, network, make_header(network, trained=True))

    def refuse(*_: object) -> None:
        raise AssertionError("decomposed")

    monkeypatch.setattr(SplitLinear, "decompose", refuse)
    loaded = load_checkpoint(path)
    assert "init" not in dict(loaded.header.kwargs)
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], tensor), key
    with torch.no_grad():
        assert torch.equal(loaded.network(faces().pixels), network.eval()(faces().pixels))


def test_as_many_numbers_learn_as_the_paper_says() -> None:
    with torch.device("meta"):
        network = create_detector("effort")
    assert isinstance(network, Effort)
    learning = {key: p.numel() for key, p in network.named_parameters() if p.requires_grad}
    of_head = sum(count for key, count in learning.items() if key.startswith("head."))
    # 24 layers × 4 matrices × (1024 + 1 + 1024); the paper: 0.19 M
    assert sum(learning.values()) - of_head == 24 * 4 * 2049 == 196_704
    assert of_head == 1025
    assert len(network.split_layers()) == 48
    assert network.split_layers()[0].values.shape == (3, 1)


def gradients(network: Effort, term: Tensor) -> set[str]:
    network.zero_grad()
    term.backward()
    return {
        key.rpartition(".")[2] if ".attn." in key else key
        for key, parameter in network.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    }


def test_each_loss_reaches_what_it_is_about(tower: Path) -> None:
    network = made(init=str(tower), orthogonality_weight=0.1, energy_weight=0.01).train()
    with torch.no_grad():
        for layer in network.split_layers():
            layer.left.add_(0.01)
            layer.right.add_(0.01)
            layer.values.add_(0.1)
    terms = {term.name: term for term in network.loss_terms(faces())}
    assert {name: term.weight for name, term in terms.items()} == {
        "bce": 1.0,
        "orthogonality": 0.1,
        "energy": 0.01,
    }
    directions = {"left", "values", "right"}
    assert gradients(network, terms["bce"].value) == directions | {"head.1.weight", "head.1.bias"}
    assert gradients(network, terms["orthogonality"].value) == {"left", "right"}
    assert gradients(network, terms["energy"].value) == directions
    assert [term.name for term in made().loss_terms(faces())] == ["bce"]


def test_a_few_faces_are_learnt_and_the_frozen_part_stays(tower: Path) -> None:
    network = made(init=str(tower)).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.02)
    batch = faces()
    for _ in range(40):
        optimizer.zero_grad()
        loss = total_loss(network.loss_terms(batch))
        loss.backward()
        optimizer.step()
    assert total_loss(network.loss_terms(batch)).item() < 0.05
    changed = {key for key, tensor in network.state_dict().items() if not tensor.equal(before[key])}
    ends = {key.rpartition(".")[2] for key in changed}
    assert ends == {"left", "values", "right", "weight", "bias"}
    assert {key for key in changed if key.endswith(("weight", "bias"))} == {
        "head.1.weight",
        "head.1.bias",
    }


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"n_trainable": 0}, "n_trainable must lie in 1…256"),
        ({"n_trainable": 257}, "n_trainable must lie in 1…256"),
        ({"model_name": "resnet18"}, "no attention with layers qkv and proj"),
    ],
)
def test_wrong_requests_are_answered(kwargs: dict[str, str | int], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        made(**kwargs)


@pytest.mark.slow
def test_its_twin_answers_alike(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting needs dfdetect[export]")
    network = made()
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, network, make_header(network, trained=True))
    report = export_onnx(path, tmp_path / "twin.onnx")
    assert report.max_difference < 1e-4
    assert load_detector(report.path).header.detector == "effort"
