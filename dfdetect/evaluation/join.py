"""Which video of a manifest a foreign name means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.videos import VIDEO_SUFFIXES, Videos
from dfdetect.errors import ContractError
from dfdetect.evaluation.score_columns import shown

UNKNOWN_KEY, AMBIGUOUS = -1, -2
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Join:
    """The video of each foreign name.

    Attributes:
        place: K positions of videos, -1 where a name means none.
        n_exact: Names that are a video id.
        n_by_path: Names that end one path or id alone, or that one path or id ends.
        n_by_stem: Names whose last part is the file name of one video alone.
        unknown: The first few names that mean no video.
    """

    place: NDArray[np.int64] = field(repr=False)
    n_exact: int
    n_by_path: int
    n_by_stem: int
    unknown: tuple[str, ...]


def join_videos(path: Path, keys: Sequence[str], videos: Videos) -> Join:
    r"""Return which video each of some distinct names means.

    A name that is a video id means that video. Otherwise suffixes of video files are dropped,
    backslashes are taken for slashes, and a name means the one video whose id or path it is the
    end of, in whole parts (`FaceSwap/c23/videos/000_003`); else the one whose id or path is the
    end of the name (`/data/ffpp/manipulated_sequences/…`), the longest such; else the one whose
    file name (or last part of the id) is the name's last part.

    Raises:
        ContractError: A name fits several videos equally well, or several names mean one video;
            the sentence shows the first of them.
    """
    names = videos.column("video_id").to_pylist()
    exact = {name: place for place, name in enumerate(names)}
    found = [exact.get(key, UNKNOWN_KEY) for key in keys]
    open_ = [number for number, place in enumerate(found) if place == UNKNOWN_KEY]
    n_exact, n_by_path, n_by_stem = len(found) - len(open_), 0, 0
    if open_:
        ends = _Ends.of(names, videos.column("path").to_pylist())
        for number in open_:
            place, by_path = ends.video(keys[number])
            found[number] = place
            n_by_path += place >= 0 and by_path
            n_by_stem += place >= 0 and not by_path
    _refuse_ambiguous(path, keys, found)
    _refuse_shared(path, keys, found, names)
    unknown = [keys[number] for number in open_ if found[number] == UNKNOWN_KEY]
    return Join(np.array(found, np.int64), n_exact, n_by_path, n_by_stem, tuple(unknown[:EXAMPLES]))


def _refuse_ambiguous(path: Path, keys: Sequence[str], found: Sequence[int]) -> None:
    several = [key for key, place in zip(keys, found, strict=True) if place == AMBIGUOUS]
    if several:
        raise ContractError(
            f"{path}: {len(several)} of {len(keys)} names fit several videos of the manifest "
            f"({', '.join(shown(key) for key in several[:EXAMPLES])}); write video ids, or paths "
            "that are long enough to tell them apart"
        )


def _refuse_shared(
    path: Path, keys: Sequence[str], found: Sequence[int], names: Sequence[str]
) -> None:
    first: dict[int, str] = {}
    for key, place in zip(keys, found, strict=True):
        if place >= 0 and first.setdefault(place, key) != key:
            raise ContractError(
                f"{path}: {shown(first[place])} and {shown(key)} both mean the video "
                f"{shown(names[place])}; name each video in one way"
            )


def _parts(text: str) -> tuple[str, ...]:
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if parts:
        stem, dot, suffix = parts[-1].rpartition(".")
        if stem and f"{dot}{suffix}".lower() in VIDEO_SUFFIXES:
            parts[-1] = stem
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Every end of every id and path, and the video that it belongs to, or `AMBIGUOUS`."""

    ends: dict[tuple[str, ...], int]
    whole: dict[tuple[str, ...], int]

    @classmethod
    def of(cls, names: Sequence[str], paths: Sequence[str]) -> _Ends:
        ends: dict[tuple[str, ...], int] = {}
        whole: dict[tuple[str, ...], int] = {}
        for place, texts in enumerate(zip(names, paths, strict=True)):
            for parts in map(_parts, texts):
                if parts and whole.setdefault(parts, place) != place:
                    whole[parts] = AMBIGUOUS
                for start in range(len(parts)):
                    if ends.setdefault(parts[start:], place) != place:
                        ends[parts[start:]] = AMBIGUOUS
        return cls(ends, whole)

    def video(self, key: str) -> tuple[int, bool]:
        """Return the video of a name, and whether it was told by more than its last part."""
        parts = _parts(key)
        if not parts:
            return UNKNOWN_KEY, False
        if len(parts) > 1 and parts in self.ends:
            return self.ends[parts], True
        # a path of one part is a file name, and a file name alone is told last
        for start in range(len(parts) - 1):
            if parts[start:] in self.whole:
                return self.whole[parts[start:]], True
        return self.ends.get(parts[-1:], UNKNOWN_KEY), False
