"""Dataset adapters; importing this package registers every one of them."""

# one line a dataset: importing the module registers it
from dfdetect.data.datasets import ffpp as ffpp
from dfdetect.data.datasets import folder as folder
from dfdetect.data.datasets import synthetic as synthetic
from dfdetect.data.datasets.base import (
    DATASETS,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    create_dataset,
)

__all__ = ["DATASETS", "DatasetAdapter", "DatasetEntry", "DatasetInfo", "create_dataset"]
