"""A trained network on torch: for GPUs, for research, and for measuring against its ONNX twin."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.network import PICTURES, Detector, channels_last
from dfdetect.errors import UsageError


class TorchDetector:
    """A `LoadedDetector` that runs a network in evaluation mode, without gradients."""

    def __init__(
        self, network: Detector, header: CheckpointHeader, weights_sha256: str, device: str
    ) -> None:
        """Move the network to `device` ("cpu", "cuda", "cuda:1" …).

        Raises:
            UsageError: There is no such device here.
        """
        self.header = header
        self.weights_sha256 = weights_sha256
        try:
            self.device = torch.device(device)
            network = channels_last(network.to(self.device))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(f"device {device!r} cannot be used ({reason}); try cpu") from None
        self.network = network.eval()

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one logit a crop, or a clip; see `LoadedDetector.logits`."""
        with torch.inference_mode():
            return _as_array(self.network(self._pixels(crops)))

    def judge(
        self, crops: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return logits and strangeness; see `StrangenessDetector.judge`."""
        if self.network.strangeness is None:
            return self.logits(crops), None
        with torch.inference_mode():
            logits, strangeness = self.network.logits_and_strangeness(self._pixels(crops))
            return _as_array(logits), _as_array(strangeness)

    def _pixels(self, crops: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(self.header.preprocess.normalise(crops))
        layout = torch.channels_last if pixels.ndim == PICTURES else torch.preserve_format
        return pixels.to(self.device, memory_format=layout)


def _as_array(answer: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = answer.float().cpu().numpy()
    return array
