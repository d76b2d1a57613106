"""Plain classifiers: sizes of the published networks, what they are fed, where they start."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from dfdetect.detectors import DETECTORS, create_detector
from dfdetect.detectors.backbone import timm_features, timm_network
from dfdetect.detectors.fidelity import fidelity_card
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.detectors.testing import check_detector
from dfdetect.errors import UsageError


def outline(name: str, **kwargs: object) -> Detector:
    with torch.device("meta"):
        return create_detector(name, **kwargs)


def size_of(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "kwargs", "trunk", "width"),
    [
        # parameters of the published networks without their classifier of 1000 classes
        ("efficientnet_b4", {}, 17_548_616, 1792),
        ("sbi", {}, 17_548_616, 1792),
        ("cnn_aug", {}, 23_508_032, 2048),
        ("cnn_aug", {"depth": 34}, 21_284_672, 512),
    ],
)
def test_sizes_are_the_published_ones_and_one_logit(
    name: str, kwargs: dict[str, object], trunk: int, width: int
) -> None:
    assert size_of(outline(name, **kwargs)) == trunk + width + 1


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "name", "kwargs", "width"),
    [
        ("DeepfakeBench__efficientnetb4", "efficientnet_b4", {}, 1792),
        ("SelfBlendedImages__sbi", "sbi", {}, 1792),
        ("DeepfakeBench__resnet34", "cnn_aug", {"depth": 34}, 512),
    ],
)
def test_sizes_are_those_of_the_peers(
    file: str, name: str, kwargs: dict[str, object], width: int, shared_data: Path
) -> None:
    published = json.loads((shared_data / "checkpoint_keys" / f"{file}.json").read_text())
    # they have a second logit
    assert size_of(outline(name, **kwargs)) == published["n_params"] - width - 1


def test_the_first_layer_pads_as_tensorflow_does() -> None:
    stem = outline("sbi", size=64).get_submodule("network.conv_stem")
    # an even picture is padded on the far side only, so that 64 px give 32
    assert tuple(stem(torch.zeros(1, 3, 64, 64, device="meta")).shape[2:]) == (32, 32)


def test_pixels_are_what_each_network_expects() -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for name, size, scale, statistics in (
        ("efficientnet_b4", 380, 1.3, imagenet),
        ("cnn_aug", 224, 1.3, imagenet),
        ("sbi", 380, 1.25, ((0.0,) * 3, (1.0,) * 3)),
    ):
        told = outline(name).preprocess
        assert (told.size, told.crop.scale) == (size, scale)
        assert (told.mean, told.std) == statistics
    half = outline("efficientnet_b4", statistics="half", size=256).preprocess
    assert half.mean == half.std == (0.5,) * 3


@pytest.mark.parametrize(
    ("name", "kwargs", "reason"),
    [
        ("efficientnet_b4", {"statistics": "quarter"}, "statistics must be one of imagenet"),
        ("efficientnet_b4", {"dropout": 1.0}, "dropout must lie"),
        ("cnn_aug", {"depth": 18}, "depth must be one of 34, 50"),
        ("sbi", {"crop_scale": 0.0}, "crop scale must be positive"),
    ],
)
def test_wrong_settings_are_answered_with_a_sentence(
    name: str, kwargs: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        create_detector(name, **kwargs)


def test_training_starts_undecided_and_takes_given_weights(tmp_path: Path) -> None:
    given = timm.create_model("resnet34", num_classes=7)
    path = tmp_path / "init.safetensors"
    safetensors.torch.save_file(given.state_dict(), path)
    network = create_detector("cnn_aug", depth=34, size=64, init=str(path))
    taken = network.state_dict()
    for key, tensor in given.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(taken[f"network.{key}"], tensor), key
    with torch.inference_mode():
        logits = network.eval()(torch.rand(2, 3, 64, 64))
    assert float(logits.abs().max()) < 2
    assert "init" not in dict(network.kwargs)


def test_feature_maps_start_from_the_state_of_the_whole_network(tmp_path: Path) -> None:
    whole = timm.create_model("test_resnet", num_classes=7)
    path = tmp_path / "init.safetensors"
    safetensors.torch.save_file(whole.state_dict(), path)
    cut = timm_features("test_resnet", out_indices=(1, 3), init=str(path)).eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = whole.eval().forward_intermediates(
            pixels, indices=[1, 3], intermediates_only=True
        )
        found = cut(pixels)
    assert [each.shape for each in found] == [each.shape for each in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="does not fit this backbone"):
        timm_features("test_efficientnet", out_indices=(1, 3), init=str(path))


def test_networks_of_timm_are_asked_for_by_plain_names() -> None:
    for name in ("hf-hub:timm/resnet18", "resnet19"):
        with pytest.raises(ValueError, match="timm knows no model"):
            timm_network(name, 64, num_classes=0)
        with pytest.raises(ValueError, match="timm knows no model"):
            timm_features(name, out_indices=(1,))
    with pytest.raises(ValueError, match="no such feature maps"):
        timm_features("test_resnet", out_indices=(9,))


def test_a_light_setting_keeps_the_contract_and_learns_four_pictures_by_heart() -> None:
    check_detector("cnn_aug", depth=34, size=64)
    torch.manual_seed(0)
    network = create_detector("cnn_aug", depth=34, size=64).train()
    batch = TrainingBatch(torch.randn(4, 3, 64, 64), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(20):
        loss = total_loss(network.loss_terms(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(total_loss(network.loss_terms(batch)).detach()) < 0.02


@pytest.mark.parametrize("name", ["backbone", "cnn_aug", "efficientnet_b4", "sbi"])
def test_each_says_how_true_it_is(name: str) -> None:
    card = fidelity_card(DETECTORS.get(name))
    assert "init" in card.differs
    assert card.published
