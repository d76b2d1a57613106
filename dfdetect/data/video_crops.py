"""One video becomes crop rows and pictures, one row for every sampled frame or face in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfdetect.data.shards import (
    DECODE_ERROR,
    MISSING,
    NO_FACE,
    OK,
    TOO_SMALL,
    UNREADABLE,
    CropRow,
)
from dfdetect.data.videos import ManifestRow
from dfdetect.errors import UnreadableVideo, UsageError
from dfdetect.faces.crop import crop_face, crop_landmarks, face_quality
from dfdetect.faces.finder import FaceFinder
from dfdetect.faces.track import FaceTracker
from dfdetect.media import FrameSampler, probe
from dfdetect.types import CropPolicy, Face, FaceBox, Frame, Image

KEEP = ("largest", "all", "tracks")

# a finder wants some surroundings; a tight crop gets them from its own mirror image
_MIRROR_SHARE = 0.3

Cut = tuple[CropRow, Image | None]
Look = Callable[[Frame], tuple[tuple[int, Face], ...]]


@dataclass(frozen=True, slots=True)
class Cutter:
    """How the faces of a video are cut out; the settings that a crop store's hash covers.

    `keep` is `largest` (one face a frame, `track_id` 0), `all` (`track_id` is the rank by size in
    that frame) or `tracks` (one person over time). Faces whose box is smaller than `min_side_px`
    get a row but no picture. With the policy `whole` every frame is one crop; `landmarks` says
    whether a finder looks for the five points in it.
    """

    policy: CropPolicy
    sampler: FrameSampler
    keep: str = "largest"
    landmarks: bool = True
    min_side_px: float = 0.0

    def cut(self, row: ManifestRow, data_root: Path, finder: FaceFinder | None) -> Iterator[Cut]:
        """Yield a row, with the picture where its status is `ok`, for every sampled frame or face.

        A video that is missing, unreadable or breaks off costs one row with that status.
        """
        path = data_root / row.path
        if not path.exists():
            yield _video_row(row, MISSING), None
            return
        n_frames = 0
        try:
            stream = self.sampler.sample(probe(path, self.sampler.limits))
            cut_frame = self._frame_cutter(row, finder)
            for frame in stream:
                n_frames += 1
                yield from cut_frame(frame)
        except UnreadableVideo:
            yield _video_row(row, DECODE_ERROR if n_frames else UNREADABLE), None
            return
        # a clip with fewer frames than asked for is whole all the same
        summary = stream.summary
        if summary.n_decode_errors and summary.n_read < summary.n_requested:
            yield _video_row(row, DECODE_ERROR), None

    def _frame_cutter(
        self, row: ManifestRow, finder: FaceFinder | None
    ) -> Callable[[Frame], Iterator[Cut]]:
        if self.policy.name == "whole":
            seen = finder if self.landmarks else None
            return lambda frame: iter((_whole_cut(row, frame, self.policy, seen),))
        if finder is None:
            raise UsageError(
                f"crop policy {self.policy.name} needs a face finder; give finder=onnx"
            )
        look = _look(finder, self.keep)
        return lambda frame: self._face_cuts(row, frame, look(frame))

    def _face_cuts(
        self, row: ManifestRow, frame: Frame, faces: tuple[tuple[int, Face], ...]
    ) -> Iterator[Cut]:
        if not faces:
            yield _row(row, frame, -1, NO_FACE), None
        for track_id, face in faces:
            if face.box.side < self.min_side_px:
                yield replace(_row(row, frame, track_id, TOO_SMALL), **_face_facts(face)), None
                continue
            quality = face.quality or face_quality(frame.image, face)
            facts = _face_facts(replace(face, quality=quality))
            points = crop_landmarks(face, self.policy)
            cut = replace(_row(row, frame, track_id, OK), landmarks=points, **facts)
            yield cut, crop_face(frame.image, face, self.policy)


def _whole_cut(
    row: ManifestRow, frame: Frame, policy: CropPolicy, finder: FaceFinder | None
) -> Cut:
    height, width = frame.image.shape[:2]
    picture = FaceBox(0.0, 0.0, float(width), float(height))
    crop = replace(_row(row, frame, 0, OK), box=picture)
    face = None if finder is None else _face_in_crop(frame, finder)
    whole = Face(frame.index, frame.time_s, picture, (), 0.0)
    if face is not None:
        whole = replace(face, box=picture)
        quality = face_quality(frame.image, face)
        crop = replace(crop, confidence=face.confidence, quality=quality)
    points = crop_landmarks(whole, policy)
    return replace(crop, landmarks=points), crop_face(frame.image, whole, policy)


def _face_in_crop(frame: Frame, finder: FaceFinder) -> Face | None:
    height, width = frame.image.shape[:2]
    pad = round(_MIRROR_SHARE * max(height, width))
    border = cv2.copyMakeBorder(frame.image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    mirrored = np.asarray(border, dtype=np.uint8)
    for face in finder.find(Frame(frame.index, frame.time_s, mirrored)):
        x0, y0 = face.box.x0 - pad, face.box.y0 - pad
        x1, y1 = face.box.x1 - pad, face.box.y1 - pad
        # the largest face may be one in the mirror; the one that was cropped covers the centre
        if x0 < width / 2 < x1 and y0 < height / 2 < y1:
            points = tuple((x - pad, y - pad) for x, y in face.landmarks)
            return replace(face, box=FaceBox(x0, y0, x1, y1), landmarks=points)
    return None


def _look(finder: FaceFinder, keep: str) -> Look:
    if keep == "tracks":
        return FaceTracker(finder).update
    n_kept = 1 if keep == "largest" else None
    return lambda frame: tuple(enumerate(finder.find(frame)[:n_kept]))


def _face_facts(face: Face) -> dict[str, Any]:
    return {"box": face.box, "confidence": face.confidence, "quality": face.quality}


def _row(row: ManifestRow, frame: Frame, track_id: int, status: str) -> CropRow:
    return CropRow(
        crop_id=f"{row.video_id}/{frame.index:06d}_{max(track_id, 0):02d}",
        video_id=row.video_id,
        track_id=track_id,
        frame_index=frame.index,
        time_s=frame.time_s,
        status=status,
    )


def _video_row(row: ManifestRow, status: str) -> CropRow:
    return CropRow(f"{row.video_id}/{status}", row.video_id, -1, -1, 0.0, status)
