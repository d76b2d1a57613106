"""Files of 68 or 81 landmarks that another program found, looked up by crop or by frame.

Two formats, told apart by their suffix:

- `.csv`: a header line and one face a line. Its columns are either `crop_id`, or `video_id` and
  `frame_index` (whole, from 0); then `x0,y0,x1,y1,…` for 68 or 81 points.
- `.npz`: arrays `crop_id` (K texts), or `video_id` (K texts) and `frame_index` (K whole numbers),
  and `points` (K, 68 or 81, 2). Pickled objects are never read.

Points are in pixels, the middle of the first pixel is (0, 0): those of a crop in the crop's own,
those of a frame in the upright frame's, which `in_crop` takes to the crop. The order is that of the
iBUG 68 points; the 13 that follow in 81 lie on the forehead.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.opacity import Floats
from dfdetect.errors import ContractError
from dfdetect.faces.crop import crop_landmarks, similarity
from dfdetect.types import CropPolicy, Face

COUNTS = (68, 81)

FaceName = tuple[str, int | None]
"""A crop id and None, or a video id and the index of a frame."""


@dataclass(frozen=True, slots=True)
class LandmarkFile:
    """Landmarks of many faces, (K, N, 2), and where each face's are."""

    points: Floats = field(repr=False, compare=False)
    positions: dict[FaceName, int] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.points)

    def of_crop(self, crop_id: str) -> Floats | None:
        """Return a crop's points in its own pixels, (N, 2), None where the file has none."""
        return self._of((crop_id, None))

    def of_frame(self, video_id: str, frame_index: int) -> Floats | None:
        """Return the points in a frame, in its pixels, (N, 2), None where the file has none."""
        return self._of((video_id, frame_index))

    def _of(self, name: FaceName) -> Floats | None:
        position = self.positions.get(name)
        return None if position is None else self.points[position]


def read_landmarks(path: Path) -> LandmarkFile:
    """Read a file of landmarks; the formats are described at the top of this module.

    Raises:
        ContractError: The file is missing, of another format, holds a number that is not finite,
            or a face twice.
    """
    if not path.is_file():
        raise ContractError(f"{path} is missing; give a .csv or .npz file of landmarks")
    if path.suffix == ".csv":
        names, points = _read_csv(path)
    elif path.suffix == ".npz":
        names, points = _read_npz(path)
    else:
        raise ContractError(f"{path} is neither .csv nor .npz; convert the landmarks to either")
    if points.ndim != 3 or points.shape[1] not in COUNTS or points.shape[2] != 2:
        raise ContractError(f"{path} holds points of shape {points.shape}, not (K, 68 or 81, 2)")
    if len(names) != len(points):
        raise ContractError(f"{path} names {len(names)} faces but has points of {len(points)}")
    unusable = np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))
    if unusable.size:
        name = names[int(unusable[0])]
        raise ContractError(f"{path}: a point of {_said(name)} is not finite; leave the face out")
    positions: dict[FaceName, int] = {}
    for position, name in enumerate(names):
        if positions.setdefault(name, position) != position:
            raise ContractError(f"{path} has {_said(name)} twice; keep one of them")
    return LandmarkFile(points, positions)


def in_crop(points: Floats, face: Face, policy: CropPolicy) -> Floats:
    """Take points of a frame to the pixels of the crop that was made of a face in it.

    Args:
        points: (N, 2) in the frame's pixels.
        face: The face the crop was made of; for the policy `aligned` with its five points.
        policy: The policy the crop was made with.
    """
    if policy.name == "aligned":
        move = similarity(face.landmarks, crop_landmarks(face, policy))
        return np.asarray(points @ move[:, :2].T + move[:, 2], dtype=np.float64)
    told = replace(face, landmarks=tuple((float(x), float(y)) for x, y in points))
    return np.array(crop_landmarks(told, policy), dtype=np.float64)


def _read_csv(path: Path) -> tuple[list[FaceName], Floats]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        header = next(rows, [])
        n_keys = 1 if header[:1] == ["crop_id"] else 2
        n_points = (len(header) - n_keys) // 2
        keys = header[:n_keys]
        expected = [name for n in range(n_points) for name in (f"x{n}", f"y{n}")]
        if keys not in (["crop_id"], ["video_id", "frame_index"]) or header[n_keys:] != expected:
            raise ContractError(
                f"{path} does not begin with crop_id,x0,y0,… or video_id,frame_index,x0,y0,…; "
                "name its columns so"
            )
        return _parsed(rows, n_keys, n_points, path)


def _parsed(
    rows: Iterable[Sequence[str]], n_keys: int, n_points: int, path: Path
) -> tuple[list[FaceName], Floats]:
    names: list[FaceName] = []
    values: list[list[float]] = []
    try:
        for row in rows:
            if len(row) != n_keys + 2 * n_points:
                raise ValueError(f"{len(row)} columns instead of {n_keys + 2 * n_points}")
            names.append((row[0], int(row[1]) if n_keys == 2 else None))
            values.append([float(value) for value in row[n_keys:]])
    except (ValueError, csv.Error) as error:
        line = len(values) + 2
        raise ContractError(f"{path}, line {line}: {error}; mend or drop the line") from None
    return names, np.array(values, dtype=np.float64).reshape(-1, n_points, 2)


def _read_npz(path: Path) -> tuple[list[FaceName], Floats]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            points = np.asarray(arrays["points"], dtype=np.float64)
            if "crop_id" in arrays:
                return [(str(name), None) for name in arrays["crop_id"]], points
            frames: NDArray[np.int64] = np.asarray(arrays["frame_index"])
            if not np.issubdtype(frames.dtype, np.integer):
                raise ValueError("frame_index does not hold whole numbers")
            videos = [str(name) for name in arrays["video_id"]]
            return [(v, int(f)) for v, f in zip(videos, frames, strict=True)], points
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ContractError(
            f"{path} is no file of landmarks ({error}); it needs the arrays points and crop_id, or "
            "points, video_id and frame_index"
        ) from None


def _said(name: FaceName) -> str:
    return name[0] if name[1] is None else f"{name[0]}, frame {name[1]}"
