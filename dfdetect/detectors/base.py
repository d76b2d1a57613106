"""What every detector shares, whatever runs it: preprocessing, the header of its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dfdetect.types import Calibration, CropPolicy

FORMAT_VERSION = 1

ORACLE = "oracle"
"""The fact in a header's provenance that weights were selected on another split than val."""
TRAINED_PARTS = "trained_parts"
"""The fact that lists what weights learned from: JSON, pairs of dataset and method."""

Scalar: TypeAlias = str | int | float | bool | None
Setting: TypeAlias = Scalar | tuple[Scalar, ...]
RGB: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a face becomes the numbers that a detector was trained on; it travels with the weights.

    Crops of `size` × `size` pixels are cut out by `crop` (`crop.size` is the same number), divided
    by 255, reduced by `mean` and divided by `std`, each per channel in the order R, G, B.

    Raises:
        ValueError: The numbers contradict each other or make no sense.
    """

    size: int
    mean: RGB
    std: RGB
    crop: CropPolicy

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 2048:
            raise ValueError(f"preprocess size must lie in 16…2048 pixels, not {self.size}")
        if self.crop.size != self.size:
            raise ValueError(f"crops of {self.crop.size} px do not fit an input of {self.size} px")
        if not (math.isfinite(self.crop.scale) and self.crop.scale > 0):
            raise ValueError(f"crop scale must be positive, not {self.crop.scale}")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise ValueError("preprocess mean and std must be finite")
        if min(self.std) <= 0:
            raise ValueError(f"preprocess std must be positive, not {self.std}")

    def normalise(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return crops as a network takes them.

        Args:
            crops: RGB, uint8, B × H × W × 3, or clips of T crops, B × T × H × W × 3.

        Returns:
            float32, B × 3 × H × W or B × T × 3 × H × W, contiguous: (crop / 255 - mean) / std.

        Raises:
            ValueError: The crops have another type or shape.

        Example:
            >>> half = Preprocess(16, (0.5,) * 3, (0.5,) * 3, CropPolicy(size=16))
            >>> float(half.normalise(np.full((1, 16, 16, 3), 255, np.uint8)).max())
            1.0
        """
        if crops.dtype != np.uint8 or crops.ndim not in (4, 5) or crops.shape[-1] != 3:
            raise ValueError(
                f"crops must be uint8 B×H×W×3 or B×T×H×W×3, not {crops.dtype} {crops.shape}"
            )
        *outer, height, width, _ = crops.shape
        pixels = np.empty((*outer, 3, height, width), np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            plane = pixels[..., channel, :, :]
            np.multiply(
                crops[..., channel], np.float32(1 / (255 * std)), out=plane, dtype=np.float32
            )
            plane -= np.float32(mean / std)
        return pixels


@dataclass(frozen=True, slots=True)
class BatchNeeds:
    """What a method's training batches hold beyond faces and labels.

    `frames` above 1: the network judges clips of that many sampled frames of one track, in time
    order. `views` above 1: every face comes in so many independent augmentations. `masks`: where
    each picture is forged. `methods`: the forgery methods that are told apart, in order; with
    `grouped`, every group of a batch is a genuine face and one forgery of it by each method.
    """

    frames: int = 1
    views: int = 1
    masks: bool = False
    methods: tuple[str, ...] = ()
    grouped: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointHeader:
    """What a file of weights says of itself, as JSON inside the file.

    `detector` is a name in the registry and `kwargs` what it was created with: together they
    rebuild the network, so no class path and no code is ever stored. `trained` is False for a
    state that no training or conversion produced; such a file is never loaded. `provenance` holds
    pairs of text (trained_on, command, n …), `calibration` what turns its logits into likelihood
    ratios, or None where that has not been fitted. `frames` above 1: it judges clips of so many
    crops of one track; headers written before there were such detectors mean 1.
    `strangeness_limit`: faces of more strangeness are unlike what it learned from, so that its
    logits mean nothing; None where the weights do not tell strangeness.
    """

    detector: str
    kwargs: tuple[tuple[str, Setting], ...]
    preprocess: Preprocess
    calibration: Calibration | None
    provenance: tuple[tuple[str, str], ...]
    trained: bool
    format_version: int = FORMAT_VERSION
    frames: int = 1
    strangeness_limit: float | None = None


class LoadedDetector(Protocol):
    """A trained detector that is ready to judge, on whichever engine.

    `weights_sha256` is the SHA-256 of the file it was loaded from, as 64 hex digits.
    """

    @property
    def header(self) -> CheckpointHeader:
        """What the weights say of themselves."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the file of weights."""

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one logit a crop, above 0 for fake: uint8 B × S × S × 3 → float32 (B,).

        A detector of clips, with T = `header.frames` above 1, takes uint8 B × T × S × S × 3.
        """


@runtime_checkable
class StrangenessDetector(LoadedDetector, Protocol):
    """A loaded detector whose engine can also tell strangeness, if its header has a limit."""

    def judge(
        self, crops: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return one logit and one strangeness a crop in one pass; None where it tells none.

        Strangeness is 0 or more, about 1 for faces like those learned from; see
        `dfdetect.detectors.strangeness`.
        """
