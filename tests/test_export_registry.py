"""Every registered detector becomes an ONNX file that answers like it, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dfdetect.detectors import DETECTORS, create_detector, load_detector, save_checkpoint
from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.checkpoint import make_header
from dfdetect.detectors.network import Detector
from dfdetect.errors import UsageError
from dfdetect.export import export_onnx
from dfdetect.export.twin import probes

pytest.importorskip("onnx", reason="exporting needs dfdetect[export]")
pytest.importorskip("onnxscript", reason="exporting needs dfdetect[export]")

TOLERANCE = 1e-4


def noise(header: CheckpointHeader) -> np.ndarray:
    """Crops, or clips, that no export compares on."""
    shape = probes(header).shape[1:]
    return np.random.default_rng(3).integers(0, 256, (5, *shape), np.uint8)


def saved(name: str, path: Path) -> Detector:
    """Write the light network of a kind, untrained, with statistics of the pictures it is shown.

    With others a deep untrained network answers with zeros, or so wildly that rounding decides:
    EfficientNet-B4 in float32 is then 6e-5 away from itself in float64, and else 1e-6.
    """
    torch.manual_seed(0)
    network = create_detector(name, **DETECTORS.get(name).check_kwargs)
    header = make_header(network, trained=True, provenance={"trained_on": "nothing: a test"})
    norms = [
        each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
    ]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        crops = np.concatenate([probes(header), noise(header)])
        network.train()(torch.from_numpy(network.preprocess.normalise(crops)))
    save_checkpoint(path, network.eval(), header)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_has_an_onnx_twin_or_says_why_not(name: str, tmp_path: Path) -> None:
    path, out = tmp_path / "x.safetensors", tmp_path / "x.onnx"
    network = saved(name, path)
    if network.no_onnx:
        with pytest.raises(UsageError, match="cannot become ONNX"):
            export_onnx(path, out)
        return
    report = export_onnx(path, out, tolerance=TOLERANCE)
    assert report.max_difference <= TOLERANCE
    before, after = load_detector(path), load_detector(out)
    crops = noise(before.header)
    expected = before.logits(crops)
    for size in (1, 2, 5):
        found = np.concatenate([after.logits(crops[at : at + size]) for at in range(0, 5, size)])
        difference = np.abs(found - expected) / np.maximum(np.abs(expected), 1)
        assert difference.max() <= TOLERANCE


def test_a_network_that_onnx_cannot_hold_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved("meso4", tmp_path / "x.safetensors")
    monkeypatch.setattr(DETECTORS.get("meso4"), "no_onnx", "its Fourier transform has no operator")
    with pytest.raises(UsageError, match=r"Fourier transform .* format=torch_export"):
        export_onnx(tmp_path / "x.safetensors", tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
