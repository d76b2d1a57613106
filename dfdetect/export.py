"""A trained detector → its ONNX twin, which answers the same without torch.

The twin is one sealed file (see `detectors/onnx_file.py`) that holds the checkpoint's header, with
the checkpoint's SHA-256 added to its provenance. Batch norms are folded into convolutions; the
batch is free, the size fixed, and so is a clip's number of frames. Needs the extra
`dfdetect[export]` and torch ≥ 2.6.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfdetect.detectors.checkpoint import (
    WEIGHTS_DIR,
    Checkpoint,
    load_checkpoint,
    load_detector,
    save_checkpoint,
    write_weights_list,
)
from dfdetect.detectors.onnx_file import seal
from dfdetect.detectors.runtime_onnx import INPUT, OUTPUT
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_file, written_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET = 18
# the twin's provenance names the checkpoint it was made from
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
    """Write a checkpoint's ONNX twin, if it answers like the checkpoint.

    Args:
        checkpoint: A trained `.safetensors` file.
        out: Where to write, ending in `.onnx`; the file appears whole or not at all.
        tolerance: Largest allowed difference of logits (relative where a logit exceeds 1).

    Raises:
        UsageError: The checkpoint is missing, `out` has another ending, or a package is missing.
        UntrustedCheckpoint: The checkpoint cannot be trusted.
        ContractError: The twin answers differently; nothing is written.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"{out} must end in .onnx, the only format written here")
    trained = load_checkpoint(checkpoint)
    parent = (PARENT, trained.sha256)
    kept = (pair for pair in trained.header.provenance if pair[0] != PARENT)
    header = replace(trained.header, provenance=tuple(sorted((*kept, parent))))
    content = seal(_onnx_bytes(trained), header)
    crops = _probes(trained.header.preprocess.size, trained.header.frames)
    with written_whole(out) as part:
        # the loader goes by the ending
        probe = part.with_name(f"{part.name}.onnx")
        try:
            probe.write_bytes(content)
            difference = _largest_difference(checkpoint, probe, crops)
        finally:
            probe.unlink(missing_ok=True)
        if not difference <= tolerance:
            raise ContractError(
                f"the ONNX twin of {checkpoint} differs from it by {difference:.1e} in the logit, "
                f"expected at most {tolerance:.1e}; nothing was written: raise the tolerance or "
                "report the network"
            )
        part.write_bytes(content)
    return ExportReport(
        path=out,
        sha256=sha256_file(out),
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
    kept = (pair for pair in trained.header.provenance if pair[0] not in dict(facts))
    header = replace(trained.header, provenance=tuple(sorted((*kept, *facts))))
    default = folder / "default.safetensors"
    save_checkpoint(default, trained.network, header, half=True)
    report = export_onnx(default, folder / "default.onnx", tolerance=tolerance)
    write_weights_list(folder)
    return report


def _onnx_bytes(trained: Checkpoint) -> bytes:
    """Return the serialised graph, without the exporter's notes on whose machine made it."""
    import torch

    try:
        import onnx
        import onnxscript  # noqa: F401 — torch's exporter needs it
    except ImportError as error:
        raise UsageError(
            f"exporting needs the package {error.name}; install it with: "
            "pip install 'dfdetect[export]'"
        ) from None
    size, frames = trained.header.preprocess.size, trained.header.frames
    clip = (frames,) if frames > 1 else ()
    example = torch.zeros(2, *clip, 3, size, size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            trained.network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_shapes=({0: batch},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = program.model_proto
    model.producer_name, model.doc_string = "dfdetect", ""
    del model.metadata_props[:]
    _strip(model.graph)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _strip(graph: Any) -> None:
    """Remove source paths and stack traces, which name folders of the exporting machine."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def _probes(size: int, frames: int = 1) -> NDArray[np.uint8]:
    """Return crops, or clips of so many of them: noise, flat, gradients, and black and white."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, size, size, 3), np.uint8)
    ramp = np.linspace(0, 255, size).astype(np.uint8)
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)
    flat = [np.full((size, size, 3), level, np.uint8) for level in (0, 128, 255)]
    crops = np.stack([*noise, gradient, *flat])
    if frames == 1:
        return crops
    return np.stack([np.roll(crops, -number, axis=0) for number in range(frames)], axis=1)


def _largest_difference(checkpoint: Path, twin: Path, crops: NDArray[np.uint8]) -> float:
    """Compare both files as `predict` would load them, in one batch and one by one."""
    network, onnx_twin = load_detector(checkpoint), load_detector(twin)
    expected = network.logits(crops)
    single = np.concatenate([onnx_twin.logits(crop[None]) for crop in crops])
    found = np.stack([onnx_twin.logits(crops), single])
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max())
