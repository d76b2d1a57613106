"""One small picture of each person, obscured from the start."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from dfdetect.evidence.redact import obscure
from dfdetect.types import Face, FaceBox, Frame, Image, Still

LONG_SIDE_PX = 360


def make_still(frame: Frame, face: Face, others: Sequence[Face], seed: str) -> Still:
    """Return a small picture of a frame that points out one face.

    Args:
        frame: The whole picture; it is not kept.
        face: The person the still is of.
        others: The other known faces in the same frame, which are hidden as well.
        seed: Fixes the noise of the obscured picture (the clip's SHA-256).
    """
    height, width = frame.image.shape[:2]
    scale = min(1.0, LONG_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    clear = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    box = _scaled(face.box, scale)
    rest = tuple(_scaled(other.box, scale) for other in others)
    return Still(
        frame_index=frame.index,
        time_s=frame.time_s,
        box=box,
        others=rest,
        obscured=obscure(clear, (box, *rest), f"{seed}/{frame.index}"),
        clear=clear,
    )


def data_uri(image: Image, *, lossless: bool) -> str:
    """Return a picture as a `data:` address: PNG where lossless, else JPEG of quality 85.

    Raises:
        ValueError: The picture cannot be encoded; it is empty.
    """
    kind, options = ("png", []) if lossless else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, 85])
    done, encoded = cv2.imencode(f".{kind}", np.ascontiguousarray(image[..., ::-1]), options)
    if not done:
        raise ValueError("the still could not be encoded")
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"


def _scaled(box: FaceBox, scale: float) -> FaceBox:
    return FaceBox(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)
