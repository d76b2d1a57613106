"""What can be measured of every face that was scored: a number a condition, NaN where unknown."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.crops import CropRow, CropStore
from dfdetect.data.shards import OK
from dfdetect.data.videos import ManifestRow
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.runs import FRAME, ScoredRun
from dfdetect.faces.crop import SHARPNESS_SIZE
from dfdetect.types import CropPolicy, Image

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that can be measured of a face, and the fixed edges that part its values.

    `edges` rise; a value that equals an edge lies in the bin above it. They were chosen before any
    result was seen: round numbers about the quality gates and what platforms deliver.
    """

    name: str
    what: str
    unit: str
    edges: tuple[float, ...]

    @property
    def bins(self) -> tuple[str, ...]:
        """The names of the bins, from the lowest values up.

        Example:
            >>> Condition("side", "the longer side", "px", (64.0, 128.0)).bins
            ('below 64 px', '64 to 128 px', '128 px or more')
        """
        unit = f" {self.unit}" if self.unit else ""
        texts = [f"{edge:g}" for edge in self.edges]
        between = [f"{low} to {high}{unit}" for low, high in pairwise(texts)]
        return (f"below {texts[0]}{unit}", *between, f"{texts[-1]}{unit} or more")


FACE_SIZE = Condition(
    "face size", "longer side of the face's box in the video", "px", (64.0, 128.0, 256.0)
)
BLUR = Condition(
    "sharpness",
    "variance of the Laplacian of the luma of the face at 128 × 128 pixels (lower is more "
    "blurred); of a picture that was cropped before, the whole picture",
    "",
    (10.0, 30.0, 100.0),
)
TURN = Condition(
    "turn of the head",
    "how far the nose's foot lies from the middle between the eyes, 0 from the front, 1 below an "
    "eye",
    "",
    (0.3, 0.6, 0.9),
)
BRIGHTNESS = Condition(
    "brightness",
    "mean luma (0 to 255) of the face's part of the crop as filmed: light, exposure and what is "
    "shown together",
    "",
    (64.0, 96.0, 128.0, 160.0),
)
COMPRESSION = Condition(
    "compression",
    "size of the video's file (sound included) in bits, by its pixels: width × height × frames",
    "bits per pixel",
    (0.03, 0.1, 0.3),
)
CONDITIONS = (FACE_SIZE, BLUR, TURN, BRIGHTNESS, COMPRESSION)


@dataclass(frozen=True, slots=True)
class MeasuredFaces:
    """The scored faces of a run in the order of its table, and their value under each condition.

    Attributes:
        run: The scores.
        values: By a condition's name one number for each row of `run.scores.scored()`, NaN where
            it cannot be measured.
    """

    run: ScoredRun = field(repr=False)
    values: Mapping[str, Floats] = field(repr=False)


def measured_faces(
    run: ScoredRun,
    stores: Sequence[CropStore],
    data_root: Path | None = None,
    progress: Progress | None = None,
) -> MeasuredFaces:
    """Measure every scored face of a run in the crops that it was scored on.

    Args:
        run: As `score_stores` or `read_run` gives it, a row a face.
        stores: The crop stores that were scored.
        data_root: The folder that the manifests' paths are relative to, whose files tell the
            compression; None leaves that unknown.
        progress: Called with the number of faces measured and of all.

    Raises:
        UsageError: The run has a row a clip or a video, or no video's file is below `data_root`.
        ContractError: A scored face is in none of the stores.
    """
    if run.unit != FRAME:
        raise UsageError(
            f"errors by condition are counted by face, but {run.name} scores a {run.unit} at a "
            "time; leave out conditions=true"
        )
    table = run.scores.scored()
    names = [table.video_ids[place] for place in table.video.tolist()]
    keys = list(zip(names, table.track_id.tolist(), table.frame_index.tolist(), strict=True))
    crops = _crops(stores, set(table.video_ids))
    values = {one.name: np.full(len(keys), np.nan) for one in CONDITIONS}
    densities = {} if data_root is None else _densities(stores, set(names), data_root)
    for number, key in enumerate(keys):
        if key not in crops:
            raise ContractError(
                f"{key[0]}, track {key[1]}, frame {key[2]} was scored, but is in none of "
                f"{', '.join(str(store.folder) for store in stores)}; name the stores that were "
                "scored: crops=[FOLDER]"
            )
        store, policy, crop = crops[key]
        for name, value in _of_face(store.image(crop), policy, crop).items():
            values[name][number] = value
        values[COMPRESSION.name][number] = densities.get(key[0], np.nan)
        if progress is not None:
            progress(number + 1, len(keys))
    return MeasuredFaces(run, values)


def bits_per_pixel(video: ManifestRow, data_root: Path) -> float:
    """Return the size of a video's file by its pixels, NaN where either is not known.

    The size of a folder of pictures is that of the files in it.

    Raises:
        OSError: There is no such file.
    """
    path = data_root / video.path
    if path.is_dir():
        size = sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
    else:
        size = path.stat().st_size
    n_frames = video.n_frames or round(video.duration_s * video.fps)
    pixels = video.width * video.height * n_frames
    return 8 * size / pixels if pixels > 0 else float("nan")


def _crops(
    stores: Sequence[CropStore], wanted: set[str]
) -> dict[tuple[str, int, int], tuple[CropStore, CropPolicy, CropRow]]:
    found = {}
    for store in stores:
        policy = store.policy
        for crop in store.crops:
            if crop.status == OK and crop.video_id in wanted:
                key = (crop.video_id, crop.track_id, crop.frame_index)
                found[key] = (store, policy, crop)
    return found


def _densities(stores: Sequence[CropStore], wanted: set[str], data_root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for video in (video for store in stores for video in store.videos):
        if video.video_id in wanted and (data_root / video.path).exists():
            found[video.video_id] = bits_per_pixel(video, data_root)
    if not found:
        raise UsageError(
            f"none of the {len(wanted)} scored videos is below {data_root}; give the data_root "
            "that they were indexed with, or leave it out"
        )
    return found


def _of_face(image: Image, policy: CropPolicy, crop: CropRow) -> dict[str, float]:
    face = _face_part(image, policy)
    luma = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    found = {BRIGHTNESS.name: float(luma.mean())}
    if crop.quality is not None:
        found[FACE_SIZE.name] = crop.quality.side_px
        found[BLUR.name] = crop.quality.sharpness
        found[TURN.name] = abs(crop.quality.yaw)
    else:
        small = luma.shape[0] >= SHARPNESS_SIZE
        how = cv2.INTER_AREA if small else cv2.INTER_LINEAR
        resized = cv2.resize(luma, (SHARPNESS_SIZE, SHARPNESS_SIZE), interpolation=how)
        found[BLUR.name] = float(cv2.Laplacian(resized, cv2.CV_64F).var())
    return found


def _face_part(image: Image, policy: CropPolicy) -> Image:
    """Return the middle of a crop that the face's box fills; of other crops all."""
    if policy.name != "square" or policy.scale <= 1:
        return image
    side = image.shape[0]
    margin = round(side * (1 - 1 / policy.scale) / 2)
    return np.ascontiguousarray(image[margin : side - margin, margin : side - margin])
