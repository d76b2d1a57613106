"""SPSL: the phase against NumPy's Fourier transform, where it is undefined, and the network."""

import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.detectors.catalog import create_detector
from dfdetect.detectors.checkpoint import make_header, save_checkpoint
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.spsl import FLOOR, SPSL, PhaseOnly
from dfdetect.detectors.xception import MIDDLE
from dfdetect.export import export_onnx
from dfdetect.types import Image
from tests.detectors.layers import noise, onnx_answers


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_phase_is_what_numpy_leaves_after_dividing_by_the_amplitude(size: int, seed: int) -> None:
    grey = noise(2, size, size, seed=seed)
    found = PhaseOnly(size)(grey)
    spectrum = np.fft.fft2(grey.numpy().astype(np.float64), norm="ortho")
    back = np.fft.ifft2(spectrum / np.abs(spectrum), norm="ortho")
    assert np.abs(back.imag).max() < 1e-9
    np.testing.assert_allclose(found, back.real, atol=1e-7)
    # every frequency has amplitude 1
    np.testing.assert_allclose(np.abs(np.fft.fft2(found, norm="ortho")), 1, atol=1e-7)
    assert float(found.square().mean()) == pytest.approx(1)


@pytest.mark.parametrize("size", [255, 256])
def test_phase_of_a_photo(portrait: Image, size: int) -> None:
    grey = torch.from_numpy(portrait[:size, 100 : 100 + size]).double().mean(2) / 127.5 - 1
    found = PhaseOnly(size)(grey[None])[0]
    spectrum = np.fft.fft2(grey.numpy())
    expected = np.fft.ifft2(np.exp(1j * np.angle(spectrum))).real * size
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.floats(1e-3, 1e3), st.integers(0, 20), st.integers(0, 20))
def test_phase_ignores_contrast_and_moves_with_the_picture(
    contrast: float, down: int, right: int
) -> None:
    grey, phase = noise(1, 21, 21), PhaseOnly(21)
    torch.testing.assert_close(phase(grey.double() * contrast), phase(grey), atol=1e-8, rtol=0)
    moved = torch.roll(grey, (down, right), (1, 2))
    expected = torch.roll(phase(grey), (down, right), (1, 2))
    torch.testing.assert_close(phase(moved), expected, atol=1e-8, rtol=0)


def test_another_brightness_changes_the_mean_of_the_phase_only() -> None:
    grey, phase = noise(1, 16, 16).double(), PhaseOnly(16)
    # a frequency of 0 has a phase of 0 or a half turn: the sign of the mean
    dark, bright = phase(grey - 9), phase(grey + 9)
    torch.testing.assert_close(bright - dark, torch.full_like(bright, 2 / 16))


@pytest.mark.parametrize("size", [15, 16])
def test_absent_frequencies_stay_absent(size: int) -> None:
    phase = PhaseOnly(size)
    assert torch.equal(phase(torch.zeros(1, size, size)), torch.zeros(1, size, size).double())
    for level in (-1.0, -0.25, 1.0):
        flat = phase(torch.full((1, size, size), level))
        expected = torch.full((1, size, size), math.copysign(1 / size, level)).double()
        torch.testing.assert_close(flat, expected, atol=1e-8, rtol=0)
    wave = torch.cos(2 * math.pi * 3 * torch.arange(size).double() / size + 0.4)
    found = phase((0.01 * wave).expand(1, size, size))
    torch.testing.assert_close(found, (2 / size * wave).expand(1, size, size), atol=1e-8, rtol=0)


def test_faint_frequencies_count_in_proportion() -> None:
    phase, flat = PhaseOnly(16), torch.ones(1, 16, 16).double()
    # its one amplitude, 16 times the level, is half of the floor
    found = phase(flat * FLOOR / 2 / 16)
    torch.testing.assert_close(found, flat * 0.5 / 16)


def test_gradients_through_absent_frequencies_are_finite() -> None:
    for grey in (torch.zeros(1, 16, 16), torch.ones(1, 16, 16), noise(1, 16, 16)):
        grey.requires_grad_()
        torch.autograd.backward(PhaseOnly(16)(grey).square().sum() + PhaseOnly(16)(grey)[0, 0, 0])
        assert grey.grad is not None
        assert bool(grey.grad.isfinite().all())
    inputs = noise(1, 6, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(PhaseOnly(6), inputs)


def test_mixed_precision_leaves_the_phase_alone() -> None:
    grey, phase = noise(1, 32, 32), PhaseOnly(32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = phase(grey)
    assert torch.equal(found, phase(grey))


def test_the_fourth_channel_is_the_phase_of_the_mean_of_the_colours() -> None:
    network = create_detector("spsl", size=64).eval()
    assert isinstance(network, SPSL)
    seen: list[torch.Tensor] = []
    network.body.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pixels = noise(2, 3, 64, 64)
    with torch.inference_mode():
        network(pixels)
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0][:, :3], pixels)
    spectrum = np.fft.fft2(pixels.double().mean(1).numpy(), norm="ortho")
    expected = np.fft.ifft2(spectrum / np.abs(spectrum), norm="ortho").real
    np.testing.assert_allclose(seen[0][:, 3], expected, atol=1e-5)


def test_the_shallow_network_lacks_the_middle_flow_and_the_deep_one_is_the_known_one() -> None:
    with torch.device("meta"):
        shallow, deep = create_detector("spsl"), create_detector("spsl", shallow=False)
    # DeepfakeBench's, less a block it never uses and one of two logits
    n_deep = 21_861_450 - (2048 * 512 + 512 + 2 * 512) - 2049
    # eight blocks of three separable convolutions and batch norms
    n_middle = 8 * 3 * (728 * 9 + 728 * 728 + 2 * 728)
    assert sum(each.numel() for each in deep.parameters()) == n_deep
    assert sum(each.numel() for each in shallow.parameters()) == n_deep - n_middle
    left_out = tuple(f"body.network.block{number}." for number in MIDDLE)
    assert {key for key, _ in shallow.named_parameters()} == {
        key for key, _ in deep.named_parameters() if not key.startswith(left_out)
    }


@pytest.mark.parametrize("shallow", [True, False])
def test_maps_have_xceptions_sizes(shallow: bool) -> None:
    network = create_detector("spsl", size=128, shallow=shallow).eval()
    assert isinstance(network, SPSL)
    with torch.inference_mode():
        features = network.body.stem(noise(1, 4, 128, 128))
        assert features.shape == (1, 64, 61, 61)
        features = network.body.blocks(features, 1, 3)
        assert features.shape == (1, 728, 8, 8)
        middle = network.body.blocks(features, 4, 11)
        assert torch.equal(middle, features) == shallow
        assert network.body.blocks(middle, 12, 12).shape == (1, 1024, 4, 4)


def test_published_weights_start_every_channel_alike(tmp_path: Path) -> None:
    published = timm.create_model("legacy_xception").state_dict()
    safetensors.torch.save_file(published, tmp_path / "x.safetensors")
    network = create_detector("spsl", size=64, init=str(tmp_path / "x.safetensors"))
    assert isinstance(network, SPSL)
    mean = published["conv1.weight"].mean(dim=1)
    for channel in range(4):
        torch.testing.assert_close(
            network.body.network.conv1.weight[:, channel].detach(), 0.75 * mean
        )


def test_the_loss_moves_every_parameter_and_four_faces_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    network = create_detector("spsl", size=64)
    batch = TrainingBatch(noise(4, 3, 64, 64), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(5):
        optimizer.zero_grad()
        loss = total_loss(network.loss_terms(batch))
        torch.autograd.backward(loss)
        if step == 0:
            assert all(p.grad is not None and p.grad.any() for p in network.parameters())
        optimizer.step()
    assert float(loss.detach()) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 75])
def test_the_onnx_twin_answers_the_same(tmp_path: Path, size: int) -> None:
    torch.manual_seed(0)
    network = create_detector("spsl", size=size)
    for _ in range(2):
        network(noise(4, 3, size, size))
    torch.nn.init.normal_(network.get_parameter("head.1.weight"), std=0.1)
    save_checkpoint(tmp_path / "x.safetensors", network, make_header(network, trained=True))
    # its crops include flat ones, which have but one frequency, and ramps, which have few
    report = export_onnx(tmp_path / "x.safetensors", tmp_path / "x.onnx", tolerance=1e-4)
    assert report.max_difference <= 1e-4


@pytest.mark.parametrize("size", [63, 64])
def test_the_phase_survives_onnx(size: int) -> None:
    # noise, a constant, zeros and a ramp
    grey = noise(4, size, size)
    grey[1], grey[2], grey[3] = 0.5, 0, torch.linspace(-1, 1, size)
    phase = PhaseOnly(size)
    (found,) = onnx_answers(phase, grey)
    np.testing.assert_allclose(found, phase(grey), atol=1e-6)
