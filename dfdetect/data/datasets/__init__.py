"""Dataset adapters; importing this package registers every one of them."""

from dfdetect.data.datasets import ffpp, folder, synthetic
from dfdetect.data.datasets.base import (
    DATASETS,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    create_dataset,
)

__all__ = [
    "DATASETS",
    "DatasetAdapter",
    "DatasetEntry",
    "DatasetInfo",
    "create_dataset",
    "ffpp",
    "folder",
    "synthetic",
]
