"""What a blend is: two pictures, the opacity between them, and the seam that this leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.types import Image

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.float32]

# opacities under half a grey level change no pixel; 0 makes "equal outside the mask" exact
LEAST_OPACITY = 0.002


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """How a self-blend is drawn.

    `ratios` are the opacities to choose from, 1 = the source fully replaces the target.
    `strength` ≥ 0 multiplies how far source and target are pulled apart in colour, sharpness and
    position: 1 for training, above it for a forgery that people can see.
    `recipe` is `varied` (six regions with jitter, for the coarse shape that five points give),
    `published` (the paper's four masks and its ranges), or None: varied for five points,
    published for 68 and more.
    """

    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
    strength: float = 1.0
    recipe: str | None = None


@dataclass(frozen=True, slots=True)
class Blend:
    """A genuine picture, its forged twin and the opacity between them.

    `real` and `fake` are uint8 RGB of the input's size; `mask` is float32 in [0, 1]: the share of
    the source in `fake`. Where `mask` is 0 both pictures are equal. `real` may differ from the
    input in colour and sharpness, so that no such change can give the label away.
    `method` names how it was made and with how many landmarks; `region` the kind of mask.
    """

    real: Image
    fake: Image
    mask: Mask
    method: str = ""
    region: str = ""

    @property
    def xray(self) -> Mask:
        """The seam, 4·M·(1 − M): what Face X-ray is taught to draw."""
        return xray_of(self.mask)


def require_picture(image: Image) -> None:
    """Raise ValueError unless a picture is RGB uint8, H × W × 3."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an RGB uint8 picture is needed, got {image.dtype} {image.shape}")


def mix(source: Image, target: Image, mask: Mask) -> Image:
    """Lay `source` over `target` with the opacity `mask`; exactly `target` where that is 0."""
    fake = cv2.blendLinear(source, target, mask, 1 - mask)
    # blendLinear divides by the weights' sum plus 1e-5; this keeps the equality exact
    return np.where(mask[..., None] > 0, fake, target)


def cleaned(mask: Mask) -> Mask:
    """Bring a mask to [0, 1], opacities that change no pixel to 0; the given array is changed."""
    mask[mask < LEAST_OPACITY] = 0
    return np.clip(mask, 0, 1, out=mask)


def xray_of(mask: Mask) -> Mask:
    """Return the seam of a blend, 4·M·(1 − M): 1 where both pictures count alike, else less.

    Source: Li et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020, equation 2.

    Example:
        >>> xray_of(np.array([0, 0.5, 1], np.float32)).tolist()
        [0.0, 1.0, 0.0]
    """
    return 4 * mask * (1 - mask)


def odd(value: float) -> int:
    """Return the odd kernel size whose range of two a value lies in: 3 for 2 up to 4.

    Example:
        >>> [odd(value) for value in (0.5, 2.9, 3.1, 4.0)]
        [1, 3, 3, 5]
    """
    return 2 * int(value / 2) + 1


# OpenCV's annotations promise any number type; these name the one that was put in, without a copy


def as_image(pixels: NDArray[Any]) -> Image:
    """Return pixels as what they are, uint8."""
    return np.asarray(pixels, dtype=np.uint8)


def as_floats(values: NDArray[Any]) -> Mask:
    """Return values as what they are, float32."""
    return np.asarray(values, dtype=np.float32)
