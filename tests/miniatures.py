"""Small copies of public datasets, and what their adapters list in them."""

from __future__ import annotations

from pathlib import Path

from dfdetect.data.datasets import create_dataset
from dfdetect.data.datasets.base import DatasetEntry, Misnamed


def lay(root: Path, name: str) -> Path:
    """Lay out a dataset's miniature below a root and return the root."""
    root.mkdir(parents=True, exist_ok=True)
    type(create_dataset(name)).miniature(root)
    return root


def read(root: Path, name: str, **options: object) -> dict[str, DatasetEntry]:
    return {
        entry.name: entry
        for entry in create_dataset(name, **options).entries(root)
        if isinstance(entry, DatasetEntry)
    }


def misnamed(root: Path, name: str, **options: object) -> dict[str, str]:
    items = create_dataset(name, **options).entries(root)
    return {item.path: item.reason for item in items if isinstance(item, Misnamed)}
