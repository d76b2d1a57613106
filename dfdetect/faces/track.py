"""Faces of sparse frames → one track a person: when to search where, and who is who.

Searching. A frame is searched whole when it is the clip's first or a long time after the last
one, every `key_every`-th time, at a suspected cut, when a known face was missing, and while there
is no known face or a crowd. In between only the surroundings of each known face are searched; if
that does not give exactly one face for each of them, the whole frame is searched after all.

Linking. A face continues a track by where it is, how large it is and what it looks like. Within a
shot and a short time, place decides: the farther a face moved, the more alike it must look, up to
`reach` face sides; a walker may even make `stride`. After a cut, a long time or a frame without
it, any face may be anybody: it must be within `reach` and look as alike as a walker. What
continues nothing starts a track. Where several fit, place (expected to move on evenly), size and
look decide together; equal cases go to the lower track id, then to the picture's left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dfdetect.faces.appearance import FaceLook, FrameLook
from dfdetect.faces.crop import face_quality
from dfdetect.faces.finder import START_CONFIDENCE, FaceFinder
from dfdetect.types import Face, Frame, Point, Track

SAME_FACE_IOU = 0.4  # regions overlap, and what both find is one face


@dataclass(frozen=True, slots=True)
class TrackRules:
    """The numbers of the tracker, measured by scripts/bench_faces.py on 32 frames a clip.

    Likeness is `FaceLook.likeness` and `FrameLook.likeness`, at most 1. In the clips measured,
    99 % of a person's neighbouring samples are at least 0.80 alike and 99 % of pairs of different
    people at most 0.74; 98 % of neighbouring frames of one shot are at least 0.80 alike.
    """

    start_at: float = START_CONFIDENCE  # confidence that a face needs to start a track
    key_every: int = 4  # at the latest every so many frames one is searched whole
    max_regions: int = 3  # more regions cost as much as the whole frame
    max_gap_s: float = 2.0  # after a longer time any face may be anybody
    cut_below: float = 0.8  # likeness of neighbouring frames
    patience: int = 1  # frames that a face may be missing before its track ends
    reach: float = 1.5  # distance of neighbouring faces, in face sides
    stride: float = 3.0  # the same of a walker
    max_growth: float = 1.6  # larger over smaller side of neighbouring faces
    alike_near: float = 0.55  # likeness needed of a face that did not move
    alike_far: float = 0.72  # and of one at `reach` or beyond, or in doubt


@dataclass(slots=True)
class _Person:
    """A track while it may still grow."""

    track_id: int
    faces: list[Face]
    look: FaceLook
    missing: int = 0

    @property
    def last(self) -> Face:
        return self.faces[-1]

    def expected_at(self, time_s: float, rules: TrackRules) -> Point:
        """Return where the face would be if it kept moving as between its last two samples."""
        x, y = self.last.box.centre
        if len(self.faces) < 2:
            return x, y
        before = self.faces[-2]
        passed, ahead = self.last.time_s - before.time_s, time_s - self.last.time_s
        if not (0 < passed <= rules.max_gap_s and ahead <= rules.max_gap_s):
            return x, y
        x_before, y_before = before.box.centre
        step_x, step_y = (x - x_before) * ahead / passed, (y - y_before) * ahead / passed
        # a longer step was a jump, not a speed
        if math.hypot(step_x, step_y) > rules.stride * self.last.box.side:
            return x, y
        return x + step_x, y + step_y


@dataclass(frozen=True, slots=True)
class _Found:
    """A face of the present frame, what it looks like and the track it continues, if any."""

    face: Face
    look: FaceLook
    person: _Person | None = None


@dataclass(frozen=True, slots=True)
class _Moment:
    """What is kept of a frame, without its pixels; `fresh` after a cut or a long time."""

    index: int
    time_s: float
    look: FrameLook
    fresh: bool


class FaceTracker:
    """Finds and links the faces of one clip; equal frames in equal order give equal tracks.

    Args:
        finder: Looks for faces.
        rules: When to look where, and what belongs together.
    """

    def __init__(self, finder: FaceFinder, rules: TrackRules | None = None) -> None:
        """Start a clip without any face."""
        self._finder = finder
        self._rules = rules or TrackRules()
        self._people: list[_Person] = []
        self._live: list[_Person] = []  # those that may go on, by track id
        self._before: _Moment | None = None
        self._since_full = 0
        self._n_full = 0
        self._n_region = 0

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks so far, by id."""
        return tuple(Track(person.track_id, tuple(person.faces)) for person in self._people)

    @property
    def n_full_searches(self) -> int:
        """How many whole frames were searched."""
        return self._n_full

    @property
    def n_region_searches(self) -> int:
        """How many regions around a known face were searched."""
        return self._n_region

    def update(self, frame: Frame) -> tuple[tuple[int, Face], ...]:
        """Find and link the faces of the clip's next frame.

        Returns:
            (track id, face) by track id; the faces carry their quality.

        Raises:
            ValueError: The frame does not come after the one before.
        """
        moment = self._moment(frame)
        found = self._search(frame, moment)
        self._before = moment
        for person in self._live:
            person.missing += 1
        # new ids go from the picture's left
        for new in sorted(found, key=lambda each: (each.face.box.x0, each.face.box.y0)):
            face = replace(new.face, quality=face_quality(frame.image, new.face))
            if new.person is not None or face.confidence >= self._rules.start_at:
                self._add(replace(new, face=face))
        patience = 0 if moment.fresh else self._rules.patience
        self._live = [person for person in self._live if person.missing <= patience]
        return tuple((person.track_id, person.last) for person in self._live if person.missing == 0)

    def _moment(self, frame: Frame) -> _Moment:
        look, before = FrameLook.of(frame.image), self._before
        if before is None:
            return _Moment(frame.index, frame.time_s, look, fresh=True)
        if frame.index <= before.index:
            raise ValueError(f"frame {frame.index} cannot follow frame {before.index} in a track")
        late = frame.time_s - before.time_s > self._rules.max_gap_s
        cut = look.likeness(before.look) < self._rules.cut_below
        return _Moment(frame.index, frame.time_s, look, fresh=late or cut)

    def _add(self, new: _Found) -> None:
        if new.person is None:
            person = _Person(len(self._people), [new.face], new.look)
            self._people.append(person)
            self._live.append(person)
        else:
            new.person.faces.append(new.face)
            new.person.look, new.person.missing = new.look, 0

    def _search(self, frame: Frame, moment: _Moment) -> list[_Found]:
        if self._regions_may_do(moment):
            found = self._linked(frame, self._near_known(frame), moment)
            if len(found) == len(self._live) and all(new.person for new in found):
                self._since_full += 1
                return found
        self._since_full = 0
        self._n_full += 1
        return self._linked(frame, self._finder.find(frame), moment)

    def _regions_may_do(self, moment: _Moment) -> bool:
        return (
            not moment.fresh
            and self._since_full + 1 < self._rules.key_every
            and 0 < len(self._live) <= self._rules.max_regions
            and not any(person.missing for person in self._live)
        )

    def _near_known(self, frame: Frame) -> list[Face]:
        candidates: list[Face] = []
        for person in self._live:
            candidates += self._finder.find_near(frame, person.last.box)
            self._n_region += 1
        candidates.sort(key=lambda face: (-face.confidence, -face.box.area, face.box.x0))
        faces: list[Face] = []
        for face in candidates:
            if all(face.box.iou(other.box) < SAME_FACE_IOU for other in faces):
                faces.append(face)
        return faces

    def _linked(self, frame: Frame, faces: Iterable[Face], moment: _Moment) -> list[_Found]:
        """Return the faces with the tracks they continue, the best match first come."""
        found = [_Found(face, FaceLook.of(frame.image, face.box)) for face in faces]
        matches: list[tuple[float, int, float, int, _Person]] = []
        for number, new in enumerate(found):
            for person in self._live:
                cost = self._cost(person, new, moment)
                if cost is not None:
                    matches.append((cost, person.track_id, new.face.box.x0, number, person))
        matches.sort(key=lambda match: match[:4])
        taken: set[int] = set()
        for _, track_id, _, number, person in matches:
            if track_id not in taken and found[number].person is None:
                taken.add(track_id)
                found[number] = replace(found[number], person=person)
        return found

    def _cost(self, person: _Person, new: _Found, moment: _Moment) -> float | None:
        """Return how ill a face fits a track, in face sides, or None where it cannot be it."""
        rules, old, box = self._rules, person.last.box, new.face.box
        doubtful = moment.fresh or person.missing > 0
        expected = old.centre if doubtful else person.expected_at(moment.time_s, rules)
        unit = math.sqrt(max(1.0, old.side) * max(1.0, box.side))
        surprise = math.dist(expected, box.centre) / unit
        moved = min(surprise, math.dist(old.centre, box.centre) / unit)
        growth = max(old.side, box.side) / max(1.0, min(old.side, box.side))
        likeness = person.look.likeness(new.look)
        limit = rules.reach if doubtful else rules.stride
        share = 1.0 if doubtful else min(1.0, moved / rules.reach)
        needed = rules.alike_near + share * (rules.alike_far - rules.alike_near)
        if moved > limit or growth > rules.max_growth or likeness < needed:
            return None
        return surprise + math.log2(growth) + 2 * (1 - likeness)
