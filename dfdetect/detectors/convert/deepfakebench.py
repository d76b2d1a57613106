"""Weights of DeepfakeBench (Yan et al., NeurIPS 2023), whose networks differ from the papers'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dfdetect.detectors.base import Setting
from dfdetect.detectors.convert.conversion import (
    Conversion,
    Refusal,
    Source,
    Sources,
    State,
    Unused,
    renamed,
    two_logits,
)
from dfdetect.detectors.convert.efficientnet import lukemelas_names
from dfdetect.detectors.convert.pickled import read_pickled
from dfdetect.detectors.convert.recce import IMAGENET_HEAD, recce_sources
from dfdetect.detectors.f3net import F3Net
from dfdetect.detectors.network import Detector
from dfdetect.detectors.ucf import HIDDEN
from dfdetect.detectors.xception import WIDTH

PROJECT = "github.com/SCLBD/DeepfakeBench (looked at: 8a4a7bf)"
LICENCE = "CC BY-NC 4.0 (its code); its weights' terms are its authors'"
DIFFERS = (
    "there faces are found and aligned by dlib's points and warped bilinearly at 256 px; here they "
    "are aligned onto the same template by the face finder's five points"
)
SIZE = 256
ALIGNED: Mapping[str, Setting] = {"crop": "aligned", "crop_scale": 1.3}

ADJUST = "a layer for other methods, which it does not use"
B4_WIDTH = 1792
B4_HEAD = "backbone.last_layer"


def _conversion(detector: str, sources: Callable[[Detector], Sources], **more: Any) -> Conversion:
    settings = {**ALIGNED, **more.pop("settings", {"size": SIZE})}
    return Conversion(
        detector=detector,
        settings=settings,
        project=PROJECT,
        licence=LICENCE,
        differs=more.pop("differs", DIFFERS),
        read=read_pickled(""),
        sources=sources,
        **more,
    )


def _unused_adjust(backbone: str) -> tuple[Unused, ...]:
    return (Unused(f"{backbone}.adjust_channel.", 7, ADJUST),)


def _xception(network: Detector) -> Sources:
    return {
        **renamed(network, (("body.network.", "backbone."),)),
        **two_logits("head.1", "backbone.last_linear", WIDTH),
    }


def _f3net(network: Detector) -> Sources:
    keys = tuple(f"FAD_head.filters.{number}.learnable" for number in range(4))
    return {
        **renamed(network, (("body.network.", "backbone."),)),
        **two_logits("head.1", "backbone.last_linear.1", WIDTH),
        "decomposition.learnt": Source(keys, (SIZE, SIZE), lambda *filters: torch.stack(filters)),
    }


def _f3net_constants(network: Detector) -> dict[str, Tensor]:
    assert isinstance(network, F3Net)  # noqa: S101 — what the conversion names
    decomposition = network.decomposition
    bands = {
        f"FAD_head.filters.{number}.base": band for number, band in enumerate(decomposition.bands)
    }
    return {
        "FAD_head._DCT_all": decomposition.transform,
        "FAD_head._DCT_all_T": decomposition.transform.mT,
        **bands,
    }


def _spsl(network: Detector) -> Sources:
    return {
        **_xception(network),
        "body.network.conv1.weight": Source(("backbone.conv1.weight",), (32, 4, 3, 3), _louder),
    }


def _louder(kernel: Tensor) -> Tensor:
    """Our phase picture is as many times larger as a side has pixels."""
    return torch.cat([kernel[:, :3], kernel[:, 3:] / SIZE], dim=1)


def _ucf(network: Detector) -> Sources:
    names = (
        ("forgery.body.network.", "encoder_f."),
        ("forgery.adjust.", "encoder_f.adjust_channel."),
        ("common.", "block_sha.conv2d."),
        ("head.0.", "head_sha.mlp.0."),
    )
    return {**renamed(network, names), **two_logits("head.2.1", "head_sha.mlp.2", HIDDEN)}


def _efficientnet(network: Detector) -> Sources:
    return {
        **lukemelas_names(network, "network.", "backbone.efficientnet."),
        **two_logits("network.classifier", B4_HEAD, B4_WIDTH),
    }


def _sbi(network: Detector) -> Sources:
    return {
        **lukemelas_names(network, "network.", "backbone.efficientnet."),
        **renamed(network, (("network.classifier.", f"{B4_HEAD}."),)),
    }


def _sbi_rows(state: State) -> Mapping[str, Setting]:
    # three by the project's configuration, two where somebody has put that right
    head = state.get(f"{B4_HEAD}.bias")
    return {"classes": 2 if isinstance(head, Tensor) and tuple(head.shape) == (2,) else 3}


def _resnet34(network: Detector) -> Sources:
    stages = ((f"network.layer{n}.", f"backbone.resnet.{n + 3}.") for n in range(1, 5))
    ends = (("network.conv1.", "backbone.resnet.0."), ("network.bn1.", "backbone.resnet.1."))
    return {
        **renamed(network, (*ends, *stages)),
        **two_logits("network.fc", "backbone.fc", 512),
    }


def _meso(network: Detector, convolutions: Mapping[str, str], norms: Mapping[str, str]) -> Sources:
    """Return the sources of one of our MesoNets: its blocks' layers → names in the file.

    Theirs has no biases, and one norm where ours has two that are then equal.
    """
    names = tuple((f"blocks.{ours}.", f"backbone.{theirs}.") for ours, theirs in norms.items())
    sources = renamed(network, (*names, ("head.2.", "backbone.fc1.")))
    state = network.stored_state()
    for ours, theirs in convolutions.items():
        kernel, bias = f"blocks.{ours}.weight", f"blocks.{ours}.bias"
        sources[kernel] = Source((f"backbone.{theirs}.weight",), tuple(state[kernel].shape))
        sources[bias] = Source((), (), lambda shape=state[bias].shape: torch.zeros(shape))
    return sources | two_logits("head.5", "backbone.fc2", 16)


def _meso4(network: Detector) -> Sources:
    convolutions = {f"{n}.0": f"conv{n + 1}" for n in range(4)}
    return _meso(network, convolutions, {f"{n}.2": f"bn{n // 2 + 1}" for n in range(4)})


def _meso_inception4(network: Detector) -> Sources:
    convolutions = {"2.0": "conv1", "3.0": "conv2"}
    norms = {"0.1": "Incption1_bn", "1.1": "Incption2_bn", "2.2": "bn1", "3.2": "bn1"}
    for layer in (0, 1):
        ours, theirs = f"{layer}.0.branches", f"Incption{layer + 1}_conv"
        convolutions[f"{ours}.0.0"] = f"{theirs}1"
        for branch in (1, 2, 3):
            convolutions[f"{ours}.{branch}.0"] = f"{theirs}{branch + 1}_1"
            convolutions[f"{ours}.{branch}.2"] = f"{theirs}{branch + 1}_2"
    return _meso(network, convolutions, norms)


HALF: Mapping[str, Setting] = {"size": SIZE, "statistics": "half"}
BENCHED: Mapping[str, Setting] = {"size": SIZE, "padding": "deepfakebench", "dropout": 0.0}
MESO: Mapping[str, Setting] = {"statistics": "half", "epsilon": 1e-5}
UNUSED_UCF = (
    Unused("encoder_f.last_linear.", 2, "a classifier that it does not use"),
    Unused("encoder_c.", 283, "the encoder of content, for training alone"),
    Unused("con_gan.", 14, "the decoder, for training alone"),
    Unused("head_spe.", 4, "the head for methods, for training alone"),
    Unused("block_spe.", 6, "the specific features, for training alone"),
)
UNUSED_RECCE = (
    Unused("backbone.", 283, "a whole Xception that it does not use"),
    Unused("model.encoder.fc.", 2, IMAGENET_HEAD),
)

DEEPFAKEBENCH: Mapping[str, Conversion | Refusal] = {
    "xception": _conversion("xception", _xception, unused=_unused_adjust("backbone")),
    "core": _conversion("core", _xception, unused=_unused_adjust("backbone")),
    "f3net": _conversion(
        "f3net", _f3net, unused=_unused_adjust("backbone"), constants=_f3net_constants
    ),
    "spsl": _conversion(
        "spsl",
        _spsl,
        settings={"size": SIZE, "shallow": False},
        unused=_unused_adjust("backbone"),
    ),
    "recce": _conversion(
        "recce",
        lambda network: recce_sources(network, "model.", 2),
        unused=UNUSED_RECCE,
        differs=f"{DIFFERS}; its layers are taken to work as those of RECCE's authors, whose names "
        "and shapes they have",
    ),
    "ucf": _conversion("ucf", _ucf, unused=UNUSED_UCF),
    "efficientnetb4": _conversion(
        "efficientnet_b4", _efficientnet, settings={**BENCHED, "statistics": "half"}
    ),
    "sbi": _conversion(
        "efficientnet_b4", _sbi, settings={**BENCHED, "statistics": "imagenet"}, chosen=_sbi_rows
    ),
    "resnet34": _conversion("cnn_aug", _resnet34, settings={**HALF, "depth": 34}),
    "meso4": _conversion("meso4", _meso4, settings=MESO),
    "meso4Inception": _conversion(
        "meso_inception4", _meso_inception4, settings={**MESO, "rectified": False}
    ),
    "srm": Refusal(
        "there the forward pass differs from the paper's, which our `srm` follows, in ways that "
        "are not published in words"
    ),
    "capsule_net": Refusal(
        "there capsules are squashed across the ten of them and not along each one's numbers, they "
        "pool deviations and not variances, routing shares out the capsules and not the classes, "
        "and the score is a softmax of a softmax; our `capsule` follows the paper"
    ),
    "facexray": Refusal(
        "there the X-ray is drawn without a sigmoid and enlarged with its corners aligned, which "
        "our `face_xray` does not"
    ),
    "ffd": Refusal("there is no FFD among our detectors"),
}
