"""Packets of a video file into times, and into upright RGB pictures."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.buffer import Buffer
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfdetect.errors import UnreadableVideo
from dfdetect.media.source import DecodeLimits, opened_video, printable
from dfdetect.media.timeline import Timeline
from dfdetect.types import Image, VideoInfo

# what libav itself takes for streams without a rate
_ASSUMED_FPS = Fraction(25)
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive


@dataclass(slots=True)
class Tally:
    """Running counts of one reading of a clip."""

    n_requested: int = 0
    n_read: int = 0
    n_neighbours: int = 0
    n_decode_errors: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scan:
    """What one reading of all packets tells: the timeline, and the first picture if asked for."""

    timeline: Timeline
    first: VideoFrame | None
    notes: tuple[str, ...]


def probe_video(path: Path, limits: DecodeLimits) -> VideoInfo:
    """Read a video's header and packets, and decode its first picture.

    Raises:
        UnreadableVideo: It cannot be opened, breaks a limit, or no picture can be decoded.
    """
    with opened_video(path, limits) as (container, stream):
        scan = scan_packets(path, container, stream, limits, want_first=True)
        if scan.first is None:
            raise undecodable(path, stream)
        turns, _ = orientation(scan.first)
        sides = (scan.first.width, scan.first.height)
        width, height = sides[::-1] if turns % 2 else sides
        tags = dict(container.metadata)
        tags |= {f"video.{key}": value for key, value in stream.metadata.items()}
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            pixel_format=scan.first.format.name,
            width=width,
            height=height,
            fps=_fps(stream, scan.timeline),
            duration_s=scan.timeline.duration_s,
            n_frames=stream.frames or None,
            rotation=90 * turns,
            variable_frame_rate=scan.timeline.variable,
            has_audio=bool(container.streams.audio),
            tags=tuple(sorted(tags.items())),
        )


def undecodable(path: Path, stream: VideoStream) -> UnreadableVideo:
    """Return the refusal of a video none of whose frames can be decoded."""
    codec = stream.codec_context.codec.canonical_name
    return UnreadableVideo(
        f"{printable(path)} has a {codec} video stream, but none of its frames can be decoded; "
        "get an undamaged, unencrypted copy"
    )


def scan_packets(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    limits: DecodeLimits,
    want_first: bool = False,
) -> Scan:
    """Read all packets without decoding them, for the true times of the frames.

    With `want_first` packets are decoded until the first sound picture comes out.

    Raises:
        UnreadableVideo: The video is too long or has no frame.
    """
    claimed_s = _claimed_duration_s(container, stream)
    limits.check_duration(path, claimed_s or 0.0)
    tick_s = stream.time_base or Fraction(1, 1000)
    stamps = _Stamps()
    first: VideoFrame | None = None
    tally = Tally()
    for packet in packets(container, stream, tally):
        if want_first and first is None:
            first = next(sound_frames(stream, packet, tally), None)
        if packet is not None:
            stamps.add(packet)
            limits.check_duration(path, float(stamps.reach * tick_s))
    if not stamps.n_shown:
        raise UnreadableVideo(
            f"{printable(path)} has a video stream without a single frame; export it again"
        )
    # AVI stores no presentation times; those that libav makes up are wrong with B-frames
    timeline = stamps.timeline(tick_s, _rate(stream), trust_pts=container.format.name != "avi")
    limits.check_duration(path, timeline.duration_s)
    notes = _disagreements(stream, timeline, claimed_s, stamps.n_packets)
    return Scan(timeline, first, notes)


class _Stamps:
    """The time stamps of a stream's packets, as they are read."""

    def __init__(self) -> None:
        self._pts, self._dts, self._durations = array("q"), array("q"), array("q")
        self.n_packets = 0
        self.n_shown = 0
        self.cut_off = False

    @property
    def reach(self) -> int:
        """Ticks from the first packet to the newest."""
        stamps = self._dts or self._pts
        return stamps[-1] - stamps[0] if stamps else 0

    def add(self, packet: Packet[VideoStream]) -> None:
        self.n_packets += 1
        self.cut_off = packet.is_corrupt
        # an edit list may have packets decoded for those that depend on them but never shown
        if packet.is_discard:
            return
        self.n_shown += 1
        self._durations.append(packet.duration or 0)
        if packet.pts is not None:
            self._pts.append(packet.pts)
        if packet.dts is not None:
            self._dts.append(packet.dts)

    def timeline(self, tick_s: Fraction, rate: Fraction, trust_pts: bool) -> Timeline:
        """Return presentation times, else the times of decoding in order, else mere counts."""
        cut_off = self.cut_off and self.n_shown > 1
        n_frames = self.n_shown - cut_off
        pts, dts = np.array(self._pts[:n_frames]), np.array(self._dts[:n_frames])
        rising = len(dts) < 2 or bool((np.diff(dts) > 0).all())
        ordinary = max(1, round(1 / (rate * tick_s)))
        if trust_pts and rising and len(np.unique(pts)) == n_frames:
            order = np.argsort(pts)
            last = self._durations[int(order[-1])] or _usual_gap(pts[order], ordinary)
            return Timeline(pts[order], tick_s, last, cut_off=cut_off)
        if rising and len(dts) == n_frames:
            return Timeline(dts, tick_s, _usual_gap(dts, ordinary), timed=False, cut_off=cut_off)
        return Timeline.counted(n_frames, rate, cut_off)


def packets(
    container: InputContainer, stream: VideoStream, tally: Tally
) -> Iterator[Packet[VideoStream] | None]:
    """Yield the stream's packets, then None, which makes the decoder give what it holds back.

    Where the file cannot be read on, that is counted in `tally` and the clip ends there.
    """
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.FFmpegError:
        tally.n_decode_errors += 1
    yield None


def sound_frames(
    stream: VideoStream, packet: Packet[VideoStream] | None, tally: Tally
) -> Iterator[VideoFrame]:
    """Decode a packet; packets that fail and damaged pictures are counted and left out."""
    try:
        frames = stream.decode(packet)
    except av.FFmpegError:
        tally.n_decode_errors += 1
        return
    for frame in frames:
        if frame.is_corrupt:
            tally.n_decode_errors += 1
        else:
            yield frame


def decoded(
    container: InputContainer,
    stream: VideoStream,
    timeline: Timeline,
    tally: Tally,
    exactly: frozenset[int] | None = None,
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (position in the timeline, frame) in order of presentation.

    With `exactly`, a set of ticks, frames to which no other frame refers are decoded only when
    they are shown at one of these; all others come out as ever, bit for bit.
    """
    context = stream.codec_context
    context.thread_type = "AUTO"
    # leaving out one field of an interlaced picture would spoil the other
    skips = exactly is not None and timeline.timed and context.field_order in _PROGRESSIVE
    position, n_shown = -1, 0
    for packet in packets(container, stream, tally):
        if packet is not None:
            n_shown += not packet.is_discard
            if timeline.cut_off and n_shown > timeline.n_frames:
                # half a last packet fails and takes the frames still in the decoder along
                tally.n_decode_errors += 1
                continue
            if skips and exactly is not None:
                context.skip_frame = "DEFAULT" if packet.pts in exactly else "NONREF"
        for frame in sound_frames(stream, packet, tally):
            if timeline.timed and frame.pts is not None:
                position = max(position + 1, timeline.position(frame.pts))
            else:
                position += 1
            yield position, frame


class RgbConverter:
    """Turns a clip's decoded frames into upright RGB pictures."""

    def __init__(self) -> None:
        """Start without tables; the first picture makes them."""
        self._reformatter = VideoReformatter()
        self._angle: int | None = None
        self._turns, self._mirrored = 0, False

    def __call__(self, frame: VideoFrame) -> Image:
        """Return height × width × 3 uint8, turned and mirrored as the display matrix says.

        Raises:
            av.FFmpegError: The pixel format cannot be converted.
        """
        image: Image = np.asarray(
            self._reformatter.reformat(frame, format="rgb24").to_ndarray(), dtype=np.uint8
        )
        # the matrix belongs to the stream; looking at it again would keep every frame in memory
        # until the garbage collector runs, for PyAV ties frame and side data to each other
        if frame.rotation != self._angle:
            self._angle = frame.rotation
            self._turns, self._mirrored = orientation(frame)
        if self._mirrored:
            image = np.asarray(cv2.flip(image, 1), dtype=np.uint8)
        if self._turns:
            image = np.asarray(cv2.rotate(image, _CV_TURNS[self._turns]), dtype=np.uint8)
        return np.ascontiguousarray(image)


_CV_TURNS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return (clockwise quarter turns 0–3, mirrored): mirror left–right first, then turn.

    Angles between quarter turns go to the nearest one.
    """
    try:
        # PyAV's annotations know one key of this mapping
        side_data = cast("Mapping[str, Buffer]", frame.side_data)
        matrix = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), dtype=np.int32)
    except KeyError:
        return 0, False
    except ValueError:
        # PyAV cannot list side data of a kind that it does not know, yet it gives the angle
        return round(-frame.rotation / 90) % 4, False
    a, b, _, c, d = matrix[:5].tolist()
    mirrored = a * d - b * c < 0
    angle = math.atan2(-b, -a) if mirrored else math.atan2(b, a)
    return round(2 * angle / math.pi) % 4, mirrored


def _rate(stream: VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or _ASSUMED_FPS


def _usual_gap(ticks: NDArray[np.int64], otherwise: int) -> int:
    return int(np.median(np.diff(ticks))) if len(ticks) > 1 else otherwise


def _claimed_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # the container's own duration is that of its longest stream
    if container.duration and not container.streams.audio:
        return container.duration / av.time_base
    return None


def _disagreements(
    stream: VideoStream, timeline: Timeline, claimed_s: float | None, n_packets: int
) -> tuple[str, ...]:
    notes = []
    if stream.frames and stream.frames != n_packets:
        notes.append(f"the header claims {stream.frames} frames, the file holds {n_packets}")
    # some containers count their duration from time 0, not from the first frame
    ends = (timeline.duration_s, timeline.duration_s + float(timeline.ticks[0] * timeline.tick_s))
    if claimed_s and all(abs(claimed_s - end) > max(0.5, 0.05 * claimed_s) for end in ends):
        notes.append(f"the header claims {claimed_s:.2f} s, the frames last {ends[0]:.2f} s")
    return tuple(notes)


def _fps(stream: VideoStream, timeline: Timeline) -> float:
    claimed = float(_rate(stream))
    measured = timeline.fps
    # the exact fraction where it holds, the truth where it does not
    if measured is None or abs(claimed - measured) <= 0.01 * measured:
        return claimed
    return measured
