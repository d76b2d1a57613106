"""Faces that were found in an original, taken over for the forgeries made from it.

Where a forgery lines up with its original pixel for pixel but for the face, a search would find
the same boxes again; taking them over saves the search and cuts both out at the same place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dfdetect.data.shards import NO_FACE, CropRow
from dfdetect.data.videos import ManifestRow
from dfdetect.types import Face, Frame

SAME_FACE_IOU = 0.5

# headers give 29.97 for 30000/1001; over a thousand frames that is a hundredth of one
_RATE_TOLERANCE = 1e-3

Numbered = tuple[tuple[int, Face], ...]
Search = Callable[[Frame], Numbered]


@dataclass(frozen=True, slots=True)
class Sighting:
    """The faces of one frame by track id, the largest first unless they are tracks.

    `box_from` names the video they were taken over from, and `status` says why there is none.
    """

    faces: Numbered = ()
    box_from: str | None = None
    status: str = NO_FACE


@dataclass(frozen=True, slots=True)
class Given:
    """An original and all its crop rows, those without a face or a frame included."""

    video: ManifestRow
    rows: Sequence[CropRow]

    def lines_up_with(self, forgery: ManifestRow) -> bool:
        """Tell whether a forgery has this video's size, frame rate and number of frames.

        It does not where a row says that the original could not be read to the end, for then
        other frames of it were sampled; nor where a face has no points in the source.
        """
        mine, other = self.video, forgery
        return (
            (mine.width, mine.height) == (other.width, other.height)
            and math.isclose(mine.fps, other.fps, rel_tol=_RATE_TOLERANCE)
            and _n_frames(mine) == _n_frames(other)
            and all(row.frame_index >= 0 for row in self.rows)
            and all(row.points for row in self.rows if row.box is not None)
        )

    def faces(self) -> dict[int, Numbered]:
        """Return the faces of every sampled frame by its index, in the order of the rows."""
        found: dict[int, Numbered] = {}
        for row in self.rows:
            faces = found.setdefault(row.frame_index, ())
            if row.box is not None:
                confidence = row.confidence or 0.0
                face = Face(row.frame_index, row.time_s, row.box, row.points, confidence)
                found[row.frame_index] = (*faces, (row.track_id, face))
        return found


class Reuse:
    """Gives a forgery's frames the faces of its original, once one frame has borne them out.

    The first frames are searched as usual, up to the first in which the original has a face: if
    the search finds every face of the original there (IoU ≥ 0.5), and nothing in the frames
    before, what was found in the original holds for this and all later frames. A frame without a
    face in the original is then without one here. If not, or if the original lacks one of these
    frames, the whole video is searched. A later frame that the original lacks is searched by
    itself; with tracks, its faces get ids of their own after all others.
    """

    def __init__(self, given: Given, search: Search, *, tracks: bool) -> None:
        """Prepare for one forgery that lines up; `tracks` says that ids are of tracks."""
        self._name = given.video.video_id
        self._known = given.faces()
        self._search = search
        ids = [track_id for faces in self._known.values() for track_id, _ in faces]
        self._first_free = max(ids, default=-1) + 1 if tracks else 0
        self._trusted: bool | None = None

    def __call__(self, frame: Frame) -> Sighting:
        """Return the faces of the next sampled frame."""
        known = self._known.get(frame.index)
        if self._trusted is None:
            return self._checked(frame, known)
        if not self._trusted:
            return Sighting(self._search(frame))
        if known is None:
            found = self._search(frame)
            return Sighting(tuple((self._first_free + number, face) for number, face in found))
        return Sighting(known, self._name)

    def _checked(self, frame: Frame, known: Numbered | None) -> Sighting:
        found = self._search(frame)
        if known and all(_is_among(face, found) for _, face in known):
            self._trusted = True
            return Sighting(known, self._name)
        # nothing known and nothing found settles nothing
        if known is None or known or found:
            self._trusted = False
        return Sighting(found)


def _is_among(face: Face, found: Numbered) -> bool:
    return any(face.box.iou(other.box) >= SAME_FACE_IOU for _, other in found)


def _n_frames(video: ManifestRow) -> int:
    return video.n_frames or round(video.duration_s * video.fps)
