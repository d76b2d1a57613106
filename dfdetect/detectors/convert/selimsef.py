"""Weights of the DFDC challenge's first place (Selim Seferbekov, 2020)."""

from __future__ import annotations

from dfdetect.detectors.convert.conversion import Conversion, Sources, Unused, renamed
from dfdetect.detectors.convert.pickled import read_pickled
from dfdetect.detectors.network import Detector


def _efficientnet(network: Detector) -> Sources:
    return renamed(network, (("network.classifier.", "fc."), ("network.", "encoder.")))


SELIMSEF = {
    "efficientnet_b7": Conversion(
        detector="backbone",
        settings={
            "model_name": "tf_efficientnet_b7.ns_jft_in1k",
            "size": 380,
            "crop_scale": 5 / 3,
            "crop": "square",
        },
        project="github.com/selimsef/dfdc_deepfake_challenge (looked at: 89c6290)",
        licence="MIT (its code); its weights' terms are its author's",
        differs="there MTCNN's box plus a third of its width and height on each side is brought to "
        "380 px with its aspect kept and filled up with black, and several networks are averaged; "
        "here a square of 5/3 times the longer side is cut, with the picture where black would be",
        read=read_pickled("state_dict"),
        sources=_efficientnet,
        unused=(Unused("encoder.classifier", 2, "ImageNet's classifier, which it does not use"),),
    )
}
