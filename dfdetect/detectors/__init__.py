"""Batches of face crops → one logit a face, above 0 for fake.

Importing this package costs no torch: networks are imported when one is created by name or
loaded from `.safetensors`; an `.onnx` detector never needs them.
"""

from __future__ import annotations

from dfdetect.detectors.base import CheckpointHeader, LoadedDetector, Preprocess
from dfdetect.detectors.catalog import (
    DETECTORS,
    DetectorInfo,
    create_detector,
    list_detectors,
)
from dfdetect.detectors.checkpoint import (
    bundled_detector,
    load_detector,
    read_header,
    save_checkpoint,
)
from dfdetect.detectors.score import CropBatch, CropKey, score

__all__ = [
    "DETECTORS",
    "CheckpointHeader",
    "CropBatch",
    "CropKey",
    "DetectorInfo",
    "LoadedDetector",
    "Preprocess",
    "bundled_detector",
    "create_detector",
    "list_detectors",
    "load_detector",
    "read_header",
    "save_checkpoint",
    "score",
]
