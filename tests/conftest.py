"""Fixtures for the whole suite; the network is off in every test."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

# a test that meant to download something must fail, not wait
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# tests that import onnxruntime before dfdetect must not let it report to its maker
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Any:
    """Refuse every connection that could leave the machine; local (unix) sockets stay."""
    original = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            return original(self, address)
        raise OSError(f"a test tried to reach the network: {address!r}")

    socket.socket.connect = refuse  # type: ignore[assignment, method-assign]
    yield
    socket.socket.connect = original  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The research clips and faces, which are never part of the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the research clips are not here ({folder}); see data/README.md")
    return folder


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """NASA's portrait of Eileen Collins (public domain), 512 × 512 RGB uint8."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut())


@pytest.fixture(scope="session")
def clips() -> ModuleType:
    """The module that writes test clips, whole and broken."""
    spec = importlib.util.spec_from_file_location("clips", ROOT / "tests" / "clips.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clips"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def heavy_packages() -> tuple[str, ...]:
    """What `predict` must not import: together they cost several seconds."""
    names = "torch torchvision timm lightning sklearn scipy pandas matplotlib pyarrow"
    return (*names.split(), "hydra", "omegaconf", "cattrs", "facenet_pytorch")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout that the tests belong to."""
    return ROOT
