"""Face X-ray: sizes, the target and its loss, what each term trains, the map that it gives."""

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from scipy.special import expit, xlogy

from dfdetect.detectors import DETECTORS, create_detector
from dfdetect.detectors.face_xray import FaceXray, xray_divergence, xray_of
from dfdetect.detectors.fidelity import fidelity_card
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import BatchNeeds, TrainingBatch
from dfdetect.detectors.testing import check_detector
from dfdetect.errors import UsageError

LIGHT = "test_efficientnet"
SIZE = 64


def small(**kwargs: object) -> FaceXray:
    network = create_detector("face_xray", **{"model_name": LIGHT, "size": SIZE, **kwargs})
    assert isinstance(network, FaceXray)
    return network


def batch(n: int = 4) -> TrainingBatch:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n).remainder(2).float()
    ramp = (2 - torch.linspace(-2, 2, SIZE).abs()).clamp(max=1)
    masks = labels[:, None, None, None] * ramp[:, None] * ramp
    return TrainingBatch(torch.randn(n, 3, SIZE, SIZE, generator=generator), labels, masks)


def test_the_paper_s_network_has_720_channels_at_a_quarter() -> None:
    with torch.device("meta"):
        network = create_detector("face_xray")
        assert isinstance(network, FaceXray)
        maps = network.backbone(torch.zeros(2, 3, 256, 256))
        assert [tuple(each.shape[1:]) for each in maps] == [
            (48, 64, 64),
            (96, 32, 32),
            (192, 16, 16),
            (384, 8, 8),
        ]
        assert network.draw[0].in_channels == 720
        assert network.localise(torch.zeros(2, 3, 256, 256)).shape == (2, 1, 256, 256)
        assert network(torch.zeros(2, 3, 256, 256)).shape == (2,)
    assert network.needs == BatchNeeds(masks=True)


@pytest.mark.shared
def test_parameters_are_those_of_the_peer(shared_data: Path) -> None:
    file = shared_data / "checkpoint_keys" / "DeepfakeBench__facexray.json"
    published = json.loads(file.read_text())
    unused = tuple(each["prefix"] for each in published["unused_for_the_score"])
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    used = sum(
        prod(shape)
        for key, shape, _ in published["keys"]
        if not key.startswith(unused) and not key.endswith(statistics)
    )
    with torch.device("meta"):
        found = sum(each.numel() for each in create_detector("face_xray").parameters())
    # it has a second logit
    assert found == used - 129 == 84_192_066


def test_the_target_is_the_seam() -> None:
    masks = torch.rand(2, 1, 5, 5, dtype=torch.float64)
    np.testing.assert_allclose(xray_of(masks), 1 - (2 * masks.numpy() - 1) ** 2)
    assert torch.equal(xray_of(masks.round()), torch.zeros_like(masks))


def test_the_pixel_wise_term_is_the_cross_entropy_less_what_no_drawing_can_avoid() -> None:
    rng = np.random.default_rng(0)
    drawn, xray = rng.normal(size=(2, 1, 6, 6)), rng.random((2, 1, 6, 6))
    xray[0, 0, :3] = 0
    odds = expit(drawn)
    crossed = -(xlogy(xray, odds) + xlogy(1 - xray, 1 - odds)).mean()
    entropy = -(xlogy(xray, xray) + xlogy(1 - xray, 1 - xray)).mean()
    given = torch.from_numpy(drawn).requires_grad_()
    value = xray_divergence(given, torch.from_numpy(xray))
    assert float(value) == pytest.approx(crossed - entropy, rel=1e-9)
    value.backward()
    # the gradient of the cross-entropy alone
    np.testing.assert_allclose(given.grad, (odds - xray) / xray.size, rtol=1e-9)
    exact = torch.logit(torch.from_numpy(xray).clamp(1e-9, 1 - 1e-9))
    assert float(xray_divergence(exact, torch.from_numpy(xray))) == pytest.approx(0, abs=1e-6)


def test_terms_are_weighted_as_in_the_paper_and_train_what_they_should() -> None:
    network, given = small().train(), batch()
    xray, verdict = network.loss_terms(given)
    assert (xray.name, xray.weight) == ("xray", 100.0)
    assert (verdict.name, verdict.weight) == ("bce", 1.0)
    xray.value.backward(retain_graph=True)
    reached = {key for key, each in network.named_parameters() if each.grad is not None}
    everything = {key for key, _ in network.named_parameters()}
    # drawing is not the judge's business, judging is everybody's
    assert {key for key in everything if not key.startswith("judge.")} == reached
    network.zero_grad()
    verdict.value.backward()
    assert all(each.grad is not None for each in network.parameters())


def test_the_map_is_what_the_verdict_and_the_loss_see() -> None:
    torch.manual_seed(0)
    network, given = small(classifier="mean").eval(), batch()
    with torch.inference_mode():
        drawn = network.localise(given.pixels)
        assert drawn.shape == (4, 1, SIZE, SIZE)
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
        linear = network.judge[-1]
        expected = linear.weight[0, 0] * drawn.mean(dim=(1, 2, 3)) + linear.bias[0]
        torch.testing.assert_close(network(given.pixels), expected)
        xray, _ = network.loss_terms(given)
        assert given.masks is not None
        by_map = torch.nn.functional.binary_cross_entropy(drawn, xray_of(given.masks))
        least = torch.nn.functional.binary_cross_entropy(*[xray_of(given.masks)] * 2)
        assert float(xray.value) == pytest.approx(float(by_map - least), rel=1e-4)


def test_the_backbone_starts_from_the_state_of_the_whole_network(tmp_path: Path) -> None:
    whole = timm.create_model("hrnet_w18_small", num_classes=3)
    path = tmp_path / "hrnet.safetensors"
    safetensors.torch.save_file(whole.state_dict(), path)
    network = small(model_name="hrnet_w18_small", init=str(path))
    given = whole.state_dict()
    taken = network.backbone.state_dict()
    assert all(torch.equal(taken[key], given[key]) for key in taken)
    # what widens HRNet's maps for ImageNet is left out, its four scales are not
    assert {key.partition(".")[0] for key in given.keys() - taken.keys()} == {
        "incre_modules",
        "downsamp_modules",
        "final_layer",
        "classifier",
    }


@pytest.mark.parametrize("classifier", ["map", "mean"])
def test_light_settings_keep_the_contract(classifier: str) -> None:
    check_detector("face_xray", model_name=LIGHT, size=SIZE, classifier=classifier)
    check_detector("face_xray", model_name="hrnet_w18_small", size=SIZE, classifier=classifier)


def test_it_learns_four_pictures_and_their_seams_by_heart() -> None:
    torch.manual_seed(0)
    network, given = small().train(), batch()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    first = [float(term.value) for term in network.loss_terms(given)]
    for _ in range(50):
        loss = total_loss(network.loss_terms(given))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    xray, verdict = (float(term.value) for term in network.loss_terms(given))
    assert xray < 0.05 * first[0]
    assert verdict < 0.02


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"classifier": "forest"}, "classifier must be one of map, mean"),
        ({"size": 100}, "size must be a multiple of 32"),
        ({"xray_weight": -1.0}, "xray_weight must not be negative"),
        ({"model_name": "hf-hub:timm/resnet18"}, "timm knows no model"),
    ],
)
def test_wrong_settings_are_answered_with_a_sentence(
    kwargs: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        small(**kwargs)


def test_the_card_tells_of_the_classifier() -> None:
    assert "classifier=mean" in fidelity_card(DETECTORS.get("face_xray")).differs
