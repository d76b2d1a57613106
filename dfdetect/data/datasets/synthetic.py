"""Generated clips: no licence, no download, so that anyone can run the whole chain.

Each identity is a smoothly warped and re-coloured copy of one public-domain portrait that moves
before a textured ground. Its fake has the inner face replaced by an altered copy of itself with a
soft border (the idea of Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR
2022), so a detector has something local and faint to learn. Figures on these clips say that the
chain works and nothing about real forgeries.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.datasets.base import (
    DATASETS,
    ORIGINAL,
    DatasetAdapter,
    DatasetEntry,
    DatasetInfo,
    Expected,
)
from dfdetect.errors import UsageError
from dfdetect.media.x264 import repeatable_x264
from dfdetect.provenance import written_whole
from dfdetect.types import FAKE, REAL, Image

HEAD = (140, 20, 340, 260)
"""The portrait's head with some room, xyxy in its 512 × 512 pixels."""

FACE = (224, 118, 50, 66)
"""The portrait's inner face as an ellipse: centre x, y and half axes, in its pixels."""

METHOD = "blend"
WIDTH, HEIGHT, FPS = 320, 240, 10


@DATASETS.register("synthetic")
@dataclass(frozen=True, slots=True)
class SyntheticDataset(DatasetAdapter):
    """Generated clips: `n_identities` genuine ones and one fake of each, `n_frames` long.

    Indexing writes the clips that are not there yet below the data root, the same for the same
    `seed`. Every fifth identity is in val, the one after it in test, the others in train.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        title="Synthetic clips",
        licence="public domain (made from a NASA portrait)",
        access="none needed: `dfdetect index dataset=synthetic` writes the clips",
        polarity="real/ is 0, fake/ is 1",
        splits="own: every fifth identity is val, the one after it test",
    )

    n_identities: int = 20
    n_frames: int = 20
    seed: int = 0

    @property
    def name(self) -> str:
        """`synthetic`."""
        return "synthetic"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """Write the clips that are missing below `root` and yield all of them.

        Raises:
            UsageError: `root` holds clips of another length or seed.
        """
        self._claim(root)
        for identity in range(self.n_identities):
            split = _split(identity)
            for label, folder in ((REAL, "real"), (FAKE, "fake")):
                path = root / folder / f"{identity:04d}.mp4"
                if not path.exists():
                    rng = np.random.default_rng((self.seed, identity))
                    write_clip(path, draw_clip(rng, self.n_frames, label), FPS)
                yield DatasetEntry(
                    path=f"{folder}/{path.name}",
                    name=f"{folder}/{path.stem}",
                    label=label,
                    method=METHOD if label == FAKE else ORIGINAL,
                    source_ids=(path.stem,),
                    split=split,
                    original=f"real/{path.stem}" if label == FAKE else None,
                )

    def _claim(self, root: Path) -> None:
        record, drawn = root / "synthetic.json", {"n_frames": self.n_frames, "seed": self.seed}
        if not record.exists():
            with written_whole(record) as part:
                part.write_text(json.dumps(drawn) + "\n")
        elif json.loads(record.read_text()) != drawn:
            raise UsageError(
                f"{root} holds synthetic clips drawn with {record.read_text().strip()}; give "
                "another data_root, or remove it"
            )

    def expected(self) -> tuple[Expected, ...]:
        """Return the numbers of clips of each label and split."""
        n_of = Counter(_split(identity) for identity in range(self.n_identities))
        return tuple(
            Expected(n, label=label, split=split)
            for split, n in n_of.items()
            for label in (REAL, FAKE)
        )

    @classmethod
    def miniature(cls, root: Path) -> DatasetAdapter:
        """Return a dataset of five identities; indexing it writes the clips."""
        root.mkdir(parents=True, exist_ok=True)
        return cls(n_identities=5, n_frames=6)


def _split(identity: int) -> str:
    return {3: "val", 4: "test"}.get(identity % 5, "train")


def draw_clip(rng: np.random.Generator, n_frames: int, label: int) -> list[Image]:
    """Return the frames of one identity's clip, `HEIGHT` × `WIDTH` RGB.

    The same generator state gives the same person before the same ground for both labels.
    """
    face, mask = _identity(rng)
    ground = _ground(rng)
    start, drift = rng.uniform(-15, 15, 2), rng.uniform(-1.5, 1.5, 2)
    scale, sway = rng.uniform(0.8, 0.95), rng.uniform(0.2, 0.6)
    change = rng.uniform(-1, 1, 3)
    if label == FAKE:
        face = _forged(face, mask, change)
    frames = []
    for index in range(n_frames):
        x, y = start + drift * index + 3 * np.sin(sway * index + np.array([0, 1.3]))
        frames.append(_placed(face, ground, float(x), float(y), float(scale)))
    return frames


def write_clip(path: Path, pictures: Sequence[Image], fps: int) -> None:
    """Write RGB pictures as an H.264 mp4, whole or not at all; sides are made even by cropping."""
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
    with (
        written_whole(path) as part,
        av.open(str(part), "w", format="mp4") as container,
    ):
        options = {"crf": "20", "threads": "1"} | repeatable_x264()
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for picture in pictures:
            cut = np.ascontiguousarray(picture[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cut, format="rgb24")))
        container.mux(stream.encode())


@cache
def _portrait() -> tuple[Image, NDArray[np.float32]]:
    # a data file, read by its place: this layer imports nothing of the one that shows the demo
    content = files("dfdetect").joinpath("inference/portrait/astronaut.jpg").read_bytes()
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    picture = np.asarray(decoded, dtype=np.uint8)[..., ::-1]
    x0, y0, x1, y1 = HEAD
    x, y, half_width, half_height = FACE
    inner = np.zeros(picture.shape[:2], np.float32)
    cv2.ellipse(inner, (x, y), (half_width, half_height), 0, 0, 360, (1.0,), -1)
    soft = np.asarray(cv2.GaussianBlur(inner, (0, 0), 5), dtype=np.float32)
    return picture[y0:y1, x0:x1], soft[y0:y1, x0:x1]


def _identity(rng: np.random.Generator) -> tuple[Image, NDArray[np.float32]]:
    head, mask = _portrait()
    height, width = head.shape[:2]
    # a coarse random field, enlarged: features move by some pixels, edges stay smooth
    coarse = rng.normal(0, 4, (4, 4, 2)).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    if rng.random() < 0.5:
        x = width - 1 - x
    x, y = x + field[..., 0], y + field[..., 1]
    warped = cv2.remap(np.ascontiguousarray(head), x, y, cv2.INTER_LINEAR)
    moved = cv2.remap(mask, x, y, cv2.INTER_LINEAR)
    gain, offset = rng.uniform(0.8, 1.15, 3), rng.uniform(-15, 15)
    tinted = np.clip(warped * gain + offset, 0, 255).astype(np.uint8)
    return tinted, np.asarray(moved, dtype=np.float32)


def _forged(face: Image, mask: NDArray[np.float32], change: NDArray[np.float64]) -> Image:
    soft = cv2.GaussianBlur(face, (0, 0), 1.2).astype(np.float64)
    tinted = soft * (1 + 0.05 * change) + 8 * np.sign(change[0])
    shift = np.array([[1, 0, 2 * change[1]], [0, 1, 2 * change[2]]], np.float32)
    height, width = face.shape[:2]
    moved = cv2.warpAffine(tinted, shift, (width, height), borderMode=cv2.BORDER_REFLECT)
    return _mixed(mask, moved, face)


def _ground(rng: np.random.Generator) -> Image:
    coarse = rng.uniform(40, 200, (6, 8, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grainy = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255)
    return np.asarray(grainy, dtype=np.uint8)


def _placed(face: Image, ground: Image, x: float, y: float, scale: float) -> Image:
    height, width = face.shape[:2]
    place = np.array(
        [
            [scale, 0, WIDTH / 2 - scale * width / 2 + x],
            [0, scale, HEIGHT / 2 - scale * height / 2 + y],
        ],
        np.float32,
    )
    oval = np.zeros((height, width), np.float32)
    half = (int(width * 0.42), int(height * 0.45))
    cv2.ellipse(oval, (width // 2, height // 2), half, 0, 0, 360, (1.0,), -1)
    soft = cv2.warpAffine(cv2.GaussianBlur(oval, (0, 0), 4), place, (WIDTH, HEIGHT))
    moved = cv2.warpAffine(face, place, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    return _mixed(soft, moved, ground)


def _mixed(weight: NDArray[Any], above: NDArray[Any], below: NDArray[Any]) -> Image:
    share = weight[..., None].astype(np.float64)
    mixed = np.clip(share * above + (1 - share) * below, 0, 255)
    return np.asarray(mixed, dtype=np.uint8)
