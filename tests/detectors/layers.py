"""What tests of single layers share: noise to feed them, and what their ONNX twins answer."""

from __future__ import annotations

from typing import Any

import torch

from dfdetect.export import OPSET


def onnx_answers(layer: torch.nn.Module, *inputs: torch.Tensor) -> list[Any]:
    """Export a layer and return what ONNX Runtime makes of the inputs."""
    import onnxruntime

    program: Any = torch.onnx.export(
        layer.eval(), inputs, opset_version=OPSET, dynamo=True, verbose=False
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [port.name for port in session.get_inputs()]
    values = [each.numpy() for each in inputs]
    answers: list[Any] = session.run(None, dict(zip(names, values, strict=True)))
    return answers


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return normal noise that depends on nothing but shape and seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
