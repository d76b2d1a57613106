"""Deepfake detection that can be re-derived: a clip in, a defensible report out.

The names below are loaded when first used, so that `import dfdetect` stays quick and pulls in
neither torch nor numpy:

* `analyze`, `write_report`: one clip → an `Analysis` → a report on disk
* `build_manifest`, `extract_crops`: a dataset → a manifest → face crops
* `create_detector`, `load_detector`: a fresh network by name; a trained one from a file
* `fit`, `evaluate`: crops → a trained detector → its figures

Example:
    >>> import dfdetect
    >>> sorted(dfdetect.__all__)[:3]
    ['analyze', 'build_manifest', 'create_detector']
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfdetect.data.crops import extract_crops
    from dfdetect.data.manifest import build_manifest
    from dfdetect.detectors import create_detector
    from dfdetect.detectors.checkpoint import load_detector
    from dfdetect.evaluation.evaluate import evaluate
    from dfdetect.inference import analyze, write_report
    from dfdetect.training import fit

    __version__: str

# ONNX Runtime 1.29 and later report to their maker from compiled code, which no guard on Python's
# sockets sees, and keep an identifier of the computer; they look at this once, when imported
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = [
    "analyze",
    "build_manifest",
    "create_detector",
    "evaluate",
    "extract_crops",
    "fit",
    "load_detector",
    "write_report",
]

_HOMES = {
    "analyze": "dfdetect.inference",
    "build_manifest": "dfdetect.data.manifest",
    "create_detector": "dfdetect.detectors",
    "evaluate": "dfdetect.evaluation.evaluate",
    "extract_crops": "dfdetect.data.crops",
    "fit": "dfdetect.training",
    "load_detector": "dfdetect.detectors.checkpoint",
    "write_report": "dfdetect.inference",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from dfdetect.provenance import package_version

        value: object = package_version("dfdetect") or "0+unknown"
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'dfdetect' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
