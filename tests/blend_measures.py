"""What is measured of a blend, to hold several ways of drawing it against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from dfdetect.data.face_shape import WITH_FOREHEAD, face_side
from dfdetect.types import Image


class Blended(Protocol):
    """Pictures uint8 RGB, the mask (H, W) in [0, 1]."""

    real: Image
    fake: Image
    mask: NDArray[np.float32]


def textured(side: int, seed: int = 0) -> Image:
    """Return a picture with structure at every scale, as photographs have."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 128.0, np.float32)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        noise = rng.normal(0, 60 / cells**0.5, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def face_81(side: int, share: float = 0.5) -> NDArray[np.float64]:
    """Return 81 landmarks of a face in the middle of a picture, `share` of its side in size."""
    unit = share * side / face_side(WITH_FOREHEAD)
    points = (WITH_FOREHEAD - WITH_FOREHEAD[:68].mean(0)) * unit + side / 2
    top = points[68:]
    between = (top[1:] + top[:-1]) / 2
    return np.concatenate([points, between, between])


def _area(blend: Blended) -> float:
    return float(blend.mask.sum() / max(blend.mask.max(), 1e-6))


def _boundary_width(blend: Blended) -> float:
    # pixels between 10 % and 90 % of the peak, over the length of the half-way contour
    peak = blend.mask.max()
    soft = ((blend.mask > 0.1 * peak) & (blend.mask < 0.9 * peak)).sum()
    inside = (blend.mask > 0.5 * peak).astype(np.int8)
    contour = np.abs(np.diff(inside, axis=0)).sum() + np.abs(np.diff(inside, axis=1)).sum()
    return float(soft / max(contour, 1))


def _ragged(blend: Blended) -> float:
    # how far the half-way contour is from round: perimeter² over area
    inside = (blend.mask > 0.5 * blend.mask.max()).astype(np.uint8)
    found, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(found, key=len, default=None)
    if longest is None:
        return 0.0
    return float(cv2.arcLength(longest, True) ** 2 / max(cv2.contourArea(longest), 1.0))


def _colour(blend: Blended) -> float:
    return float((blend.fake.astype(np.float64) - blend.real).mean())


def _contrast(blend: Blended) -> float:
    return float((blend.fake.astype(np.float64) - blend.real).std())


def _fine(picture: Image) -> float:
    spectrum = np.abs(np.fft.rfft2(picture.mean(axis=2))) ** 2
    rows = np.abs(np.fft.fftfreq(spectrum.shape[0]))[:, None]
    columns = np.fft.rfftfreq(picture.shape[1])[None]
    return float(np.log(spectrum[np.hypot(rows, columns) > 0.25].mean() + 1))


MEASURES: dict[str, Callable[[Blended], float]] = {
    "area": _area,
    "boundary width": _boundary_width,
    "raggedness": _ragged,
    "opacity": lambda blend: float(blend.mask.max()),
    "colour difference": _colour,
    "spread of the difference": _contrast,
    "brightness of the genuine one": lambda blend: float(blend.real.mean()),
    "fine detail of the genuine one": lambda blend: _fine(blend.real),
    "fine detail of the forged one": lambda blend: _fine(blend.fake),
    "difference of fine detail": lambda blend: _fine(blend.fake) - _fine(blend.real),
}


def differ(name: str, one: list[float], other: list[float]) -> bool:
    """Whether two samples of 250 draws come from distributions that differ by more than noise.

    A Kolmogorov-Smirnov distance of 0.15 has p < 0.01 there. Raggedness, which hardly varies, is
    that of pixels as well: its quantiles may differ by 5 %.
    """
    if name == "raggedness":
        levels = (0.1, 0.25, 0.5, 0.75, 0.9)
        first, second = np.quantile(one, levels), np.quantile(other, levels)
        return bool(np.abs(first / second - 1).max() > 0.05)
    return bool(ks_2samp(one, other).statistic > 0.15)
