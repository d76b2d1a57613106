"""What may be done to a clip on its way, one step after the other; profiles are chains of these.

A step takes the pictures of a clip in time order and gives pictures in time order. What is random
in a step is drawn from the seed it is given, and for a picture from its index too, so that nothing
depends on which pictures were made before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdetect.errors import UsageError
from dfdetect.evaluation.robustness.clip_coding import H264, Encoding, recoded
from dfdetect.evaluation.robustness.degradations import DEGRADATIONS, SEVERITIES, picture_rng
from dfdetect.registry import Registry
from dfdetect.types import Frame, Image

POSITIONS = ("top", "bottom")
FILLS = ("black", "white", "blur")
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Step(Protocol):
    """One thing that happens to a clip."""

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the pictures after the step."""
        ...


STEPS: Registry[type[Step]] = Registry("step")
"""Steps by the word that profiles call them; each is a dataclass whose fields are its keys."""


@STEPS.register("degrade")
@dataclass(frozen=True, slots=True)
class Degrade:
    """Change every picture by a registered degradation."""

    name: str
    severity: int

    def __post_init__(self) -> None:
        DEGRADATIONS.get(self.name)
        if self.severity not in SEVERITIES:
            raise UsageError(f"{self.name} has no severity {self.severity}; give 1 to 5")

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the changed pictures, which keep their size and time."""
        change = DEGRADATIONS.get(self.name)
        for frame in frames:
            rng = picture_rng(seed, self.name, frame.index)
            yield _with(frame, change(frame.image, self.severity, rng))


@STEPS.register("scale")
@dataclass(frozen=True, slots=True)
class Scale:
    """Shrink to a `share` of the sides, then until the shorter side is at most `short_side` px.

    Nothing is ever enlarged; sides are rounded to even numbers.
    """

    short_side: int | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"scale share {self.share} is none of 0 to 1")
        if self.short_side is not None and self.short_side < 16:
            raise UsageError(f"scale short_side {self.short_side} is too small; give 16 or more")

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the smaller pictures."""
        del seed
        for frame in frames:
            height, width = frame.image.shape[:2]
            factor = self.share
            if self.short_side is not None:
                factor = min(factor, self.short_side / min(height, width))
            yield frame if factor == 1 else _with(frame, shrunk(frame.image, factor))


@STEPS.register("crop")
@dataclass(frozen=True, slots=True)
class Crop:
    """Keep the middle: a `share` of both sides, then as much as has the `aspect` (width/height)."""

    share: float = 1.0
    aspect: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"crop share {self.share} is none of 0 to 1")
        _check_aspect("crop", self.aspect)

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the middle of every picture."""
        del seed
        for frame in frames:
            height, width = (_even(side * self.share) for side in frame.image.shape[:2])
            if self.aspect is not None:
                height = min(height, _even(width / self.aspect))
                width = min(width, _even(height * self.aspect))
            y, x = (frame.image.shape[0] - height) // 2, (frame.image.shape[1] - width) // 2
            yield _with(frame, frame.image[max(0, y) :, max(0, x) :][:height, :width])


@STEPS.register("border")
@dataclass(frozen=True, slots=True)
class Border:
    """Put the whole picture into a frame of another `aspect`, on `black`, `white` or a `blur`.

    A blurred ground is the picture itself, enlarged to cover the frame.
    """

    aspect: float
    fill: str = "black"

    def __post_init__(self) -> None:
        _check_aspect("border", self.aspect)
        if self.fill not in FILLS:
            raise UsageError(f"unknown border fill {self.fill!r}; choose one of {', '.join(FILLS)}")

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the framed pictures."""
        del seed
        for frame in frames:
            height, width = frame.image.shape[:2]
            outer = (
                max(height, _even(width / self.aspect)),
                max(width, _even(height * self.aspect)),
            )
            ground = self._ground(frame.image, *outer)
            y, x = (outer[0] - height) // 2, (outer[1] - width) // 2
            ground[y : y + height, x : x + width] = frame.image
            yield _with(frame, ground)

    def _ground(self, image: Image, height: int, width: int) -> Image:
        if self.fill != "blur":
            return np.full((height, width, 3), 255 * (self.fill == "white"), np.uint8)
        factor = max(height / image.shape[0], width / image.shape[1])
        # at an eighth of the size: what is blurred this much looks the same and costs a fraction
        small = (max(1, width // 8), max(1, height // 8))
        cover = cv2.resize(image, None, fx=factor / 8, fy=factor / 8, interpolation=cv2.INTER_AREA)
        y, x = max(0, (cover.shape[0] - small[1]) // 2), max(0, (cover.shape[1] - small[0]) // 2)
        cover = cv2.GaussianBlur(cover[y : y + small[1], x : x + small[0]], (0, 0), 4)
        return np.array(cv2.resize(cover, (width, height)), np.uint8)


@STEPS.register("caption_bar")
@dataclass(frozen=True, slots=True)
class CaptionBar:
    """Put a white bar with black `text` above or below: `height` is its share of the picture's.

    The picture grows by the bar, or with `over` the bar covers a part of it.
    """

    text: str
    height: float = 0.15
    position: str = "top"
    over: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.height <= 0.5:
            raise UsageError(f"caption_bar height {self.height} is none of 0 to 0.5")
        if self.position not in POSITIONS:
            raise UsageError(
                f"unknown caption_bar position {self.position!r}; choose one of "
                f"{', '.join(POSITIONS)}"
            )

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the captioned pictures."""
        del seed
        for frame in frames:
            bar = _text_on_white(
                self.text, max(2, _even(frame.image.shape[0] * self.height)), frame.image.shape[1]
            )
            n_rows = len(bar) if self.over else 0
            rest = frame.image[n_rows:] if self.position == "top" else frame.image
            rest = rest[: len(frame.image) - n_rows]
            pair = (bar, rest) if self.position == "top" else (rest, bar)
            yield _with(frame, np.concatenate(pair))


@STEPS.register("frame_rate")
@dataclass(frozen=True, slots=True)
class FrameRate:
    """Leave pictures out: keep every `nth`, and no more than `at_most` a second; none is doubled.

    Those that stay keep their times.
    """

    at_most: float | None = None
    nth: int = 1

    def __post_init__(self) -> None:
        if self.nth < 1:
            raise UsageError(f"frame_rate nth {self.nth} keeps nothing; give 1 or more")
        if self.at_most is not None and not self.at_most > 0:
            raise UsageError(f"frame_rate at_most {self.at_most} is no rate; give more than 0")

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the pictures that stay."""
        del seed
        slot = -1
        for place, frame in enumerate(frames):
            if place % self.nth:
                continue
            if self.at_most is not None:
                # a picture a slot; times that were rounded must not slip into the slot before
                own = int(frame.time_s * self.at_most + 1e-3)
                if own == slot:
                    continue
                slot = own
            yield frame


@STEPS.register("screen_recording")
@dataclass(frozen=True, slots=True)
class ScreenRecording:
    """Film the clip from a screen: other pixels, slightly turned and askew, other brightness.

    Shown and filmed at a `resample` share of the sides, turned by up to `rotation_deg`, corners
    shifted by up to `perspective` of the sides, values raised to `gamma`. Angle and corners are
    drawn once a clip; what lies beyond the screen is black. The size stays.
    """

    resample: float = 0.7
    rotation_deg: float = 1.5
    perspective: float = 0.02
    gamma: float = 1.15

    def __post_init__(self) -> None:
        if not 0 < self.resample <= 1:
            raise UsageError(f"screen_recording resample {self.resample} is none of 0 to 1")
        if not (0 <= self.rotation_deg <= 45 and 0 <= self.perspective <= 0.2 and self.gamma > 0):
            raise UsageError(
                "screen_recording takes rotation_deg of 0 to 45, perspective of 0 to 0.2 and a "
                "gamma above 0"
            )

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the filmed pictures."""
        tones = np.rint(255 * (np.arange(256) / 255) ** self.gamma).astype(np.uint8)
        for frame in frames:
            height, width = frame.image.shape[:2]
            view = self.view(width, height, seed)
            shown = shrunk(frame.image, self.resample)
            grown = cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR)
            filmed = cv2.warpPerspective(grown, view, (width, height), flags=cv2.INTER_LINEAR)
            yield _with(frame, np.asarray(cv2.LUT(filmed, tones), np.uint8))

    def view(self, width: int, height: int, seed: int) -> NDArray[np.float64]:
        """Return the 3 × 3 matrix that takes points of the picture to where they are filmed."""
        rng = picture_rng(seed, "screen_recording", 0)
        angle = np.deg2rad(self.rotation_deg) * rng.uniform(-1, 1)
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [width, height]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = np.array([width, height]) / 2
        filmed = (corners - middle) @ turn.T + middle
        filmed += rng.uniform(-1, 1, (4, 2)) * self.perspective * [width, height]
        pairs = (corners.astype(np.float32), filmed.astype(np.float32))
        return np.asarray(cv2.getPerspectiveTransform(*pairs), np.float64)


@STEPS.register("reencode")
@dataclass(frozen=True, slots=True)
class Reencode:
    """Code and decode again, or, as the last step, leave the clip so coded; see `Encoding`."""

    crf: int
    codec: str = H264
    max_kbps: int | None = None
    preset: str = "medium"

    def __post_init__(self) -> None:
        if self.encoding.codec not in (H264, "h265"):
            raise UsageError(f"reencode takes codec h264 or h265, not {self.codec!r}")

    @property
    def encoding(self) -> Encoding:
        """How it is coded."""
        return Encoding(self.codec, self.crf, self.max_kbps, self.preset)

    def __call__(self, frames: Iterable[Frame], seed: int) -> Iterator[Frame]:
        """Yield the pictures as they come out of the codec."""
        del seed
        return recoded(frames, self.encoding)


def shrunk(image: Image, factor: float) -> Image:
    """Return a picture whose sides are a factor of at most 1 of what they were, made even."""
    height, width = (max(2, _even(side * factor)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _with(frame: Frame, image: Image) -> Frame:
    return Frame(frame.index, frame.time_s, np.ascontiguousarray(image))


def _even(side: float) -> int:
    return 2 * round(side / 2)


def _check_aspect(step: str, aspect: float | None) -> None:
    if aspect is not None and not 0.2 <= aspect <= 5:
        raise UsageError(f"{step} aspect {aspect} is none of 0.2 to 5 (width over height)")


def _text_on_white(text: str, height: int, width: int) -> Image:
    bar = np.full((height, width, 3), 255, np.uint8)
    (at_one, tall), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    size = min(0.9 * width / max(1, at_one), 0.5 * height / max(1, tall))
    thick = max(1, round(size * 1.5))
    place = (round((width - at_one * size) / 2), round((height + tall * size) / 2))
    cv2.putText(bar, text, place, _FONT, size, (0, 0, 0), thick, cv2.LINE_AA)
    return bar
