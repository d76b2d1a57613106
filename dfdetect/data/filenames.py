"""The files of a dataset by their names: strays, near misses, and names that do not travel."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dfdetect.data.datasets.base import VIDEO_SUFFIXES, DatasetAdapter, DatasetEntry, Misnamed

APPLE_DOUBLE = "._"
"""How the files begin that macOS writes beside others on disks of other systems."""

_CLUTTER = frozenset({"desktop.ini", "thumbs.db"})
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
_REFUSED = re.compile(r'[<>:"|?*\\\x00-\x1f]')
# a suggestion is worth some seconds in all, not hours
_MOST_COMPARISONS = 200_000
_CLOSE = 0.75


@dataclass(frozen=True, slots=True)
class VideoFiles:
    """What lies below a folder: the paths of videos, folders that may not be entered, clutter.

    Clutter is files that operating systems leave behind; videos whose names begin with a dot are
    videos all the same.
    """

    videos: tuple[str, ...]
    closed: tuple[str, ...]
    n_clutter: int


def video_files(root: Path) -> VideoFiles:
    """Return every video file below a folder, by its POSIX path.

    Links are followed; folders that begin with a dot are not entered.
    """
    videos, closed, n_clutter = [], [], 0
    entered = set()

    def refuse(error: OSError) -> None:
        closed.append(Path(error.filename).relative_to(root).as_posix())

    for folder, inner, names in os.walk(root, followlinks=True, onerror=refuse):
        state = Path(folder).stat()
        # a link may lead to a folder above it
        if (state.st_dev, state.st_ino) in entered:
            inner.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        base = Path(folder).relative_to(root).as_posix()
        for name in names:
            if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES:
                videos.append(name if base == "." else f"{base}/{name}")
            elif name.startswith(".") or name.lower() in _CLUTTER:
                n_clutter += 1
    return VideoFiles(tuple(sorted(videos)), tuple(sorted(closed)), n_clutter)


def strays(
    dataset: DatasetAdapter,
    root: Path,
    listed: Iterable[DatasetEntry | Misnamed],
    videos: Iterable[str],
) -> Iterator[str]:
    """Yield the videos below `root` that a dataset does not account for.

    Accounted for are what it lists and the masks thereof, what it calls misnamed (which it reports
    itself), the videos of a full copy, the parts that its options leave out, and masks of videos
    that are not there.
    """
    whole = dataset.whole(root)
    everything = [*listed] if whole == dataset else [*listed, *whole.entries(root)]
    places = {item.path for item in everything}
    masks = {item.mask for item in everything if isinstance(item, DatasetEntry) and item.mask}
    mask_folders = set(map(_parent, masks)) - set(map(_parent, places))
    known = {*places, *masks, *dataset.complete(root), *whole.complete(root)}
    for path in videos:
        if path not in known and _parent(path) not in mask_folders:
            yield path


def is_apple_double(path: str) -> bool:
    """Return whether macOS wrote a file beside another one, with what only macOS understands.

    Example:
        >>> is_apple_double("videos/._000.mp4"), is_apple_double("videos/.000.mp4")
        (True, False)
    """
    return PurePosixPath(path).name.startswith(APPLE_DOUBLE)


class NearestNames:
    """Finds the missing file that a misnamed one may be."""

    def __init__(self, missing: Iterable[str]) -> None:
        """Look among the paths of missing files."""
        self._anywhere: dict[str, str] = {}
        self._in_folder: dict[str, dict[str, str]] = defaultdict(dict)
        for path in sorted(missing):
            name = _folded(PurePosixPath(path).name)
            self._anywhere.setdefault(name, path)
            self._in_folder[_parent(path)].setdefault(name, path)
        self._n_left = _MOST_COMPARISONS

    def of(self, path: str) -> str | None:
        """Return the path of the nearest missing file, None where none is close.

        The same name in other letters or another folder is nearest; then a similar name in the
        same folder, then one in any. Some hundred thousand comparisons are made in all.

        Example:
            >>> NearestNames(["a/000_003.mp4", "b/x.mp4"]).of("a/000-003.mp4")
            'a/000_003.mp4'
        """
        name = _folded(PurePosixPath(path).name)
        places = (self._in_folder.get(_parent(path), {}), self._anywhere)
        for place in places:
            if name in place:
                return place[name]
        for place in places:
            if 0 < len(place) <= self._n_left:
                self._n_left -= len(place)
                if near := difflib.get_close_matches(name, place, n=1, cutoff=_CLOSE):
                    return place[near[0]]
        return None


def unportable(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the paths that not every system can hold, each with the reason.

    Where it is a folder that has such a name, the folder alone is named.
    """
    seen: set[str] = set()
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        above = ""
        for name in path.split("/"):
            whole = f"{above}/{name}" if above else name
            if whole not in seen:
                seen.add(whole)
                names[above, _folded(name)].append(name)
                if reason := refused_by_windows(name):
                    yield whole, reason
            above = whole
    for (above, _), alike in names.items():
        first, *others = sorted(alike)
        for name in others:
            yield (
                f"{above}/{name}" if above else name,
                f"differs from {first} only in upper and lower case or the spelling of accents: "
                "Windows and macOS keep one of the two",
            )


def refused_by_windows(name: str) -> str:
    """Return why Windows refuses a file name, nothing where it does not.

    Example:
        >>> refused_by_windows("a.mp4"), refused_by_windows("aux.mp4")
        ('', 'Windows reserves the name aux')
    """
    if letters := sorted(set(_REFUSED.findall(name))):
        return f"Windows refuses {' '.join(map(ascii, letters))} in names"
    stem = name.partition(".")[0].rstrip(" ").lower()
    if stem in _RESERVED:
        return f"Windows reserves the name {stem}"
    if name.endswith((".", " ")):
        return "Windows drops a dot or space at the end of a name"
    return ""


def _folded(name: str) -> str:
    # nearly all names are ASCII, for which this is the same and quick
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)
