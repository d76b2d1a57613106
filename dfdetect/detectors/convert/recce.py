"""Weights of RECCE (Cao et al., CVPR 2022) as its authors released them."""

from __future__ import annotations

import torch
from torch import Tensor

from dfdetect.detectors.convert.conversion import (
    Conversion,
    Names,
    Source,
    Sources,
    Unused,
    renamed,
    two_logits,
)
from dfdetect.detectors.convert.pickled import read_pickled
from dfdetect.detectors.network import Detector
from dfdetect.detectors.recce import EMBEDDED, MIDDLE_WIDTH
from dfdetect.detectors.xception import WIDTH

NAMES: Names = (
    ("body.network.", "encoder."),
    ("decoder.up1.", "decoder1."),
    ("decoder.block1.", "decoder2."),
    ("decoder.up2.", "decoder3."),
    ("decoder.block2.", "decoder4."),
    ("decoder.up3.", "decoder5."),
    ("decoder.last.", "decoder6.0."),
    ("reasoning.embed.", "reasoning.va_embedding."),
    ("reasoning.coarse.embed.", "reasoning.vb_embedding."),
    ("reasoning.coarse.score.", "reasoning.reweight_ab.0."),
    ("reasoning.fine.embed.", "reasoning.vc_embedding."),
    ("reasoning.fine.score.", "reasoning.reweight_ac.0."),
    ("reasoning.project.", "reasoning.reproject."),
    ("attention.gate.", "attention.gated."),
    ("attention.transform.", "attention.h."),
)
IMAGENET_HEAD = "ImageNet's classifier, which it does not use"


def recce_sources(network: Detector, prefix: str, rows: int) -> Sources:
    """Return where the tensors of our `recce` come from.

    Args:
        network: Our detector.
        prefix: What stands before the authors' names in the file.
        rows: Logits of the file's last layer: 1, or 2 for real and fake.
    """
    sources = renamed(network, tuple((ours, prefix + theirs) for ours, theirs in NAMES))
    sources["reasoning.project.0.weight"] = Source(
        (f"{prefix}reasoning.reproject.0.weight",),
        (MIDDLE_WIDTH, 3 * EMBEDDED, 1, 1),
        _vertices_first,
    )
    for ours, theirs in (("coarse", "b"), ("fine", "c")):
        sources[f"reasoning.{ours}.gate.0.weight"] = Source(
            (f"{prefix}reasoning.va_gated_{theirs}.0.weight",),
            (EMBEDDED, MIDDLE_WIDTH, 1, 1),
            # their gate is 1 less the sigmoid, which is the sigmoid of the negative
            torch.neg,
        )
    if rows == 1:
        return sources | renamed(network, (("head.1.", f"{prefix}fc."),))
    return sources | two_logits("head.1", f"{prefix}fc", WIDTH)


def _vertices_first(kernel: Tensor) -> Tensor:
    """Theirs lays neighbours (coarse, fine) before the vertices themselves, ours behind."""
    return torch.cat([kernel[:, 2 * EMBEDDED :], kernel[:, : 2 * EMBEDDED]], dim=1)


RECCE = {
    "xception": Conversion(
        detector="recce",
        settings={"size": 299, "crop_scale": 1.3, "crop": "square"},
        project="github.com/VISION-SJTU/RECCE (looked at: 58cabeb)",
        licence="MIT (its code); its weights' terms are its authors'",
        differs="there faces are resized to 299 px (224 px for WildDeepfake); how they were cut "
        "out was not looked at, 1.3 times the box is assumed",
        read=read_pickled("model", ""),
        sources=lambda network: recce_sources(network, "", 1),
        unused=(Unused("encoder.fc.", 2, IMAGENET_HEAD),),
    )
}
