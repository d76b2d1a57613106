"""What a dataset adapter is: it knows one dataset's layout, labels, splits and terms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Protocol

from dfdetect.errors import ContractError, UsageError
from dfdetect.registry import Registry
from dfdetect.types import FAKE, REAL

ORIGINAL = "original"
"""The method of every genuine video."""

SPLITS = ("train", "val", "test")

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".mpeg", ".webm"})
IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One video that a dataset lists, before anything is read from it.

    `path` is POSIX and relative to the dataset's root; `name` is unique in the dataset and
    becomes the end of the video id. `source_ids` name the people or source videos that show in
    it: entries that share one must not be in different splits. `split` is the dataset's own, None
    where it has none.
    """

    path: str
    name: str
    label: int
    method: str
    source_ids: tuple[str, ...]
    compression: str = ""
    split: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a person needs to know before using a dataset.

    `polarity` says in words how the dataset's own labels map to 1 = fake. `expected` are pairs of
    a part's name (`method/compression`) and its number of videos, empty where it has no fixed size.
    """

    title: str
    licence: str
    access: str
    polarity: str
    expected: tuple[tuple[str, int], ...] = ()


class DatasetAdapter(Protocol):
    """One dataset's layout; a frozen dataclass whose fields are its options."""

    info: ClassVar[DatasetInfo]

    @property
    def name(self) -> str:
        """The value of the manifest's `dataset` column and the start of its video ids."""

    def entries(self, root: Path) -> Iterable[DatasetEntry]:
        """Yield what the dataset lists under `root`, in any order.

        A file that is listed but absent is yielded all the same: the manifest counts it.

        Raises:
            UsageError: `root` does not look like this dataset; the sentence says what is missing.
        """

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:
        """Return name and SHA-256 of the lists (CSV, splits) that `entries` reads."""

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out a small tree in the real layout under `root`; return the adapter that reads it.

        Tests and the tutorial run on it, so that a new dataset needs no new test.
        """


DATASETS: Registry[Callable[..., DatasetAdapter]] = Registry("dataset")


def create_dataset(name: str, /, **options: Any) -> DatasetAdapter:
    """Return a dataset adapter by its registered name.

    Raises:
        UsageError: The name or one of the options is unknown.

    Example:
        >>> create_dataset("folder", name="mine").name
        'mine'
        >>> create_dataset("folder", nme="mine")
        Traceback (most recent call last):
        ...
        dfdetect.errors.UsageError: dataset folder has no option 'nme'; it knows csv, ...
    """
    adapter = DATASETS.get(name)
    known = sorted(field.name for field in dataclasses.fields(adapter))  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise UsageError(
                f"dataset {name} has no option {option!r}; it knows {', '.join(known) or 'none'}"
            )
    return adapter(**options)


def check_entry(entry: DatasetEntry) -> DatasetEntry:
    """Return the entry when it keeps the contract.

    Raises:
        ContractError: A path is absolute or leaves the root, a label is not 0 or 1, a split is
            unknown, a name is empty, or a genuine video claims a manipulation method.
    """
    path = PurePosixPath(entry.path)
    faults = {
        "an absolute path": path.is_absolute(),
        "a path that leaves the dataset's root": ".." in path.parts,
        "a path that is not POSIX": "\\" in entry.path,
        "an empty name": not entry.name or entry.name != entry.name.strip("/"),
        f"label {entry.label!r}, wanted 0 (real) or 1 (fake)": entry.label not in (REAL, FAKE),
        f"split {entry.split!r}, wanted {', '.join(SPLITS)}": entry.split not in (*SPLITS, None),
        "no source id": not entry.source_ids,
        f"method {entry.method!r} on a genuine video": (entry.label == REAL)
        != (entry.method == ORIGINAL),
    }
    for fault, present in faults.items():
        if present:
            raise ContractError(
                f"dataset entry {entry.name!r} ({entry.path}) has {fault}; "
                "correct the list it was read from, or the adapter"
            )
    return entry
