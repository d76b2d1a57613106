"""Which published weights can be read."""

from __future__ import annotations

from dfdetect.detectors.convert.conversion import Conversion, Refusal
from dfdetect.detectors.convert.core import CORE
from dfdetect.detectors.convert.deepfakebench import DEEPFAKEBENCH
from dfdetect.detectors.convert.mesonet import MESONET
from dfdetect.detectors.convert.recce import RECCE
from dfdetect.detectors.convert.sbi import SBI
from dfdetect.detectors.convert.selimsef import SELIMSEF
from dfdetect.registry import Registry

CONVERSIONS: Registry[Conversion | Refusal] = Registry("conversion")
for _project, _entries in (
    ("core", CORE),
    ("deepfakebench", DEEPFAKEBENCH),
    ("mesonet", MESONET),
    ("recce", RECCE),
    ("sbi", SBI),
    ("selimsef", SELIMSEF),
):
    for _name, _entry in _entries.items():
        CONVERSIONS.register(f"{_project}/{_name}")(_entry)
