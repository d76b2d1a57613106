"""Strangeness: the distance of its papers, kept in files of weights, refused where it is off."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from dfdetect.detectors import create_detector, load_detector, read_header, save_checkpoint
from dfdetect.detectors.base import CheckpointHeader, LoadedDetector, StrangenessDetector
from dfdetect.detectors.checkpoint import load_checkpoint, make_header
from dfdetect.detectors.header import decode_header, encode_header
from dfdetect.detectors.onnx_file import read_sealed, seal
from dfdetect.detectors.score import CropBatch, CropKey, score
from dfdetect.detectors.strangeness import (
    MOST_TRAITS,
    Strangeness,
    fit_strangeness,
    n_directions,
)
from dfdetect.detectors.tensor_file import encode_tensors
from dfdetect.errors import ContractError, UntrustedCheckpoint

LIMIT = 2.5
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxscript") is None, reason="exporting needs dfdetect[export]"
)


def drawn(n: int, n_traits: int, seed: int = 0) -> Any:
    """Return traits that hang together in a few ways, as those of networks do."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(0, 3, (4, n_traits))
    traits = rng.normal(0, 1, (n, 4)) @ mixing + rng.normal(0, 0.5, (n, n_traits)) + 7
    return traits.astype(np.float32)


def tell(fitted: Strangeness, traits: Any) -> Any:
    return fitted(torch.from_numpy(traits)).numpy()


def test_it_is_the_mahalanobis_distance_under_the_fitted_gaussian() -> None:
    fitted = fit_strangeness([drawn(500, 20)])
    mean, scale, directions, spread, rest = (
        getattr(fitted, name).numpy().astype(np.float64)
        for name in ("mean", "scale", "directions", "spread", "rest")
    )
    # the covariance of probabilistic PCA, in full and inverted
    across = np.eye(20) - directions @ directions.T
    covariance = directions @ np.diag(spread**2) @ directions.T + rest**2 * across
    inverse = np.linalg.inv(np.diag(scale) @ covariance @ np.diag(scale))
    others = drawn(50, 20, seed=1) + np.float32(3)
    expected = [mahalanobis(each, mean, inverse) ** 2 / 20 for each in others]
    np.testing.assert_allclose(tell(fitted, others), expected, rtol=1e-4)


def test_the_gaussian_is_the_principal_components_of_what_was_seen() -> None:
    traits = drawn(400, 12)
    fitted = fit_strangeness([traits])
    standard = (traits - traits.mean(0)) / traits.std(0)
    variances = np.linalg.svd(standard, compute_uv=False) ** 2 / len(traits)
    np.testing.assert_allclose(fitted.spread.numpy() ** 2, variances[:6], rtol=1e-3)
    np.testing.assert_allclose(float(fitted.rest) ** 2, variances[6:].mean(), rtol=1e-3)


def test_what_was_learned_from_has_strangeness_one_on_average_in_each_share() -> None:
    many, few = drawn(900, 30), drawn(60, 30, seed=5) + np.float32(2)
    fitted = fit_strangeness([many, few])
    halves = [float(tell(fitted, group).mean()) for group in (many, few)]
    assert np.mean(halves) == pytest.approx(1, rel=1e-3)
    # how often a group was sampled does not matter, which numbers it holds does
    again = fit_strangeness([np.concatenate([many, many]), few])
    np.testing.assert_allclose(tell(again, few), tell(fitted, few), rtol=1e-3)


def test_what_never_varied_is_strange_when_it_moves() -> None:
    traits = drawn(200, 10)
    traits[:, 3] = 1.0
    fitted = fit_strangeness([traits])
    moved = traits.copy()
    moved[:, 3] = 50.0
    assert np.isfinite(tell(fitted, traits)).all()
    assert tell(fitted, moved).min() > tell(fitted, traits).max()


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ([], "has none"),
        ([np.zeros((0, 8), np.float32)], "has none"),
        ([drawn(4, 20)], "4 crops cannot say how 20 traits vary; give more than 10"),
        ([drawn(40, 1)], "needs 2 to"),
        ([np.full((40, 8), np.nan, np.float32)], "not finite|did not converge|Eigenvalues"),
    ],
)
def test_too_little_to_learn_from_is_refused(groups: Any, reason: str) -> None:
    with pytest.raises((ValueError, np.linalg.LinAlgError), match=reason):
        fit_strangeness(groups)


def test_it_stays_small_in_the_file() -> None:
    fitted = Strangeness(512)
    stored = sum(t.numel() * (2 if t.ndim > 1 else 4) for t in fitted.state_dict().values())
    assert stored < 100_000
    assert n_directions(MOST_TRAITS) * MOST_TRAITS * 2 < 550_000
    with pytest.raises(ValueError, match=r"2 to 4096 traits, and the network has 5000"):
        Strangeness(5000)


@pytest.fixture(scope="module")
def network() -> Any:
    """A small timm network whose strangeness was fitted on noise."""
    torch.manual_seed(0)
    made = create_detector("backbone", model_name="test_efficientnet", size=64).eval()
    with torch.inference_mode():
        _, traits = made.observe(pixels_of(made, crops(400)))
    made.strangeness = fit_strangeness([traits.clone().numpy()])
    # what a file stores of it
    made.strangeness.directions.copy_(made.strangeness.directions.half().float())
    return made


def crops(n: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    level = rng.integers(40, 216, (n, 1, 1, 3))
    return (level + rng.integers(-40, 40, (n, 64, 64, 3))).astype(np.uint8)


def pixels_of(network: Any, pictures: Any) -> Any:
    return torch.from_numpy(network.preprocess.normalise(pictures))


@pytest.fixture(scope="module")
def header(network: Any) -> CheckpointHeader:
    return make_header(network, trained=True, provenance={"n": "0"}, strangeness_limit=LIMIT)


@pytest.fixture(scope="module")
def saved(network: Any, header: CheckpointHeader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "strange.safetensors"
    save_checkpoint(path, network, header)
    return path


def test_the_second_answer_leaves_the_first_as_it_is(network: Any) -> None:
    with torch.inference_mode():
        logits, strangeness = network.logits_and_strangeness(pixels_of(network, crops(4)))
        assert torch.equal(logits, network(pixels_of(network, crops(4))))
    assert strangeness.shape == (4,)
    assert network.n_traits == network.strangeness.mean.numel()


def test_a_checkpoint_keeps_it_bit_for_bit(saved: Path, network: Any, tmp_path: Path) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.header.strangeness_limit == LIMIT == read_header(saved).strangeness_limit
    for name, tensor in network.strangeness.state_dict().items():
        assert torch.equal(loaded.network.strangeness.state_dict()[name], tensor)
    detector = load_detector(saved)
    logits, strangeness = detector.judge(crops(5))
    with torch.inference_mode():
        expected = network.logits_and_strangeness(pixels_of(network, crops(5)))
    np.testing.assert_allclose(logits, expected[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(strangeness, expected[1].numpy(), rtol=1e-4)
    np.testing.assert_array_equal(logits, detector.logits(crops(5)))
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, loaded.network, loaded.header, half=True)
    stored = load_checkpoint(half).network.strangeness
    # it was rounded to half precision before, so nothing moves
    assert torch.equal(stored.directions, network.strangeness.directions)


def test_files_without_it_are_as_they_were(network: Any, tmp_path: Path) -> None:
    fresh = create_detector("backbone", model_name="test_efficientnet", size=64)
    header = make_header(fresh, trained=True)
    assert "strangeness" not in encode_header(header)
    assert decode_header(encode_header(header), "old").strangeness_limit is None
    save_checkpoint(tmp_path / "old.safetensors", fresh, header)
    detector = load_detector(tmp_path / "old.safetensors")
    logits, strangeness = detector.judge(crops(2))
    assert strangeness is None
    np.testing.assert_array_equal(logits, detector.logits(crops(2)))
    keys = tuple(CropKey("v", 0, number, 0.0) for number in range(2))
    assert [one.strangeness for one in score(detector, [CropBatch(keys, crops(2))])] == [None] * 2


def test_header_and_network_must_agree(
    network: Any, header: CheckpointHeader, tmp_path: Path
) -> None:
    plain = create_detector("backbone", model_name="test_efficientnet", size=64)
    without = dataclasses.replace(header, strangeness_limit=None)
    for made, told in ((network, without), (plain, header)):
        with pytest.raises(ContractError, match="must both tell strangeness"):
            save_checkpoint(tmp_path / "no.safetensors", made, told)


@pytest.mark.parametrize("limit", ["NaN", "-1", "0", "[]", '"2.5"', "true", "1e999"])
def test_a_limit_that_is_none_is_refused(header: CheckpointHeader, limit: str) -> None:
    text = encode_header(header).replace(
        f'"strangeness_limit":{LIMIT}', f'"strangeness_limit":{limit}'
    )
    with pytest.raises(UntrustedCheckpoint, match="holds no valid dfdetect header"):
        decode_header(text, "it")


def nan(tensors: dict[str, Any]) -> None:
    tensors["strangeness.mean"] = np.full_like(tensors["strangeness.mean"], np.nan)


def nothing_to_divide_by(tensors: dict[str, Any]) -> None:
    tensors["strangeness.scale"] = np.zeros_like(tensors["strangeness.scale"])


def negative(tensors: dict[str, Any]) -> None:
    tensors["strangeness.rest"] = -tensors["strangeness.rest"]


def wrong_shape(tensors: dict[str, Any]) -> None:
    tensors["strangeness.directions"] = tensors["strangeness.directions"][:, :3].copy()


def missing(tensors: dict[str, Any]) -> None:
    del tensors["strangeness.spread"]


def integers(tensors: dict[str, Any]) -> None:
    tensors["strangeness.mean"] = tensors["strangeness.mean"].astype(np.int64)


def unknown(tensors: dict[str, Any]) -> None:
    tensors["strangeness.code"] = np.zeros(1, np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nan, "NaN or infinity"),
        (nothing_to_divide_by, "strangeness.scale is not above 0"),
        (negative, "strangeness.rest is not above 0"),
        (wrong_shape, "has shape"),
        (missing, "is missing"),
        (integers, "is int64"),
        (unknown, "is not part of the network"),
    ],
)
def test_hostile_tensors_are_refused(
    change: Any, reason: str, network: Any, header: CheckpointHeader, tmp_path: Path
) -> None:
    tensors = {name: tensor.numpy() for name, tensor in network.stored_state().items()}
    change(tensors)
    (tmp_path / "bad.safetensors").write_bytes(encode_tensors(tensors, header))
    with pytest.raises(UntrustedCheckpoint, match=reason):
        load_detector(tmp_path / "bad.safetensors")


def test_a_limit_for_a_network_without_stages_is_refused(tmp_path: Path) -> None:
    network = create_detector("meso4")
    tensors = {name: tensor.numpy() for name, tensor in network.stored_state().items()}
    header = dataclasses.replace(make_header(network, trained=True), strangeness_limit=LIMIT)
    (tmp_path / "bad.safetensors").write_bytes(encode_tensors(tensors, header))
    with pytest.raises(UntrustedCheckpoint, match="the network has 0"):
        load_detector(tmp_path / "bad.safetensors")


@needs_onnx
def test_the_onnx_twin_answers_both_in_one_pass(saved: Path, tmp_path: Path) -> None:
    from dfdetect.export.twin import export_onnx

    report = export_onnx(saved, tmp_path / "twin.onnx")
    assert report.max_difference < 1e-4
    before, after = load_detector(saved), load_detector(tmp_path / "twin.onnx")
    assert isinstance(after, StrangenessDetector)
    for expected, found in zip(before.judge(crops(6, 9)), after.judge(crops(6, 9)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(after.logits(crops(6)), after.judge(crops(6))[0])
    keys = tuple(CropKey("v", 0, number, 0.0) for number in range(6))
    told = [one.strangeness for one in score(after, [CropBatch(keys, crops(6))])]
    np.testing.assert_allclose(told, after.judge(crops(6))[1])
    # a header without the limit promises one output, and the model has two
    with (tmp_path / "twin.onnx").open("rb") as stream:
        content, header = read_sealed(stream, tmp_path)
    import onnx

    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    silent = dataclasses.replace(header, strangeness_limit=None)
    (tmp_path / "silent.onnx").write_bytes(seal(model.SerializeToString(), silent))
    with pytest.raises(UntrustedCheckpoint, match="expected"):
        load_detector(tmp_path / "silent.onnx")


@needs_onnx
def test_a_twin_without_it_cannot_claim_a_limit(network: Any, tmp_path: Path) -> None:
    import onnx

    from dfdetect.export.twin import export_onnx

    plain = create_detector("backbone", model_name="test_efficientnet", size=64)
    save_checkpoint(tmp_path / "plain.safetensors", plain, make_header(plain, trained=True))
    export_onnx(tmp_path / "plain.safetensors", tmp_path / "plain.onnx")
    with (tmp_path / "plain.onnx").open("rb") as stream:
        content, header = read_sealed(stream, tmp_path)
    assert header.strangeness_limit is None
    assert load_detector(tmp_path / "plain.onnx").judge(crops(2))[1] is None
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    claims = dataclasses.replace(header, strangeness_limit=LIMIT)
    (tmp_path / "claims.onnx").write_bytes(seal(model.SerializeToString(), claims))
    with pytest.raises(UntrustedCheckpoint, match="strangeness"):
        load_detector(tmp_path / "claims.onnx")


class Odd:
    """A detector whose strangeness is no number."""

    def __init__(self, header: CheckpointHeader, answer: Any) -> None:
        self.header, self.weights_sha256, self.answer = header, "0" * 64, answer

    def logits(self, pictures: Any) -> Any:
        return np.zeros(len(pictures), np.float32)

    def judge(self, pictures: Any) -> Any:
        return self.logits(pictures), np.full(len(pictures), self.answer, np.float32)


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_strangeness_that_is_no_number_is_refused(header: CheckpointHeader, answer: float) -> None:
    detector: LoadedDetector = Odd(header, answer)
    batch = CropBatch((CropKey("v", 0, 0, 0.0),), crops(1))
    with pytest.raises(UntrustedCheckpoint, match="one finite strangeness a crop"):
        score(detector, [batch])
