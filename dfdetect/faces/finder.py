"""Frames → faces: the finder's protocol and two implementations of the same MTCNN.

`onnx` is the default: quick on a CPU, without torch. `facenet` is the reference at full
resolution, and the faster one on a GPU.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from dfdetect.errors import UsageError
from dfdetect.faces.mtcnn import Detections, OnnxCascade
from dfdetect.registry import Registry
from dfdetect.types import Face, FaceBox, Frame, Image

# MTCNN's own 0.7 lets hands, collars and lamps through. What is below 0.90 is no face to a finder;
# a new track needs 0.95, because most of what appears between the two for a moment is no face.
MIN_CONFIDENCE = 0.90
START_CONFIDENCE = 0.95


class FaceFinder(Protocol):
    """Finds faces in one frame; what follows sees no difference between implementations."""

    def find(self, frame: Frame) -> tuple[Face, ...]:
        """Return every face of the frame, the largest box first."""
        ...

    def find_near(self, frame: Frame, box: FaceBox) -> tuple[Face, ...]:
        """Return the faces in a region around `box` of about its size, the largest first."""
        ...


class Cascade(Protocol):
    """An MTCNN: arrays of boxes, confidences and points, in no particular order."""

    def search(self, image: Image) -> Detections:
        """Return every face of a picture."""
        ...

    def search_near(self, image: Image, box: FaceBox) -> Detections:
        """Return the faces around a box."""
        ...


class CascadeFinder:
    """A `FaceFinder` over a cascade; faces below `min_confidence` are left out."""

    def __init__(self, cascade: Cascade, min_confidence: float = MIN_CONFIDENCE) -> None:
        """Find faces with this cascade."""
        self._cascade = cascade
        self._min_confidence = min_confidence

    def find(self, frame: Frame) -> tuple[Face, ...]:
        """Return every face of the frame, the largest box first."""
        return self._cascade.search(frame.image).faces(frame, self._min_confidence)

    def find_near(self, frame: Frame, box: FaceBox) -> tuple[Face, ...]:
        """Return the faces in a region around `box` of about its size, the largest first."""
        return self._cascade.search_near(frame.image, box).faces(frame, self._min_confidence)


FINDERS: Registry[Callable[..., FaceFinder]] = Registry("face finder")


@FINDERS.register("onnx")
def onnx_finder(min_confidence: float = MIN_CONFIDENCE, threads: int = 1) -> FaceFinder:
    """Return MTCNN on ONNX Runtime, which never imports torch."""
    return CascadeFinder(OnnxCascade(threads), min_confidence)


@FINDERS.register("facenet")
def facenet_finder(min_confidence: float = MIN_CONFIDENCE, device: str = "cpu") -> FaceFinder:
    """Return facenet-pytorch's MTCNN at full resolution on a torch device."""
    # torch takes seconds to import, so it is loaded only where this finder is asked for
    from dfdetect.faces.facenet import FacenetCascade

    return CascadeFinder(FacenetCascade(device), min_confidence)


def create_finder(name: str = "onnx", **options: Any) -> FaceFinder:
    """Return the finder called `name`.

    Raises:
        UsageError: The name is unknown, or the finder has no such option.

    Example:
        >>> FINDERS.names()
        ('facenet', 'onnx')
    """
    make = FINDERS.get(name)
    known = inspect.signature(make).parameters
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(
            f"face finder {name!r} has no option {unknown[0]!r}; its options: {', '.join(known)}"
        )
    return make(**options)
