"""FTCN-style and R(2+1)D: what sees space, what sees time, the sizes of the maps."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision.models.video import r2plus1d_18

from dfdetect.detectors import create_detector, load_detector, save_checkpoint
from dfdetect.detectors.checkpoint import make_header
from dfdetect.detectors.ftcn import Ftcn
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.detectors.r2plus1d import R2Plus1d
from dfdetect.errors import UsageError
from dfdetect.export import export_onnx


def made(name: str = "ftcn", frames: int = 8, size: int = 32, **kwargs: str | float) -> Detector:
    torch.manual_seed(0)
    return create_detector(name, frames=frames, size=size, **kwargs)


@pytest.fixture(scope="module")
def network() -> Ftcn:
    network = made().eval()
    assert isinstance(network, Ftcn)
    # blocks begin as their skips; here they shall do something
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return network


def clips(network: Detector, n: int = 4, seed: int = 0) -> TrainingBatch:
    shape = (n, network.needs.frames, 3, network.preprocess.size, network.preprocess.size)
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return TrainingBatch(pixels, torch.tensor([0.0, 1.0] * (n // 2)))


def test_every_kernel_sees_time_alone(network: Ftcn) -> None:
    kernels = [layer.kernel_size for layer in network.modules() if isinstance(layer, nn.Conv3d)]
    assert len(kernels) == 1 + 3 * (3 + 4 + 6) + 3
    assert {kernel[1:] for kernel in kernels} == {(1, 1)}
    # the stem, then the blocks of stages 2, 3 and 4 whose first convolution spans three moments
    assert [kernel[0] for kernel in kernels if kernel[0] > 1] == [5] + [3] * (3 + 2 + 3)


def test_maps_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        network = create_detector("ftcn")
        assert isinstance(network, Ftcn)
        maps = network.body.stem(torch.zeros(1, 3, 16, 224, 224))
        sizes = [tuple(maps.shape[1:])]
        for stage in network.body.stages:
            maps = stage(maps)
            sizes.append(tuple(maps.shape[1:]))
        tokens = network.moments(torch.zeros(1, 16, 3, 224, 224))
    assert sizes == [
        (64, 16, 56, 56),
        (256, 16, 56, 56),
        (512, 16, 28, 28),
        (1024, 16, 14, 14),
    ]
    assert tokens.shape == (1, 16, 1024)
    assert network.transformer.positions.shape == (1, 17, 1024)
    assert network.transformer.layer.mlp.fc1.out_features == 2048


def test_places_meet_behind_the_stem_and_in_the_mean_only(network: Ftcn) -> None:
    """Moving the grid of places that the strides take moves nothing else: no place sees another."""
    torch.manual_seed(2)
    maps = torch.randn(1, 64, 8, 8, 8)
    order = torch.randperm(64)
    with torch.no_grad():
        first = network.body.stages[0]
        there = first(maps).flatten(3)[..., order]
        shuffled = first(maps.flatten(3)[..., order].reshape(maps.shape)).flatten(3)
    torch.testing.assert_close(there, shuffled, atol=1e-5, rtol=1e-4)


def test_the_order_of_moments_counts(network: Ftcn) -> None:
    pixels = clips(network, 2).pixels
    with torch.no_grad():
        logits = network(pixels)
        for other in (pixels.flip(1), pixels[:, [1, 0, *range(2, 8)]]):
            assert not torch.allclose(network(other), logits, atol=1e-4)


def test_a_moment_is_told_by_the_moments_around_it(network: Ftcn) -> None:
    pixels = clips(network, 2).pixels[:1].requires_grad_()
    network.moments(pixels)[0, 0].square().sum().backward()
    reach = pixels.grad.abs().sum((0, 2, 3, 4)) > 0
    # 2 of the stem and 1 of each of eight blocks: all eight moments of this clip
    assert reach.all()
    pixels.grad = None
    network.body.stem(pixels.transpose(1, 2))[0, :, 0].square().sum().backward()
    assert (pixels.grad.abs().sum((0, 2, 3, 4)) > 0).tolist() == [True] * 3 + [False] * 5


def test_action_weights_are_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(4)
    given = r2plus1d_18()
    path = tmp_path / "kinetics.safetensors"
    safetensors.torch.save_file(given.state_dict(), path)
    network = made("r2plus1d", init=str(path))
    assert isinstance(network, R2Plus1d)
    for key, tensor in network.network.state_dict().items():
        assert torch.equal(tensor, given.state_dict()[key]), key
    clip = clips(network, 2).pixels
    given.fc = nn.Identity()
    with torch.no_grad():
        expected = given.eval()(clip.permute(0, 2, 1, 3, 4))
        found = network.eval()(clip)
        torch.testing.assert_close(found, network.head(expected)[:, 0])
    state = given.state_dict()
    del state["stem.0.weight"]
    safetensors.torch.save_file(state, path)
    with pytest.raises(UsageError, match="does not fit this backbone in 1 tensors"):
        made("r2plus1d", init=str(path))


def test_parameters_are_counted() -> None:
    with torch.device("meta"):
        counts = {
            name: sum(tensor.numel() for tensor in create_detector(name).parameters())
            for name in ("ftcn", "r2plus1d")
        }
    # torchvision: 31,505,325 with 400 classes of 512 weights and a bias
    assert counts["r2plus1d"] == 31_505_325 - 400 * 513 + 513
    body = 5 * 3 * 64 + 2 * 64
    width = 64
    for inner, kernels in ((64, (3, 3, 3)), (128, (3, 1, 3, 1)), (256, (3, 1, 3, 1, 3, 1))):
        for place, kernel in enumerate(kernels):
            body += kernel * width * inner + inner * inner + inner * 4 * inner + 2 * 6 * inner
            body += 0 if place else width * 4 * inner + 8 * inner
            width = 4 * inner
    layer = 4 * 1024 * 1024 + 4 * 1024 + 2 * 1024 * 2048 + 2048 + 1024 + 3 * 2 * 1024
    assert counts["ftcn"] == body + layer + 18 * 1024 + 1025


@pytest.mark.parametrize(
    ("name", "kwargs", "reason"),
    [
        ("ftcn", {"frames": 1}, "frames must be 2 or more"),
        ("ftcn", {"dropout": 1.0}, "dropout must lie"),
        ("r2plus1d", {"frames": 1}, "frames must be 2 or more"),
        ("r2plus1d", {"init": "none.safetensors"}, "is no readable .safetensors"),
    ],
)
def test_wrong_requests_are_answered(name: str, kwargs: dict[str, str | int], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        create_detector(name, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ftcn", "r2plus1d"])
def test_a_twin_answers_alike(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting needs dfdetect[export]")
    network = made(name, frames=4)
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, network, make_header(network, trained=True))
    report = export_onnx(path, tmp_path / "twin.onnx")
    assert report.max_difference < 1e-4
    assert load_detector(report.path).header.frames == 4
