"""Tiny detectors and films for the command line's tests; the detectors know nothing of forgery."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dfdetect.cli.main import main
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.detectors.onnx_file import seal
from dfdetect.types import Band, BandRate, Calibration, CropPolicy

SIZE = 64

CALIBRATION = Calibration(
    method="platt",
    slope=1.0,
    intercept=0.0,
    lr_min=1e-3,
    lr_max=1e3,
    n_real=500,
    n_fake=500,
    set_name="a set made up for tests",
    date="2026-01-01",
    rates=tuple(
        BandRate(band, real, 500, fake, 500)
        for band, real, fake in (
            (Band.STRONG, 2, 300),
            (Band.MODERATE, 10, 400),
            (Band.WEAK, 25, 450),
            (Band.NONE, 450, 20),
        )
    ),
)

HEADER = CheckpointHeader(
    detector="meso4",
    kwargs=(),
    preprocess=Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.3, SIZE)),
    calibration=CALIBRATION,
    provenance=(("trained_on", "nothing: seeded weights for a test"),),
    trained=True,
)


def _write_detector(path: Path, logit: float, header: CheckpointHeader = HEADER) -> Path:
    """Write a seeded network whose answers lie close to `logit`."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 0.01, (4, 3, 8, 8)).astype(np.float32),
        "head": rng.normal(0, 0.1, (4, 1)).astype(np.float32),
        "bias": np.array([logit], np.float32),
        "shape": np.array([-1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel"], ["maps"], strides=[8, 8]),
        helper.make_node("Tanh", ["maps"], ["bounded"]),
        helper.make_node("GlobalAveragePool", ["bounded"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["column"]),
        helper.make_node("Reshape", ["column", "shape"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(seal(model.SerializeToString(), header))
    return path


@dataclass(frozen=True)
class TinyDetectors:
    """Files of weights by the verdict that they give on any face."""

    strong: Path
    clear: Path
    undecided: Path
    uncalibrated: Path
    untrained: Path


@pytest.fixture(scope="session")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> TinyDetectors:
    """Seeded detectors in a temporary folder."""
    folder = tmp_path_factory.mktemp("detectors")
    return TinyDetectors(
        strong=_write_detector(folder / "strong.onnx", 6.0),
        clear=_write_detector(folder / "clear.onnx", -6.0),
        undecided=_write_detector(folder / "undecided.onnx", 0.0),
        uncalibrated=_write_detector(
            folder / "uncalibrated.onnx", 6.0, replace(HEADER, calibration=None)
        ),
        untrained=_write_detector(folder / "untrained.onnx", 6.0, replace(HEADER, trained=False)),
    )


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory, clips: ModuleType) -> Path:
    """A clip of four seconds with one face: the portrait under a moving camera."""
    from dfdetect.inference.demo import filmed, portrait

    path = tmp_path_factory.mktemp("film") / "clip.mp4"
    pictures = [picture for i, picture in enumerate(filmed(portrait())) if i % 5 == 0]
    return clips.write_clip(path, pictures, fps=5)


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def complaint(self) -> str:
        """The one sentence of an error, without the program's name."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("dfdetect: ")]
        return line.removeprefix("dfdetect: ")


Command = Callable[..., Answer]


@pytest.fixture
def dfdetect(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process; what C libraries print is caught too."""

    def run(*words: str | Path) -> Answer:
        capfd.readouterr()
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err or "--debug" in words, err
        return Answer(code, out, err)

    return run


@pytest.fixture(scope="session")
def installed(project_root: Path) -> Command:
    """Run the command line as a user does: in a process of its own."""

    def run(
        *words: str | Path, cwd: Path | None = None, before: Callable[[], None] | None = None
    ) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "dfdetect", *map(str, words)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(project_root)},
            capture_output=True,
            timeout=120,
            preexec_fn=before,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return Answer(done.returncode, out, err)

    return run
