"""SRM: its filters, attention and margin against other ways to compute them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate2d
from scipy.special import log_softmax

from dfdetect.detectors.catalog import create_detector
from dfdetect.detectors.checkpoint import make_header, save_checkpoint
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.margins import CosineHead, additive_margin_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.srm import (
    SRM,
    CrossModality,
    FeatureNoise,
    Fusion,
    HighPass,
    ResidualAttention,
    _middle_side,
)
from dfdetect.detectors.xception import XceptionBody
from dfdetect.errors import UsageError
from dfdetect.export import export_onnx
from tests.detectors.layers import noise, onnx_answers


def array(tensor: torch.Tensor) -> Any:
    return tensor.detach().numpy().astype(np.float64)


def small() -> SRM:
    torch.manual_seed(0)
    network = create_detector("srm", size=64)
    assert isinstance(network, SRM)
    return network


@given(st.floats(-1, 1), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
def test_the_filters_see_neither_constants_nor_ramps(
    level: float, down: float, right: float
) -> None:
    place = torch.arange(12.0)
    plane = level + down * place[:, None] + right * place
    for layer in (HighPass(3, apart=False), HighPass(3, apart=True)):
        found = layer(plane.expand(1, 3, 12, 12))[..., 2:-2, 2:-2]
        assert float(found.abs().max()) < 1e-5


def test_the_filters_are_symmetric_and_of_the_published_weights() -> None:
    laplacian, square, horizontal = HighPass(1, apart=True).kernels[:, 0]
    for kernel in (laplacian, square):
        assert torch.equal(kernel, kernel.mT)
        assert torch.equal(kernel, kernel.flip(0, 1))
        assert float(kernel[2, 2]) == -1
    assert horizontal.nonzero().tolist() == [[2, 1], [2, 2], [2, 3]]
    assert horizontal[2, 1:4].tolist() == [0.5, -1, 0.5]
    # the square one is an outer product but for its middle row and column
    assert (12 * square[0]).tolist() == pytest.approx([-1, 2, -2, 2, -1])
    assert (4 * laplacian[1, 1:4]).tolist() == [-1, 2, -1]


def test_noise_is_scipys_correlation_clipped_at_three() -> None:
    pixels = 4 * noise(1, 3, 11, 13)
    whole, apart = HighPass(3, apart=False), HighPass(3, apart=True)
    kernels = array(HighPass(1, apart=True).kernels[:, 0])
    raw = np.stack(
        [[correlate2d(plane, kernel, "same") for kernel in kernels] for plane in array(pixels[0])]
    )
    assert np.abs(raw).max() > 3
    np.testing.assert_allclose(array(whole(pixels))[0], raw.sum(0).clip(-3, 3), atol=1e-5)
    np.testing.assert_allclose(
        array(apart(pixels))[0], raw.reshape(9, 11, 13).clip(-3, 3), atol=1e-5
    )


def test_mixed_precision_leaves_the_noise_alone() -> None:
    layer, pixels = HighPass(3, apart=False), noise(1, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(pixels)
    assert torch.equal(found, layer(pixels))


def test_cross_modality_starts_without_effect_and_takes_what_correlates() -> None:
    torch.manual_seed(0)
    layer = CrossModality(16, places=6)
    first, second = noise(2, 16, 2, 3), noise(2, 16, 2, 3, seed=1)
    for made, given_map in zip(layer(first, second), (first, second), strict=True):
        assert torch.equal(made, given_map)
    for gain in layer.gains:
        torch.nn.init.constant_(gain, 0.5)
    found = layer(first, second)

    def through(convolution: Any, maps: Any) -> Any:
        return array(convolution.weight)[:, :, 0, 0] @ maps + array(convolution.bias)[:, None]

    for face in range(2):
        flat = [array(each[face]).reshape(16, 6) for each in (first, second)]
        embedded = [
            through(layer.shared, through(key, maps))
            for key, maps in zip(layer.keys, flat, strict=True)
        ]
        for own, other in ((0, 1), (1, 0)):
            value = through(layer.values[other], flat[other])
            expected = np.empty((16, 6))
            for place in range(6):
                scores = embedded[own][:, place] @ embedded[other]
                linear = layer.weights[own]
                weighed = array(linear.weight) @ scores + array(linear.bias)
                shares = np.exp(weighed) / np.exp(weighed).sum()
                expected[:, place] = flat[own][:, place] + 0.5 * (value @ shares)
            np.testing.assert_allclose(array(found[own][face]).reshape(16, 6), expected, atol=1e-4)


def test_fusion_weighs_channels_by_their_mean_and_largest_value() -> None:
    torch.manual_seed(0)
    layer = Fusion(32, ratio=4).eval()
    first, second = noise(1, 32, 2, 3), noise(1, 32, 2, 3, seed=1)
    both = np.concatenate([array(first[0]), array(second[0])]).reshape(64, 6)
    joined = array(layer.joined[0].weight)[:, :, 0, 0] @ both / np.sqrt(1 + 1e-5)
    joined = joined.clip(0)
    down, up = array(layer.weights[0].weight), array(layer.weights[2].weight)
    assert down.shape == (8, 32)
    scores = sum(up @ (down @ pool).clip(0) for pool in (joined.mean(1), joined.max(1)))
    expected = joined * (1 + 1 / (1 + np.exp(-scores)))[:, None]
    np.testing.assert_allclose(array(layer(first, second)).reshape(32, 6), expected, atol=1e-5)


def test_attention_is_one_map_between_0_and_1_where_the_stem_ends() -> None:
    attention, residual = ResidualAttention().eval(), noise(2, 3, 64, 64)
    found = attention(residual)
    assert found.shape == (2, 1, 29, 29)
    assert 0 < array(found).min() <= array(found).max() < 1
    features = array(attention.features(residual))
    pair = np.stack([features.mean(1), features.max(1)], axis=1)
    kernel = array(attention.place.weight)[0]
    for face in range(2):
        score = sum(correlate2d(pair[face, at], kernel[at], "same") for at in range(2))
        np.testing.assert_allclose(array(found[face, 0]), 1 / (1 + np.exp(-score)), atol=1e-5)


def test_maps_have_the_published_sizes() -> None:
    network = create_detector("srm").eval()
    seen: dict[str, Any] = {}
    for key, module in network.named_modules():
        module.register_forward_hook(
            lambda _module, _given, made, key=key: seen.__setitem__(key, made)
        )
    with torch.inference_mode():
        network(noise(1, 3, 256, 256))
    assert seen["noise"].shape == (1, 3, 256, 256)
    assert seen["feature_noise.0"].shape == (1, 32, 127, 127)
    assert seen["feature_noise.0.0"].shape == (1, 96, 127, 127)
    assert seen["feature_noise.1.0"].shape == (1, 192, 125, 125)
    assert seen["attention"].shape == (1, 1, 125, 125)
    for crossing in ("crossings.0", "crossings.1"):
        assert [made.shape for made in seen[crossing]] == [(1, 728, 16, 16)] * 2
    assert seen["fusion"].shape == (1, 2048, 8, 8)


def test_parameters_are_those_of_the_known_network_but_for_what_it_leaves_unused() -> None:
    with torch.device("meta"):
        network = create_detector("srm")
    # DeepfakeBench's trainable ones; a block in each Xception and a head that it never uses, and
    # the two offsets of the linear head, which cosines do not have
    unused = 2 * (2048 * 512 + 512 + 2 * 512) + 2 * 2048 + 2 + 2
    assert sum(each.numel() for each in network.parameters()) == 55_342_702 - unused


def test_cosines_survive_mixed_precision() -> None:
    torch.manual_seed(0)
    head, features = CosineHead(2048, scale=30.0), noise(4, 2048)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(features)
    assert torch.equal(found, head(features))


def test_the_logit_is_the_scaled_difference_of_cosines() -> None:
    torch.manual_seed(0)
    head, features = CosineHead(5, scale=30.0), noise(4, 5)
    lengths = np.linalg.norm(array(features), axis=1, keepdims=True)
    directions = array(head.directions)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    genuine, forged = (array(features) / lengths @ directions.T).T
    np.testing.assert_allclose(array(head(features)), 30 * (forged - genuine), atol=1e-4)
    torch.testing.assert_close(head(1e3 * features), head(features))
    assert head(torch.zeros(1, 5)).tolist() == [0.0]
    assert head(head.directions.detach()).sign().tolist() == [-1.0, 1.0]


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.booleans()), min_size=1, max_size=8),
    st.floats(1, 64),
    st.floats(0, 1),
)
def test_the_margin_loss_is_the_softmax_over_both_classes(
    rows: list[tuple[float, float, bool]], scale: float, margin: float
) -> None:
    losses = []
    for genuine, forged, is_fake in rows:
        cosines = np.array([genuine, forged])
        cosines[int(is_fake)] -= margin
        losses.append(-log_softmax(scale * cosines)[int(is_fake)])
    logits = torch.tensor([scale * (forged - genuine) for genuine, forged, _ in rows])
    labels = torch.tensor([float(is_fake) for *_, is_fake in rows])
    found = additive_margin_loss(logits, labels, scale, margin)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-4, abs=1e-5)


def test_without_a_margin_the_loss_is_the_cross_entropy() -> None:
    logits, labels = noise(6), torch.tensor([0.0, 1.0] * 3)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(additive_margin_loss(logits, labels, 30.0, 0.0), plain)
    smooth = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels * 0.8 + 0.1)
    torch.testing.assert_close(additive_margin_loss(logits, labels, 30.0, 0.0, 0.2), smooth)


def test_the_network_trains_with_the_margin_and_judges_without() -> None:
    network = small().eval()
    pixels, labels = noise(2, 3, 64, 64), torch.tensor([0.0, 1.0])
    with torch.no_grad():
        logits = network(pixels)
        (term,) = network.loss_terms(TrainingBatch(pixels, labels))
    shifted = array(logits) - 30 * 0.45 * np.array([-1, 1])
    expected = np.mean(np.logaddexp(0, [shifted[0], -shifted[1]]))
    assert (term.name, term.weight) == ("am_softmax", 1.0)
    assert float(term.value) == pytest.approx(expected, rel=1e-5)
    assert float(logits.abs().max()) <= 60


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"margin": -0.1}, r"margin of cosines must lie in \[0, 2\)"),
        ({"scale": 0.0}, "scale of cosines must be above 0"),
    ],
)
def test_wrong_constants_are_refused(kwargs: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        create_detector("srm", size=64, **kwargs)


def test_the_loss_moves_every_parameter_and_four_faces_are_learnt_by_heart() -> None:
    network = small()
    for crossing in network.crossings:
        assert isinstance(crossing, CrossModality)
        for gain in crossing.gains:
            torch.nn.init.constant_(gain, 0.1)
    batch = TrainingBatch(noise(4, 3, 64, 64), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for step in range(5):
        optimizer.zero_grad()
        loss = total_loss(network.loss_terms(batch))
        torch.autograd.backward(loss)
        if step == 0:
            still = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]
            assert not still
        optimizer.step()
    assert float(loss.detach()) < 0.02


def test_feature_noise_keeps_the_number_of_channels() -> None:
    layer = FeatureNoise(8)
    found = layer(noise(2, 8, 9, 9))
    assert found.shape == (2, 8, 9, 9)
    assert float(found.detach().min()) == 0
    assert [tuple(each.shape) for each in layer.parameters()] == [(8, 24, 1, 1), (8,), (8,)]


@pytest.mark.slow
def test_the_onnx_twin_answers_the_same(tmp_path: Path) -> None:
    network = small()
    for _ in range(2):
        network(noise(4, 3, 64, 64))
    for crossing in network.crossings:
        assert isinstance(crossing, CrossModality)
        for gain in crossing.gains:
            torch.nn.init.constant_(gain, 0.1)
    save_checkpoint(tmp_path / "x.safetensors", network, make_header(network, trained=True))
    report = export_onnx(tmp_path / "x.safetensors", tmp_path / "x.onnx", tolerance=1e-4)
    assert report.max_difference <= 1e-4


def test_noise_attention_and_crossing_survive_onnx() -> None:
    torch.manual_seed(0)
    crossing = CrossModality(16, places=9)
    for gain in crossing.gains:
        torch.nn.init.ones_(gain)
    maps = noise(2, 16, 3, 3), noise(2, 16, 3, 3, seed=1)
    cases = [
        (HighPass(3, apart=False), (noise(2, 3, 32, 32),)),
        (FeatureNoise(4), (noise(2, 4, 8, 8),)),
        (ResidualAttention(), (noise(2, 3, 32, 32),)),
        (crossing, maps),
    ]
    for layer, given_maps in cases:
        found = onnx_answers(layer, *given_maps)
        expected = layer(*given_maps)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, array(other), atol=1e-5)


@pytest.mark.parametrize("size", [*range(32, 48), 128, 224, 256, 299, 320])
def test_places_are_those_of_xceptions_middle_flow(size: int) -> None:
    with torch.device("meta"):
        body = XceptionBody()
        features = body.blocks(body.stem(torch.empty(1, 3, size, size)), 1, 3)
    assert features.shape[2:] == (_middle_side(size), _middle_side(size))
