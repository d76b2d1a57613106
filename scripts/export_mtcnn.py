"""Write MTCNN's three nets as ONNX files and check them against facenet-pytorch's.

    python scripts/export_mtcnn.py            # writes dfdetect/faces/weights/{pnet,rnet,onet}.onnx
    python scripts/export_mtcnn.py --check    # only compares the files that are there

The graphs are written node by node, which makes them small, the same on every machine and quicker
than a traced export: they take uint8 pictures, the normalisation (x − 127.5) / 128 is part of the
first convolution, and PReLU is spelt a·x + (1 − a)·max(x, 0), for which ONNX Runtime has fast
kernels. Needs the extra `export`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dfdetect.faces.facenet import reference_nets
from dfdetect.faces.mtcnn import WEIGHTS
from dfdetect.provenance import written_whole

TOLERANCE = 1e-5
OPSET = 17
IR_VERSION = 8

Weights: TypeAlias = Mapping[str, NDArray[np.float32]]


class GraphWriter:
    """Appends nodes to an ONNX graph; each method takes and returns the name of a value."""

    def __init__(self, name: str, weights: Weights) -> None:
        """Start the graph `name` over the parameters of a torch net."""
        self.name = name
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node."""
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        """Store a tensor."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def pictures(self) -> str:
        """Take the input, pictures as uint8 N×H×W×3, as float N×3×H×W."""
        self.add("Cast", ["pictures"], "float", to=TensorProto.FLOAT)
        return self.add("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])

    def conv(self, value: str, layer: str) -> str:
        """Convolve with a layer's kernel; the first one also normalises the picture."""
        kernel, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
        if layer == "conv1":
            shift = kernel.astype(np.float64).sum(axis=(1, 2, 3)) * 127.5 / 128
            kernel, bias = kernel / np.float32(128), (bias - shift).astype(np.float32)
        inputs = [value, self.constant(f"{layer}.w", kernel), self.constant(f"{layer}.b", bias)]
        return self.add("Conv", inputs, layer)

    def prelu(self, value: str, layer: str, spatial: bool = True) -> str:
        """Apply a PReLU layer to channels of maps (`spatial`) or to plain features."""
        slope = self.weights[f"{layer}.weight"].reshape((-1, 1, 1) if spatial else (-1,))
        linear = self.add("Mul", [value, self.constant(f"{layer}.a", slope)], f"{layer}.linear")
        positive = self.add("Relu", [value], f"{layer}.positive")
        rest = self.constant(f"{layer}.rest", (1 - slope).astype(np.float32))
        bent = self.add("Mul", [positive, rest], f"{layer}.bent")
        return self.add("Add", [linear, bent], layer)

    def pool(self, value: str, size: int, output: str) -> str:
        """Take the maximum over size × size, every second pixel, as torch's ceil_mode does."""
        return self.add(
            "MaxPool", [value], output, kernel_shape=[size] * 2, strides=[2, 2], ceil_mode=1
        )

    def flatten(self, value: str) -> str:
        """Make features of maps, in the width × height × channel order of the original nets."""
        turned = self.add("Transpose", [value], "turned", perm=[0, 3, 2, 1])
        return self.add("Flatten", [turned], "flat", axis=1)

    def dense(self, value: str, layer: str, output: str | None = None) -> str:
        """Apply a fully connected layer."""
        kernel, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
        inputs = [value, self.constant(f"{layer}.w", kernel), self.constant(f"{layer}.b", bias)]
        return self.add("Gemm", inputs, output or layer, transB=1)

    def finish(self, outputs: Mapping[str, list[str | int]], size: tuple[str | int, ...]) -> bytes:
        """Check the graph and return the file's bytes."""
        pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", *size, 3])
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, self.name, [pictures], results, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="dfdetect",
            doc_string="MTCNN (Zhang et al. 2016), weights of facenet-pytorch 2.5.3 (MIT)",
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def pnet_graph(weights: Weights) -> bytes:
    """Return the fully convolutional proposal net."""
    graph = GraphWriter("pnet", weights)
    maps = graph.prelu(graph.conv(graph.pictures(), "conv1"), "prelu1")
    maps = graph.prelu(graph.conv(graph.pool(maps, 2, "pool1"), "conv2"), "prelu2")
    maps = graph.prelu(graph.conv(maps, "conv3"), "prelu3")
    graph.add("Softmax", [graph.conv(maps, "conv4_1")], "classes", axis=1)
    graph.add("Identity", [graph.conv(maps, "conv4_2")], "offsets")
    grid: list[str | int] = ["rows", "columns"]
    return graph.finish(
        {"classes": ["n", 2, *grid], "offsets": ["n", 4, *grid]}, ("height", "width")
    )


def rnet_graph(weights: Weights) -> bytes:
    """Return the net that refines proposals of 24 × 24 pixels."""
    graph = GraphWriter("rnet", weights)
    maps = graph.prelu(graph.conv(graph.pictures(), "conv1"), "prelu1")
    maps = graph.prelu(graph.conv(graph.pool(maps, 3, "pool1"), "conv2"), "prelu2")
    maps = graph.prelu(graph.conv(graph.pool(maps, 3, "pool2"), "conv3"), "prelu3")
    features = graph.prelu(graph.dense(graph.flatten(maps), "dense4"), "prelu4", spatial=False)
    graph.add("Softmax", [graph.dense(features, "dense5_1")], "classes", axis=1)
    graph.dense(features, "dense5_2", "offsets")
    return graph.finish({"classes": ["n", 2], "offsets": ["n", 4]}, (24, 24))


def onet_graph(weights: Weights) -> bytes:
    """Return the net that judges faces of 48 × 48 pixels and places the five points."""
    graph = GraphWriter("onet", weights)
    maps = graph.prelu(graph.conv(graph.pictures(), "conv1"), "prelu1")
    maps = graph.prelu(graph.conv(graph.pool(maps, 3, "pool1"), "conv2"), "prelu2")
    maps = graph.prelu(graph.conv(graph.pool(maps, 3, "pool2"), "conv3"), "prelu3")
    maps = graph.prelu(graph.conv(graph.pool(maps, 2, "pool3"), "conv4"), "prelu4")
    features = graph.prelu(graph.dense(graph.flatten(maps), "dense5"), "prelu5", spatial=False)
    graph.add("Softmax", [graph.dense(features, "dense6_1")], "classes", axis=1)
    graph.dense(features, "dense6_2", "offsets")
    graph.dense(features, "dense6_3", "points")
    return graph.finish({"classes": ["n", 2], "offsets": ["n", 4], "points": ["n", 10]}, (48, 48))


def build() -> dict[str, bytes]:
    """Return the three files' bytes by the name of their net."""
    makers = {"pnet": pnet_graph, "rnet": rnet_graph, "onet": onet_graph}
    return {
        name: make({key: value.numpy() for key, value in net.state_dict().items()})
        for (name, make), net in zip(makers.items(), reference_nets(), strict=True)
    }


def largest_difference(name: str, content: bytes, seed: int = 0) -> float:
    """Return the largest difference to facenet-pytorch's net over random pictures."""
    net = dict(zip(("pnet", "rnet", "onet"), reference_nets(), strict=True))[name]
    height, width = {"pnet": (67, 96), "rnet": (24, 24), "onet": (48, 48)}[name]
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (16, height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    # blocks and noise together reach more of the nets' range than noise alone
    blocks = coarse.repeat(6, axis=1).repeat(6, axis=2)[:, :height, :width]
    pictures = np.where(rng.random(blocks.shape) < 0.8, blocks, 255 - blocks)
    with torch.no_grad():
        planes = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32))
        wanted = net((planes - 127.5) * 0.0078125)  # (offsets, [points,] classes)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    order = ["offsets", "points", "classes"] if name == "onet" else ["offsets", "classes"]
    got = session.run(order, {"pictures": pictures})
    return max(float(np.abs(g - w.numpy()).max()) for g, w in zip(got, wanted, strict=True))


def main() -> int:
    """Write or check the files; return 1 where a net differs by more than 1e-5."""
    parser = argparse.ArgumentParser(description="Export MTCNN's nets to ONNX and compare them.")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the .onnx files")
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    args = parser.parse_args()
    if not args.check:
        for name, content in build().items():
            with written_whole(args.out / f"{name}.onnx") as part:
                part.write_bytes(content)
    worst = 0.0
    for name in ("pnet", "rnet", "onet"):
        path = args.out / f"{name}.onnx"
        difference = largest_difference(name, path.read_bytes())
        print(f"{path}: {path.stat().st_size:,} bytes, largest difference {difference:.1e}")
        worst = max(worst, difference)
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
