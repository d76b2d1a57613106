"""Arguments that give a detector the shape of a published network, other than the paper's."""

from __future__ import annotations

import inspect

import pytest
import torch

from dfdetect.detectors import DETECTORS, create_detector
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
    ],
)
def test_other_values_are_refused(name: str, kwargs: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        create_detector(name, **kwargs)
