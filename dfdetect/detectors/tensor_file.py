"""One `.safetensors` file of weights with a dfdetect header, read with suspicion, without torch.

The file's only metadata entry is JSON: `{"header": …, "sha256": …}`. The digest covers the header
and every tensor's name, type, shape and bytes, so that an altered file shows. One entry, because
the order of several is not fixed and equal weights shall give equal files.

Source: github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.header import decode_header, encode_header
from dfdetect.errors import UntrustedCheckpoint

METADATA_KEY = "dfdetect"
MAX_LAYOUT_BYTES = 4 * 1024 * 1024

Tensors = Mapping[str, NDArray[Any]]

_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, numpy type and shape of a stored tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes that the tensor takes in the file."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands in front of the tensors: `raw` is that part of the file, `specs` by name."""

    raw: bytes
    header: CheckpointHeader
    sha256: str
    specs: Mapping[str, TensorSpec]


def encode_tensors(tensors: Tensors, header: CheckpointHeader) -> bytes:
    """Return the bytes of a file; equal tensors and headers give equal bytes.

    Raises:
        ContractError: The header cannot be stored.
    """
    text = encode_header(header)
    envelope = f'{{"header":{text},"sha256":"{_digest(tensors, text)}"}}'
    plain = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    return safetensors.numpy.save(plain, metadata={METADATA_KEY: envelope})


def read_layout(stream: BinaryIO, source: Path) -> Layout:
    """Return the part of a file in front of its tensors; the stream then stands at the tensors.

    Raises:
        UntrustedCheckpoint: It is another format, has no dfdetect header, or one that is broken,
            too long or newer than this version.
    """
    try:
        length = int.from_bytes(prefix := stream.read(8), "little")
        if len(prefix) < 8 or not 2 <= length <= MAX_LAYOUT_BYTES:
            raise ValueError("it does not begin like one")
        raw = stream.read(length)
        if len(raw) < length:
            raise ValueError("it is cut off")
        plain = json.loads(raw)
        if not isinstance(plain, dict):
            raise ValueError("it does not begin like one")
        text, digest = _envelope(plain.pop("__metadata__", None))
        specs = {name: _spec(name, entry) for name, entry in plain.items()}
    except (ValueError, RecursionError) as error:
        raise UntrustedCheckpoint(
            f"{source} is no safetensors checkpoint of dfdetect ({error}); expected a file written "
            "by `dfdetect train`, fetch or make it again"
        ) from None
    return Layout(prefix + raw, decode_header(text, str(source)), digest, specs)


def decode_tensors(content: bytes, layout: Layout, source: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a whole file, after checking its digest and that all are finite.

    Raises:
        UntrustedCheckpoint: The file is cut off, was altered, or holds NaN or infinity.
    """
    try:
        tensors: dict[str, NDArray[Any]] = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise UntrustedCheckpoint(
            f"{source} holds other bytes than its layout says ({error}); fetch or make it again"
        ) from None
    if _digest(tensors, encode_header(layout.header)) != layout.sha256:
        raise UntrustedCheckpoint(
            f"{source} was altered after it was written: its tensors or header do not match their "
            "SHA-256; fetch or make it again"
        )
    refuse_nonfinite(tensors, source)
    return tensors


def refuse_nonfinite(tensors: Tensors, source: Path) -> None:
    """Raise UntrustedCheckpoint if a tensor holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise UntrustedCheckpoint(
                f"{source}: tensor {name!r} holds NaN or infinity, expected finite weights; "
                "train again or use another checkpoint"
            )


def _envelope(metadata: Any) -> tuple[str, str]:
    if not isinstance(metadata, dict) or not isinstance(metadata.get(METADATA_KEY), str):
        raise ValueError("it has no dfdetect header")
    plain = json.loads(metadata[METADATA_KEY])
    if not isinstance(plain, dict) or plain.keys() != {"header", "sha256"}:
        raise ValueError("its dfdetect header is broken")
    # decode_header takes text, since an ONNX file stores just that
    return json.dumps(plain["header"]), str(plain["sha256"])


def _spec(name: str, entry: Any) -> TensorSpec:
    if not isinstance(entry, dict) or entry.get("dtype") not in _TYPES:
        raise ValueError(f"tensor {name[:80]!r} is of an unknown type")
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"tensor {name[:80]!r} has no shape")
    return TensorSpec(name, _TYPES[entry["dtype"]], tuple(shape))


def _digest(tensors: Tensors, header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name], order="C")
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
