"""A trained network on ONNX Runtime: one thread, the same answer every time, no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.errors import UntrustedCheckpoint

INPUT = "pixels"
OUTPUT = "logits"
STRANGENESS = "strangeness"


class OnnxDetector:
    """A `LoadedDetector` that runs a sealed ONNX model, already checked, on the CPU."""

    def __init__(
        self,
        model: bytes,
        header: CheckpointHeader,
        weights_sha256: str,
        source: Path,
        threads: int = 1,
    ) -> None:
        """Start a session for the model's bytes; `source` names the file in messages.

        Raises:
            UntrustedCheckpoint: ONNX Runtime cannot run it, or its input and output are not
                `pixels` float32 (batch, 3, S, S), for clips (batch, T, 3, S, S), and `logits`
                float32 (batch), with a limit in the header `strangeness` float32 (batch), too.
        """
        self.header = header
        self.weights_sha256 = weights_sha256
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        # idle threads must not burn the processor that decoding needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no narrower base
            reason = str(error).partition("\n")[0][:200]
            raise UntrustedCheckpoint(
                f"{source} cannot be run by ONNX Runtime {onnxruntime.__version__} ({reason}); "
                "export it again with `dfdetect export`"
            ) from None
        self._check_ports(source)

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one logit a crop, or a clip; see `LoadedDetector.logits`."""
        pixels = self.header.preprocess.normalise(crops)
        answer: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: pixels})[0]
        return answer

    def judge(
        self, crops: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return logits and strangeness; see `StrangenessDetector.judge`."""
        if self.header.strangeness_limit is None:
            return self.logits(crops), None
        pixels = self.header.preprocess.normalise(crops)
        logits, strangeness = self._session.run([OUTPUT, STRANGENESS], {INPUT: pixels})
        return logits, strangeness

    def _check_ports(self, source: Path) -> None:
        size, frames = self.header.preprocess.size, self.header.frames
        clip = (frames,) if frames > 1 else ()
        found = [
            [(port.name, port.type, _shape(port.shape)) for port in ports]
            for ports in (self._session.get_inputs(), self._session.get_outputs())
        ]
        answers = [OUTPUT, *([] if self.header.strangeness_limit is None else [STRANGENESS])]
        expected = [
            [(INPUT, "tensor(float)", (None, *clip, 3, size, size))],
            [(name, "tensor(float)", (None,)) for name in answers],
        ]
        if found != expected:
            raise UntrustedCheckpoint(
                f"{source} maps {found[0]} to {found[1]}, expected {expected[0]} to {expected[1]} "
                "(None is the batch); export it again with `dfdetect export`"
            )


def _shape(dimensions: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(each if isinstance(each, int) else None for each in dimensions)
