"""What a dataset adapter is: it knows one dataset's layout, labels, splits and terms."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from dfdetect.data.videos import ORIGINAL as ORIGINAL
from dfdetect.data.videos import SPLITS as SPLITS
from dfdetect.data.videos import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from dfdetect.errors import ContractError, UsageError
from dfdetect.registry import Registry
from dfdetect.types import FAKE, REAL

# HEIC cannot be read yet; it is listed so that it is counted and not passed over
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)

CONTROLS = frozenset(map(chr, (*range(32), 127)))
"""Characters that names of videos must not hold: line breaks and the like."""


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One video that a dataset lists, before anything is read from it.

    `path` is POSIX and relative to the dataset's root; `name` is unique in the dataset and
    becomes the end of the video id. `source_ids` name the people or source videos that show in
    it: entries that share one must not be in different splits. `split` is the dataset's own, None
    where it has none. A source id that starts with `@` means the same in every dataset
    (`@ffpp:071`), any other one only in its own.

    `original` is the name of the genuine entry that a forgery was made from frame by frame: sizes
    and frames line up, and only the face differs. `mask` is the path of a video that is white
    where the forgery was painted; it need not be there.
    """

    path: str
    name: str
    label: int
    method: str
    source_ids: tuple[str, ...]
    compression: str = ""
    split: str | None = None
    original: str | None = None
    mask: str | None = None


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A video in a dataset's own folder whose name is none of the dataset's, so it has no label."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a person needs to know before using a dataset.

    `polarity` says in words how the dataset's own labels map to 1 = fake, `splits` whether it has
    splits of its own and where they come from.
    """

    title: str
    licence: str
    access: str
    polarity: str
    splits: str


@dataclass(frozen=True, slots=True)
class Expected:
    """How many videos of a kind a full copy of a dataset has; None leaves a property open."""

    n: int
    method: str | None = None
    label: int | None = None
    split: str | None = None
    compression: str | None = None


class DatasetAdapter(ABC):
    """One dataset's layout; a frozen dataclass whose fields are its options."""

    __slots__ = ()

    info: ClassVar[DatasetInfo]

    @property
    @abstractmethod
    def name(self) -> str:
        """The value of the manifest's `dataset` column and the start of its video ids."""

    @abstractmethod
    def entries(self, root: Path) -> Iterable[DatasetEntry | Misnamed]:
        """Yield what the dataset lists under `root`, in any order.

        A file that is listed but absent is yielded all the same: the manifest counts it.

        Raises:
            UsageError: `root` does not look like this dataset; the sentence says what is missing.
        """

    @classmethod
    @abstractmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Lay out a small tree in the real layout under `root`; return the adapter that reads it.

        Tests and the tutorial run on it, so that a new dataset needs no new test.
        """

    def expected(self) -> tuple[Expected, ...]:
        """Return the numbers of videos that a full copy has, with these options; those published.

        They may overlap (all of a method, and all of a split); what is unknown is left out.
        """
        return ()

    def complete(self, root: Path) -> Iterable[str]:  # noqa: ARG002
        """Yield the paths of all videos of a full copy, where the dataset does not list its own.

        `dfdetect index mode=verify` reports those that are absent.
        """
        return ()

    def whole(self, root: Path) -> DatasetAdapter:  # noqa: ARG002
        """Return the same dataset with options that leave out nothing of what lies below `root`.

        `dfdetect index mode=verify` tells by it a video of a part that was not asked for from one
        that is misnamed. It never raises for a part that is not there.
        """
        return self

    def parents(self, root: Path) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Return name and SHA-256 of the lists (CSV, splits) that `entries` reads."""
        return ()


DATASETS: Registry[Callable[..., DatasetAdapter]] = Registry("dataset")


def create_dataset(name: str, /, **options: Any) -> DatasetAdapter:
    """Return a dataset adapter by its registered name.

    Raises:
        UsageError: The name or one of the options is unknown, or a text was given for a list.

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
    for field in dataclasses.fields(adapter):  # type: ignore[arg-type]
        value = options.get(field.name)
        if isinstance(field.default, tuple) and isinstance(value, str):
            # a text would be taken for the list of its letters
            raise UsageError(
                f"dataset {name} takes a list there: dataset.options.{field.name}=[{value}]"
            )
    return adapter(**options)


def check_entry(entry: DatasetEntry) -> DatasetEntry:
    """Return the entry when it keeps the contract.

    Raises:
        ContractError: A path is absolute or leaves the root, a label is not 0 or 1, a split is
            unknown, a name could not be that of a file in a shard, or a genuine video claims a
            manipulation method.
    """
    paths = (entry.path, *((entry.mask,) if entry.mask is not None else ()))
    faults = {
        "an absolute path": any(
            PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive for path in paths
        ),
        "a path that leaves the dataset's root": any(
            ".." in PurePosixPath(path).parts for path in paths
        ),
        "a path that is not POSIX": any("\\" in path for path in paths),
        "a name that is no plain path": not _is_plain(entry.name),
        f"label {entry.label!r}, wanted 0 (real) or 1 (fake)": entry.label not in (REAL, FAKE),
        f"split {entry.split!r}, wanted {', '.join(SPLITS)}": entry.split not in (*SPLITS, None),
        "no source id": not entry.source_ids,
        f"method {entry.method!r} on a genuine video": (entry.label == REAL)
        != (entry.method == ORIGINAL),
        "an original or a mask on a genuine video": entry.label == REAL
        and (entry.original, entry.mask) != (None, None),
    }
    for fault, present in faults.items():
        if present:
            raise ContractError(
                f"dataset entry {entry.name!r} ({entry.path}) has {fault}; "
                "correct the list it was read from, or the adapter"
            )
    return entry


def _is_plain(name: str) -> bool:
    # names become those of files in shards, which no reader takes otherwise
    parts = set(name.split("/"))
    return not CONTROLS & set(name) and "\\" not in name and not {"", ".", ".."} & parts
