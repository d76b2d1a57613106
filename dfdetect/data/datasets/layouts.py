"""What several layouts share: videos, pictures, the lists they come with, clips for miniatures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from dfdetect.data.datasets.base import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_file
from dfdetect.types import Image

_MIDDLE = np.s_[12:36, 16:48]


def videos_in(folder: Path) -> Iterator[Path]:
    """Yield the videos directly in a folder, sorted by name; nothing when it is not there."""
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


def videos_below(base: Path) -> Iterator[Path]:
    """Yield the videos at any depth below a folder, sorted; nothing when it is not there."""
    yield from sorted(place / name for place, _, videos in folders_below(base) for name in videos)


def folders_below(
    base: Path, ignored: Sequence[str] = ()
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield every folder at or below `base`, with the names of its pictures and of its videos.

    All are sorted. Links are followed, but none to a folder that it lies in. Folders named as one
    of `ignored` are left out with all that lies in them; nothing is yielded when `base` is not
    there.
    """
    for place, folders, files in os.walk(base, followlinks=True):
        # a link may lead to a folder above it, and so on without an end
        above = {os.path.realpath(place), *map(str, Path(os.path.realpath(place)).parents)}
        folders[:] = sorted(
            name
            for name in set(folders) - set(ignored)
            if os.path.realpath(f"{place}/{name}") not in above
        )
        suffixes = {name: PurePosixPath(name).suffix.lower() for name in sorted(files)}
        pictures = [name for name, suffix in suffixes.items() if suffix in IMAGE_SUFFIXES]
        videos = [name for name, suffix in suffixes.items() if suffix in VIDEO_SUFFIXES]
        yield Path(place), pictures, videos


def without_suffix(path: str) -> str:
    """Return a POSIX path without its last suffix, as a video's name.

    Example:
        >>> without_suffix("Celeb-real/id0_0000.mp4")
        'Celeb-real/id0_0000'
    """
    return str(PurePosixPath(path).with_suffix(""))


def required_list(root: Path, inside: str) -> Path:
    """Return a list that the dataset itself comes with.

    Raises:
        UsageError: It is not there.
    """
    path = root / inside
    if not path.is_file():
        raise UsageError(
            f"{root} holds no {inside}, which the dataset comes with and which is not ours to "
            "ship; give the folder that holds it, or unpack it there"
        )
    return path


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line of a list that is not empty, after the place to name in an error."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            yield f"{path} line {number}", line.strip()


def json_object(path: Path) -> dict[str, dict[str, Any]]:
    """Return a JSON list of videos: the fields of each by its file name.

    Raises:
        ContractError: The file is not such an object.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ContractError(f"{path} is not JSON ({error}); unpack it again") from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ContractError(f"{path} is no object of videos and their fields; unpack it again")
    return content


def hashes(root: Path, paths: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """Return the path below `root` and the SHA-256 of each list that is there, sorted."""
    present = sorted(path for path in paths if path.is_file())
    return tuple((path.relative_to(root).as_posix(), sha256_file(path)) for path in present)


def write_noise_clip(path: Path, rng: np.random.Generator) -> list[Image]:
    """Write a short clip of smooth noise, 64 × 48, a different one at each call; return it."""
    pictures = [_noise(rng, 64, 48) for _ in range(6)]
    _write(path, pictures)
    return pictures


def write_forged_clip(path: Path, original: Sequence[Image], rng: np.random.Generator) -> None:
    """Write a clip of `write_noise_clip` again, with something else in the middle."""
    forged = [picture.copy() for picture in original]
    for picture in forged:
        picture[_MIDDLE] = _noise(rng, 32, 24)
    _write(path, forged)


def write_mask_clip(path: Path, original: Sequence[Image]) -> None:
    """Write the mask of a clip of `write_forged_clip`: white in the middle, black elsewhere."""
    masks = [np.zeros_like(picture) for picture in original]
    for mask in masks:
        mask[_MIDDLE] = 255
    _write(path, masks)


def write_noise_pictures(folder: Path, names: Sequence[str], rng: np.random.Generator) -> None:
    """Write pictures of smooth noise, 48 × 48, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), _noise(rng, 48, 48))


def _noise(rng: np.random.Generator, width: int, height: int) -> Image:
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), dtype=np.uint8)


def _write(path: Path, pictures: Sequence[Image]) -> None:
    # the module that draws clips imports this one's neighbours, so it is not imported at the top
    from dfdetect.data.datasets.synthetic import write_clip

    write_clip(path, pictures, 5)
