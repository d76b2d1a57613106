"""Pictures as clips: one file, or the pictures of a folder in the order of their names."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from dfdetect.errors import UnreadableVideo
from dfdetect.media.source import DecodeLimits, printable, read_head, refusing_in_words
from dfdetect.types import Image, VideoInfo

STILLS_PER_SECOND = 1.0
_SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_MOTION_JPEG = frozenset({".mjpeg", ".mjpg"})
_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (_PNG, b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
_PICTURE_BRANDS = (b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1")
_DEMUXERS = "bmp_pipe,jpeg_pipe,mjpeg,mov,png_pipe,tiff_pipe,webp_pipe"


@dataclass(frozen=True, slots=True)
class _Header:
    codec: str
    pixel_format: str
    width: int
    height: int


def is_still(path: Path) -> bool:
    """Tell by its first bytes, whatever its name, whether a file is a single picture.

    GIF, animated AVIF and raw motion JPEG (`.mjpeg`) are videos.

    Raises:
        UnreadableVideo: The file is empty or cannot be read.
    """
    head = read_head(path)
    if path.suffix.lower() in _MOTION_JPEG:
        return False
    return (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS)
    )


def list_stills(folder: Path) -> tuple[Path, ...]:
    """Return the pictures of a folder (not of its subfolders), `frame2` before `frame10`.

    Raises:
        UnreadableVideo: The folder cannot be read or has no picture in it.
    """
    with refusing_in_words(folder):
        found = [p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file()]
    if not found:
        raise UnreadableVideo(
            f"{printable(folder)} is a folder without pictures ({', '.join(sorted(_SUFFIXES))}); "
            "name a video in it or a folder of frames"
        )
    return tuple(sorted(found, key=_natural))


def probe_stills(path: Path, images: tuple[Path, ...], limits: DecodeLimits) -> VideoInfo:
    """Describe a clip made of pictures, by the first one that can be decoded.

    Pictures carry no clock: by convention they follow each other at one a second. `rotation` is
    0, for the sides are those after EXIF orientation.

    Raises:
        UnreadableVideo: None of them can be decoded within the limits.
    """
    refusals = []
    for image in images:
        try:
            content = _content(image, limits)
            height, width = _decode(image, content, limits).shape[:2]
        except UnreadableVideo as error:
            refusals.append(error)
            continue
        header = _header(content, limits) or _Header("unknown", "unknown", width, height)
        return VideoInfo(
            path=path,
            container="image" if images == (path,) else "folder",
            codec=header.codec,
            pixel_format=header.pixel_format,
            width=width,
            height=height,
            fps=STILLS_PER_SECOND,
            duration_s=len(images) / STILLS_PER_SECOND,
            n_frames=len(images),
            images=images,
        )
    if images == (path,):
        raise refusals[0]
    raise UnreadableVideo(
        f"{printable(path)} holds {len(images)} pictures, none of which can be decoded; "
        "export them again as PNG or JPEG"
    ) from refusals[0]


def read_still(path: Path, limits: DecodeLimits) -> Image:
    """Decode a picture into upright RGB, height × width × 3 uint8; EXIF orientation is applied.

    Deeper samples are reduced to 8 bits, transparency is dropped.

    Raises:
        UnreadableVideo: It cannot be read, is damaged or breaks a limit.
    """
    return _decode(path, _content(path, limits), limits)


def _content(path: Path, limits: DecodeLimits) -> bytes:
    read_head(path)
    with refusing_in_words(path):
        # no picture within the limit needs more, even at 16 bits with transparency
        if path.stat().st_size > 8 * limits.max_pixels + 2**24:
            raise _too_large(path, limits)
        return path.read_bytes()


def _decode(path: Path, content: bytes, limits: DecodeLimits) -> Image:
    _check_size(path, content, limits)
    # from bytes, for OpenCV cannot open every path; quiet, for a refusal is told in a sentence
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if image is None:
        raise _damaged(path)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _check_size(path: Path, content: bytes, limits: DecodeLimits) -> None:
    if content.startswith(_PNG):
        # libav would decode the whole picture to learn what stands at its beginning
        width, height = struct.unpack(">II", content[16:24].ljust(8, b"\0"))
        limits.check_size(path, width, height)
        return
    header = _header(content, limits)
    if header is None:
        raise _damaged(path)
    if not header.width * header.height:
        raise _too_large(path, limits)


def _header(content: bytes, limits: DecodeLimits) -> _Header | None:
    # libav leaves the sides at 0 where they break the limit
    options = {"format_whitelist": _DEMUXERS, "max_pixels": str(limits.max_pixels)}
    try:
        with av.open(
            io.BytesIO(content), mode="r", options=options, metadata_errors="replace"
        ) as container:
            context = container.streams.video[0].codec_context
            sides = context.width, context.height
            # some releases of PyAV crash when asked for a pixel format that is not known yet
            pixel_format = context.pix_fmt if all(sides) else None
            return _Header(context.codec.canonical_name, pixel_format or "unknown", *sides)
    except (av.FFmpegError, IndexError):
        return None


def _too_large(path: Path, limits: DecodeLimits) -> UnreadableVideo:
    return UnreadableVideo(
        f"{printable(path)} is a picture of more than {limits.max_pixels / 1e6:g} megapixels, the "
        "limit, or its header is damaged; scale it down or raise max_pixels"
    )


def _damaged(path: Path) -> UnreadableVideo:
    return UnreadableVideo(
        f"{printable(path)} is a picture that is damaged, cut off or of a kind that cannot be "
        "decoded; export it again as PNG or JPEG"
    )


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(p), "") if p.isascii() and p.isdigit() else (-1, p) for p in parts], path.name
