"""Reading published weights that the user has downloaded into files of dfdetect's own format.

`convert` writes one; `CONVERSIONS` lists what can be read, by project and network. Nothing is
downloaded, and nothing in a file is ever run.
"""

from dfdetect.detectors.convert.catalog import CONVERSIONS
from dfdetect.detectors.convert.conversion import Conversion, Refusal, Source, Unused
from dfdetect.detectors.convert.run import Converted, convert

__all__ = [
    "CONVERSIONS",
    "Conversion",
    "Converted",
    "Refusal",
    "Source",
    "Unused",
    "convert",
]
