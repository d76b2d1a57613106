"""Weights of MesoNet (Afchar et al., WIFS 2018) as its authors released them, for Keras.

Their networks answer 1 for a real face; the last layer changes its sign, so that the logit is above
0 for a fake one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfdetect.detectors.convert.conversion import Arrange, Conversion, Source, Sources, State
from dfdetect.detectors.network import Detector
from dfdetect.errors import UntrustedCheckpoint, UsageError

# the layers' numbers in the order of ours: convolutions, batch norms, dense layers; the published
# files count on from whatever their graph held before
Numbers = tuple[Iterable[int], Iterable[int], Iterable[int]]
MESO4: Numbers = (range(5, 9), range(5, 9), range(3, 5))
MESO_INCEPTION4: Numbers = (range(1, 17), range(1, 5), range(1, 3))

NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# the largest array of theirs has 16,384 numbers; a file may claim any
MOST_NUMBERS = 1_000_000


def read_keras(source: Path) -> State:
    """Return the arrays of a Keras weight file by `layer/weight`.

    Raises:
        UsageError: h5py is not installed.
        UntrustedCheckpoint: The file is no such file.
    """
    try:
        h5py = import_module("h5py")
    except ImportError:
        raise UsageError("reading .h5 files needs h5py; run: pip install h5py") from None
    weights: dict[str, Tensor] = {}

    def collect(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.size is None or item.size > MOST_NUMBERS or item.dtype.kind not in "fiu":
                raise ValueError(f"{path[:80]!r} is no array of weights")
            # Keras repeats the layer: conv2d_5/conv2d_5/kernel:0
            name = "/".join(path.split("/")[-2:])
            weights[name] = torch.from_numpy(np.ascontiguousarray(item[()]))

    try:
        with h5py.File(source, "r") as stored:
            stored.visititems(collect)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise UntrustedCheckpoint(
            f"{source} is no readable Keras weight file ({error}); fetch it again from its project"
        ) from None
    return weights


def _sources(network: Detector, numbers: Numbers) -> Sources:
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    modules: list[tuple[str, nn.Module]] = list(network.named_modules())
    sources: Sources = {}
    for kind, counted in zip(kinds, numbers, strict=True):
        layers = [(name, layer) for name, layer in modules if isinstance(layer, kind)]
        for (name, layer), number in zip(layers, counted, strict=True):
            sources |= _of_layer(name, layer, number, last=name == layers[-1][0])
    # torch counts batches and Keras does not
    counters = (key for key in network.stored_state() if key.endswith("num_batches_tracked"))
    zero: Arrange = lambda: torch.zeros((), dtype=torch.int64)  # noqa: E731
    return sources | {key: Source((), (), zero) for key in counters}


def _of_layer(name: str, layer: nn.Module, number: int, *, last: bool) -> Sources:
    if isinstance(layer, nn.BatchNorm2d):
        shape = (layer.num_features,)
        return {
            f"{name}.{ours}": Source((f"batch_normalization_{number}/{theirs}:0",), shape)
            for ours, theirs in NORM.items()
        }
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        kernel = Source(
            (f"conv2d_{number}/kernel:0",),
            (height, width, layer.in_channels, layer.out_channels),
            lambda array: array.permute(3, 2, 0, 1),
        )
        bias = Source((f"conv2d_{number}/bias:0",), (layer.out_channels,))
    else:
        assert isinstance(layer, nn.Linear)  # noqa: S101 — the third of three kinds
        arrange = _answers_fake if last else _channels_first
        kernel = Source(
            (f"dense_{number}/kernel:0",), (layer.in_features, layer.out_features), arrange
        )
        bias = Source((f"dense_{number}/bias:0",), (layer.out_features,))
        if last:
            bias = Source(bias.keys, bias.shape, torch.neg)
    return {f"{name}.weight": kernel, f"{name}.bias": bias}


def _channels_first(array: Tensor) -> Tensor:
    """Keras flattens height, width, channel; torch channel, height, width."""
    return array.reshape(8, 8, 16, 16).permute(3, 2, 0, 1).reshape(16, 1024)


def _answers_fake(array: Tensor) -> Tensor:
    return -array.T


def _conversion(detector: str, numbers: Numbers) -> Conversion:
    return Conversion(
        detector=detector,
        settings={"crop": "square", "crop_scale": 1.3},
        project="github.com/DariusAf/MesoNet (looked at: 2144d56)",
        licence="Apache-2.0",
        differs="there faces come from another finder and are resized by nearest neighbour; 1.3 "
        "times the box is assumed",
        read=read_keras,
        sources=lambda network: _sources(network, numbers),
    )


MESONET: Mapping[str, Conversion] = {
    "meso4": _conversion("meso4", MESO4),
    "meso_inception4": _conversion("meso_inception4", MESO_INCEPTION4),
}
