"""facenet-pytorch's MTCNN: the reference finder, and the fast one on a GPU.

This is the only file that imports facenet-pytorch, so its quirks end here: object arrays, None for
"no face", pictures too small for it, and crops that distort the aspect ratio (never used).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from facenet_pytorch import MTCNN

from dfdetect.faces.mtcnn import REGION_SIZES, SMALLEST_FACE_PX, Detections, region_around
from dfdetect.types import FaceBox, Image

if TYPE_CHECKING:
    from torch import nn


class FacenetCascade:
    """MTCNN at the picture's full resolution with the library's own thresholds.

    Args:
        device: Where torch runs the nets, such as `cpu` or `cuda`.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Load the three nets that facenet-pytorch carries; nothing is downloaded."""
        self._mtcnn = MTCNN(keep_all=True, device=device)

    def search(self, image: Image) -> Detections:
        """Return every face of a picture, in its pixels."""
        return self._detect(image, SMALLEST_FACE_PX)

    def search_near(self, image: Image, box: FaceBox) -> Detections:
        """Return the faces around a box that are not much smaller than it."""
        x0, y0, x1, y1 = region_around(image, box)
        smallest = max(SMALLEST_FACE_PX, int(box.side * REGION_SIZES[0]))
        return self._detect(image[y0:y1, x0:x1], smallest).moved(x0, y0)

    def _detect(self, image: Image, smallest_px: int) -> Detections:
        # the library fails on a picture smaller than the smallest face, whose pyramid is empty
        if min(image.shape[:2]) < smallest_px:
            return Detections.none()
        self._mtcnn.min_face_size = smallest_px
        boxes, confidences, landmarks = self._mtcnn.detect(image, landmarks=True)
        if boxes is None:
            return Detections.none()
        return Detections(
            boxes=np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
            confidences=np.asarray(confidences, dtype=np.float32).reshape(-1),
            landmarks=np.asarray(landmarks, dtype=np.float32).reshape(-1, 5, 2),
        )


def reference_nets() -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return facenet-pytorch's trained P-Net, R-Net and O-Net, from which ours are exported."""
    mtcnn = MTCNN()
    return mtcnn.pnet.eval(), mtcnn.rnet.eval(), mtcnn.onet.eval()
