"""An ONNX twin → the same network with 8-bit weights and activations.

Static quantisation by ONNX Runtime, in ONNX's own operators (QuantizeLinear, DequantizeLinear):
activations as uint8 over the range that real crops reach, weights as int8 with one scale a channel.
Weights use 7 of the 8 bits, because the 8-bit sums of x86 processors without VNNI saturate, and a
detector must not answer differently on another machine. A network's first layers may stay float32:
they are cheap in weights, and what they round away is missing everywhere after them.

Source: onnxruntime.ai, "Quantize ONNX models" (choice of parameters for CPUs).
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.errors import ContractError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# operators that hold weights; `float_layers` counts them from the input on
LAYERS = ("Conv", "MatMul", "Gemm")


class Quantiser:
    """Makes int8 models of one twin; the ranges are calibrated once."""

    def __init__(
        self, twin: bytes, header: CheckpointHeader, batches: Sequence[NDArray[np.uint8]]
    ) -> None:
        """Remember the twin and the crops (or clips) that its activations are seen on.

        Args:
            twin: The ONNX file in float32.
            header: Its header, for the preprocessing.
            batches: uint8 crops as `LoadedDetector.logits` takes them.

        Raises:
            UsageError: The package onnx is missing.
        """
        try:
            import onnx  # noqa: F401 — ONNX Runtime's quantisation needs it
        except ImportError:
            raise UsageError(
                "int8 needs the package onnx; install it with: pip install 'dfdetect[export]'"
            ) from None
        self._twin, self._header, self._batches = twin, header, batches

    def models(self, float_layers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (layers left in float32, serialised model without metadata), each when asked for.

        A number beyond the network's layers is left out.

        Raises:
            ContractError: ONNX Runtime cannot quantise this network.
        """
        with tempfile.TemporaryDirectory(prefix="dfdetect-int8-") as folder:
            for number in float_layers:
                model = self._model()
                layers = [node.name for node in model.graph.node if node.op_type in LAYERS]
                if number < len(layers):
                    yield number, self._quantised(model, layers[:number], Path(folder))

    def _model(self) -> Any:
        """A fresh copy: quantisation changes what it is given."""
        import onnx

        model = onnx.load_from_string(self._twin)
        del model.metadata_props[:]
        return model

    def _quantised(self, model: Any, kept: list[str], folder: Path) -> bytes:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.quant_utils import add_pre_process_metadata

        # the exporter has folded constants and batch norms already: what pre-processing is for
        add_pre_process_metadata(model)
        out = folder / "int8.onnx"
        try:
            with _quiet():
                quantize_static(
                    model,
                    out,
                    self._reader(),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    reduce_range=True,
                    nodes_to_exclude=kept,
                )
        except Exception as error:  # ONNX Runtime's errors share no narrower base
            reason = str(error).partition("\n")[0][:200]
            raise ContractError(
                f"ONNX Runtime cannot quantise detector {self._header.detector!r} "
                f"({type(error).__name__}: {reason}); nothing was written: choose format=onnx"
            ) from error
        made = onnx.load(out)
        made.producer_name, made.doc_string = "dfdetect", ""
        del made.metadata_props[:]
        del made.graph.value_info[:]
        return bytes(made.SerializeToString(deterministic=True))

    def _reader(self) -> Any:
        from onnxruntime.quantization import CalibrationDataReader

        from dfdetect.detectors.runtime_onnx import INPUT

        normalise, waiting = self._header.preprocess.normalise, iter(self._batches)

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            """Hands one batch after the other to the calibration."""

            def get_next(self) -> dict[str, Any] | None:
                batch = next(waiting, None)
                return None if batch is None else {INPUT: normalise(batch)}

        return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep advice to programmers off the terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
