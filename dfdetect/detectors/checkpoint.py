"""Files of weights: saving them, and loading them without trusting whoever made them.

A checkpoint is a registry name, numbers and a header. Opening one never runs code from it, never
unpickles, and never returns a detector whose weights are incomplete, altered or untrained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dfdetect.detectors.base import CheckpointHeader, LoadedDetector
from dfdetect.detectors.catalog import DETECTORS, create_detector
from dfdetect.detectors.onnx_file import read_sealed
from dfdetect.detectors.tensor_file import (
    Layout,
    TensorSpec,
    decode_tensors,
    encode_tensors,
    read_layout,
    refuse_nonfinite,
)
from dfdetect.errors import ContractError, UntrustedCheckpoint, UsageError
from dfdetect.provenance import sha256_file, written_whole
from dfdetect.types import Calibration

if TYPE_CHECKING:
    from dfdetect.detectors.network import Detector

WEIGHTS_DIR = Path(__file__).resolve().parent / "weights"
WEIGHTS_LIST = "WEIGHTS.sha256"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network with the trained weights of a file, in evaluation mode on the CPU."""

    network: Detector
    header: CheckpointHeader
    sha256: str


def make_header(
    network: Detector,
    *,
    trained: bool,
    calibration: Calibration | None = None,
    provenance: Mapping[str, str] | None = None,
    strangeness_limit: float | None = None,
) -> CheckpointHeader:
    """Return the header for a network made by `create_detector`.

    Args:
        network: What the weights belong to.
        trained: Whether training or conversion of published weights produced its state.
        calibration: What turns its logits into likelihood ratios, once fitted.
        provenance: Facts as text: trained_on, command, n …
        strangeness_limit: What faces may have at most, where the network tells strangeness.
    """
    return CheckpointHeader(
        detector=network.name,
        kwargs=network.kwargs,
        preprocess=network.preprocess,
        calibration=calibration,
        provenance=tuple(sorted((provenance or {}).items())),
        trained=trained,
        frames=network.needs.frames,
        strangeness_limit=strangeness_limit,
    )


def save_checkpoint(
    path: Path, network: Detector, header: CheckpointHeader, *, half: bool = False
) -> str:
    """Write a network's weights and header as `.safetensors`, and return the file's SHA-256.

    Args:
        path: Where to write; the file appears whole or not at all.
        network: A detector from `create_detector`, on any device.
        header: As `make_header` gives it, perhaps with another calibration or provenance.
        half: Store tensors of two or more dimensions as float16: half the size, and logits move
            (MesoNet's official weights on DFDC faces: by 0.002 to 0.005 on average). Batch-norm
            statistics, biases and scales stay float32.

    Raises:
        ContractError: The header belongs to another network.
        UntrustedCheckpoint: A weight is NaN or infinite (with `half`: beyond float16's range).
        UsageError: `path` does not end in .safetensors.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"{path} must end in .safetensors, the only format written here")
    described = (header.detector, header.kwargs, header.preprocess, header.frames)
    if described != (network.name, network.kwargs, network.preprocess, network.needs.frames):
        raise ContractError(
            f"the header for {path} describes another network than {network.name!r}; make it with "
            "make_header(network, …)"
        )
    if (header.strangeness_limit is None) != (network.strangeness is None):
        raise ContractError(
            f"the header for {path} and its network must both tell strangeness, or neither; fit "
            "it with `dfdetect strangeness`"
        )
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in network.stored_state().items():
        array = tensor.detach().cpu().numpy()
        if half and array.ndim >= 2 and array.dtype == np.float32:
            with np.errstate(over="ignore"):
                array = array.astype(np.float16)
        tensors[name] = array
    refuse_nonfinite(tensors, path)
    content = encode_tensors(tensors, header)
    with written_whole(path) as part:
        part.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Return the trained network of a `.safetensors` file; imports torch.

    Raises:
        UsageError: There is no such file, or it may not be read.
        UntrustedCheckpoint: It is not a complete, unaltered, trained checkpoint of a registered
            detector.
    """
    path = Path(path)
    with _opened(path) as stream:
        layout = read_layout(stream, path)
        _check_trained(layout.header, path)
        network = _matching_network(layout, path)
        # sizes agree with the network's by now, so no file can claim memory beyond that
        n_bytes = sum(spec.n_bytes for spec in layout.specs.values())
        content = layout.raw + stream.read(n_bytes + 1)
    tensors = decode_tensors(content, layout, path)
    # only here: an ONNX detector never comes this way, and must not wait for torch
    import torch

    state = {
        # the arrays are views of read-only bytes; float16 is a way of storing, not of computing
        name: torch.tensor(array.astype(np.float32) if array.dtype == np.float16 else array)
        for name, array in tensors.items()
    }
    network.drop_training_parts()
    network.load_state_dict(state, strict=True)
    if network.strangeness is not None:
        try:
            network.strangeness.require_sound()
        except ValueError as error:
            raise UntrustedCheckpoint(
                f"{path}: {error}; fit it again with `dfdetect strangeness`"
            ) from None
    return Checkpoint(network.eval(), layout.header, hashlib.sha256(content).hexdigest())


def load_detector(
    path: Path | str | None = None, device: str = "cpu", *, threads: int = 1
) -> LoadedDetector:
    """Return a trained detector that is ready for `score`.

    Args:
        path: An `.onnx` file (ONNX Runtime, torch is never imported), a `.safetensors` file
            (torch), or None for the bundled detector.
        device: Where torch runs: "cpu", "cuda" …; an ONNX detector runs on the CPU.
        threads: Threads of one ONNX session.

    Raises:
        UsageError: There is no such file, format or device.
        UntrustedCheckpoint: The file is incomplete, altered, untrained or of another format.
    """
    if path is None:
        bundled = load_detector(bundled_detector(), device, threads=threads)
        _check_listed(bundled)
        return bundled
    path = Path(path)
    if path.suffix == ".onnx":
        if device != "cpu":
            raise UsageError(f"{path} runs on the CPU only, not on {device!r}; drop the device")
        with _opened(path) as stream:
            content, header = read_sealed(stream, path)
        _check_trained(header, path)
        # only here: training and reading headers need no ONNX Runtime
        from dfdetect.detectors.runtime_onnx import OnnxDetector

        digest = hashlib.sha256(content).hexdigest()
        return OnnxDetector(content, header, digest, path, threads)
    if path.suffix == ".safetensors":
        checkpoint = load_checkpoint(path)
        # only here, for the reason above
        from dfdetect.detectors.runtime_torch import TorchDetector

        return TorchDetector(checkpoint.network, checkpoint.header, checkpoint.sha256, device)
    raise UsageError(f"{path} is no file of weights; expected .safetensors or .onnx")


def read_header(path: Path | str) -> CheckpointHeader:
    """Return what a file of weights says of itself, trained or not; never imports torch.

    Raises:
        UsageError: There is no such file or format.
        UntrustedCheckpoint: It holds no valid header.
    """
    path = Path(path)
    with _opened(path) as stream:
        if path.suffix == ".onnx":
            return read_sealed(stream, path)[1]
        return read_layout(stream, path).header


def bundled_detector() -> Path:
    """Return the path of the detector that ships with dfdetect, as ONNX.

    Raises:
        UsageError: This installation has none.
    """
    path = WEIGHTS_DIR / "default.onnx"
    if not path.is_file():
        raise UsageError(
            f"this installation has no bundled detector ({path} is missing); reinstall dfdetect, "
            "or train one with `dfdetect train` and name its file"
        )
    return path


def write_weights_list(folder: Path) -> Path:
    """Write the SHA-256 of every file of weights in a folder beside them, as `sha256sum` does."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".onnx", ".safetensors"))
    with written_whole(folder / WEIGHTS_LIST) as part:
        part.write_text("".join(f"{sha256_file(path)}  {path.name}\n" for path in files))
    return folder / WEIGHTS_LIST


def _check_listed(bundled: LoadedDetector) -> None:
    path = bundled_detector()
    listing = path.parent / WEIGHTS_LIST
    lines = listing.read_text().splitlines() if listing.is_file() else []
    if f"{bundled.weights_sha256}  {path.name}" not in lines:
        raise UntrustedCheckpoint(
            f"{path} is not the file that {WEIGHTS_LIST} lists beside it; reinstall dfdetect"
        )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not path.is_file():
            raise UsageError(f"{path} is missing or no file; check the path of the weights")
        stream = path.open("rb")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from None
    with stream:
        yield stream


def _check_trained(header: CheckpointHeader, path: Path) -> None:
    if not header.trained:
        raise UntrustedCheckpoint(
            f"{path} holds an untrained {header.detector!r}, expected a trained state; random "
            "weights judge nobody: train it with `dfdetect train`"
        )


def _matching_network(layout: Layout, path: Path) -> Detector:
    """Build the network that a header names, once the stored tensors are known to fit it."""
    # only here, for the reason above
    import torch

    header = layout.header
    try:
        if unstorable := DETECTORS.get(header.detector).not_stored & dict(header.kwargs).keys():
            raise UsageError(f"a header may not set {', '.join(sorted(unstorable))}")
        # without memory at first: a header may name a network of any size
        with torch.device("meta"):
            outline = _network_of(header)
    except (UsageError, RuntimeError, ValueError) as error:
        raise UntrustedCheckpoint(
            f"{path} describes a network that cannot be made: {error}"
        ) from None
    if outline.preprocess != header.preprocess:
        raise UntrustedCheckpoint(
            f"{path}: its preprocessing {header.preprocess} is not that of its network, expected "
            f"{outline.preprocess}; make the checkpoint again with this version"
        )
    if outline.needs.frames != header.frames:
        raise UntrustedCheckpoint(
            f"{path} says that it judges {header.frames} frames at a time, expected "
            f"{outline.needs.frames}; make the checkpoint again with this version"
        )
    expected = {
        name: TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in outline.stored_state().items()
    }
    _check_specs(expected, layout.specs, path)
    return _network_of(header)


def _network_of(header: CheckpointHeader) -> Detector:
    """Make the network that a header describes, with room for all that its file stores."""
    # only here, for the reason above
    from dfdetect.detectors.strangeness import Strangeness

    network = create_detector(header.detector, **dict(header.kwargs))
    if header.strangeness_limit is not None:
        network.strangeness = Strangeness(network.n_traits)
    return network


def _check_specs(
    expected: Mapping[str, TensorSpec], found: Mapping[str, TensorSpec], path: Path
) -> None:
    problems = [f"{name!r} is missing" for name in expected if name not in found]
    problems += [
        f"{name[:80]!r} is not part of the network" for name in found if name not in expected
    ]
    for name, want in expected.items():
        got = found.get(name, want)
        halved = want.dtype == "float32" and got.dtype == "float16" and len(want.shape) >= 2
        if got.shape != want.shape:
            problems.append(f"{name!r} has shape {got.shape}, expected {want.shape}")
        elif got.dtype != want.dtype and not halved:
            problems.append(f"{name!r} is {got.dtype}, expected {want.dtype}")
    if problems:
        raise UntrustedCheckpoint(
            f"{path} does not fit its network in {len(problems)} tensors ({problems[0]}); expected "
            "every tensor, exactly: fetch or make it again"
        )
