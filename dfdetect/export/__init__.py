"""A trained detector → files for other runtimes, each compared with what it was made from.

`onnx` answers the same without torch, and is what `predict` and `score` take; `int8` is such a
file, smaller and faster, where its accuracy is measured to hold; `torch_export` is a program for
torch outside dfdetect, which never loads one to judge with (see `dfdetect.export.program`).
"""

from __future__ import annotations

from dfdetect.export.graph import OPSET
from dfdetect.export.settings import FORMATS, ExportPlan, Int8Settings
from dfdetect.export.twin import ExportReport, bundle, export_onnx

__all__ = [
    "FORMATS",
    "OPSET",
    "ExportPlan",
    "ExportReport",
    "Int8Settings",
    "bundle",
    "export_onnx",
]
