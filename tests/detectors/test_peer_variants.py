"""Arguments that give a detector the shape of a published network, other than the paper's."""

from __future__ import annotations

import inspect

import pytest
import torch

from dfdetect.detectors import DETECTORS, create_detector
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import TrainingBatch
from dfdetect.detectors.srm import SRM, HighPass
from dfdetect.detectors.testing import check_detector
from dfdetect.errors import UsageError

CROPPED = [
    name for name in DETECTORS if "crop" in inspect.signature(DETECTORS.get(name)).parameters
]


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("meso4", {"statistics": "half", "epsilon": 1e-5, "crop": "aligned"}),
        ("meso_inception4", {"statistics": "half", "epsilon": 1e-5, "rectified": False}),
        ("efficientnet_b4", {"size": 64, "padding": "deepfakebench", "dropout": 0.0}),
        ("efficientnet_b4", {"size": 64, "classes": 3}),
        ("srm", {"size": 64, "variant": "deepfakebench"}),
    ],
)
def test_variants_keep_the_contract(name: str, kwargs: dict[str, object]) -> None:
    check_detector(name, **kwargs)


@pytest.mark.parametrize("name", CROPPED)
def test_crops_are_cut_as_asked(name: str) -> None:
    with torch.device("meta"):
        crop = create_detector(name, crop="aligned", crop_scale=1.5).preprocess.crop
    assert (crop.name, crop.scale) == ("aligned", 1.5)
    with pytest.raises(UsageError, match="crop must be one of square, aligned, whole"):
        create_detector(name, crop="round")


@pytest.mark.parametrize(
    ("name", "kwargs", "reason"),
    [
        ("meso4", {"statistics": "mean"}, "statistics must be one of"),
        ("efficientnet_b4", {"padding": "valid"}, "padding must be one of same, deepfakebench"),
        ("efficientnet_b4", {"classes": 0}, "at least one class"),
        ("srm", {"variant": "released"}, "variant must be one of paper, deepfakebench"),
    ],
)
def test_other_values_are_refused(name: str, kwargs: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        create_detector(name, **kwargs)


def test_filters_in_turn_are_those_side_by_side_in_another_order() -> None:
    beside, in_turn = HighPass(4, apart=True), HighPass(4, apart=True, in_turn=True)
    kinds = [
        [int((kernel[0] != 0).sum()) for kernel in layer.kernels] for layer in (beside, in_turn)
    ]
    assert kinds == [[9, 25, 3] * 4, [9] * 4 + [25] * 4 + [3] * 4]
    assert torch.equal(beside.kernels.sum(0), in_turn.kernels.sum(0))


def test_the_margin_acts_on_raw_logits_there() -> None:
    torch.manual_seed(0)
    network = create_detector("srm", size=64, variant="deepfakebench").eval()
    assert isinstance(network, SRM)
    batch = TrainingBatch(torch.rand(2, 3, 64, 64) * 2 - 1, torch.tensor([0.0, 1.0]))
    with torch.no_grad():
        loss, (real, fake) = total_loss(network.loss_terms(batch)), network(batch.pixels)
    # -log softmax of 30 (x - 0.45) for the true class against 30 x for the other one
    wanted = torch.stack([(30 * (real + 0.45)).exp().log1p(), (30 * (0.45 - fake)).exp().log1p()])
    assert float(loss) == pytest.approx(float(wanted.mean()), rel=1e-4)
