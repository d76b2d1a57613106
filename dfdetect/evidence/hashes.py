"""A clip's fingerprints: SHA-256, MD5 and size in one reading.

SHA-256 proves that a file is unaltered; MD5 is kept because take-down services still ask for it
and proves nothing by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from dfdetect.errors import UnreadableVideo
from dfdetect.types import ClipHashes

BLOCK_BYTES = 1 << 20


def hash_clip(path: Path, images: Sequence[Path] = ()) -> ClipHashes:
    """Return the hashes and size of a clip: one file, or the pictures of a folder in order.

    A folder's hashes are those of the listing that `sha256sum` (or `md5sum`) prints for its
    pictures, so that anybody can repeat them with `sha256sum PICTURES | sha256sum`.

    Raises:
        UnreadableVideo: A file is missing or may not be read.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as clip:
        ...     hash_clip(Path(clip.name)).md5
        'd41d8cd98f00b204e9800998ecf8427e'
    """
    if not images:
        return _hash_file(path)
    parts = [_hash_file(image) for image in images]
    names = [image.name for image in images]
    listing = zip(names, parts, strict=True)
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for name, part in listing:
        line = name.encode("utf-8", "surrogateescape")
        sha256.update(part.sha256.encode() + b"  " + line + b"\n")
        md5.update(part.md5.encode() + b"  " + line + b"\n")
    return ClipHashes(
        sha256=sha256.hexdigest(),
        md5=md5.hexdigest(),
        size_bytes=sum(part.size_bytes for part in parts),
        n_files=len(parts),
    )


def _hash_file(path: Path) -> ClipHashes:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                sha256.update(block)
                md5.update(block)
                size += len(block)
    except OSError as error:
        raise UnreadableVideo(
            f"{path.name!r} cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    return ClipHashes(sha256.hexdigest(), md5.hexdigest(), size)
