"""A video file's header, and its packets decoded into upright RGB pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from av.buffer import Buffer
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dfdetect.errors import UnreadableVideo
from dfdetect.media.packets import (
    Tally,
    h264_reference,
    nominal_rate,
    packets,
    scan_packets,
    sound_frames,
)
from dfdetect.media.source import DecodeLimits, opened_video, printable
from dfdetect.media.timeline import Timeline
from dfdetect.types import Image, VideoInfo

MAX_THREADS = 8

_most_threads: ContextVar[int] = ContextVar("most_threads", default=MAX_THREADS)

_CV_TURNS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}


@contextmanager
def decoding_threads(most: int) -> Iterator[None]:
    """Decode with at most `most` threads what is begun within the block.

    Whole files come out the same whatever the number; what is left of a damaged one may differ.
    """
    token = _most_threads.set(most)
    try:
        yield
    finally:
        _most_threads.reset(token)


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


def decoded(
    container: InputContainer,
    stream: VideoStream,
    timeline: Timeline,
    tally: Tally,
    exactly: frozenset[int] | None = None,
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (position in the timeline, frame) in order of presentation.

    With `exactly`, a set of ticks, frames to which no other frame refers are decoded only when
    they are shown at one of these; all others come out as ever, bit for bit. The decoder sees to
    that (`skip_frame`), which with some codecs cannot be changed from packet to packet.
    """
    context = stream.codec_context
    context.thread_type = "AUTO"
    # every thread holds frames of its own: 16 of them take 1080p over half a gigabyte
    context.thread_count = min(_most_threads.get(), os.cpu_count() or 1)
    is_h264, extradata = context.codec.canonical_name == "h264", context.extradata
    skips = exactly is not None and timeline.timed
    position, n_shown = -1, 0
    for packet in packets(container, stream, tally):
        if packet is not None:
            n_shown += not packet.is_discard
            if timeline.cut_off and n_shown > timeline.n_frames:
                # half a last packet fails and takes the frames still in the decoder along
                tally.n_decode_errors += 1
                continue
            if skips and exactly is not None:
                kept = packet.pts in exactly or (is_h264 and h264_reference(packet, extradata))
                context.skip_frame = "DEFAULT" if kept else "NONREF"
        for frame in sound_frames(stream, packet, tally):
            if skips and frame.interlaced_frame:
                # leaving out one field of an interlaced picture would spoil the other
                skips, context.skip_frame = False, "DEFAULT"
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
            self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(),
            dtype=np.uint8,
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


def _fps(stream: VideoStream, timeline: Timeline) -> float:
    claimed = float(nominal_rate(stream))
    measured = timeline.fps
    # the exact fraction where it holds, the truth where it does not
    if measured is None or abs(claimed - measured) <= 0.01 * measured:
        return claimed
    return measured
