"""The ONNX twin answers like its checkpoint, says whose twin it is, and leaks nothing."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfdetect.detectors import checkpoint as checkpoint_module
from dfdetect.detectors import create_detector, load_detector, save_checkpoint
from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.checkpoint import WEIGHTS_LIST, bundled_detector, make_header
from dfdetect.errors import ContractError, UntrustedCheckpoint, UsageError
from dfdetect.export import bundle, export_onnx
from dfdetect.provenance import sha256_file

onnx = pytest.importorskip("onnx", reason="exporting needs dfdetect[export]")
pytest.importorskip("onnxscript", reason="exporting needs dfdetect[export]")

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("meso4", {}),
    ("meso_inception4", {}),
    ("backbone", {"model_name": "test_efficientnet", "size": 64}),
    ("backbone", {"model_name": "test_vit", "size": 96}),
    ("backbone", {"size": 96}),
)


def trained(folder: Path, name: str, **kwargs: Any) -> Path:
    """A checkpoint with random weights and statistics that claims, in this folder, a training."""
    torch.manual_seed(0)
    network = create_detector(name, **kwargs)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
    path = folder / "weights.safetensors"
    header = make_header(network, trained=True, provenance={"trained_on": "nothing: a test"})
    save_checkpoint(path, network, header, half=True)
    return path


@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_a_twin_answers_like_its_checkpoint(
    name: str, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = trained(tmp_path, name, **kwargs)
    report = export_onnx(checkpoint, tmp_path / "twin.onnx")
    network, twin = load_detector(checkpoint), load_detector(report.path)
    size = network.header.preprocess.size
    crops = np.random.default_rng(5).integers(0, 256, (7, size, size, 3), np.uint8)
    expected = network.logits(crops)
    assert np.ptp(expected) > 0
    for batch in (1, 2, 7):
        found = np.concatenate(
            [twin.logits(crops[at : at + batch]) for at in range(0, len(crops), batch)]
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert report.max_difference <= 1e-4
    assert report.sha256 == twin.weights_sha256 == sha256_file(report.path)
    assert report.checkpoint_sha256 == network.weights_sha256
    provenance = dict(twin.header.provenance)
    assert provenance.pop("checkpoint_sha256") == network.weights_sha256
    assert dataclasses.replace(twin.header, provenance=tuple(provenance.items())) == network.header


def test_a_twin_is_reproducible_folded_and_says_nothing_of_the_machine(tmp_path: Path) -> None:
    checkpoint = trained(tmp_path, "backbone", model_name="test_efficientnet", size=64)
    first = export_onnx(checkpoint, tmp_path / "first.onnx")
    second = export_onnx(checkpoint, tmp_path / "second.onnx")
    assert first.sha256 == second.sha256
    content = first.path.read_bytes()
    for trace in (b"site-packages", str(tmp_path).encode(), str(Path.home()).encode(), b".py"):
        assert trace not in content
    operators = {node.op_type for node in onnx.load(first.path).graph.node}
    assert "BatchNormalization" not in operators


def test_a_twin_that_differs_is_not_written(tmp_path: Path) -> None:
    checkpoint = trained(tmp_path, "meso4")
    with pytest.raises(ContractError, match="differs from it by"):
        export_onnx(checkpoint, tmp_path / "twin.onnx", tolerance=-1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_only_trained_checkpoints_are_exported(tmp_path: Path) -> None:
    network = create_detector("meso4")
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, network, make_header(network, trained=False))
    with pytest.raises(UntrustedCheckpoint, match="untrained"):
        export_onnx(path, tmp_path / "twin.onnx")
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        export_onnx(path, tmp_path / "twin.pt")
    with pytest.raises(UsageError, match="is missing"):
        export_onnx(tmp_path / "none.safetensors", tmp_path / "twin.onnx")


def test_the_bundled_detector_is_the_listed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    monkeypatch.setattr(checkpoint_module, "WEIGHTS_DIR", weights)
    checkpoint = trained(tmp_path, "meso4")
    report = bundle(checkpoint, weights)
    names = {"default.onnx", "default.safetensors", WEIGHTS_LIST}
    assert {path.name for path in weights.iterdir()} == names
    assert load_detector().weights_sha256 == report.sha256 == sha256_file(bundled_detector())
    subprocess.run(["sha256sum", "--check", "--strict", WEIGHTS_LIST], cwd=weights, check=True)

    # another file, sealed as it should be, in place of the listed one
    header = load_detector(checkpoint).header
    network = create_detector("meso4")
    save_checkpoint(checkpoint, network, header)
    export_onnx(checkpoint, weights / "default.onnx")
    with pytest.raises(UntrustedCheckpoint, match=r"not the file that WEIGHTS\.sha256 lists"):
        load_detector()
    (weights / WEIGHTS_LIST).unlink()
    with pytest.raises(UntrustedCheckpoint, match=r"not the file that WEIGHTS\.sha256 lists"):
        load_detector()


def test_the_shipped_detector_can_be_loaded_and_equals_its_checkpoint() -> None:
    if not (checkpoint_module.WEIGHTS_DIR / "default.onnx").is_file():
        pytest.skip("no detector is bundled in this checkout")
    twin = load_detector()
    network = load_detector(checkpoint_module.WEIGHTS_DIR / "default.safetensors")
    header: CheckpointHeader = twin.header
    assert dict(header.provenance)["checkpoint_sha256"] == network.weights_sha256
    size = header.preprocess.size
    crops = np.random.default_rng(9).integers(0, 256, (4, size, size, 3), np.uint8)
    np.testing.assert_allclose(twin.logits(crops), network.logits(crops), rtol=1e-4, atol=1e-4)


def test_importing_export_imports_no_torch(project_root: Path) -> None:
    code = "import sys, dfdetect.export; assert not {'torch', 'onnx'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=project_root, check=True)
