"""Frames out of a clip by presentation time, in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from dfdetect.errors import UnreadableVideo, UsageError
from dfdetect.media.packets import Tally, scan_packets
from dfdetect.media.source import DecodeLimits, is_folder, opened_video, printable
from dfdetect.media.stills import (
    STILLS_PER_SECOND,
    is_still,
    list_stills,
    probe_stills,
    read_still,
)
from dfdetect.media.timeline import Timeline
from dfdetect.media.video import RgbConverter, decoded, probe_video, undecodable
from dfdetect.types import Frame, Image, SamplingSummary, VideoInfo

RULES = ("even", "fps", "all")
# below this many frames to each wanted one, leaving frames out saves little
_SPARSE = 4
# codecs whose packets say for certain that no other frame refers to theirs
_CERTAIN = ("h264",)
_T = TypeVar("_T")


def probe(path: Path, limits: DecodeLimits | None = None) -> VideoInfo:
    """Describe a clip: a video, a picture or a folder of pictures.

    Every packet of a video is read, so that duration and frame rate hold even where the header
    lies, and its first picture is decoded, so that what is returned can be read. `fps` is the
    header's where the packets bear it out, else their mean; `tags` of the video stream carry the
    prefix `video.`. `limits` are `DecodeLimits()` unless given.

    Raises:
        UnreadableVideo: It cannot be opened, holds no decodable picture or breaks a limit.
    """
    limits = limits or DecodeLimits()
    if is_folder(path):
        return probe_stills(path, list_stills(path), limits)
    if is_still(path):
        return probe_stills(path, (path,), limits)
    return probe_video(path, limits)


@dataclass(frozen=True, slots=True)
class FrameSampler:
    """Which frames of a clip are taken.

    `rule` "even" takes `count` frames at the centres of `count` equal parts of the clip's time
    (all of them, once, where it has fewer); "fps" takes the frames shown at 0, 1/`fps`, 2/`fps` …
    seconds; "all" takes every frame.

    Frames to which no other refers are left out where they are not wanted, which makes sampling
    about 1.3 to 1.6 times cheaper: with H.264, and where one comes out that is not wanted, the clip
    is decoded again, whole. `allow_neighbours` does so with every codec and without looking back:
    what comes out is the same bit for bit, but where a decoder cannot be steered frame by frame,
    the next best neighbour is taken and counted.

    Raises:
        UsageError: The rule is unknown, or `count` or `fps` is not positive.
    """

    rule: str = "even"
    count: int = 32
    fps: float = 1.0
    allow_neighbours: bool = False
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UsageError(f"unknown sampling rule {self.rule!r}; use {', '.join(RULES)}")
        if self.count < 1:
            raise UsageError(f"cannot sample {self.count} frames; give a count of at least 1")
        if not (self.fps > 0 and math.isfinite(self.fps)):
            raise UsageError(f"cannot sample {self.fps} frames a second; give more than 0")

    def sample(self, video: VideoInfo) -> FrameStream:
        """Return the wanted frames of a clip, to be iterated once."""
        return FrameStream(self, video)

    def wanted(self, timeline: Timeline) -> tuple[NDArray[np.int64], int]:
        """Return the positions of the wanted frames, ascending, and how many were asked for."""
        if self.rule == "even":
            return timeline.even(self.count), self.count
        if self.rule == "fps":
            return timeline.every(self.fps)
        return np.arange(timeline.n_frames, dtype=np.int64), timeline.n_frames


class FrameStream:
    """The frames that a sampler takes from a clip, in time order, to be iterated once.

    `Frame.index` is the frame's place in the order of presentation, from 0: the number of frames
    that the file has for earlier times, whether or not they can be or were decoded. It is the
    same for every sampling rule. `Frame.time_s` counts from the clip's first frame. Where the
    container gives no times, frames are counted and timed by the mean rate.

    A wanted frame that cannot be decoded is replaced by a neighbour that is not itself wanted,
    where there is one. At most one decoded picture is held beside those inside the decoder.

    Iterating raises `UnreadableVideo` when not a single frame can be read.
    """

    def __init__(self, sampler: FrameSampler, video: VideoInfo) -> None:
        """Prepare to read `video`; nothing is opened before the iteration."""
        self._sampler = sampler
        self._video = video
        self._tally = Tally()
        self._started = False
        self._exhausted = False

    def __iter__(self) -> Iterator[Frame]:
        if self._started:
            raise RuntimeError("a FrameStream is iterated once; sample the video again")
        self._started = True
        return self._run()

    @property
    def summary(self) -> SamplingSummary:
        """What was asked for and what was read.

        Raises:
            RuntimeError: The stream is not exhausted yet.
        """
        if not self._exhausted:
            raise RuntimeError("the summary stands when all frames were taken")
        tally = self._tally
        return SamplingSummary(
            rule=self._sampler.rule,
            n_requested=tally.n_requested,
            n_wanted=tally.n_wanted,
            n_read=tally.n_read,
            n_neighbours=tally.n_neighbours,
            n_decode_errors=tally.n_decode_errors,
            notes=tuple(tally.notes),
        )

    def _run(self) -> Iterator[Frame]:
        for frame in self._stills() if self._video.images else self._frames():
            self._tally.n_read += 1
            yield frame
        self._exhausted = True

    def _stills(self) -> Iterator[Frame]:
        images, tally, limits = self._video.images, self._tally, self._sampler.limits
        rate = Fraction(STILLS_PER_SECOND)
        positions, tally.n_requested = self._sampler.wanted(Timeline.counted(len(images), rate))
        tally.n_wanted = len(positions)
        refusal: UnreadableVideo | None = None
        for position in positions.tolist():
            try:
                image = read_still(images[position], limits)
            except UnreadableVideo as error:
                tally.n_decode_errors += 1
                refusal = error
                continue
            yield Frame(position, position / STILLS_PER_SECOND, image)
        if not tally.n_read:
            raise refusal or UnreadableVideo(f"{printable(self._video.path)} holds no picture")

    def _frames(self) -> Iterator[Frame]:
        path, tally, limits = self._video.path, self._tally, self._sampler.limits
        with opened_video(path, limits) as (container, stream):
            scan = scan_packets(path, container, stream, limits)
        tally.notes += scan.notes
        timeline = scan.timeline
        positions, tally.n_requested = self._sampler.wanted(timeline)
        tally.n_wanted = len(positions)
        wanted, taken = positions.tolist(), -1
        neighbours = self._sampler.allow_neighbours
        exactly = None
        may_skip = neighbours or self._video.codec in _CERTAIN
        if may_skip and len(wanted) * _SPARSE <= timeline.n_frames:
            exactly = frozenset(timeline.ticks[positions].tolist())
        if exactly is not None and not neighbours:
            # the quick way first; where it does not bring each wanted frame, all are decoded
            for position, image, is_neighbour in self._pass(timeline, wanted, exactly):
                if is_neighbour or tally.n_decode_errors:
                    break
                taken = position
                yield Frame(position, timeline.time_s(position), image)
            if taken == wanted[-1]:
                return
            tally.n_decode_errors, exactly = 0, None
        for position, image, is_neighbour in self._pass(timeline, wanted, exactly):
            if position > taken:
                tally.n_neighbours += is_neighbour
                yield Frame(position, timeline.time_s(position), image)
        if not tally.n_read:
            with opened_video(path, limits) as (_, stream):
                raise undecodable(path, stream)
        if tally.n_decode_errors > timeline.cut_off:
            tally.notes.append("frames that follow damaged data may show traces of it")

    def _pass(
        self, timeline: Timeline, wanted: list[int], exactly: frozenset[int] | None
    ) -> Iterator[tuple[int, Image, bool]]:
        """Decode the clip once and yield (position, picture, is a stand-in)."""
        tally, to_rgb = self._tally, RgbConverter()
        # read anew rather than rewound, which not every format allows
        with opened_video(self._video.path, self._sampler.limits) as (container, stream):
            frames = decoded(container, stream, timeline, tally, exactly)
            for position, frame, is_neighbour in nearest(frames, wanted):
                try:
                    image = to_rgb(frame)
                except av.FFmpegError:
                    tally.n_decode_errors += 1
                    continue
                yield position, image, is_neighbour


def nearest(items: Iterable[tuple[int, _T]], wanted: list[int]) -> Iterator[tuple[int, _T, bool]]:
    """Pick the wanted positions from an ascending stream; stand-ins for those that never come.

    Yields (position, item, is a stand-in), ascending. A stand-in is the item last seen before the
    gap or the first one after it, unless that one is wanted itself; of two for one gap of one,
    the nearer. Holds one item at a time, and reads no further than needed.

    Example:
        >>> [(p, s) for p, _, s in nearest([(0, "a"), (1, "b"), (4, "e")], [0, 2, 4])]
        [(0, False), (1, True), (4, False)]
    """
    ahead = iter(wanted)
    target = next(ahead, None)
    held: list[tuple[int, _T]] = []
    for position, item in items:
        missing = []
        while target is not None and target < position:
            missing.append(target)
            target = next(ahead, None)
        is_wanted = target == position
        standing_in = _stand_ins(missing, held, [] if is_wanted else [(position, item)])
        for found in standing_in:
            yield (*found, True)
        held = []
        if is_wanted:
            yield position, item, False
            target = next(ahead, None)
        elif all(position != taken for taken, _ in standing_in):
            held = [(position, item)]
        if target is None:
            return
    if target is not None:
        for found in held:
            yield (*found, True)


def _stand_ins(
    missing: list[int], before: list[tuple[int, _T]], after: list[tuple[int, _T]]
) -> list[tuple[int, _T]]:
    if not missing:
        return []
    candidates = before + after
    if len(missing) >= len(candidates):
        return candidates
    return sorted(candidates, key=lambda found: abs(found[0] - missing[0]))[: len(missing)]
