"""The clips of `dfdetect demo`: a portrait under a moving camera, and its forged twin.

The portrait is NASA's photograph of Eileen Collins, in the public domain (portrait/CREDIT.txt).
Both clips have the same motion, flicker and noise; they differ where the face was blended only.
They show what a report looks like; they say nothing about how often a detector is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import av
import cv2
import numpy as np

from dfdetect.data.blend import BlendSettings, self_blend
from dfdetect.errors import DfdetectError
from dfdetect.media.x264 import repeatable_x264
from dfdetect.provenance import written_whole
from dfdetect.types import Image, Point

WIDTH, HEIGHT, FPS, N_FRAMES = 640, 480, 25, 100
# eyes, nose tip and mouth corners of the portrait, in its own pixels
LANDMARKS: tuple[Point, ...] = ((205, 102), (247, 104), (225, 129), (202, 139), (245, 142))
# the camera looks at this point, from this width of the portrait, and moves slowly around it
_CENTRE = np.array([232.0, 128.0])
_VIEW_WIDTH = 320.0
# a face of another colour and sharpness than its surroundings, opaque: an editor can see it.
# The seed is one of those that leave the genuine portrait as it is.
_BLEND = BlendSettings(ratios=(1.0,), strength=1.4)
_BLEND_SEED = 33
_CAMERA_SEED = 0


@dataclass(frozen=True, slots=True)
class DemoClips:
    """The two clips: `genuine` shows the portrait as it is, `forged` the blended face."""

    genuine: Path
    forged: Path


def portrait() -> Image:
    """Return the bundled portrait, uint8 RGB (512, 512, 3).

    Raises:
        DfdetectError: The picture is missing or damaged; the installation is incomplete.

    Example:
        >>> portrait().shape
        (512, 512, 3)
    """
    asset = files("dfdetect.inference") / "portrait" / "astronaut.jpg"
    if not asset.is_file():
        raise DfdetectError(f"{asset} is missing; it comes with the package: reinstall dfdetect")
    picture = cv2.imdecode(np.frombuffer(asset.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise DfdetectError(f"{asset} is damaged; it comes with the package: reinstall dfdetect")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def make_demo_clips(
    out: Path, progress: Callable[[int, int], None] | None = None, n_frames: int = N_FRAMES
) -> DemoClips:
    """Write both clips (640 × 480, 25 frames a second, H.264) into the folder `out`.

    The same package versions give the same pixels: every draw has a fixed seed, and the face is
    blended once, before the camera moves, so that the forgery holds still on the face.
    """
    blend = self_blend(portrait(), LANDMARKS, np.random.default_rng(_BLEND_SEED), _BLEND)
    clips = DemoClips(out / "demo-genuine.mp4", out / "demo-forged.mp4")
    for part, (path, still) in enumerate(((clips.genuine, blend.real), (clips.forged, blend.fake))):
        with written_whole(path) as partial:
            _encode(
                partial, _reported(filmed(still, n_frames), part * n_frames, 2 * n_frames, progress)
            )
    return clips


def filmed(still: Image, n_frames: int = N_FRAMES) -> Iterator[Image]:
    """Yield a still picture as a hand-held camera would film it, uint8 RGB (480, 640, 3).

    The view drifts and zooms by a few per cent, the brightness flickers by about 1 %, and every
    pixel has noise of its own (σ = 2 grey levels). Two pictures get the same motion and noise.
    """
    rng = np.random.default_rng(_CAMERA_SEED)
    for index in range(n_frames):
        turn = 2 * np.pi * index / N_FRAMES
        zoom = WIDTH / _VIEW_WIDTH * (1.05 + 0.05 * np.sin(turn))
        drift = np.array([14 * np.sin(turn * 0.9), 6 * np.sin(turn * 1.7)])
        view = np.zeros((2, 3))
        view[:, :2] = zoom * np.eye(2)
        view[:, 2] = np.array([WIDTH, HEIGHT]) / 2 - zoom * (_CENTRE + drift)
        picture = cv2.warpAffine(
            still, view, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        light = 1 + 0.01 * np.sin(turn * 5.3) + rng.normal(0, 0.002)
        # one draw for all three channels: a camera's noise is mostly of brightness
        noise = rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32) * 2
        yield np.clip(np.rint(picture * np.float32(light) + noise), 0, 255).astype(np.uint8)


def _reported(
    pictures: Iterator[Image], done: int, total: int, progress: Callable[[int, int], None] | None
) -> Iterator[Image]:
    for index, picture in enumerate(pictures, start=done + 1):
        yield picture
        if progress is not None:
            progress(index, total)


def _encode(path: Path, pictures: Iterator[Image]) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        # one thread: x264 may cut slices differently with another number of cores
        options = {"crf": "20", "preset": "veryfast", "threads": "1"} | repeatable_x264()
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
