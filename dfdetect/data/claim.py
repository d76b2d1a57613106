"""Whose folder a crop store is: of runs with equal settings, and of one run at a time."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dfdetect.data.shards import RECORD
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import canonical_json, written_whole


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make a folder and keep other runs out of it for as long as the block, or the process, lasts.

    Where the system knows no lock on a folder (Windows, some network disks) none is kept out.

    Raises:
        UsageError: Another run is writing to the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    # Windows has no such module
    import fcntl

    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another run is writing to {out}; wait until it is done, or give another out=…"
            ) from None
        except OSError:
            # what is written stays right without a lock: pieces are whole or not there
            pass
        yield
    finally:
        os.close(descriptor)


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Record the settings that a store is made with, or compare them with those it was made with.

    Raises:
        ContractError: The store was made with others; the sentence names those that differ.
    """
    record = out / RECORD
    wanted = json.loads(canonical_json(settings))
    if not record.exists():
        if (out / "crops.parquet").exists():
            raise ContractError(f"{out} holds a crop store without {RECORD}; give another out=…")
        with written_whole(record) as part:
            part.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n")
        return
    try:
        found = json.loads(record.read_text())
    except ValueError:
        found = {}
    there, here = dict(_named("", found)), dict(_named("", wanted))
    differing = sorted(name for name in here if there.get(name) != here[name])
    if differing:
        raise ContractError(
            f"{out} holds crops made with another {', '.join(differing)}; give another out=…, or "
            f"remove them with `rm -r {out}`"
        )


def _named(above: str, value: Any) -> Iterator[tuple[str, Any]]:
    # every setting by the names above it, as people choose them: sampler.count
    if not isinstance(value, dict) or not value:
        yield above, value
        return
    for name, inner in value.items():
        yield from _named(f"{above}.{name}" if above not in ("", "cutter") else name, inner)
