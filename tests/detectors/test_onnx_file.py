"""ONNX detectors: what is sealed is read back, and whatever could surprise is refused."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfdetect.detectors import load_detector, read_header
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.detectors.header import HEADER_KEY
from dfdetect.detectors.onnx_file import _entry, seal
from dfdetect.errors import UntrustedCheckpoint, UsageError
from dfdetect.provenance import sha256_file
from dfdetect.types import CropPolicy

onnx = pytest.importorskip("onnx", reason="making ONNX models needs dfdetect[export]")
helper = onnx.helper

SIZE = 16
HEADER = CheckpointHeader(
    "tiny", (), Preprocess(SIZE, (0.0,) * 3, (1.0,) * 3, CropPolicy(size=SIZE)), None, (), True
)
WEIGHT = np.array([[1.0], [2.0], [-1.0]], np.float32)


def tiny(
    name: str = "pixels", shape: tuple[Any, ...] = ("batch", 3, SIZE, SIZE), flat: bool = True
) -> Any:
    """A model of three numbers: the mean of each channel, weighted; one logit a crop."""
    kind = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", [name, "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["column"]),
        helper.make_node("Squeeze", ["column", "one"] if flat else ["column"], ["logits"]),
    ]
    tensors = [
        onnx.numpy_helper.from_array(np.array([2, 3]), "sides"),
        onnx.numpy_helper.from_array(WEIGHT, "weight"),
        onnx.numpy_helper.from_array(np.array([1]), "one"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("logits", kind, ("batch",))],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def written(path: Path, model: Any, header: CheckpointHeader = HEADER) -> Path:
    path.write_bytes(seal(model.SerializeToString(), header))
    return path


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    return written(tmp_path / "tiny.onnx", tiny())


def test_a_sealed_model_answers_and_names_itself(sealed: Path) -> None:
    detector = load_detector(sealed)
    crops = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    expected = (crops.mean((1, 2)) / 255) @ WEIGHT[:, 0]
    np.testing.assert_allclose(detector.logits(crops), expected, atol=1e-5)
    np.testing.assert_allclose(detector.logits(crops[:1]), expected[:1], atol=1e-5)
    assert detector.header == HEADER == read_header(sealed)
    assert detector.weights_sha256 == sha256_file(sealed)


def test_a_sealed_model_is_a_valid_onnx_model_with_metadata(sealed: Path) -> None:
    model = onnx.load(sealed)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == [HEADER_KEY, "dfdetect.sha256"]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(sealed), providers=["CPUExecutionProvider"])
    assert HEADER_KEY in session.get_modelmeta().custom_metadata_map


def outside(model: Any) -> None:
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def custom_operator(model: Any) -> None:
    model.graph.node[1].domain = "com.microsoft"


def custom_opset(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("evil.corp", 1))


def control_flow(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    node = helper.make_node("If", ["one"], ["x"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def function(model: Any) -> None:
    opset = helper.make_opsetid("", 18)
    model.functions.append(helper.make_function("", "F", [], [], [], [opset]))


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def not_a_number(model: Any) -> None:
    spoilt = np.array([[1.0], [np.nan], [0.0]], np.float32)
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(spoilt, "weight"))


def not_a_number_in_a_field(model: Any) -> None:
    tensor = helper.make_tensor("weight", onnx.TensorProto.FLOAT, (3, 1), [1.0, np.inf, 0.0])
    model.graph.initializer[1].CopyFrom(tensor)


def not_a_number_in_a_constant(model: Any) -> None:
    value = onnx.numpy_helper.from_array(np.array([np.nan], np.float16))
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))


def unknown_operator(model: Any) -> None:
    model.graph.node[1].op_type = "Abracadabra"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (outside, "keeps weights outside the file"),
        (custom_operator, "operators of 'com.microsoft'"),
        (custom_opset, "operators of 'evil.corp'"),
        (control_flow, "control flow"),
        (function, "functions"),
        (sparse, "sparse"),
        (not_a_number, "not finite"),
        (not_a_number_in_a_field, "not finite"),
        (not_a_number_in_a_constant, "not finite"),
        (unknown_operator, "cannot be run by ONNX Runtime"),
    ],
)
def test_models_that_could_surprise_are_refused_even_when_sealed(
    change: Callable[[Any], None], reason: str, tmp_path: Path
) -> None:
    model = tiny()
    change(model)
    with pytest.raises(UntrustedCheckpoint, match=reason):
        load_detector(written(tmp_path / "model.onnx", model))


@pytest.mark.parametrize(
    "model",
    [
        tiny(name="input"),
        tiny(shape=("batch", 3, SIZE, SIZE * 2)),
        tiny(shape=("batch", 3, "height", "width")),
        tiny(shape=(1, 3, SIZE, SIZE)),
        tiny(shape=(SIZE, SIZE, 3)),
    ],
)
def test_other_inputs_are_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UntrustedCheckpoint, match=r"maps .* expected|cannot be run"):
        load_detector(written(tmp_path / "model.onnx", model))


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    model = tiny()
    model.graph.output.append(
        helper.make_tensor_value_info("means", onnx.TensorProto.FLOAT, ("batch", 3))
    )
    with pytest.raises(UntrustedCheckpoint, match="maps"):
        load_detector(written(tmp_path / "model.onnx", model))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trained": False}, "untrained 'tiny'"),
        (
            {"preprocess": Preprocess(32, (0.0,) * 3, (1.0,) * 3, CropPolicy(size=32))},
            "maps",
        ),
    ],
)
def test_headers_that_do_not_fit_are_refused(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "model.onnx", tiny(), dataclasses.replace(HEADER, **changes))
    with pytest.raises(UntrustedCheckpoint, match=reason):
        load_detector(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(sealed: Path, place: float, bit: int) -> None:
    content = bytearray(sealed.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    altered = sealed.with_name("altered.onnx")
    altered.write_bytes(content)
    with pytest.raises(UntrustedCheckpoint):
        load_detector(altered)


def test_an_edited_weight_shows(sealed: Path) -> None:
    content = sealed.read_bytes()
    assert content.count(WEIGHT.tobytes()) == 1
    sealed.write_bytes(content.replace(WEIGHT.tobytes(), (-WEIGHT).tobytes()))
    with pytest.raises(UntrustedCheckpoint, match="altered after it was sealed"):
        load_detector(sealed)


BARE = tiny().SerializeToString()
WHOLE = seal(BARE, HEADER)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds 0 graphs"),
        (b"hello, I am a text file", "no ONNX detector of dfdetect"),
        (b"\xff" * 100, "no ONNX detector of dfdetect"),
        (b"PK\x03\x04" + bytes(100), "no ONNX detector of dfdetect"),
        (BARE, "does not end in one header and one seal"),
        (BARE + _entry(HEADER_KEY, "{}"), "does not end in one header and one seal"),
        (WHOLE[:-1], "no ONNX detector of dfdetect"),
        (WHOLE + b"\0", "no ONNX detector of dfdetect"),
        (WHOLE + BARE, "holds 2 graphs"),
        (WHOLE + _entry("more", "text"), "does not end in one header and one seal"),
        (seal(WHOLE, HEADER), "does not end in one header and one seal"),
        (WHOLE[:-10] + b"0123456789", "altered after it was sealed"),
    ],
)
def test_other_files_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    for read in (load_detector, read_header):
        with pytest.raises(UntrustedCheckpoint, match=reason) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(content)
    with pytest.raises(UntrustedCheckpoint):
        load_detector(path)


def test_an_onnx_detector_stays_on_the_cpu(sealed: Path) -> None:
    with pytest.raises(UsageError, match="CPU only"):
        load_detector(sealed, "cuda")


def test_scoring_with_onnx_imports_nothing_heavy(sealed: Path, project_root: Path) -> None:
    code = f"""
import sys
import numpy as np
from dfdetect.detectors import CropBatch, CropKey, load_detector, score
detector = load_detector({str(sealed)!r})
images = np.full((2, {SIZE}, {SIZE}, 3), 255, np.uint8)
keys = (CropKey("a", 0, 0, 0.0), CropKey("a", 0, 1, 0.1))
assert [round(each.logit, 4) for each in score(detector, [CropBatch(keys, images)])] == [2.0, 2.0]
heavy = {{"torch", "torchvision", "timm", "lightning", "sklearn", "scipy", "pandas", "matplotlib",
         "pyarrow", "hydra", "omegaconf", "onnx"}}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], cwd=project_root, check=True)
