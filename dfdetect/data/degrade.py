"""What editing and uploading does to the pixels of a face, one step a function."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.data.opacity import as_image
from dfdetect.types import Image


def recolour(picture: Image, change: NDArray[np.float64]) -> Image:
    """Change brightness, contrast and saturation by shares, 0 = as it was."""
    brightness, contrast, saturation = change
    pixels = picture.astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * (1 + saturation)
    pixels = (pixels - pixels.mean()) * (1 + contrast) + pixels.mean() * (1 + brightness)
    return as_image(np.clip(pixels, 0, 255))


def down_and_up(picture: Image, share: float) -> Image:
    """Shrink a square picture to a share of its side and enlarge it again."""
    size = picture.shape[0]
    small = max(8, round(size * share))
    reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    return as_image(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR))


def noisy(picture: Image, deviation: float, rng: np.random.Generator) -> Image:
    """Add normal noise of a standard deviation in grey levels."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * deviation
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def jpeg(picture: Image, quality: int) -> Image:
    """Compress a picture as JPEG, quality 0 to 100, and read it again."""
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
