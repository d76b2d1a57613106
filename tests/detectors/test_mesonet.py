"""MesoNet against its publication: sizes, an independent forward pass, the official weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from dfdetect.detectors import create_detector, load_detector
from dfdetect.detectors.convert import convert

# Logits for REAL of the official weights on the official test images (resized to 256 px by nearest
# neighbour, as the authors' script does), computed with Keras 3.15.1 on TensorFlow 2.21.0 from the
# published architecture; ours are for fake, so the sign changes.
KERAS = {
    "Meso4_DF": (-3.1418957, -2.9722843, 4.5699358, 6.0732269),
    "Meso4_F2F": (1.5944227, 0.5801400, 2.0021563, 2.9970074),
    "MesoInception_DF": (-3.6147325, -6.9560289, 21.5961819, 45.6031533),
    "MesoInception_F2F": (6.6778870, 12.8656063, 17.5728798, 4.6826220),
}
IMAGES = ("df/df00204.jpg", "df/df01254.jpg", "real/real00240.jpg", "real/real00772.jpg")


def test_sizes_are_those_of_the_paper() -> None:
    sizes = {"meso4": 27_977, "meso_inception4": 28_615}
    for name, size in sizes.items():
        network = create_detector(name)
        assert sum(parameter.numel() for parameter in network.parameters()) == size
        assert network.preprocess.size == 256
        assert network.preprocess.mean == (0, 0, 0)
        assert network.preprocess.std == (1, 1, 1)


def convolved(image: Any, layer: nn.Conv2d) -> Any:
    """A convolution by scipy, channel by channel, on a height × width × channel picture."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    planes = []
    for kernels, offset in zip(weight, bias, strict=True):
        spread = [np.kron(kernel, _comb(layer.dilation[0])) for kernel in kernels]
        spread = [k[: k.shape[0] - layer.dilation[0] + 1] for k in spread]
        spread = [k[:, : k.shape[1] - layer.dilation[0] + 1] for k in spread]
        sums = [correlate2d(image[..., c], k, "same") for c, k in enumerate(spread)]
        planes.append(np.sum(sums, axis=0) + offset)
    return np.maximum(np.stack(planes, -1), 0)


def _comb(dilation: int) -> Any:
    comb = np.zeros((dilation, dilation))
    comb[0, 0] = 1
    return comb


def normed_and_pooled(image: Any, norm: nn.BatchNorm2d, pool: int) -> Any:
    mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
    image = (image - mean) / np.sqrt(variance + 1e-3)
    image = image * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    height, width, channels = image.shape
    cells = image.reshape(height // pool, pool, width // pool, pool, channels)
    return cells.max((1, 3))


def by_hand(network: Any, crop: Any) -> float:
    """The published network written out in numpy and scipy, in float64."""
    layers = list(network.modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
    image = crop / 255.0
    for norm, pool in zip(norms, (2, 2, 2, 4), strict=True):
        # sixteen convolutions mean that two inception layers of seven come first
        if len(convolutions) in (16, 9):
            seven, convolutions = convolutions[:7], convolutions[7:]
            branches = [convolved(image, seven[0])]
            for narrow, wide in (seven[1:3], seven[3:5], seven[5:7]):
                branches.append(convolved(convolved(image, narrow), wide))
            image = np.concatenate(branches, -1)
        else:
            image = convolved(image, convolutions[0])
            convolutions = convolutions[1:]
        image = normed_and_pooled(image, norm, pool)
    hidden = dense[0].weight.detach().numpy() @ image.transpose(2, 0, 1).ravel()
    hidden = hidden + dense[0].bias.detach().numpy()
    hidden = np.where(hidden > 0, hidden, 0.1 * hidden)
    return float((dense[1].weight.detach().numpy() @ hidden + dense[1].bias.detach().numpy())[0])


@pytest.mark.parametrize("name", ["meso4", "meso_inception4"])
def test_forward_equals_the_network_written_out_by_hand(name: str, portrait: Any) -> None:
    torch.manual_seed(1)
    network = create_detector(name)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight, 1, 0.3)
            nn.init.normal_(layer.bias)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.bias, std=0.1)
    crop = np.ascontiguousarray(portrait[:256, 100:356])
    with torch.inference_mode():
        pixels = torch.from_numpy(network.preprocess.normalise(crop[None]))
        found = float(network.eval()(pixels)[0])
    assert found == pytest.approx(by_hand(network, crop), rel=1e-4, abs=1e-4)


@pytest.mark.shared
@pytest.mark.parametrize("stem", KERAS)
def test_official_weights_answer_as_in_keras(stem: str, shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="reading the official .h5 files needs h5py")
    image_module = pytest.importorskip("PIL.Image")
    folder = shared_data / "weights" / "mesonet"
    out = tmp_path / "converted.safetensors"
    name = "meso4" if stem.startswith("Meso4") else "meso_inception4"
    convert(f"mesonet/{name}", folder / f"{stem}.h5", out)
    detector = load_detector(out)
    pictures = [image_module.open(folder / "test_images" / name) for name in IMAGES]
    resized = [each.convert("RGB").resize((256, 256), image_module.NEAREST) for each in pictures]
    logits = detector.logits(np.stack([np.asarray(each) for each in resized]))
    np.testing.assert_allclose(logits, -np.array(KERAS[stem]), rtol=1e-3, atol=1e-3)
    if stem.endswith("_DF"):
        assert (logits > 0).tolist() == [True, True, False, False]
    facts = dict(detector.header.provenance)
    assert (facts["source"], facts["licence"]) == (f"{stem}.h5", "Apache-2.0")
