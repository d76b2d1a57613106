"""A network → the bytes of an ONNX graph, without notes on whose machine made it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from dfdetect.errors import UsageError

if TYPE_CHECKING:
    from dfdetect.detectors.checkpoint import Checkpoint
    from dfdetect.detectors.network import Detector

OPSET = 18
MAX_BATCH = 4096


def onnx_graph(trained: Checkpoint) -> bytes:
    """Return a checkpoint's network as a serialised ONNX model without metadata.

    Batch norms are folded into convolutions; the batch is free, the size fixed, and so is a clip's
    number of frames.

    Raises:
        UsageError: A package of the extra `export` is missing, or the network says that ONNX cannot
            hold it.
    """
    import torch

    try:
        import onnx
        import onnxscript  # noqa: F401 — torch's exporter needs it
    except ImportError as error:
        raise UsageError(
            f"exporting needs the package {error.name}; install it with: "
            "pip install 'dfdetect[export]'"
        ) from None
    if trained.network.no_onnx:
        raise UsageError(
            f"detector {trained.header.detector!r} cannot become ONNX "
            f"({trained.network.no_onnx}); choose format=torch_export"
        )
    # only here: settings are read without ONNX Runtime
    from dfdetect.detectors.runtime_onnx import INPUT, OUTPUT, STRANGENESS

    example = torch.zeros(example_shape(trained))
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            _judging(trained.network),
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT, *([] if trained.network.strangeness is None else [STRANGENESS])],
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


def _judging(network: Detector) -> Any:
    """Return a module that answers all that the network can: logits, and strangeness if it does."""
    if network.strangeness is None:
        return network
    from torch import Tensor, nn

    class Judging(nn.Module):
        """Gives both answers of one pass."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
            return self.network.logits_and_strangeness(pixels)

    return Judging().eval()


def _strip(graph: Any) -> None:
    """Remove source paths and stack traces, which name folders of the exporting machine."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def example_shape(trained: Checkpoint) -> tuple[int, ...]:
    """Return the shape of the pixels that a graph is traced with: two pictures, or two clips."""
    size, frames = trained.header.preprocess.size, trained.header.frames
    return (2, *((frames,) if frames > 1 else ()), 3, size, size)
