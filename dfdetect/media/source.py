"""Files before any picture: can they be opened, what are they, are they within limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from dfdetect.errors import UnreadableVideo

# Demuxers that read one local file. Those that open further files or addresses (playlists,
# concat scripts, image patterns) or take any text (subtitles, teletype) are left out.
_FORMATS = (
    "3gp,aac,aiff,amr,asf,av1,avi,dv,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mjpeg_2000,"
    "mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,vvc,wav,webm,wtv,yuv4mpegpipe"
)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a clip may ask of the machine; more is refused before anything is decoded.

    `max_pixels` are width × height of one picture (the default admits 8K); `max_duration_s` is in
    seconds of video and does not apply to pictures.
    """

    max_pixels: int = 40_000_000
    max_duration_s: float = 4 * 3600

    def check_size(self, path: Path, width: int, height: int) -> None:
        """Refuse a picture larger than `max_pixels`.

        Raises:
            UnreadableVideo: It is larger.
        """
        if width * height > self.max_pixels:
            raise UnreadableVideo(
                f"{printable(path)} is {width} × {height} px, beyond the limit of "
                f"{self.max_pixels / 1e6:g} megapixels; scale it down or raise max_pixels"
            )

    def check_duration(self, path: Path, duration_s: float) -> None:
        """Refuse a video longer than `max_duration_s` seconds.

        Raises:
            UnreadableVideo: It is longer.
        """
        if duration_s > self.max_duration_s:
            raise UnreadableVideo(
                f"{printable(path)} lasts over {self.max_duration_s:g} s, the limit; cut it with "
                "`ffmpeg -ss START -t SECONDS -i IN OUT` or raise max_duration_s"
            )


def printable(path: Path | str) -> str:
    r"""Return a path on one line, with everything that does not print escaped.

    Control characters, line breaks, marks that turn the writing direction and bytes that are no
    text cannot then forge a line of a log or a report.

    Example:
        >>> print(printable("a\nb.mp4"))
        a\nb.mp4
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(path)
    )


@contextmanager
def refusing_in_words(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals inside the block into one sentence about `path`.

    Raises:
        UnreadableVideo: The file is missing, forbidden or cannot be read.
    """
    name = printable(path)
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableVideo(f"{name} does not exist; check the path") from error
    except PermissionError as error:
        raise UnreadableVideo(
            f"{name} may not be read by this user; allow it, for example with `chmod u+r`"
        ) from error
    except OSError as error:
        raise UnreadableVideo(
            f"{name} cannot be read ({error.strerror}); check the disk"
        ) from error
    except ValueError as error:
        raise UnreadableVideo(f"{name} is not a valid path ({error})") from error


def is_folder(path: Path) -> bool:
    """Tell whether `path` is a folder rather than a file.

    Raises:
        UnreadableVideo: It is missing, forbidden, or neither (a device, a pipe).
    """
    with refusing_in_words(path):
        mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        # reading a pipe or a device might never end
        raise UnreadableVideo(f"{printable(path)} is neither a file nor a folder; name a clip")
    return stat.S_ISDIR(mode)


def read_head(path: Path, n_bytes: int = 64) -> bytes:
    """Return the first bytes of a file, by which its kind is told.

    Raises:
        UnreadableVideo: It is empty or cannot be read.
    """
    with refusing_in_words(path), path.open("rb") as stream:
        head = stream.read(n_bytes)
    if not head:
        raise UnreadableVideo(f"{printable(path)} is empty (0 bytes); copy or download it again")
    return head


@contextmanager
def opened_video(path: Path, limits: DecodeLimits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file and choose its video stream: the largest one, the first of equals.

    Cover art and thumbnails do not count. Only formats that stay within the one file are opened,
    so that a hostile file can reach neither the network nor another file.

    Raises:
        UnreadableVideo: It is no video, has no video stream or breaks a limit.
    """
    # the prefix keeps names such as `http:x` or `concat:x` from being taken for protocols
    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": str(limits.max_pixels),
    }
    try:
        container = av.open(
            f"file:{os.fspath(path)}", mode="r", options=options, metadata_errors="replace"
        )
    except av.FFmpegError as error:
        raise UnreadableVideo(_not_a_video(path)) from error
    with container:
        stream = _video_stream(container, path)
        context = stream.codec_context
        limits.check_size(path, context.width, context.height)
        context.options = {"max_pixels": str(limits.max_pixels)}
        yield container, stream


def _not_a_video(path: Path) -> str:
    if read_head(path)[4:8] == b"ftyp":
        return (
            f"{printable(path)} is an MP4 file whose index is missing or damaged, as when a copy "
            "or recording was cut off; get a whole copy of it"
        )
    return (
        f"{printable(path)} is not a video or picture in a format that can be read; if a player "
        "shows it, convert it with `ffmpeg -i IN OUT.mp4`"
    )


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [s for s in container.streams.video if not s.disposition & covers]
    if not streams:
        found = "sound but no video" if container.streams.audio else "no video"
        raise UnreadableVideo(
            f"{printable(path)} holds {found}; give the file that has the pictures"
        )
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise UnreadableVideo(
            f"{printable(path)} uses a video codec that cannot be decoded here; convert it with "
            "`ffmpeg -i IN -c:v libx264 OUT.mp4`"
        )
    return max(decodable, key=lambda s: s.codec_context.width * s.codec_context.height)
