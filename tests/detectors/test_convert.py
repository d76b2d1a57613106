"""Published weights: every tensor accounted for, and the scores of the networks they belong to."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from dfdetect.detectors import create_detector, load_detector
from dfdetect.detectors.checkpoint import load_checkpoint
from dfdetect.detectors.convert import CONVERSIONS, Conversion, Refusal, convert
from dfdetect.detectors.convert.conversion import matched
from dfdetect.detectors.convert.mesonet import MESONET
from dfdetect.detectors.padding import DEEPFAKEBENCH_B4, PaddedConv2d
from dfdetect.errors import UntrustedCheckpoint, UsageError
from tests.detectors import peers

HERE = Path("published.pth")
NO_STEM, SAME_STEM = (0, 0, 0, 0), (0, 1, 0, 1)


def b4(s: peers.State, x: Tensor) -> Tensor:
    features = peers.efficientnet(s, "backbone.efficientnet.", x, NO_STEM)
    return peers.fake_less_real(peers.linear(s, "backbone.last_layer", features))


def b4_of_three(s: peers.State, x: Tensor) -> Tensor:
    features = peers.efficientnet(s, "backbone.efficientnet.", x, NO_STEM)
    fake = peers.linear(s, "backbone.last_layer", features).softmax(1)[:, 1]
    return torch.logit(fake.double()).float()


def sbi(s: peers.State, x: Tensor) -> Tensor:
    features = peers.efficientnet(s, "net.", x, SAME_STEM)
    return peers.fake_less_real(peers.linear(s, "net._fc", features))


def b7(s: peers.State, x: Tensor) -> Tensor:
    """By timm's own network."""
    encoder = timm.create_model("tf_efficientnet_b7", pretrained=False).eval()
    own = {
        key.removeprefix("encoder."): value for key, value in s.items() if key.startswith("encoder")
    }
    encoder.load_state_dict(own)
    features = encoder.forward_features(x).mean((2, 3))
    return peers.linear(s, "fc", features).squeeze(1)


@dataclass(frozen=True)
class Case:
    """A published network: its list of keys, what is around them, its forward, pixels a side."""

    keys: str
    forward: Callable[[peers.State, Tensor], Tensor]
    pixels: int = 256
    around: str = ""
    constants: Callable[[], dict[str, Tensor]] = dict


XCEPTION = ("backbone.", "backbone.last_linear")
CASES = {
    "core/xception": Case(
        "CORE__xception", lambda s, x: peers.xception(s, "", "fc", x), 107, "model"
    ),
    "deepfakebench/core": Case(
        "DeepfakeBench__core", lambda s, x: peers.xception(s, *XCEPTION, x), 96
    ),
    "deepfakebench/efficientnetb4": Case("DeepfakeBench__efficientnetb4", b4, 256),
    "deepfakebench/f3net": Case(
        "DeepfakeBench__f3net", peers.f3net, constants=peers.f3net_constants
    ),
    "deepfakebench/meso4": Case("DeepfakeBench__meso4", peers.meso4),
    "deepfakebench/meso4Inception": Case("DeepfakeBench__meso4Inception", peers.meso_inception4),
    "deepfakebench/recce": Case(
        "DeepfakeBench__recce", lambda s, x: peers.fake_less_real(peers.recce(s, "model.", x)), 128
    ),
    "deepfakebench/resnet34": Case("DeepfakeBench__resnet34", peers.resnet34, 128),
    "deepfakebench/sbi": Case("DeepfakeBench__sbi", b4_of_three, 128),
    "deepfakebench/spsl": Case("DeepfakeBench__spsl", peers.spsl),
    "deepfakebench/ucf": Case("DeepfakeBench__ucf", peers.ucf, 96),
    "deepfakebench/xception": Case(
        "DeepfakeBench__xception", lambda s, x: peers.xception(s, *XCEPTION, x), 128
    ),
    "recce/xception": Case(
        "RECCE__recce", lambda s, x: peers.recce(s, "", x).squeeze(1), 117, "model"
    ),
    "sbi/efficientnet_b4": Case("SelfBlendedImages__sbi", sbi, 380, "model"),
    "selimsef/efficientnet_b7": Case(
        "dfdc_deepfake_challenge__tf_efficientnet_b7_ns", b7, 75, "state_dict"
    ),
}
MESO4 = "deepfakebench/meso4"


@cache
def keys() -> dict[str, peers.Keys]:
    return peers.published_keys()


def published(name: str, seed: int = 0) -> dict[str, Tensor]:
    case = CASES[name]
    return {**peers.random_state(keys()[case.keys], seed), **case.constants()}


def pictures(size: int) -> Tensor:
    """Two smooth pictures in [-1, 1] with some noise."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand((2, 3, 9, 9), generator=generator) * 1.6 - 0.8
    smooth = nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(-1, 1)


def conversion(name: str) -> Conversion:
    found = CONVERSIONS.get(name)
    assert isinstance(found, Conversion)
    return found


def converted(name: str, state: dict[str, Tensor]) -> Any:
    """Our network with the file's tensors, without a file."""
    entry = conversion(name)
    network = create_detector(entry.detector, **{**entry.settings, **entry.chosen(state)})
    tensors = matched(entry, state, network, HERE)
    network.load_state_dict({**network.state_dict(), **tensors})
    return network.eval()


def test_there_is_a_case_for_every_conversion() -> None:
    entries = {name: CONVERSIONS.get(name) for name in CONVERSIONS}
    kerases = {f"mesonet/{name}" for name in MESONET}
    assert CASES.keys() | kerases == {
        name for name, entry in entries.items() if isinstance(entry, Conversion)
    }


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_published_network(name: str) -> None:
    case, state = CASES[name], published(name)
    pixels = pictures(case.pixels)
    peers.settle(state, case.forward, pixels)
    network = converted(name, state)
    with torch.inference_mode():
        found, wanted = network(pixels), case.forward(state, pixels)
    assert wanted.shape == (2,)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    # random networks see little; what they see must be far above rounding
    apart = float((wanted[0] - wanted[1]).abs())
    assert float((found - wanted).abs().max()) < min(1e-3, apart / 50)


@pytest.mark.shared
@pytest.mark.parametrize("name", CASES)
def test_keys_and_pictures_are_as_published(name: str, shared_data: Path) -> None:
    stem = CASES[name].keys
    listed = json.loads((shared_data / "checkpoint_keys" / f"{stem}.json").read_text())
    ours = [[key, list(shape), dtype] for key, shape, dtype in keys()[stem]]
    assert ours == listed["keys"]
    entry = conversion(name)
    with torch.device("meta"):
        network = create_detector(entry.detector, **{**entry.settings, **entry.chosen({})})
    preprocess, wanted = network.preprocess, listed["input"]
    assert preprocess.size == wanted["size"]
    assert list(preprocess.mean) == wanted["mean"]
    assert list(preprocess.std) == wanted["std"]
    assert (preprocess.crop.name == "aligned") == ("aligned, 1.3 scale" in wanted["how"])
    unused = {each.prefix.rstrip("."): each.count for each in entry.unused}
    assert unused == {each["prefix"]: each["keys"] for each in listed["unused_for_the_score"]}
    norms = {
        layer.eps
        for layer in network.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    }
    assert norms == {layer["eps"] for layer in listed["norm_layers"]}


def test_efficientnet_pytorch_agrees_with_the_network_written_out() -> None:
    library = pytest.importorskip("efficientnet_pytorch")
    state = published("sbi/efficientnet_b4")
    # released with a classifier of two; its size fixes the padding at 380 px
    network = library.EfficientNet.from_name("efficientnet-b4", num_classes=2).eval()
    network.load_state_dict({key.removeprefix("net."): value for key, value in state.items()})
    pixels = torch.rand(1, 3, 380, 380, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = peers.fake_less_real(network(pixels))
        torch.testing.assert_close(sbi(state, pixels), wanted, rtol=1e-4, atol=1e-4)
        network._conv_stem = nn.Conv2d(3, 48, 3, stride=2, bias=False)
        network._conv_stem.weight.copy_(state["net._conv_stem.weight"])
        small = pixels[..., :256, :256]
        wanted = peers.fake_less_real(network(small))
        bench = {
            key.replace("net._fc", "backbone.last_layer").replace(
                "net.", "backbone.efficientnet."
            ): value
            for key, value in state.items()
        }
        torch.testing.assert_close(b4(bench, small), wanted, rtol=1e-4, atol=1e-4)


def test_the_fixed_padding_is_on_every_convolution_of_stride_2_and_changes_scores() -> None:
    state = published("deepfakebench/efficientnetb4")
    network = converted("deepfakebench/efficientnetb4", state)
    strided = {
        key: layer
        for key, layer in network.network.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1)
    }
    assert strided.keys() == DEEPFAKEBENCH_B4.keys()
    assert all(isinstance(layer, PaddedConv2d) for layer in strided.values())
    maps = {}
    strided["conv_stem"].register_forward_hook(lambda _m, _i, made: maps.update(stem=made.shape))
    same = create_detector("efficientnet_b4", size=256, statistics="half")
    same.load_state_dict(network.state_dict())
    pixels = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert abs(float(network(pixels) - same.eval()(pixels))) > 1e-3
    assert maps["stem"] == (1, 48, 127, 127)


def test_both_rows_of_sbis_head_are_read_where_there_are_two() -> None:
    state = published("deepfakebench/sbi")
    for part in ("weight", "bias"):
        state[f"backbone.last_layer.{part}"] = state[f"backbone.last_layer.{part}"][:2]
    network = converted("deepfakebench/sbi", state)
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(pixels), b4(state, pixels), rtol=1e-4, atol=1e-4)


# from file to file

FILES = [
    ("core/xception", False),
    ("deepfakebench/ucf", True),
    ("recce/xception", False),
    (MESO4, False),
    (MESO4, True),
]


def wrapped(state: dict[str, Tensor], around: str) -> Any:
    beside = {"epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 2e-4}]}}
    # trainers store scores as numpy's numbers
    return {around: state, **beside, "auc": np.float64(0.9)} if around else state


@pytest.mark.parametrize(("name", "parallel"), FILES)
def test_a_file_becomes_a_detector(name: str, parallel: bool, tmp_path: Path) -> None:
    case, state = CASES[name], published(name)
    stored = {f"module.{key}": value for key, value in state.items()} if parallel else state
    source, out = tmp_path / "best.pth", tmp_path / "ours.safetensors"
    torch.save(wrapped(stored, case.around), source)
    written = convert(name, source, out)
    checkpoint = load_checkpoint(out)
    assert (checkpoint.sha256, checkpoint.header) == (written.sha256, written.header)
    facts = dict(written.header.provenance)
    assert facts["source"] == "best.pth"
    assert len(facts["source_sha256"]) == 64
    assert "github.com" in facts["project"]
    assert "licence" in facts
    assert facts["preprocessing"]
    assert facts["command"] == f"dfdetect models --convert {name}"
    pixels = torch.rand((1, 3, case.pixels, case.pixels)) * 2 - 1
    with torch.inference_mode():
        found, wanted = checkpoint.network(pixels), case.forward(state, pixels)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_bare_state_dict_of_recce_is_read_too(tmp_path: Path) -> None:
    state = published("recce/xception")
    torch.save(state, tmp_path / "recce.pth")
    read = conversion("recce/xception").read(tmp_path / "recce.pth")
    assert read.keys() == state.keys()


def test_crops_are_judged_as_the_project_would(tmp_path: Path) -> None:
    state = published(MESO4)
    torch.save(state, tmp_path / "meso.pth")
    convert(MESO4, tmp_path / "meso.pth", tmp_path / "meso.safetensors")
    crops = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    pixels = (torch.from_numpy(crops).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    found = load_detector(tmp_path / "meso.safetensors").logits(crops)
    np.testing.assert_allclose(found, peers.meso4(state, pixels).numpy(), rtol=1e-4, atol=1e-4)


# what is no such file

BN = "backbone.bn1.running_mean"


def altered() -> Iterator[tuple[str, dict[str, Any], str]]:
    state = published(MESO4)
    yield "missing", {k: v for k, v in state.items() if k != BN}, f"'{BN}' is missing"
    yield "extra", {**state, "backbone.conv5.weight": torch.zeros(1)}, "conv5.weight' is not part"
    yield "shape", {**state, BN: torch.zeros(9)}, r"shape \(9,\), expected \(8,\)"
    yield "type", {**state, BN: torch.zeros(8).half()}, "is torch.float16, expected torch.float32"
    yield "number", {**state, BN: 3.0}, "is no plain tensor"
    yield "sparse", {**state, BN: torch.zeros(8).to_sparse()}, "is no plain tensor"
    yield "nan", {**state, BN: torch.full((8,), torch.nan)}, "holds NaN or infinity"
    yield "infinite", {**state, BN: torch.full((8,), torch.inf)}, "holds NaN or infinity"
    yield "claims", {**state, BN: torch.zeros(1).expand(10**12)}, "shape"
    half = {(f"module.{k}" if "conv" in k else k): v for k, v in state.items()}
    yield "halfway", half, "'module.backbone.conv1.weight' is not part"
    yield "number for a name", {**state, 3: torch.zeros(1)}, "no state dict where one belongs"
    yield "another", published("deepfakebench/meso4Inception"), "is not part of it"
    yield "wrapped", {"state_dict": state}, "'state_dict' is not part of it"


@pytest.mark.parametrize("kind", [kind for kind, _, _ in altered()])
def test_any_other_file_is_refused_by_its_first_difference(kind: str, tmp_path: Path) -> None:
    state, reason = next((state, reason) for name, state, reason in altered() if name == kind)
    source, out = tmp_path / "meso.pth", tmp_path / "out.safetensors"
    torch.save(state, source)
    with pytest.raises(UntrustedCheckpoint, match=reason) as refused:
        convert(MESO4, source, out)
    assert str(source) in str(refused.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "key", "reason"),
    [
        ("deepfakebench/f3net", "FAD_head.filters.1.base", "differs from the constant"),
        ("deepfakebench/f3net", "FAD_head._DCT_all", "differs from the constant"),
    ],
)
def test_other_constants_are_refused(name: str, key: str, reason: str) -> None:
    state = published(name)
    state[key] = state[key] + 1e-3
    with pytest.raises(UntrustedCheckpoint, match=reason):
        converted(name, state)


@pytest.mark.parametrize("more", [True, False])
def test_what_goes_unused_is_counted(more: bool) -> None:
    state = published("deepfakebench/xception")
    if more:
        state["backbone.adjust_channel.7.weight"] = torch.zeros(1)
    else:
        del state["backbone.adjust_channel.0.bias"]
    with pytest.raises(
        UntrustedCheckpoint, match=rf"holds {8 if more else 6} tensors .* expected 7"
    ):
        converted("deepfakebench/xception", state)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def hostile(kind: str, path: Path, trap: Path) -> None:
    state = published(MESO4)
    if kind == "in the zip":
        torch.save({**state, "extra": Hostile(trap)}, path)
    elif kind == "old format":
        torch.save({"extra": Hostile(trap)}, path, _use_new_zipfile_serialization=False)
    elif kind == "plain pickle":
        path.write_bytes(pickle.dumps(Hostile(trap)))
    elif kind == "numpy's object":
        torch.save({**state, "extra": np.array([Hostile(trap)], object)}, path)
    elif kind == "whole network":
        torch.save(nn.Linear(2, 2), path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "cut off":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-2000])
    else:
        path.write_bytes({"empty": b"", "noise": bytes(range(256)) * 9, "text": b"404"}[kind])


@pytest.mark.parametrize(
    "kind",
    [
        "in the zip",
        "old format",
        "plain pickle",
        "numpy's object",
        "whole network",
        "list",
        "cut off",
        "empty",
        "noise",
        "text",
    ],
)
def test_nothing_in_a_file_is_ever_run(kind: str, tmp_path: Path) -> None:
    source, trap = tmp_path / "file.pth", tmp_path / "trap"
    hostile(kind, source, trap)
    with pytest.raises(UntrustedCheckpoint) as refused:
        convert(MESO4, source, tmp_path / "out.safetensors")
    assert not trap.exists()
    assert str(refused.value).startswith(str(source))
    assert "\n" not in str(refused.value)


def test_what_has_no_equal_here_is_refused_with_the_difference(tmp_path: Path) -> None:
    refused = {name for name in CONVERSIONS if isinstance(CONVERSIONS.get(name), Refusal)}
    assert refused == {
        f"deepfakebench/{name}" for name in ("capsule_net", "facexray", "ffd", "srm")
    }
    for name in refused:
        with pytest.raises(UsageError, match=f"{name} cannot be converted: there"):
            convert(name, tmp_path / "missing.pth", tmp_path / "out.safetensors")


def test_wrong_requests_are_answered_with_a_sentence(tmp_path: Path) -> None:
    for name, out, reason in (
        ("deepfakebench/xeption", "out.safetensors", "did you mean 'deepfakebench/xception'"),
        (MESO4, "out.pth", "must end in .safetensors"),
        (MESO4, "out.safetensors", "missing.pth is missing"),
    ):
        with pytest.raises(UsageError, match=reason):
            convert(name, tmp_path / "missing.pth", tmp_path / out)


# Keras


def keras_arrays(name: str) -> dict[str, Tensor]:
    stem = {"meso4": "MesoNet__Meso4", "meso_inception4": "MesoNet__MesoInception4"}[name]
    generator = torch.Generator().manual_seed(0)
    return {
        # the list has layer group, then the weight's own name, which repeats the layer
        "/".join(key.split("/")[-2:]): torch.rand(shape, generator=generator) * 0.3
        for key, shape, _ in keys()[stem]
    }


@pytest.mark.parametrize("name", MESONET)
def test_every_array_of_keras_has_a_place(name: str) -> None:
    network = converted(f"mesonet/{name}", keras_arrays(name))
    stored = {key: value for key, value in network.state_dict().items() if "batches" not in key}
    arrays = keras_arrays(name)
    assert sum(value.numel() for value in stored.values()) == sum(
        value.numel() for value in arrays.values()
    )
    state = sorted(value.abs().double().sum().item() for value in stored.values())
    wanted = sorted(value.double().sum().item() for value in arrays.values())
    assert state == pytest.approx(wanted)


def test_other_arrays_of_keras_are_refused() -> None:
    arrays, kernel = keras_arrays("meso4"), "conv2d_5/kernel:0"
    for wrong, reason in (
        ({k: v for k, v in arrays.items() if k != kernel}, f"'{kernel}' is missing"),
        ({**arrays, "dense_9/bias:0": arrays["dense_4/bias:0"]}, "dense_9/bias:0' is not part"),
        ({**arrays, kernel: arrays[kernel][..., :4]}, r"\(3, 3, 3, 4\), expected \(3, 3, 3, 8\)"),
        (keras_arrays("meso_inception4"), "is not part of it"),
    ):
        with pytest.raises(UntrustedCheckpoint, match=reason):
            converted("mesonet/meso4", wrong)


def test_what_is_no_keras_file_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="reading the official .h5 files needs h5py")
    source, out = tmp_path / "weights.h5", tmp_path / "out.safetensors"
    source.write_bytes(b"no HDF5")
    with pytest.raises(UntrustedCheckpoint, match="no readable Keras weight file"):
        convert("mesonet/meso4", source, out)
    with h5py.File(source, "w") as stored:
        stored.create_dataset("a/b", (10**6, 10**5), "f4", chunks=(1000, 1000))
    with pytest.raises(UntrustedCheckpoint, match="no array of weights"):
        convert("mesonet/meso4", source, out)
