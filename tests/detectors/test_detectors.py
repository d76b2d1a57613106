"""What holds for every registered detector; a new one is covered without an edit here."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from dfdetect.detectors import DETECTORS, create_detector, list_detectors
from dfdetect.detectors.backbone import Backbone
from dfdetect.detectors.base import Preprocess
from dfdetect.detectors.fidelity import fidelity_card
from dfdetect.detectors.network import Detector
from dfdetect.detectors.testing import _training_batch, check_detector
from dfdetect.errors import ContractError, UsageError
from dfdetect.types import CropPolicy

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_keeps_the_contract(name: str) -> None:
    check_detector(name)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_default_network_takes_its_own_crops(name: str) -> None:
    """The contract is checked on a light one; the default one has other sizes throughout."""
    with torch.device("meta"):
        network = create_detector(name).eval()
        size, frames = network.preprocess.size, network.needs.frames
        clip = (frames,) if frames > 1 else ()
        assert network(torch.empty(2, *clip, 3, size, size)).shape == (2,)


@pytest.mark.parametrize("name", DETECTORS)
def test_losses_are_finite_and_in_full_precision_under_mixed_precision(name: str) -> None:
    torch.manual_seed(0)
    network = create_detector(name, **DETECTORS.get(name).check_kwargs)
    with torch.autocast("cpu", torch.bfloat16):
        terms = network.loss_terms(_training_batch(network))
    assert {term.value.dtype for term in terms} == {torch.float32}
    assert all(bool(term.value.detach().isfinite()) for term in terms)


@pytest.mark.parametrize("name", DETECTORS)
def test_what_detectors_share_has_one_name(name: str) -> None:
    taken = inspect.signature(DETECTORS.get(name)).parameters
    assert {"size", "crop", "crop_scale"} <= taken.keys()
    assert not taken.keys() & {"backbone", "scale_crop", "drop_rate", "pretrained"}


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_has_a_config(name: str, project_root: Path) -> None:
    configs = (project_root / "configs" / "detector").glob("*.yaml")
    assert name in {yaml.safe_load(path.read_text())["name"] for path in configs}


def test_every_config_makes_a_detector(project_root: Path) -> None:
    for path in (project_root / "configs" / "detector").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        assert config.keys() == {"name", "kwargs"}, path
        with torch.device("meta"):
            assert create_detector(config["name"], **config["kwargs"]).name == config["name"]


def seeded(network: Detector) -> Detector:
    """Weights from numpy's generator, whose stream does not change between versions."""
    rng = np.random.default_rng(0)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        draw = rng.standard_normal(tuple(tensor.shape))
        if tensor.ndim >= 2:
            draw *= 1.4 / np.sqrt(np.prod(tensor.shape[1:]))
        elif name.endswith("running_var"):
            draw = 1 + 0.2 * np.tanh(draw)
        else:
            draw = 0.1 * draw + (1 if name.endswith("weight") else 0)
        tensor.copy_(torch.from_numpy(draw))
    return network.eval()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_logits_are_what_they_were(path: Path) -> None:
    """A file holds name, kwargs and the logits of two crops; a new detector may add one."""
    golden = json.loads(path.read_text())
    network = seeded(create_detector(golden["name"], **golden["kwargs"]))
    size = network.preprocess.size
    crops = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    with torch.inference_mode():
        found = network(torch.from_numpy(network.preprocess.normalise(crops))).tolist()
    assert found == pytest.approx(golden["logits"], rel=2e-4, abs=2e-4), found


def test_detectors_are_listed_with_what_they_are() -> None:
    listed = {info.name: info for info in list_detectors()}
    assert tuple(listed) == DETECTORS.names()
    assert listed["meso4"].n_parameters == 27_977
    assert listed["meso_inception4"].n_parameters == 28_615
    assert all(info.summary and "\n" not in info.summary for info in listed.values())


def test_importing_the_package_imports_no_torch(project_root: Path) -> None:
    code = (
        "import sys, dfdetect.detectors; assert not {'torch', 'timm'} & sys.modules.keys();"
        "assert 'meso4' in dfdetect.detectors.DETECTORS; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project_root, check=True)


@pytest.mark.parametrize(
    ("name", "kwargs", "reason"),
    [
        ("meso5", {}, "did you mean 'meso4'"),
        ("meso4", {"width": 3}, "unexpected keyword argument 'width'"),
        ("meso4", {"dropout": "0.5"}, "dropout = '0.5' is no float"),
        ("meso4", {"dropout": True}, "dropout = True is no float"),
        ("meso4", {"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ("meso4", {"crop_scale": -1.0}, "crop scale must be positive"),
        ("backbone", {"crop": "round"}, "crop must be one of square"),
        ("backbone", {"size": 160.0}, "size = 160.0 is no int"),
        ("backbone", {"size": 100_000}, "16…2048"),
        ("backbone", {"model_name": "efficientnet_b99"}, "timm knows no model"),
        ("backbone", {"model_name": "resnet18.nonsense"}, "timm cannot make"),
        ("backbone", {"model_name": "hf-hub:timm/resnet18"}, "timm knows no model"),
        ("backbone", {"model_name": "local-dir:/etc"}, "timm knows no model"),
        ("backbone", {"model_name": "test_vit", "size": 16, "dropout": 1.5}, "dropout must lie"),
        ("backbone", {"init": "missing.safetensors"}, "missing.safetensors is no readable"),
    ],
)
def test_wrong_requests_are_answered_with_a_sentence(
    name: str, kwargs: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        create_detector(name, **kwargs)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_any_timm_model_becomes_a_detector(model: str) -> None:
    check_detector("backbone", model_name=model, size=96)


def test_constructor_defaults_are_stored_and_initial_weights_are_not(tmp_path: Path) -> None:
    import safetensors.torch
    import timm

    pretrained = timm.create_model("test_resnet", num_classes=10)
    path = tmp_path / "init.safetensors"
    safetensors.torch.save_file(pretrained.state_dict(), path)
    network = create_detector("backbone", model_name="test_resnet", size=64, init=str(path))
    assert isinstance(network, Backbone)
    assert dict(network.kwargs) == {
        "model_name": "test_resnet",
        "size": 64,
        "crop": "square",
        "crop_scale": 1.3,
        "dropout": 0.0,
    }
    given, taken = pretrained.state_dict(), network.network.state_dict()
    assert all(torch.equal(taken[key], given[key]) for key in given if not key.startswith("fc."))
    assert taken["fc.weight"].shape == (1, given["fc.weight"].shape[1])
    with pytest.raises(UsageError, match="does not fit this backbone"):
        create_detector("backbone", model_name="test_efficientnet", init=str(path))


class _Broken(Detector):
    """A detector with one fault at a time."""

    def __init__(self, fault: str = "none") -> None:
        super().__init__(Preprocess(16, (0.5,) * 3, (0.5,) * 3, CropPolicy(size=16)))
        self.fault = fault
        self.linear = nn.Linear(3, 1)
        self.unused = nn.Linear(1, 1) if fault == "unused" else None
        self.hidden = float(np.random.default_rng().random()) if fault == "hidden" else 0.0
        if fault == "outline":
            self.hidden = float(self.linear.bias.detach().sum())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.linear(pixels.mean((2, 3))) + self.hidden
        if self.fault == "batch":
            logits = logits - logits.mean()
        if self.fault == "nan":
            logits = logits / 0 * 0
        return logits if self.fault == "shape" else logits.squeeze(1)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("unused", "no gradient reaches unused"),
        ("batch", "depends on its batch"),
        ("nan", "not finite"),
        ("shape", r"not \(B,\)"),
        ("outline", "cannot be outlined"),
        ("hidden", "logits change when saved"),
    ],
)
def test_the_contract_check_finds_faults(
    fault: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DETECTORS._entries, "broken", _Broken)
    check_detector("broken")
    with pytest.raises(ContractError, match=complaint):
        check_detector("broken", fault=fault)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_says_how_true_it_is_to_its_paper(name: str) -> None:
    card = fidelity_card(DETECTORS.get(name))
    assert len(card.paper) > 20, card
    assert min(map(len, (card.same, card.differs, card.published))) > 10, card
