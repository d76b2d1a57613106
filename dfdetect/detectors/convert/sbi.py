"""Weights of "Detecting Deepfakes with Self-Blended Images" (Shiohara and Yamasaki, CVPR 2022)."""

from __future__ import annotations

from dfdetect.detectors.convert.conversion import Conversion, Sources, two_logits
from dfdetect.detectors.convert.efficientnet import lukemelas_names
from dfdetect.detectors.convert.pickled import read_pickled
from dfdetect.detectors.network import Detector


def _efficientnet(network: Detector) -> Sources:
    # its padding is fixed for 380 px, where it equals the one that follows the picture
    return {
        **lukemelas_names(network, "network.", "net."),
        **two_logits("network.classifier", "net._fc", 1792),
    }


SBI = {
    "efficientnet_b4": Conversion(
        detector="sbi",
        settings={"size": 380, "crop_scale": 1.25, "crop": "square"},
        project="github.com/mapooon/SelfBlendedImages (looked at: 9fe4efe)",
        licence="academic or non-profit non-commercial research only (its code); its weights' "
        "terms are its authors'",
        differs="there RetinaFace's box plus an eighth of its width and height on each side is "
        "stretched to a square, bilinear; here a square of 1.25 times the longer side is cut",
        read=read_pickled("model"),
        sources=_efficientnet,
    )
}
