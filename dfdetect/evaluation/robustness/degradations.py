"""What may happen to the pixels of a whole picture, each at five severities.

Where a published protocol has the distortion, its five levels are taken: those of Jiang et al.,
"DeeperForensics-1.0: A Large-Scale Dataset for Real-World Face Forgery Detection", CVPR 2020, which
later work measures robustness with (Haliassos et al., "Lips Don't Lie", CVPR 2021). The others are
our choice and say so. Every function takes and returns uint8 RGB, H × W × 3, of the same size, and
gets all that is random from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.registry import Registry
from dfdetect.types import Image

SEVERITIES = (1, 2, 3, 4, 5)

DEEPER_FORENSICS = "DeeperForensics-1.0 (Jiang et al., CVPR 2020)"
OURS = "our choice"

Change: TypeAlias = Callable[[Image, float, np.random.Generator], Image]

BLOCK_PX = 8
BLOCK_GREY = 128
# the published number of blocks is for so many pixels of the shorter side
_BLOCK_SIDE = 256

# full range over studio range (ITU-R BT.601): noise added to studio values grows by so much
_LUMA_GAIN, _CHROMA_GAIN = 255 / 219, 255 / 224


@dataclass(frozen=True, slots=True)
class Degradation:
    """A change of single pictures at five levels, mildest first.

    `level` says in words what the numbers in `levels` are; `source` where they come from.
    """

    name: str
    levels: tuple[float, float, float, float, float]
    level: str
    source: str
    change: Change

    def __call__(self, picture: Image, severity: int, rng: np.random.Generator) -> Image:
        """Return the picture at a severity of 1 to 5.

        Raises:
            ValueError: There is no such severity.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity {severity} is none of 1 to 5")
        return self.change(picture, self.levels[severity - 1], rng)


DEGRADATIONS: Registry[Degradation] = Registry("degradation")


def _registered(
    name: str, levels: Sequence[float], level: str, source: str
) -> Callable[[Change], Change]:
    one, two, three, four, five = levels

    def add(change: Change) -> Change:
        degradation = Degradation(name, (one, two, three, four, five), level, source, change)
        DEGRADATIONS.register(name)(degradation)
        return change

    return add


@_registered("saturation", (0.4, 0.3, 0.2, 0.1, 0.0), "share of the chroma kept", DEEPER_FORENSICS)
def desaturate(picture: Image, share: float, rng: np.random.Generator) -> Image:
    """Keep a share of the chroma: 1 leaves the picture as it is, 0 makes it grey.

    Example:
        >>> red = np.full((2, 2, 3), (200, 0, 0), np.uint8)
        >>> desaturate(red, 0.0, np.random.default_rng())[0, 0].tolist()
        [60, 60, 60]
    """
    del rng
    chroma = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    chroma[..., 1:] = 128 + (chroma[..., 1:] - 128) * np.float32(share)
    return _rgb(cv2.cvtColor(_rounded(chroma), cv2.COLOR_YCrCb2RGB))


@_registered("contrast", (0.85, 0.725, 0.6, 0.475, 0.35), "factor of every value", DEEPER_FORENSICS)
def reduce_contrast(picture: Image, factor: float, rng: np.random.Generator) -> Image:
    """Multiply every value: as published, differences and brightness shrink alike."""
    del rng
    return _rounded(picture.astype(np.float32) * np.float32(factor))


@_registered(
    "block_wise",
    (16, 32, 48, 64, 80),
    f"grey blocks of {BLOCK_PX} px for each whole {_BLOCK_SIDE} px of the shorter side",
    DEEPER_FORENSICS,
)
def put_blocks(picture: Image, count: float, rng: np.random.Generator) -> Image:
    """Put grey blocks at random places; pictures under 256 px get `count` of them (our choice).

    With generators of equal state, the blocks of a lower count are among those of a higher one.
    """
    height, width = picture.shape[:2]
    degraded: Image = picture.copy()
    for _ in range(max(1, min(height, width) // _BLOCK_SIDE) * round(count)):
        x, y = (int(rng.random() * max(1, side - BLOCK_PX)) for side in (width, height))
        degraded[y : y + BLOCK_PX, x : x + BLOCK_PX] = BLOCK_GREY
    return degraded


@_registered(
    "noise",
    (0.001, 0.002, 0.005, 0.01, 0.05),
    "variance of normal noise in studio-range Y'CbCr, of a full scale of 1",
    DEEPER_FORENSICS,
)
def add_noise(picture: Image, variance: float, rng: np.random.Generator) -> Image:
    """Add normal noise to luma and both chroma channels, independent for every pixel."""
    gains = np.array([_LUMA_GAIN, _CHROMA_GAIN, _CHROMA_GAIN], np.float32)
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    noise *= gains * np.float32(255 * np.sqrt(variance))
    # the transform is linear: noise may be turned into RGB by itself, before anything is cut off
    y, red, blue = noise[..., 0], noise[..., 1], noise[..., 2]
    in_rgb = np.stack([y + 1.403 * red, y - 0.714 * red - 0.344 * blue, y + 1.773 * blue], axis=2)
    return _rounded(picture + in_rgb)


@_registered(
    "blur", (7, 9, 13, 17, 21), "side of the Gaussian kernel in px, σ a sixth of it",
    DEEPER_FORENSICS,
)  # fmt: skip
def blur(picture: Image, side: float, rng: np.random.Generator) -> Image:
    """Blur by a Gaussian kernel of an odd side, of which σ is a sixth."""
    del rng
    kernel = (round(side), round(side))
    return _rgb(cv2.GaussianBlur(picture, kernel, side / 6))


@_registered(
    "pixelation", (2, 3, 4, 5, 6), "times that the sides shrink before they grow again",
    DEEPER_FORENSICS,
)  # fmt: skip
def pixelate(picture: Image, times: float, rng: np.random.Generator) -> Image:
    """Shrink and enlarge again, both bilinear: what the published protocol's code calls JPEG."""
    del rng
    height, width = picture.shape[:2]
    small = (max(1, width // round(times)), max(1, height // round(times)))
    reduced = cv2.resize(picture, small, interpolation=cv2.INTER_LINEAR)
    return _rgb(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR))


@_registered(
    "jpeg",
    (90, 70, 50, 30, 10),
    "JPEG quality",
    f"{OURS}: ImageNet-C (Hendrycks & Dietterich, ICLR 2019) begins at 25, where platforms end",
)
def jpeg(picture: Image, quality: float, rng: np.random.Generator) -> Image:
    """Compress every picture as JPEG, quality 0 to 100, and read it again."""
    del rng
    options = [cv2.IMWRITE_JPEG_QUALITY, round(quality)]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return _rgb(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def picture_rng(seed: int, name: str, frame_index: int) -> np.random.Generator:
    """Return the generator of one picture: the same in whatever order pictures are made.

    It does not depend on the severity, so that severities differ in strength alone.

    Example:
        >>> draws = [picture_rng(7, "noise", index).random() for index in (0, 1, 0)]
        >>> draws[0] == draws[2] != draws[1]
        True
    """
    return np.random.default_rng([seed, *name.encode(), frame_index])


def _rounded(values: NDArray[np.float32]) -> Image:
    image: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return image


def _rgb(values: object) -> Image:
    return np.asarray(values, dtype=np.uint8)
