"""Where results are to go: refused before any work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from dfdetect.errors import UsageError


def check_out(out: Path, key: str = "--out") -> None:
    """Refuse a folder in which nothing can be written.

    Args:
        out: A folder, which need not exist.
        key: What names it on the command line.

    Raises:
        UsageError: It is a file, or a folder that this user may not write to.
    """
    nearest = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is a file, not a folder; name a folder with {key}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{nearest} may not be written to; name another folder with {key}")


def check_file(out: Path, key: str) -> None:
    """Refuse a file that cannot be written.

    Raises:
        UsageError: It is a folder, or its folder cannot be written to.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; name a file with {key}")
    check_out(out.parent, key)
