"""Drawn faces: made from nothing, in several kinds, and photographs turned into drawings.

What `gate_rates.py` shows to a detector to see whether it says that it cannot judge. Everything
follows from the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
Spot = tuple[float, float]

SIDE = 512
# fractional bits of OpenCV's coordinates, so that edges are smooth
SHIFT = 4

SKINS: tuple[Colour, ...] = (
    (255, 224, 196), (241, 194, 155), (224, 172, 125), (198, 134, 92), (141, 85, 54), (92, 58, 38),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (30, 24, 20), (84, 52, 28), (150, 96, 48), (222, 184, 110), (168, 52, 30), (130, 130, 136),
)  # fmt: skip
GROUNDS: tuple[Colour, ...] = (
    (190, 214, 236), (236, 226, 200), (200, 226, 196), (222, 204, 230), (246, 246, 246),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Portrait:
    """One person to be drawn: colours, and shares of the head's half height."""

    skin: Colour
    hair: Colour
    ground: Colour
    width: float
    eye: float
    apart: float
    mouth: float
    smile: float
    nose: float


def person(rng: np.random.Generator) -> Portrait:
    """Draw up a person."""
    skin, hair, ground = (
        choices[int(rng.integers(len(choices)))] for choices in (SKINS, HAIRS, GROUNDS)
    )
    return Portrait(
        skin, hair, ground,
        width=rng.uniform(0.68, 0.82), eye=rng.uniform(0.10, 0.16), apart=rng.uniform(0.30, 0.36),
        mouth=rng.uniform(0.22, 0.32), smile=rng.uniform(-0.02, 0.10), nose=rng.uniform(0.07, 0.11),
    )  # fmt: skip


class Sheet:
    """A sheet whose coordinates are those of a head: 0, 0 its centre, 1 its half height."""

    def __init__(self, ground: Colour, radius: float = 150.0) -> None:
        """Start with an even ground."""
        self.picture: Image = np.full((SIDE, SIDE, 3), ground, np.uint8)
        self.radius = radius

    def ellipse(
        self, at: Spot, axes: Spot, colour: Colour, line: float = 0.0, arc: Spot = (0, 360)
    ) -> None:
        """Draw an ellipse, filled unless a line's width is given."""
        # a whole ellipse is smooth in fixed-point coordinates
        centre = (self._fixed(at[0], SIDE / 2), self._fixed(at[1], SIDE / 2))
        size = (self._fixed(axes[0], 0), self._fixed(axes[1], 0))
        width = max(1, round(line * self.radius)) if line else -1
        cv2.ellipse(
            self.picture, centre, size, 0, *arc, colour, width, lineType=cv2.LINE_AA, shift=SHIFT
        )

    def stroke(self, points: list[Spot], colour: Colour, line: float) -> None:
        """Draw an open line through points."""
        fixed = [(self._fixed(x, SIDE / 2), self._fixed(y, SIDE / 2)) for x, y in points]
        width = max(1, round(line * self.radius))
        cv2.polylines(
            self.picture, [np.array(fixed, np.int32)], False, colour, width, cv2.LINE_AA, SHIFT
        )

    def _fixed(self, value: float, offset: float) -> int:
        return round((value * self.radius + offset) * (1 << SHIFT))


def darker(colour: Colour, factor: float) -> Colour:
    """Return a colour with so much of its brightness."""
    red, green, blue = (min(255, round(part * factor)) for part in colour)
    return red, green, blue


def flat(rng: np.random.Generator, *, outline: bool = False, eyes: float = 1.0) -> Image:
    """Draw a cartoon in even colours; with `outline`, inked; with large `eyes`, in manga's way."""
    who = person(rng)
    sheet = Sheet(who.ground, radius=rng.uniform(110, 170))
    ink, shade = (30, 26, 28), darker(who.skin, 0.82)
    sheet.ellipse((0, -0.18), (who.width + 0.12, 1.02), who.hair)
    sheet.ellipse((0, 1.65), (1.15, 0.75), darker(who.ground, 0.55))
    sheet.ellipse((0, 0.9), (0.26, 0.42), shade)
    for side in (-1, 1):
        sheet.ellipse((side * who.width, 0.02), (0.1, 0.17), shade)
    sheet.ellipse((0, 0), (who.width, 1.0), who.skin)
    if outline:
        sheet.ellipse((0, 0), (who.width, 1.0), ink, line=0.025)
    for side in (-1, 1):
        _eye(sheet, who, side * who.apart, eyes, ink)
    sheet.stroke([(-0.3 * who.nose, 0.0), (-who.nose, 0.28), (who.nose, 0.3)], shade, 0.035)
    lips = (178, 70, 70)
    sheet.ellipse((0, 0.5), (who.mouth, 0.05 + who.smile), lips, arc=(0, 180))
    sheet.ellipse((0, 0.5), (who.mouth, 0.05), darker(lips, 0.9))
    sheet.ellipse((0, -0.72), (who.width * 0.92, 0.36), who.hair, arc=(180, 360))
    return sheet.picture


def _eye(sheet: Sheet, who: Portrait, x: float, large: float, ink: Colour) -> None:
    width, height = who.eye * large, who.eye * 0.62 * large**1.4
    sheet.ellipse((x, -0.12), (width, height), (252, 252, 250))
    sheet.ellipse((x, -0.12), (height * 0.85, height * 0.85), darker(who.hair, 0.9))
    sheet.ellipse((x, -0.12), (height * 0.45, height * 0.45), ink)
    sheet.ellipse((x + 0.02, -0.15), (height * 0.18, height * 0.18), (255, 255, 255))
    sheet.ellipse((x, -0.12), (width, height), ink, line=0.025, arc=(180, 360))
    brow = [(x - width, -0.3), (x, -0.37 - 0.05 * large), (x + width, -0.3)]
    sheet.stroke(brow, darker(who.hair, 0.8), 0.05)


def inked(rng: np.random.Generator) -> Image:
    """Draw a cartoon with outlines."""
    return flat(rng, outline=True)


def manga(rng: np.random.Generator) -> Image:
    """Draw a cartoon with large eyes and outlines."""
    return flat(rng, outline=True, eyes=1.7)


def shaded(rng: np.random.Generator) -> Image:
    """Draw a doll: the flat cartoon under a soft lamp, with a gloss."""
    picture = cv2.GaussianBlur(flat(rng, eyes=1.25), (0, 0), 1.6).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
    light_x, light_y = rng.uniform(-0.4, 0.4), rng.uniform(-0.5, -0.1)
    distance = np.hypot(x - light_x, y - light_y)
    lamp = 1.18 - 0.55 * distance
    gloss = 60 * np.exp(-((distance / 0.18) ** 2))
    lit = picture * lamp[..., None] + gloss[..., None]
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def painted(rng: np.random.Generator) -> Image:
    """Draw the doll in dabs of a brush."""
    picture = shaded(rng)
    noise = cv2.GaussianBlur(rng.normal(0, 90, picture.shape).astype(np.float32), (0, 0), 2.5)
    rough = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return np.asarray(cv2.medianBlur(rough, 9), np.uint8)


def scribbled(rng: np.random.Generator) -> Image:
    """Draw the inked cartoon with a pencil on white paper."""
    grey, _ = cv2.pencilSketch(inked(rng), sigma_s=40, sigma_r=0.08, shade_factor=0.05)
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


DRAWN: dict[str, Callable[[np.random.Generator], Image]] = {
    "flat": flat,
    "inked": inked,
    "manga": manga,
    "doll": shaded,
    "painted": painted,
    "pencil": scribbled,
}
"""Faces drawn from nothing, by the name of the kind."""


def stylised(photo: Image) -> Image:
    """Turn a photograph into a watercolour (Gastal & Oliveira 2011, by OpenCV)."""
    return np.asarray(cv2.stylization(photo, sigma_s=60, sigma_r=0.45), np.uint8)


def pencilled(photo: Image) -> Image:
    """Turn a photograph into a pencil drawing on white paper."""
    grey, _ = cv2.pencilSketch(photo, sigma_s=60, sigma_r=0.07, shade_factor=0.05)
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def crayoned(photo: Image) -> Image:
    """Turn a photograph into a drawing in coloured pencil."""
    _, coloured = cv2.pencilSketch(photo, sigma_s=60, sigma_r=0.07, shade_factor=0.05)
    return np.asarray(coloured, np.uint8)


def comic(photo: Image) -> Image:
    """Turn a photograph into a comic: few even colours, and inked edges."""
    smooth = photo
    for _ in range(4):
        smooth = np.asarray(cv2.bilateralFilter(smooth, 9, 40, 7), np.uint8)
    few = np.asarray(smooth // 48 * 48 + 24, np.uint8)
    grey = cv2.medianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 7)
    edges = cv2.adaptiveThreshold(
        grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, blockSize=9, C=3
    )
    return np.where(edges[..., None] > 0, few, np.uint8(0))


STYLES: dict[str, Callable[[Image], Image]] = {
    "watercolour": stylised,
    "pencil": pencilled,
    "crayon": crayoned,
    "comic": comic,
}
"""Photographs turned into drawings, by the name of the style."""
