"""The packets of a video file, read without decoding: when is each frame shown."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfdetect.errors import UnreadableVideo
from dfdetect.media.source import DecodeLimits, printable
from dfdetect.media.timeline import Timeline

# what libav itself takes for streams without a rate
_ASSUMED_FPS = Fraction(25)


@dataclass(slots=True)
class Tally:
    """Running counts of one reading of a clip."""

    n_requested: int = 0
    n_wanted: int = 0
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
    timeline = stamps.timeline(
        tick_s, nominal_rate(stream), trust_pts=container.format.name != "avi"
    )
    limits.check_duration(path, timeline.duration_s)
    notes = _disagreements(stream, timeline, claimed_s, stamps.n_packets)
    return Scan(timeline, first, notes)


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


def h264_reference(packet: Packet[VideoStream], extradata: bytes | None) -> bool:
    """Tell whether other frames may refer to an H.264 packet's picture (nal_ref_idc is not 0).

    libav leaves such pictures out with NONREF, but while it is set keeps silent about reference
    pictures that are damaged; so it is set for the others only. Source: ITU-T H.264, 7.4.1, and
    ISO/IEC 14496-15, 5.3.3 for the length-prefixed form that `extradata` beginning with 1 tells.
    """
    content = bytes(packet)
    if extradata and len(extradata) > 4 and extradata[0] == 1:
        n_length, start = (extradata[4] & 3) + 1, 0
        while start + n_length < len(content):
            header = content[start + n_length]
            if 1 <= header & 31 <= 5:
                return bool(header & 96)
            start += n_length + int.from_bytes(content[start : start + n_length], "big")
        return True
    for unit in content.split(b"\0\0\1")[1:]:
        if unit and 1 <= unit[0] & 31 <= 5:
            return bool(unit[0] & 96)
    return True


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
        self._durations.append(max(0, packet.duration or 0))
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


def nominal_rate(stream: VideoStream) -> Fraction:
    """Return the header's frames a second, or the rate that libav assumes where it has none."""
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
