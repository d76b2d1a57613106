"""Weights of "CORE: Consistent Representation Learning for Face Forgery Detection" (Ni et al.)."""

from __future__ import annotations

from dfdetect.detectors.convert.conversion import Conversion, Sources, renamed, two_logits
from dfdetect.detectors.convert.pickled import read_pickled
from dfdetect.detectors.network import Detector
from dfdetect.detectors.xception import WIDTH


def _xception(network: Detector) -> Sources:
    return {
        **renamed(network, (("body.network.", ""),)),
        **two_logits("head.1", "fc", WIDTH),
    }


CORE = {
    "xception": Conversion(
        detector="core",
        settings={"size": 299, "crop_scale": 1.3, "crop": "square"},
        project="github.com/niyunsheng/CORE (looked at: f156593)",
        licence="MIT (its code); its weights' terms are its authors'",
        differs="there a crop's shorter side is brought to 299 px; how faces were cut out was not "
        "looked at, 1.3 times the box is assumed",
        read=read_pickled("model"),
        sources=_xception,
    )
}
