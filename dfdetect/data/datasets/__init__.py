"""Dataset adapters; importing this package registers every one of them."""

# one line a dataset: importing the module registers it
from dfdetect.data.datasets import celebdf as celebdf
from dfdetect.data.datasets import deeperforensics as deeperforensics
from dfdetect.data.datasets import df40 as df40
from dfdetect.data.datasets import dfd as dfd
from dfdetect.data.datasets import dfdc as dfdc
from dfdetect.data.datasets import dfdc_preview as dfdc_preview
from dfdetect.data.datasets import fakeavceleb as fakeavceleb
from dfdetect.data.datasets import ffiw as ffiw
from dfdetect.data.datasets import ffpp as ffpp
from dfdetect.data.datasets import folder as folder
from dfdetect.data.datasets import synthetic as synthetic
from dfdetect.data.datasets import uadfv as uadfv
from dfdetect.data.datasets import wilddeepfake as wilddeepfake
from dfdetect.data.datasets.base import (
    DATASETS,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    create_dataset,
)

__all__ = ["DATASETS", "DatasetAdapter", "DatasetEntry", "DatasetInfo", "create_dataset"]
