"""One video becomes crop rows and pictures, one row for every sampled frame or face in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import isclose
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfdetect.data.masks import MaskReader, painted_face
from dfdetect.data.reuse import Given, Numbered, Reuse, Search, Sighting
from dfdetect.data.shards import (
    ALTERED,
    DECODE_ERROR,
    MASK_ERROR,
    MISSING,
    OK,
    TOO_SMALL,
    UNREADABLE,
    UNTOUCHED,
    CropRow,
)
from dfdetect.data.videos import ManifestRow
from dfdetect.errors import UnreadableVideo, UsageError
from dfdetect.faces.crop import crop_face, crop_landmarks, face_quality
from dfdetect.faces.finder import FaceFinder
from dfdetect.faces.track import FaceTracker
from dfdetect.media import FrameSampler, probe
from dfdetect.types import FAKE, CropPolicy, Face, FaceBox, Frame, Image, VideoInfo

KEEP = ("largest", "all", "tracks", "mask")

# a finder wants some surroundings; a tight crop gets them from its own mirror image
_MIRROR_SHARE = 0.3

Cut = tuple[CropRow, Image | None]
Look = Callable[[Frame], Sighting]


@dataclass(frozen=True, slots=True)
class Cutter:
    """How the faces of a video are cut out; the settings that a crop store's hash covers.

    `keep` is `largest` (one face a frame, `track_id` 0), `all` (`track_id` is the rank by size in
    that frame), `tracks` (one person over time) or `mask` (of a forgery with a mask the face that
    was painted, one a frame; of any other video the largest). Faces whose box is smaller than
    `min_side_px` get a row but no picture. With `reuse_boxes` a forgery takes over the faces of
    its original where the two line up, see `Reuse`.

    With the policy `whole` every frame is one crop, whatever `keep` and `reuse_boxes` say;
    `landmarks` says whether a finder looks for the five points in it.
    """

    policy: CropPolicy
    sampler: FrameSampler
    keep: str = "largest"
    landmarks: bool = True
    min_side_px: float = 0.0
    reuse_boxes: bool = False

    def cut(
        self,
        row: ManifestRow,
        data_root: Path,
        finder: FaceFinder | None,
        given: Given | None = None,
    ) -> Iterator[Cut]:
        """Yield a row, with the picture where its status is `ok`, for every sampled frame or face.

        A video that is missing, unreadable, another one than was indexed (`altered`) or breaks off
        costs one row with that status, and so does a forgery whose mask is to choose the face but
        is missing or unreadable. A frame that nothing was painted in is `untouched`: a genuine
        picture in a forgery. One whose painted area no face covers has `no_face`, one that the mask
        does not reach `mask_error`.

        Args:
            row: The video.
            data_root: The folder that the manifest's paths are relative to.
            finder: Looks for faces; None only for the policy `whole` without landmarks.
            given: The rows that this cutter made of the video's original, if there is one.

        Raises:
            UsageError: The policy needs a finder.
        """
        path = data_root / row.path
        if not path.exists():
            yield _video_row(row, MISSING), None
            return
        n_frames = 0
        try:
            video = probe(path, self.sampler.limits)
            if not is_as_indexed(video, row):
                yield _video_row(row, ALTERED), None
                return
            stream = self.sampler.sample(video)
            try:
                mask = self._mask(row, data_root, video)
            except UnreadableVideo:
                yield _video_row(row, MASK_ERROR), None
                return
            cut_frame = self._frame_cutter(row, finder, given, mask)
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

    def _mask(self, row: ManifestRow, data_root: Path, video: VideoInfo) -> MaskReader | None:
        chooses = self.keep == "mask" and self.policy.name != "whole" and row.label == FAKE
        if not chooses or row.mask_path is None:
            return None
        return MaskReader(data_root / row.mask_path, self.sampler, video)

    def _frame_cutter(
        self,
        row: ManifestRow,
        finder: FaceFinder | None,
        given: Given | None,
        mask: MaskReader | None,
    ) -> Callable[[Frame], Iterator[Cut]]:
        if self.policy.name == "whole":
            seen = finder if self.landmarks else None
            return lambda frame: iter((_whole_cut(row, frame, self.policy, seen),))
        if finder is None:
            raise UsageError(
                f"crop policy {self.policy.name} needs a face finder; give finder=onnx"
            )
        look = self._look(row, finder, given, mask)
        return lambda frame: self._face_cuts(row, frame, look(frame))

    def _look(
        self, row: ManifestRow, finder: FaceFinder, given: Given | None, mask: MaskReader | None
    ) -> Look:
        search = _search(finder, self.keep)
        reuses = self.reuse_boxes and row.label == FAKE
        look: Look
        if reuses and given is not None and given.lines_up_with(row):
            look = Reuse(given, search, tracks=self.keep == "tracks")
        else:
            look = partial(_sighted, search)
        if mask is not None:
            return lambda frame: _painted(frame, mask, look, search)
        if self.keep in ("all", "tracks"):
            return look
        return lambda frame: _largest(look(frame))

    def _face_cuts(self, row: ManifestRow, frame: Frame, sighting: Sighting) -> Iterator[Cut]:
        source = sighting.box_from
        if not sighting.faces:
            yield replace(_row(row, frame, -1, sighting.status), box_from=source), None
        for track_id, exact in sighting.faces:
            face = _as_stored(exact)
            facts = {**_face_facts(face), "points": face.landmarks, "box_from": source}
            if face.box.side < self.min_side_px:
                yield replace(_row(row, frame, track_id, TOO_SMALL), **facts), None
                continue
            facts["quality"] = face.quality or face_quality(frame.image, face)
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
    crop = replace(crop, landmarks=points, points=whole.landmarks)
    return crop, crop_face(frame.image, whole, policy)


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


def _search(finder: FaceFinder, keep: str) -> Search:
    if keep == "tracks":
        return FaceTracker(finder).update
    return lambda frame: tuple(enumerate(finder.find(frame)))


def _sighted(search: Search, frame: Frame) -> Sighting:
    return Sighting(search(frame))


def _largest(sighting: Sighting) -> Sighting:
    return replace(sighting, faces=sighting.faces[:1])


def _painted(frame: Frame, mask: MaskReader, look: Look, search: Search) -> Sighting:
    painted = mask.at(frame)
    if painted is None:
        return Sighting(status=MASK_ERROR)
    if not painted.any():
        return Sighting(status=UNTOUCHED)
    seen = look(frame)
    chosen = _alone(painted_face(painted, seen.faces, frame))
    if not chosen and seen.box_from is not None:
        # of the original only the largest face is known, and another one was painted
        return Sighting(_alone(painted_face(painted, search(frame), frame)))
    return replace(seen, faces=chosen)


def _alone(faces: Numbered) -> Numbered:
    return tuple((0, face) for _, face in faces)


def _as_stored(face: Face) -> Face:
    """Round a face to what the table holds, so that whoever reads it there cuts the same crop."""
    corners = (face.box.x0, face.box.y0, face.box.x1, face.box.y1)
    points = np.asarray(face.landmarks, np.float32).reshape(-1, 2).tolist()
    return replace(
        face,
        box=FaceBox(*np.asarray(corners, np.float32).tolist()),
        landmarks=tuple((x, y) for x, y in points),
        confidence=float(np.float32(face.confidence)),
    )


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


def is_as_indexed(video: VideoInfo, row: ManifestRow) -> bool:
    """Tell whether a clip has the size, length and rate that the manifest found in it."""
    # a hash would cost reading every file twice; another clip under the name differs in these
    shape = (video.width, video.height, video.n_frames)
    return shape == (row.width, row.height, row.n_frames) and isclose(video.fps, row.fps)


def _video_row(row: ManifestRow, status: str) -> CropRow:
    return CropRow(f"{row.video_id}/{status}", row.video_id, -1, -1, 0.0, status)
