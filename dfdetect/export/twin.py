"""A trained detector → its ONNX twin, which answers the same without torch.

The twin is one sealed file (see `detectors/onnx_file.py`) that holds the checkpoint's header, with
the checkpoint's SHA-256 added to its provenance. Needs the extra `dfdetect[export]`, torch ≥ 2.6.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfdetect.detectors.base import CheckpointHeader, LoadedDetector, StrangenessDetector
from dfdetect.detectors.checkpoint import (
    WEIGHTS_DIR,
    Checkpoint,
    load_checkpoint,
    load_detector,
    save_checkpoint,
    write_weights_list,
)
from dfdetect.detectors.onnx_file import read_sealed, seal
from dfdetect.errors import ContractError
from dfdetect.export.graph import onnx_graph
from dfdetect.export.settings import require_ending
from dfdetect.provenance import sha256_bytes, written_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dfdetect.detectors.runtime_onnx import OnnxDetector

# the provenance of what is exported names the checkpoint it was made from
PARENT = "checkpoint_sha256"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and how far it is from its checkpoint.

    `max_difference` is the largest difference of logits over `n_probes` crops, relative where a
    logit's size exceeds 1.
    """

    path: Path
    sha256: str
    checkpoint_sha256: str
    n_bytes: int
    n_probes: int
    max_difference: float


def export_onnx(checkpoint: Path, out: Path, *, tolerance: float = 1e-4) -> ExportReport:
    """Write a checkpoint's ONNX twin, if it answers like the checkpoint to made-up crops.

    Args:
        checkpoint: A trained `.safetensors` file.
        out: Where to write, ending in `.onnx`; the file appears whole or not at all.
        tolerance: Largest allowed difference of logits (relative where a logit exceeds 1).

    Raises:
        UsageError: The checkpoint is missing, `out` has another ending, a package is missing, or
            the network says that ONNX cannot hold it.
        UntrustedCheckpoint: The checkpoint cannot be trusted.
        ContractError: The twin answers differently; nothing is written.
    """
    require_ending(out, ".onnx")
    trained = load_checkpoint(checkpoint)
    content = onnx_twin(trained)
    twin, crops = open_sealed(content, out), probes(trained.header)
    difference = probe_difference(load_detector(checkpoint), twin, crops)
    require_close(difference, tolerance, checkpoint, "ONNX twin")
    with written_whole(out) as part:
        part.write_bytes(content)
    return ExportReport(
        path=out,
        sha256=twin.weights_sha256,
        checkpoint_sha256=trained.sha256,
        n_bytes=len(content),
        n_probes=len(crops),
        max_difference=difference,
    )


def bundle(
    checkpoint: Path,
    folder: Path = WEIGHTS_DIR,
    *,
    tolerance: float = 1e-4,
    facts: Sequence[tuple[str, str]] = (),
) -> ExportReport:
    """Make a checkpoint the detector that ships with dfdetect: weights, ONNX twin, their hashes.

    Writes `default.safetensors`, `default.onnx` and `WEIGHTS.sha256` into `folder`.

    Args:
        checkpoint: A trained `.safetensors` file.
        folder: Where to write.
        tolerance: As for `export_onnx`.
        facts: Pairs that both headers' provenance shall hold too, such as what was measured.

    Raises:
        UsageError, UntrustedCheckpoint, ContractError: As `export_onnx`.
    """
    trained = load_checkpoint(checkpoint)
    header = with_facts(trained.header, facts)
    default = folder / "default.safetensors"
    save_checkpoint(default, trained.network, header, half=True)
    report = export_onnx(default, folder / "default.onnx", tolerance=tolerance)
    write_weights_list(folder)
    return report


def onnx_twin(trained: Checkpoint) -> bytes:
    """Return the sealed ONNX file of a checkpoint, unchecked.

    Raises:
        UsageError: As `onnx_graph`.
    """
    return seal(onnx_graph(trained), child_header(trained))


def child_header(trained: Checkpoint, facts: Sequence[tuple[str, str]] = ()) -> CheckpointHeader:
    """Return the header of something made from a checkpoint, which names its parent."""
    return with_facts(trained.header, ((PARENT, trained.sha256), *facts))


def with_facts(header: CheckpointHeader, facts: Sequence[tuple[str, str]]) -> CheckpointHeader:
    """Return a header whose provenance holds these facts, in place of older ones of their names."""
    kept = (pair for pair in header.provenance if pair[0] not in dict(facts))
    return replace(header, provenance=tuple(sorted((*kept, *facts))))


def open_sealed(content: bytes, name: Path) -> OnnxDetector:
    """Start the detector in the bytes of an ONNX file, checked as `load_detector` checks one.

    Raises:
        UntrustedCheckpoint: It would not be loaded from a file either.
    """
    # only here: settings are read without ONNX Runtime
    from dfdetect.detectors.runtime_onnx import OnnxDetector

    _, header = read_sealed(io.BytesIO(content), name)
    return OnnxDetector(content, header, sha256_bytes(content), name)


def probes(header: CheckpointHeader) -> NDArray[np.uint8]:
    """Return crops, or clips, to compare on: noise, flat, gradients, and black and white."""
    size, frames = header.preprocess.size, header.frames
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, size, size, 3), np.uint8)
    ramp = np.linspace(0, 255, size).astype(np.uint8)
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)
    flat = [np.full((size, size, 3), level, np.uint8) for level in (0, 128, 255)]
    crops = np.stack([*noise, gradient, *flat])
    if frames == 1:
        return crops
    return np.stack([np.roll(crops, -number, axis=0) for number in range(frames)], axis=1)


def probe_difference(
    before: LoadedDetector, after: LoadedDetector, crops: NDArray[np.uint8]
) -> float:
    """Return the largest difference of answers, relative above 1, in one batch and one by one.

    Answers are logits and, where both tell it, strangeness.
    """
    expected = _answers(before, crops)
    single = np.concatenate([_answers(after, crop[None]) for crop in crops], axis=1)
    n_shared = min(len(expected), len(single))
    expected = expected[:n_shared]
    found = np.stack([_answers(after, crops)[:n_shared], single[:n_shared]])
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max())


def _answers(detector: LoadedDetector, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return logits and, where it is told, strangeness as rows."""
    if not isinstance(detector, StrangenessDetector):
        return detector.logits(crops)[None]
    return np.stack([answer for answer in detector.judge(crops) if answer is not None])


def without_strangeness(trained: Checkpoint) -> Checkpoint:
    """Return a checkpoint for formats in which strangeness would not hold; changes its network."""
    trained.network.strangeness = None
    return replace(trained, header=replace(trained.header, strangeness_limit=None))


def require_close(difference: float, tolerance: float, checkpoint: Path, what: str) -> None:
    """Refuse what answers differently from its checkpoint.

    Raises:
        ContractError: The difference is above the tolerance, or not a number.
    """
    if not difference <= tolerance:
        raise ContractError(
            f"the {what} of {checkpoint} differs from it by {difference:.1e} in the logit, "
            f"expected at most {tolerance:.1e}; nothing was written: raise the tolerance or "
            "report the network"
        )
