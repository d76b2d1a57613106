"""What several layouts share: their videos, the lists they come with, clips for a miniature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from dfdetect.data.datasets.base import VIDEO_SUFFIXES
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_file


def videos_in(folder: Path) -> Iterator[Path]:
    """Yield the videos directly in a folder, sorted by name; nothing when it is not there."""
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


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


def write_noise_clip(path: Path, rng: np.random.Generator) -> None:
    """Write a short clip of smooth noise, 64 × 48, a different one at each call."""
    from dfdetect.data.datasets.synthetic import write_clip

    coarse = rng.integers(0, 256, (6, 6, 8, 3), dtype=np.uint8)
    write_clip(
        path, [np.asarray(cv2.resize(field, (64, 48)), dtype=np.uint8) for field in coarse], 5
    )
