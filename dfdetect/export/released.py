"""Which files that are there already hold the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dfdetect.detectors.checkpoint import read_header
from dfdetect.errors import DfdetectError
from dfdetect.export.twin import PARENT
from dfdetect.provenance import sha256_file


def released_hashes(checkpoint: Path, folder: Path) -> tuple[str, ...]:
    """Return the SHA-256 of the release files in a folder that hold a checkpoint's weights.

    A release repeats in its header what was measured, so that the same weights with other figures
    are another file; what was measured with the earlier file was measured with these weights.

    Args:
        checkpoint: A trained `.safetensors` file.
        folder: With `default.safetensors` and `default.onnx`, or without.
    """
    release, twin = folder / "default.safetensors", folder / "default.onnx"
    if not release.is_file() or not _is_half_of(release, checkpoint):
        return ()
    digest = sha256_file(release)
    try:
        parent = dict(read_header(twin).provenance).get(PARENT)
    except DfdetectError:
        return (digest,)
    return (digest, sha256_file(twin)) if parent == digest else (digest,)


def _is_half_of(release: Path, checkpoint: Path) -> bool:
    try:
        ours, theirs = load_file(release), load_file(checkpoint)
    except (OSError, SafetensorError):
        # what cannot be read is not the same; loading it for the export says why
        return False
    if ours.keys() != theirs.keys():
        return False
    with np.errstate(over="ignore"):
        return all(
            np.array_equal(array, theirs[name].astype(array.dtype)) for name, array in ours.items()
        )
