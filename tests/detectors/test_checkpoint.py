"""Checkpoints: what is saved comes back exactly, and everything else is refused."""

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfdetect.detectors import checkpoint as checkpoint_module
from dfdetect.detectors import create_detector, load_detector, read_header, save_checkpoint
from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.checkpoint import load_checkpoint, make_header
from dfdetect.detectors.tensor_file import encode_tensors
from dfdetect.errors import ContractError, DfdetectError, UntrustedCheckpoint, UsageError
from dfdetect.provenance import sha256_file

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return create_detector("meso4").eval()


@pytest.fixture(scope="module")
def header(network: Any) -> CheckpointHeader:
    return make_header(network, trained=True, provenance={"trained_on": "a test", "n": "0"})


@pytest.fixture(scope="module")
def arrays(network: Any) -> Arrays:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.fixture
def saved(tmp_path: Path, network: Any, header: CheckpointHeader) -> Path:
    path = tmp_path / "it's a “name”\n.safetensors"
    save_checkpoint(path, network, header)
    return path


def crops(n: int = 3) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, 256, 256, 3), np.uint8)


def test_a_checkpoint_comes_back_bit_for_bit(
    saved: Path, network: Any, header: CheckpointHeader
) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.header == header == read_header(saved)
    assert loaded.sha256 == sha256_file(saved)
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)
        assert loaded.network.state_dict()[name].dtype == tensor.dtype


def test_a_loaded_detector_answers_like_the_network(saved: Path, network: Any) -> None:
    detector = load_detector(saved)
    with torch.inference_mode():
        expected = network(torch.from_numpy(network.preprocess.normalise(crops()))).numpy()
    assert detector.logits(crops()).dtype == np.float32
    np.testing.assert_allclose(detector.logits(crops()), expected, atol=1e-6)
    assert detector.weights_sha256 == sha256_file(saved)
    assert detector.logits(crops(0)).shape == (0,)


def test_half_precision_rounds_matrices_only(
    tmp_path: Path, network: Any, header: CheckpointHeader
) -> None:
    path = tmp_path / "half.safetensors"
    digest = save_checkpoint(path, network, header, half=True)
    assert path.stat().st_size < 66_000
    loaded = load_checkpoint(path)
    for name, tensor in network.state_dict().items():
        stored = tensor.half().float() if tensor.ndim >= 2 else tensor
        assert torch.equal(loaded.network.state_dict()[name], stored), name
    # once rounded, saving again changes nothing
    again = save_checkpoint(tmp_path / "again.safetensors", loaded.network, header, half=True)
    assert again == digest


def test_only_what_belongs_together_is_saved(
    tmp_path: Path, network: Any, header: CheckpointHeader
) -> None:
    path = tmp_path / "weights.safetensors"
    for wrong in ({"detector": "backbone"}, {"kwargs": (("dropout", 0.1),)}):
        with pytest.raises(ContractError, match="another network"):
            save_checkpoint(path, network, dataclasses.replace(header, **wrong))
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        save_checkpoint(tmp_path / "weights.pt", network, header)
    spoilt = create_detector("meso4")
    for value, half in ((float("nan"), False), (1e6, True)):
        spoilt.get_parameter("blocks.0.0.weight").data[0, 0, 0, 0] = value
        with pytest.raises(UntrustedCheckpoint, match=r"'blocks.0.0.weight' holds NaN or infinity"):
            save_checkpoint(path, spoilt, header, half=half)
    assert list(tmp_path.iterdir()) == []


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {key: value for key, value in arrays.items() if key != name}


def setting(name: str, change: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays.get(name))}


def nan_inside(array: Any) -> Any:
    return np.where(array == array.max(), np.nan, array).astype(array.dtype)


BIAS, WEIGHT, STEPS = "head.5.bias", "head.5.weight", "blocks.0.2.num_batches_tracked"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(BIAS), "'head.5.bias' is missing"),
        (without("blocks.0.2.running_var"), "running_var' is missing"),
        (setting("extra", lambda _: np.zeros(3, np.float32)), "'extra' is not part"),
        (setting(WEIGHT, np.transpose), r"shape \(16, 1\), expected \(1, 16\)"),
        (setting(WEIGHT, np.float64), "is float64, expected float32"),
        (setting(BIAS, np.float16), "is float16, expected float32"),
        (setting(STEPS, np.int32), "is int32, expected int64"),
        (setting(WEIGHT, nan_inside), "holds NaN or infinity"),
        (setting(WEIGHT, lambda array: array / np.float32(0)), "holds NaN or infinity"),
        (lambda _: {}, "is missing"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_even_when_sealed_anew(
    change: Callable[[Arrays], Arrays],
    reason: str,
    tmp_path: Path,
    arrays: Arrays,
    header: CheckpointHeader,
) -> None:
    path = tmp_path / "weights.safetensors"
    with np.errstate(divide="ignore", invalid="ignore"):
        path.write_bytes(encode_tensors(change(arrays), header))
    with pytest.raises(UntrustedCheckpoint, match=reason):
        load_detector(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trained": False}, "untrained 'meso4'.*random weights judge nobody"),
        ({"detector": "meso44"}, "unknown detector 'meso44'; did you mean 'meso4'"),
        ({"kwargs": (("width", 8),)}, "unexpected keyword argument 'width'"),
        ({"kwargs": (("dropout", "0.5"),)}, "dropout = '0.5' is no float"),
        ({"detector": "meso_inception4"}, "does not fit its network"),
        ({"kwargs": (("crop_scale", 1.0),)}, "its preprocessing .* is not that of its network"),
        (
            {"detector": "backbone", "kwargs": (("init", "/etc/passwd"),)},
            "may not set init",
        ),
        (
            {"detector": "backbone", "kwargs": (("model_name", "hf-hub:someone/something"),)},
            "timm knows no model",
        ),
    ],
)
def test_headers_that_do_not_fit_are_refused_even_when_sealed_anew(
    changes: dict[str, Any], reason: str, tmp_path: Path, arrays: Arrays, header: CheckpointHeader
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(encode_tensors(arrays, dataclasses.replace(header, **changes)))
    with pytest.raises(UntrustedCheckpoint, match=reason):
        load_detector(path)


def test_a_header_cannot_claim_memory(tmp_path: Path, arrays: Arrays) -> None:
    """A network of 18 billion bytes is named; it must be refused before it is built."""
    with torch.device("meta"):
        giant = create_detector("backbone", model_name="eva02_enormous_patch14_clip_224")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(encode_tensors(arrays, make_header(giant, trained=True)))
    with pytest.raises(UntrustedCheckpoint, match="does not fit its network"):
        load_detector(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(saved: Path, place: float, bit: int) -> None:
    content = bytearray(saved.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    altered = saved.with_name("altered.safetensors")
    altered.write_bytes(content)
    with pytest.raises(UntrustedCheckpoint):
        load_detector(altered)


def test_an_edited_header_shows(saved: Path) -> None:
    content = saved.read_bytes().replace(b"a test", b"a lies")
    saved.write_bytes(content)
    with pytest.raises(UntrustedCheckpoint, match="altered after it was written"):
        load_detector(saved)


@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_cut_file_is_refused(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(UntrustedCheckpoint):
        load_detector(saved)


def test_a_longer_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(UntrustedCheckpoint, match="other bytes than its layout"):
        load_detector(saved)


def torch_zip() -> bytes:
    stream = io.BytesIO()
    torch.save({"head.5.bias": torch.zeros(1)}, stream)
    return stream.getvalue()


def plain_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("weights", "none")
    return stream.getvalue()


def with_metadata(metadata: dict[str, str] | None) -> bytes:
    return safetensors.numpy.save({"a": np.zeros(1, np.float32)}, metadata=metadata)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin like one"),
        (torch_zip(), "does not begin like one"),
        (plain_zip(), "does not begin like one"),
        (b"hello, I am a text file", "does not begin like one"),
        (b"\xff" * 64, "does not begin like one"),
        ((5_000_000).to_bytes(8, "little") + b"{}", "does not begin like one"),
        ((2).to_bytes(8, "little") + b"[]", "does not begin like one"),
        ((3_000_000).to_bytes(8, "little") + b"[" * 3_000_000, "no safetensors checkpoint"),
        (with_metadata(None), "no dfdetect header"),
        (with_metadata({"format": "pt"}), "no dfdetect header"),
        (with_metadata({"dfdetect": "{}"}), "header is broken"),
        (with_metadata({"dfdetect": "["}), "no safetensors checkpoint"),
        (with_metadata({"dfdetect": '{"header":{},"sha256":""}'}), "no valid dfdetect header"),
        (
            with_metadata({"dfdetect": '{"header":{"format_version":9},"sha256":""}'}),
            "format version 9, expected at most 1; update dfdetect",
        ),
    ],
)
def test_other_files_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    for read in (load_detector, read_header):
        with pytest.raises(UntrustedCheckpoint, match=reason):
            read(path)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "weights.safetensors"
    path.write_bytes(f"cos\nsystem\n(S'touch {trace}'\ntR.".encode())
    with pytest.raises(UntrustedCheckpoint):
        load_detector(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.onnx", "folder.onnx", "a.pt"])
def test_missing_files_are_usage_errors(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "a.pt").write_bytes(torch_zip())
    with pytest.raises(UsageError, match=r"is missing or no file|expected \.safetensors or \.onnx"):
        load_detector(tmp_path / name)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_usage_error(saved: Path) -> None:
    saved.chmod(0)
    with pytest.raises(UsageError, match="cannot be read"):
        load_detector(saved)


def test_a_device_that_is_not_there_is_a_usage_error(saved: Path) -> None:
    for device in ("cuda:99", "abacus"):
        with pytest.raises(UsageError, match="cannot be used"):
            load_detector(saved, device)


def test_every_refusal_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(with_metadata({"dfdetect": json.dumps({"header": [], "sha256": 0})}))
    with pytest.raises(DfdetectError) as caught:
        load_detector(path)
    message = str(caught.value)
    assert str(path) in message
    assert "expected" in message
    assert "\n" not in message


def test_without_a_bundled_detector_the_answer_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "WEIGHTS_DIR", tmp_path)
    with pytest.raises(UsageError, match="no bundled detector"):
        load_detector()


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_processor(saved: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = load_detector(saved, "cuda").logits(crops())
    np.testing.assert_allclose(found, load_detector(saved).logits(crops()), atol=5e-3)
