"""F3-Net: its transforms against SciPy's, its maps against the paper's sizes, its branches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn

from dfdetect.detectors.catalog import create_detector
from dfdetect.detectors.checkpoint import make_header, save_checkpoint
from dfdetect.detectors.f3net import (
    FLOOR,
    F3Net,
    FrequencyDecomposition,
    LocalStatistics,
    MixBlock,
)
from dfdetect.detectors.frequency import dct_matrix, diagonal_band
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.xception import XceptionBody
from dfdetect.export import export_onnx
from tests.detectors.layers import noise, onnx_answers


@given(st.integers(2, 40))
def test_the_cosine_transform_is_scipys_and_its_inverse_is_exact(size: int) -> None:
    matrix, picture = dct_matrix(size), noise(size, size)
    spectrum = matrix @ picture @ matrix.mT
    np.testing.assert_allclose(spectrum, dctn(picture.numpy(), norm="ortho"), atol=1e-5)
    np.testing.assert_allclose(matrix.mT @ spectrum @ matrix, picture, atol=1e-5)


def test_the_fixed_bands_hold_the_papers_shares_of_the_spectrum() -> None:
    for size in (256, 299):
        low, middle, high, everything = FrequencyDecomposition(size).bands
        shares = [float(band.mean()) for band in (low, middle, high)]
        assert shares == pytest.approx([1 / 16, 1 / 16, 7 / 8], abs=0.005)
        assert bool(everything.all())
    # what is known of DeepfakeBench's network at 256 px
    for band, bounds in zip(
        FrequencyDecomposition(256).bands, [(0, 90), (90, 128), (128, 512), (0, 512)], strict=True
    ):
        assert torch.equal(band, diagonal_band(256, *bounds))


@pytest.mark.parametrize("size", [16, 33])
def test_decomposition_filters_what_scipy_filters(size: int) -> None:
    layer, pixels = FrequencyDecomposition(size), noise(2, 3, size, size)
    found = layer(pixels).detach().numpy()
    learnt = layer.learnt.detach().numpy()
    filters = layer.bands.numpy() + (2 / (1 + np.exp(-learnt)) - 1)
    assert found.shape == (2, 12, size, size)
    for face in range(2):
        for at, spectral in enumerate(filters):
            for colour in range(3):
                spectrum = dctn(pixels[face, colour].numpy(), norm="ortho")
                expected = idctn(spectrum * spectral, norm="ortho")
                np.testing.assert_allclose(found[face, 3 * at + colour], expected, atol=1e-5)


def test_before_learning_the_last_filter_returns_the_picture() -> None:
    layer, pixels = FrequencyDecomposition(32), noise(1, 3, 32, 32)
    torch.nn.init.zeros_(layer.learnt)
    low, middle, high, everything = layer(pixels).detach().chunk(4, dim=1)
    torch.testing.assert_close(everything, pixels, atol=1e-5, rtol=0)
    # a constant is all coarse: nothing of it in the finer bands
    low, middle, high, everything = layer(torch.ones(1, 3, 32, 32)).detach().chunk(4, dim=1)
    torch.testing.assert_close(low, torch.ones_like(low), atol=1e-5, rtol=0)
    assert float(middle.abs().max()) < 1e-5
    assert float(high.abs().max()) < 1e-5


@pytest.mark.parametrize("make", [lambda: FrequencyDecomposition(64), LocalStatistics])
def test_mixed_precision_leaves_the_transforms_alone(make: Any) -> None:
    layer, pixels = make(), noise(1, 3, 64, 64)
    expected = layer(pixels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(pixels)
    assert torch.equal(found, expected)


def test_local_statistics_are_those_of_scipy_window_by_window() -> None:
    layer, pixels = LocalStatistics(), noise(1, 3, 23, 23)
    found = layer(pixels).detach().numpy()[0]
    filters = (layer.bands + torch.tanh(layer.learnt / 2)).detach().numpy()
    grey = np.tensordot([0.299, 0.587, 0.114], pixels[0].numpy(), 1)
    padded = np.pad(grey, (4, 3))
    side = (23 - 1) // 2
    assert found.shape == (6, side, side)
    for row in range(side):
        for column in range(side):
            window = padded[2 * row : 2 * row + 10, 2 * column : 2 * column + 10]
            assert window.shape == (10, 10)
            sums = np.abs(dctn(window, norm="ortho") * filters).sum((1, 2))
            np.testing.assert_allclose(found[:, row, column], np.log10(sums + FLOOR), atol=1e-4)


def test_local_bands_cover_every_frequency_once_and_are_of_equal_width() -> None:
    bands = LocalStatistics().bands
    assert torch.equal(bands.sum(0), torch.ones(10, 10))
    diagonals = [{i + j for i, j in band.nonzero().tolist()} for band in bands]
    assert [(min(each), max(each)) for each in diagonals] == [
        (0, 3),
        (4, 6),
        (7, 9),
        (10, 13),
        (14, 16),
        (17, 18),
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(32, 330))
def test_local_statistics_are_as_large_as_xceptions_first_map(size: int) -> None:
    found = LocalStatistics()(torch.zeros(1, 3, size, size)).shape[2:]
    first = torch.nn.functional.conv2d(
        torch.zeros(1, 1, size, size), torch.zeros(1, 1, 3, 3), stride=2
    )
    assert found == first.shape[2:]
    assert size != 299 or found == (149, 149)


def test_maps_of_both_branches_have_the_papers_sizes() -> None:
    network = create_detector("f3net", lfs=True).eval()
    assert isinstance(network, F3Net)
    assert network.local is not None
    seen = {}
    for key, module in network.named_modules():
        module.register_forward_hook(
            lambda _module, _given, made, key=key: seen.__setitem__(key, made)
        )
    with torch.inference_mode():
        network(noise(1, 3, 299, 299))
    assert seen["decomposition"].shape == (1, 12, 299, 299)
    assert seen["local.statistics"].shape == (1, 6, 149, 149)
    assert seen["local.body.network.conv1"].shape == seen["body.network.conv1"].shape
    assert [made.shape for made in seen["local.mixes.7"]] == [(1, 728, 19, 19)] * 2
    assert [made.shape for made in seen["local.mixes.12"]] == [(1, 1024, 10, 10)] * 2
    assert seen["head.0"].shape == (1, 4096)


def test_mixing_starts_without_effect_and_is_attention_to_the_other_branch() -> None:
    torch.manual_seed(0)
    block = MixBlock(16).eval()
    first, second = noise(2, 16, 3, 4), noise(2, 16, 3, 4, seed=1)
    assert all(
        torch.equal(made, given)
        for made, given in zip(block(first, second), (first, second), strict=True)
    )
    torch.nn.init.constant_(block.gains, 0.5)
    found = [made.detach().numpy() for made in block(first, second)]
    for face in range(2):
        flat = [given[face].reshape(16, 12).numpy() for given in (first, second)]

        def projected(layers: Any, flat: list[Any] = flat) -> Any:
            return np.concatenate(
                [
                    layer.weight.detach().numpy()[:, :, 0, 0] @ maps
                    + layer.bias.detach().numpy()[:, None]
                    for layer, maps in zip(layers, flat, strict=True)
                ]
            )

        scores = projected(block.queries).T @ projected(block.keys) / np.sqrt(4)
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        for own, other in ((0, 1), (1, 0)):
            value = block.values[own][0].weight.detach().numpy()[:, :, 0, 0]
            seen = np.stack([flat[other] @ row for row in weights], axis=1)
            expected = flat[own] + 0.5 * (value @ seen) / np.sqrt(1 + 1e-5)
            np.testing.assert_allclose(found[own][face].reshape(16, 12), expected, atol=1e-5)


def test_parameters_are_those_of_the_known_network_but_for_what_it_leaves_unused() -> None:
    with torch.device("meta"):
        network = create_detector("f3net", size=256)
        both = create_detector("f3net", size=256, lfs=True)
    # DeepfakeBench's trainable ones; a block it never uses; one logit instead of two
    unused = 2048 * 512 + 512 + 2 * 512
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 22_125_898 - unused - 2049
    assert {key for key, _ in network.named_parameters()} < {k for k, _ in both.named_parameters()}


@pytest.mark.parametrize("lfs", [False, True])
def test_the_loss_moves_every_parameter(lfs: bool) -> None:
    torch.manual_seed(0)
    network = create_detector("f3net", size=64, lfs=lfs, dropout=0.0)
    if isinstance(network, F3Net) and network.local is not None:
        for mix in network.local.mixes.values():
            assert isinstance(mix, MixBlock)
            torch.nn.init.ones_(mix.gains)
    batch = TrainingBatch(noise(4, 3, 64, 64), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    (term,) = network.loss_terms(batch)
    torch.autograd.backward(term.value)
    still = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_published_weights_start_every_filter_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = timm.create_model("legacy_xception").state_dict()
    safetensors.torch.save_file(published, tmp_path / "x.safetensors")
    network = create_detector("f3net", size=64, lfs=True, init=str(tmp_path / "x.safetensors"))
    assert isinstance(network, F3Net)
    assert network.local is not None
    assert isinstance(network.local.body, XceptionBody)
    kernel = published["conv1.weight"]
    for part in network.body.network.conv1.weight.chunk(4, dim=1):
        torch.testing.assert_close(part.detach(), kernel / 4)
    local = network.local.body.network.conv1
    assert (local.stride, local.padding) == ((1, 1), (1, 1))
    torch.testing.assert_close(
        local.weight[:, 5].detach(), kernel.mean(dim=1) / 2, atol=1e-6, rtol=1e-5
    )


def test_four_faces_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    network = create_detector("f3net", size=64, dropout=0.0)
    batch = TrainingBatch(noise(4, 3, 64, 64), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(5):
        optimizer.zero_grad()
        loss = total_loss(network.loss_terms(batch))
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.02


@pytest.mark.slow
def test_the_onnx_twin_answers_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_detector("f3net", size=64, lfs=True)
    for _ in range(2):
        network(noise(4, 3, 64, 64))
    if isinstance(network, F3Net) and network.local is not None:
        for mix in network.local.mixes.values():
            assert isinstance(mix, MixBlock)
            torch.nn.init.ones_(mix.gains)
    torch.nn.init.normal_(network.get_parameter("head.1.weight"), std=0.1)
    save_checkpoint(tmp_path / "x.safetensors", network, make_header(network, trained=True))
    report = export_onnx(tmp_path / "x.safetensors", tmp_path / "x.onnx", tolerance=1e-4)
    assert report.max_difference <= 1e-4


@pytest.mark.parametrize("make", [lambda: FrequencyDecomposition(64), LocalStatistics])
def test_the_transforms_survive_onnx(make: Any) -> None:
    # noise, a constant and a ramp
    pixels = noise(3, 3, 64, 64)
    pixels[1], pixels[2] = 0.5, torch.linspace(-1, 1, 64)
    layer = make()
    (found,) = onnx_answers(layer, pixels)
    np.testing.assert_allclose(found, layer(pixels).detach(), atol=1e-4)


def test_mixing_survives_onnx() -> None:
    block = MixBlock(16).eval()
    torch.nn.init.ones_(block.gains)
    maps = noise(2, 16, 3, 3), noise(2, 16, 3, 3, seed=1)
    for found, expected in zip(onnx_answers(block, *maps), block(*maps), strict=True):
        np.testing.assert_allclose(found, expected.detach(), atol=1e-5)
