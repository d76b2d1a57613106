"""MTCNN's cascade on ONNX Runtime: proposals on a reduced picture, verdicts on the full one.

Source: Zhang, Zhang, Li and Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks", 2016, section II; thresholds, strides and offsets are those of
facenet-pytorch, whose weights the nets carry. Two things differ, and scripts/bench_faces.py
measures that they keep its faces: proposals come from a reduced picture, and the surroundings of
a known face can be searched for faces of about its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dfdetect.types import Face, FaceBox, Frame, Image

WEIGHTS = Path(__file__).parent / "weights"

# confidences and overlaps of facenet-pytorch's MTCNN
PROPOSE_AT, REFINE_AT, ACCEPT_AT = 0.6, 0.7, 0.7
OVERLAP_IN_LEVEL, OVERLAP = 0.5, 0.7
PYRAMID_FACTOR = 0.709
CELL, STRIDE = 12, 2  # P-Net looks at windows of 12 × 12 px, 2 px apart
BATCH = 32  # larger batches of R-Net and O-Net are no quicker and need more memory

# A whole picture is reduced threefold and searched for faces of 20 px there, that is 60 px of the
# source; but its short side stays at least 360 px (a face of a short side / 18) and, to bound
# memory and time, at most 1080 px.
REDUCTION = 3.0
SHORT_SIDE_PX = (360, 1080)
SMALLEST_FACE_PX = 20

# A region reaches 1.5 face sides from the old centre; there the face is reduced to 40 px and
# looked for at about the size it had.
REGION_REACH = 1.5
REGION_FACE_PX = 40
REGION_SIZES = (0.6, 0.85, 1.2, 1.7)

Array: TypeAlias = NDArray[np.float32]
Net: TypeAlias = Callable[[NDArray[np.uint8]], list[Array]]


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces as arrays: xyxy `boxes` n×4, `confidences` n and `landmarks` n×5×2, in pixels."""

    boxes: Array
    confidences: Array
    landmarks: Array

    @classmethod
    def none(cls) -> Detections:
        """Return no face at all."""
        return cls(*(np.empty(shape, np.float32) for shape in ((0, 4), (0,), (0, 5, 2))))

    def moved(self, x: float, y: float) -> Detections:
        """Return the same faces `x` pixels further right and `y` further down."""
        shift = np.array([x, y], np.float32)
        return Detections(self.boxes + np.tile(shift, 2), self.confidences, self.landmarks + shift)

    def faces(self, frame: Frame, min_confidence: float) -> tuple[Face, ...]:
        """Return faces of `frame` with at least that confidence, the largest box first."""
        faces = [
            Face(
                frame_index=frame.index,
                time_s=frame.time_s,
                box=FaceBox(*map(float, box)),
                landmarks=tuple((float(x), float(y)) for x, y in points),
                confidence=float(confidence),
            )
            for box, confidence, points in zip(
                self.boxes, self.confidences, self.landmarks, strict=True
            )
            if confidence >= min_confidence
        ]
        return tuple(sorted(faces, key=lambda face: (-face.box.area, face.box.x0, face.box.y0)))


class OnnxCascade:
    """The three nets on ONNX Runtime with an OpenCV pyramid; equal input gives equal output.

    Args:
        threads: Threads of each net. One is nearly as quick as two, costs fewer CPU seconds and
            adds in one order.
    """

    def __init__(self, threads: int = 1) -> None:
        """Load the nets from the package's weights."""
        self._pnet = _load("pnet", ["classes", "offsets"], threads)
        self._rnet = _load("rnet", ["classes", "offsets"], threads)
        self._onet = _load("onet", ["classes", "offsets", "points"], threads)

    def search(self, image: Image) -> Detections:
        """Return every face of a picture, in its pixels."""
        short = min(image.shape[:2])
        least, most = SHORT_SIDE_PX
        reduction = max(1.0, short / most, min(REDUCTION, short / least))
        picture, back = _reduced(image, reduction)
        sizes = [float(SMALLEST_FACE_PX)]
        while (larger := sizes[-1] / PYRAMID_FACTOR) <= min(picture.shape[:2]):
            sizes.append(larger)
        boxes = self._refine(picture, self._propose(picture, sizes))
        return self._judge(image, boxes * back)

    def search_near(self, image: Image, box: FaceBox) -> Detections:
        """Return the faces around a box that are about as large as it, in the image's pixels."""
        x0, y0, x1, y1 = region_around(image, box)
        region = image[y0:y1, x0:x1]
        if region.size == 0:
            return Detections.none()
        reduction = max(1.0, box.side / REGION_FACE_PX)
        picture, back = _reduced(region, reduction)
        sizes = sorted({max(CELL, box.side / reduction * factor) for factor in REGION_SIZES})
        boxes = self._refine(picture, self._propose(picture, sizes))
        # judged on the whole image: a box cut off by the region's edge would be distorted
        return self._judge(image, boxes * back + np.array([x0, y0, x0, y0], np.float32))

    def _propose(self, picture: Image, sizes: Sequence[float]) -> Array:
        height, width = picture.shape[:2]
        level, found = picture, [np.empty((0, 9), np.float32)]
        for size in sizes:
            shape = int(width * CELL / size + 1), int(height * CELL / size + 1)
            if min(shape) < CELL or size > min(width, height):
                continue
            # each level is made of the one before: as good, and half the time of starting over
            level = _shrunk(level, shape)
            classes, offsets = self._pnet(level[None])
            found.append(_windows(classes[0, 1], offsets[0], size / CELL))
        windows = np.concatenate(found)
        windows = windows[_suppressed(windows[:, :4], windows[:, 4], OVERLAP)]
        sides = windows[:, 2:4] - windows[:, :2]
        return _squared(windows[:, :4] + windows[:, 5:] * np.tile(sides, 2))

    def _refine(self, picture: Image, boxes: Array) -> Array:
        patches, boxes = _patches(picture, boxes, 24)
        if len(boxes) == 0:
            return boxes
        classes, offsets = _in_batches(self._rnet, patches)
        good = classes[:, 1] > REFINE_AT
        boxes, confidences, offsets = boxes[good], classes[good, 1], offsets[good]
        kept = _suppressed(boxes, confidences, OVERLAP)
        return _squared(_shifted(boxes[kept], offsets[kept]))

    def _judge(self, image: Image, boxes: Array) -> Detections:
        patches, boxes = _patches(image, boxes, 48)
        if len(boxes) == 0:
            return Detections.none()
        classes, offsets, points = _in_batches(self._onet, patches)
        good = classes[:, 1] > ACCEPT_AT
        boxes, confidences, points = boxes[good], classes[good, 1], points[good]
        # O-Net gives five x, then five y, as fractions of its box
        fractions = points.reshape(-1, 2, 5).transpose(0, 2, 1)
        sides = boxes[:, None, 2:] - boxes[:, None, :2] + 1
        landmarks = boxes[:, None, :2] - 1 + fractions * sides
        boxes = _shifted(boxes, offsets[good])
        kept = _suppressed_inside(boxes, confidences, OVERLAP)
        return Detections(boxes[kept], confidences[kept], landmarks[kept])


def region_around(image: Image, box: FaceBox) -> tuple[int, int, int, int]:
    """Return the part of the picture, xyxy, in which a face that was at `box` is looked for."""
    height, width = image.shape[:2]
    (x, y), reach = box.centre, REGION_REACH * box.side
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    right, bottom = min(width, int(x + reach) + 1), min(height, int(y + reach) + 1)
    return left, top, max(left, right), max(top, bottom)


def _load(name: str, outputs: list[str], threads: int) -> Net:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # every level and batch has its own shape; remembering a memory plan for each only costs memory
    options.enable_mem_pattern = False
    # waiting threads would otherwise burn as much CPU as working ones
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(WEIGHTS / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return partial(_run, session, outputs)


def _run(
    session: onnxruntime.InferenceSession, outputs: list[str], pictures: NDArray[np.uint8]
) -> list[Array]:
    return list(session.run(outputs, {"pictures": pictures}))


def _in_batches(net: Net, patches: NDArray[np.uint8]) -> list[Array]:
    parts = [net(patches[i : i + BATCH]) for i in range(0, len(patches), BATCH)]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _reduced(image: Image, reduction: float) -> tuple[Image, Array]:
    """Return the smaller picture and the factors that bring its xyxy boxes back to the image."""
    height, width = image.shape[:2]
    shape = max(1, round(width / reduction)), max(1, round(height / reduction))
    back = np.array([width / shape[0], height / shape[1]] * 2, np.float32)
    if shape == (width, height):
        return image, back
    return _shrunk(image, shape), back


def _shrunk(image: Image, shape: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _windows(confidences: Array, offsets: Array, scale: float) -> Array:
    """Return P-Net's windows of one level as rows of box, confidence and four offsets."""
    rows, columns = np.nonzero(confidences >= PROPOSE_AT)
    scores = confidences[rows, columns]
    corner = np.stack([columns, rows], axis=1) * STRIDE + 1
    boxes = (np.concatenate([corner, corner + CELL - 1], axis=1) * scale).astype(np.float32)
    windows = np.concatenate([boxes, scores[:, None], offsets[:, rows, columns].T], axis=1)
    return windows[_suppressed(boxes, scores, OVERLAP_IN_LEVEL)]


def _suppressed(boxes: Array, confidences: Array, overlap: float) -> NDArray[np.intp]:
    """Return the boxes that overlap no better one by more than that share of their union."""
    if len(boxes) == 0:
        return np.empty(0, np.intp)
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), confidences.tolist(), 0.0, overlap)
    return np.asarray(kept, dtype=np.intp).reshape(-1)


def _suppressed_inside(boxes: Array, confidences: Array, overlap: float) -> NDArray[np.intp]:
    """Return the boxes that share no more than `overlap` of the smaller box with a better one."""
    order = np.argsort(-confidences, kind="stable")
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(0, high - low + 1), axis=1)
        order = rest[shared / np.minimum(areas[best], areas[rest]) <= overlap]
    return np.array(kept, dtype=np.intp)


def _squared(boxes: Array) -> Array:
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + (sides - side) / 2
    return np.concatenate([corner, corner + side], axis=1)


def _shifted(boxes: Array, offsets: Array) -> Array:
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _patches(picture: Image, boxes: Array, size: int) -> tuple[NDArray[np.uint8], Array]:
    """Return what the next net looks at, size × size, and the boxes that meet the picture.

    The nets were trained on boxes cut at the picture's edge and stretched, so this follows suit.
    """
    height, width = picture.shape[:2]
    corners = np.trunc(boxes).astype(np.int64)
    low = np.maximum(corners[:, :2], 1) - 1
    high = np.minimum(corners[:, 2:], (width, height))
    inside = (high > low).all(axis=1)
    patches = np.empty((int(inside.sum()), size, size, 3), np.uint8)
    for patch, (x0, y0), (x1, y1) in zip(patches, low[inside], high[inside], strict=True):
        patch[:] = _shrunk(picture[y0:y1, x0:x1], (size, size))
    return patches, boxes[inside]
