"""Landmarks for blending: 81 points of every crop of a store, by MediaPipe's face mesh.

python scripts/mesh_landmarks.py STORE OUT.npz

Self-blended images are drawn more closely to their paper with 68 or 81 landmarks than with the
five that a face finder gives: `dfdetect train … landmarks=[OUT.npz]`. MediaPipe is no dependency of
dfdetect: its last release that carries the mesh's weights is 0.10.14 (Apache-2.0), which brings an
OpenCV of its own, so give it an environment of its own:

    python -m venv work/mesh
    work/mesh/bin/pip install mediapipe==0.10.14 -e .

Nothing is downloaded when it runs. The 468 points of the mesh are reduced to the iBUG 68, and 13 on
the forehead; on 150 frames of YouTube Faces with 68 hand-checked points the median distance is 0.05
of the distance between the outer eye corners, 0.11 along the jaw, where both are vague. Crops in
which no face is found are counted and left out: training goes on with their five points.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.crops import CropStore
from dfdetect.provenance import written_whole

# the mesh's vertices that lie where the iBUG 68 points do
JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
BROWS = (71, 63, 105, 66, 107, 336, 296, 334, 293, 301)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
# the upper rim of the face, from left to right; pairs are halfway between two vertices
FOREHEAD = (21, 54, 103, 67, 109, (109, 10), 10, (10, 338), 338, 297, 332, 284, 251)
LEAST_CONFIDENCE = 0.3


def main(arguments: Sequence[str]) -> int:
    """Write the landmarks of a store and say how many faces there are."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python scripts/mesh_landmarks.py STORE OUT.npz\n")
        return 2
    # an environment of its own, see above
    from mediapipe.python.solutions.face_mesh import FaceMesh

    store, out = CropStore.open(Path(arguments[0])), Path(arguments[1])
    crops = store.usable()
    names, found = [], []
    with FaceMesh(
        static_image_mode=True, max_num_faces=1, min_detection_confidence=LEAST_CONFIDENCE
    ) as mesh:
        for number, crop in enumerate(crops, start=1):
            picture = store.image(crop)
            faces = mesh.process(picture).multi_face_landmarks
            if faces:
                names.append(crop.crop_id)
                found.append(points_of(faces[0].landmark, *picture.shape[:2]))
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number} of {len(crops)} crops")
    # in pixels whose middles are whole numbers, as everywhere here
    points = np.array(found, dtype=np.float32).reshape(-1, 81, 2) - 0.5
    with written_whole(out) as part, part.open("wb") as stream:
        np.savez_compressed(stream, crop_id=np.array(names), points=points)
    sys.stdout.write(f"{len(found)} of {len(crops)} crops have landmarks: {out}\n")
    return 0


def points_of(mesh: Sequence[object], height: int, width: int) -> NDArray[np.float64]:
    """Return 81 points in pixels from a mesh whose coordinates are shares of the picture."""
    vertices = np.array([(one.x * width, one.y * height) for one in mesh])  # type: ignore[attr-defined]
    rim = [vertices[[one] if isinstance(one, int) else list(one)].mean(0) for one in FOREHEAD]
    return np.concatenate([vertices[[*JAW, *BROWS, *NOSE, *EYES, *LIPS]], np.stack(rim)])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
