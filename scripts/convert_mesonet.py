"""Convert an official MesoNet weight file (Keras .h5) to a dfdetect checkpoint.

The authors' files (github.com/DariusAf/MesoNet, Apache-2.0) answer 1 for a real face; the last
layer changes sign, so that the logit is above 0 for a fake one. Needs h5py: pip install h5py

    python scripts/convert_mesonet.py Meso4_DF.h5 meso4_df.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dfdetect.detectors.catalog import create_detector
from dfdetect.detectors.checkpoint import make_header, save_checkpoint
from dfdetect.detectors.network import Detector
from dfdetect.errors import ContractError, DfdetectError, UsageError
from dfdetect.provenance import sha256_file

Weights = dict[str, NDArray[np.float32]]

# Keras's layer numbers in the order of our layers: convolutions, batch norms, dense layers. The
# published files count on from whatever their graph held before.
LAYERS: dict[str, tuple[range, range, range]] = {
    "meso4": (range(5, 9), range(5, 9), range(3, 5)),
    "meso_inception4": (range(1, 17), range(1, 5), range(1, 3)),
}


def main(arguments: list[str] | None = None) -> int:
    """Convert the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="an official .h5 file")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        digest = convert(options.source, options.out)
    except DfdetectError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{options.out}: sha256 {digest}")
    return 0


def convert(source: Path, out: Path) -> str:
    """Write the checkpoint for an official file, and return its SHA-256.

    Raises:
        UsageError: h5py or the file is missing.
        ContractError: Its layers are neither Meso-4's nor MesoInception-4's.
    """
    weights = read_keras(source)
    n_convolutions = sum(key.startswith("conv2d_") and "kernel" in key for key in weights)
    network = create_detector("meso4" if n_convolutions == 4 else "meso_inception4")
    fill(network, weights, source)
    header = make_header(
        network,
        trained=True,
        provenance={
            "source": f"github.com/DariusAf/MesoNet weights/{source.name}, Apache-2.0",
            "source_sha256": sha256_file(source),
            "trained_on": "see Afchar et al., WIFS 2018, section IV.A",
            "command": "scripts/convert_mesonet.py",
        },
    )
    return save_checkpoint(out, network, header)


def read_keras(source: Path) -> Weights:
    """Return the arrays of a Keras weight file by `layer/weight`.

    Raises:
        UsageError: h5py is not installed, or the file is missing or no HDF5 file.
    """
    try:
        h5py = import_module("h5py")
    except ImportError:
        raise UsageError("reading .h5 files needs h5py; run: pip install h5py") from None
    weights: Weights = {}

    def collect(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            # Keras repeats the layer: conv2d_5/conv2d_5/kernel:0
            weights["/".join(path.split("/")[-2:])] = np.asarray(item, np.float32)

    try:
        with h5py.File(source, "r") as stored:
            stored.visititems(collect)
    except OSError as error:
        raise UsageError(f"{source} is no readable HDF5 file ({error}); check the path") from None
    return weights


def fill(network: Detector, weights: Weights, source: Path) -> None:
    """Copy Keras arrays into a network of the same structure; every array must be used.

    Raises:
        ContractError: An array is missing, left over or of another shape.
    """
    left = dict(weights)
    for tensor, key, arrange in _pairs(network):
        array = left.pop(key, None)
        if array is None:
            raise ContractError(f"{source} lacks {key}, expected the layers of {network.name}")
        moved = torch.from_numpy(np.ascontiguousarray(arrange(array)))
        if moved.shape != tensor.shape:
            raise ContractError(
                f"{source}: {key} has shape {array.shape}, which does not fit {network.name}"
            )
        tensor.data.copy_(moved)
    if left:
        raise ContractError(f"{source} holds {sorted(left)[0]}, which {network.name} has not")


Pair = tuple[torch.Tensor, str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]


def _pairs(network: Detector) -> Iterator[Pair]:
    """Yield (our tensor, Keras's key, how to rearrange Keras's array) for every weight."""
    convolutions, norms, dense = LAYERS[network.name]
    layers = list(network.modules())
    kinds: tuple[tuple[type[nn.Module], str, range], ...] = (
        (nn.Conv2d, "conv2d", convolutions),
        (nn.BatchNorm2d, "batch_normalization", norms),
        (nn.Linear, "dense", dense),
    )
    for kind, stem, numbers in kinds:
        ours = [layer for layer in layers if isinstance(layer, kind)]
        for layer, number in zip(ours, numbers, strict=True):
            key = f"{stem}_{number}"
            if isinstance(layer, nn.Conv2d):
                yield layer.weight, f"{key}/kernel:0", lambda array: array.transpose(3, 2, 0, 1)
                assert layer.bias is not None  # noqa: S101 — all of them have one
                yield layer.bias, f"{key}/bias:0", _as_is
            elif isinstance(layer, nn.BatchNorm2d):
                yield from _norm_pairs(layer, key)
            elif isinstance(layer, nn.Linear):
                arrange = _first_dense if layer is ours[0] else _last_dense
                yield layer.weight, f"{key}/kernel:0", arrange
                yield layer.bias, f"{key}/bias:0", _as_is if layer is ours[0] else _negated


def _norm_pairs(layer: nn.BatchNorm2d, key: str) -> Iterator[Pair]:
    assert layer.running_mean is not None  # noqa: S101 — these layers track statistics
    assert layer.running_var is not None  # noqa: S101
    yield layer.weight, f"{key}/gamma:0", _as_is
    yield layer.bias, f"{key}/beta:0", _as_is
    yield layer.running_mean, f"{key}/moving_mean:0", _as_is
    yield layer.running_var, f"{key}/moving_variance:0", _as_is


def _as_is(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array


def _negated(array: NDArray[np.float32]) -> NDArray[np.float32]:
    negated: NDArray[np.float32] = -array
    return negated


def _first_dense(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keras flattens height, width, channel; torch channel, height, width."""
    rows: NDArray[np.float32] = array.reshape(8, 8, 16, 16).transpose(3, 2, 0, 1).reshape(16, 1024)
    return rows


def _last_dense(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keras's network answers real, ours fake."""
    return _negated(array.transpose())


if __name__ == "__main__":
    sys.exit(main())
