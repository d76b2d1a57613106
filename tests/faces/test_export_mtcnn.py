"""The shipped ONNX nets against facenet-pytorch's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("onnx", reason="the extra `export` is not installed")

import torch

from dfdetect.faces.facenet import reference_nets
from dfdetect.faces.mtcnn import WEIGHTS

NETS = ("pnet", "rnet", "onet")


@pytest.fixture(scope="module")
def script(project_root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "export_mtcnn", project_root / "scripts" / "export_mtcnn.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NETS)
def test_shipped_nets_equal_the_reference_on_a_photo(name: str, portrait: np.ndarray) -> None:
    side = {"pnet": 96, "rnet": 24, "onet": 48}[name]
    corners = [(y, x) for y in range(0, 400, 37) for x in range(0, 400, 41)]
    pictures = np.stack([portrait[y : y + side, x : x + side] for y, x in corners])
    net = dict(zip(NETS, reference_nets(), strict=True))[name]
    with torch.no_grad():
        planes = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32))
        offsets, *points, classes = net((planes - 127.5) / 128)
    session = onnxruntime.InferenceSession(
        str(WEIGHTS / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )
    wanted = {"offsets": offsets, "classes": classes}
    if points:
        wanted["points"] = points[0]
    got = session.run(list(wanted), {"pictures": pictures})
    for mine, theirs in zip(got, wanted.values(), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_pnet_takes_any_size_and_the_others_any_number(name: str) -> None:
    session = onnxruntime.InferenceSession(
        str(WEIGHTS / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )
    side = {"pnet": 12, "rnet": 24, "onet": 48}[name]
    for number in (1, 3):
        height, width = (side + 7 * number, side + 2) if name == "pnet" else (side, side)
        (classes,) = session.run(
            ["classes"], {"pictures": np.zeros((number, height, width, 3), np.uint8)}
        )
        np.testing.assert_allclose(classes.sum(axis=1), 1, atol=1e-5)


def test_remade_nets_are_the_shipped_ones(script: ModuleType) -> None:
    import onnx

    for name, content in script.build().items():
        shipped = onnx.load(WEIGHTS / f"{name}.onnx")
        remade = onnx.load_from_string(content)
        assert remade.graph.SerializeToString(
            deterministic=True
        ) == shipped.graph.SerializeToString(deterministic=True)
        assert script.largest_difference(name, content, seed=9) < 1e-5


def test_the_script_writes_and_checks(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for extra in ([], ["--check"]):
        monkeypatch.setattr(sys, "argv", ["export_mtcnn.py", "--out", str(tmp_path), *extra])
        assert script.main() == 0
        assert capsys.readouterr().out.count("largest difference") == 3
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["onet.onnx", "pnet.onnx", "rnet.onnx"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_100_000


def test_the_check_fails_on_other_weights(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx import load, numpy_helper, save

    for name in NETS:
        model = load(WEIGHTS / f"{name}.onnx")
        if name == "rnet":
            values = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.001)
            changed = numpy_helper.from_array(values, model.graph.initializer[0].name)
            model.graph.initializer[0].CopyFrom(changed)
        save(model, tmp_path / f"{name}.onnx")
    monkeypatch.setattr(sys, "argv", ["export_mtcnn.py", "--out", str(tmp_path), "--check"])
    assert script.main() == 1
