"""ONNX files that carry a header and a seal, read without the onnx package.

An ONNX file is one protobuf message, and fields appended to a message count as its own. So a
sealed file is the model's bytes, then a `metadata_props` entry with the header's JSON, then one
with the SHA-256 of all bytes before it. The seal shows accidents and careless edits; whoever
recomputes it deliberately can be told only by the file's own SHA-256, which every report names.

Source: onnx/onnx.proto3 (field numbers), protobuf.dev "Encoding" (wire format).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.header import DIGEST_KEY, HEADER_KEY, decode_header, encode_header
from dfdetect.errors import UntrustedCheckpoint

MAX_BYTES = 2**31 - 1  # protobuf's own limit

# wire types
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# field numbers of the messages in onnx.proto3
MODEL_GRAPH, MODEL_OPSETS, MODEL_METADATA, MODEL_TRAINING, MODEL_FUNCTIONS = 7, 8, 14, 20, 25
GRAPH_NODES, GRAPH_TENSORS, GRAPH_SPARSE = 1, 5, 15
NODE_ATTRIBUTES, NODE_DOMAIN = 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_TYPE, TENSOR_FLOATS, TENSOR_RAW, TENSOR_EXTERNAL, TENSOR_PLACE = 2, 4, 9, 13, 14
OPSET_DOMAIN = 1
ENTRY_KEY, ENTRY_VALUE = 1, 2
FLOAT, FLOAT16 = 1, 10

Field = tuple[int, int | memoryview]


def seal(model: bytes, header: CheckpointHeader) -> bytes:
    """Return the bytes of an ONNX model with a header and its seal appended.

    Args:
        model: A serialised ModelProto without metadata of dfdetect's.
        header: What the file is to say of itself.
    """
    body = model + _entry(HEADER_KEY, encode_header(header))
    return body + _entry(DIGEST_KEY, hashlib.sha256(body).hexdigest())


def read_sealed(stream: BinaryIO, source: Path) -> tuple[bytes, CheckpointHeader]:
    """Return an ONNX file's bytes and header, after checking that nothing in it can surprise.

    Refused are: another format, a broken or missing seal or header, tensors outside the file,
    operators outside ONNX's own, control flow, functions, sparse tensors, training steps, and
    weights that are not finite.

    Raises:
        UntrustedCheckpoint: For any of these, in one sentence.
    """
    try:
        content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError("it is larger than 2 GiB, the limit of the format")
        text = _check_model(memoryview(content))
    except (ValueError, IndexError) as error:
        raise UntrustedCheckpoint(
            f"{source} is no ONNX detector of dfdetect ({error}); expected a file written by "
            "`dfdetect export`, export or fetch it again"
        ) from None
    return content, decode_header(text, str(source))


def _check_model(content: memoryview) -> str:
    """Return the header's JSON of a model whose seal and parts are as they should be."""
    header: list[str] = []
    graphs = 0
    start = 0
    last: tuple[str, str, int] | None = None
    for number, value, end in _fields(content):
        last = None
        if number == MODEL_GRAPH:
            graphs += 1
            _check_graph(_bytes(value))
        elif number == MODEL_OPSETS:
            _check_domain(_bytes(value), OPSET_DOMAIN)
        elif number in (MODEL_TRAINING, MODEL_FUNCTIONS):
            raise ValueError("it holds training steps or functions")
        elif number == MODEL_METADATA:
            key, text = _pair(_bytes(value))
            header += [text] if key == HEADER_KEY else []
            last = (key, text, start)
        start = end
    if graphs != 1:
        raise ValueError(f"it holds {graphs} graphs, expected 1")
    if last is None or last[0] != DIGEST_KEY or len(header) != 1:
        raise ValueError("it does not end in one header and one seal")
    if hashlib.sha256(content[: last[2]]).hexdigest() != last[1]:
        raise ValueError("it was altered after it was sealed: its SHA-256 does not match")
    return header[0]


def _check_graph(graph: memoryview) -> None:
    for number, value, _ in _fields(graph):
        if number == GRAPH_NODES:
            _check_node(_bytes(value))
        elif number == GRAPH_TENSORS:
            _check_tensor(_bytes(value))
        elif number == GRAPH_SPARSE:
            raise ValueError("it holds sparse tensors")


def _check_node(node: memoryview) -> None:
    _check_domain(node, NODE_DOMAIN)
    attributes = (_bytes(value) for number, value, _ in _fields(node) if number == NODE_ATTRIBUTES)
    for attribute in attributes:
        for number, value, _ in _fields(attribute):
            if number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                raise ValueError("it holds control flow")
            if number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                _check_tensor(_bytes(value))


def _check_domain(message: memoryview, field: int) -> None:
    for number, value, _ in _fields(message):
        if number == field and (domain := bytes(_bytes(value))) not in (b"", b"ai.onnx"):
            name = domain[:40].decode("ascii", "replace")
            raise ValueError(f"it needs operators of {name!r}, outside ONNX's own")


def _check_tensor(tensor: memoryview) -> None:
    kind: int | memoryview = 0
    blocks: list[tuple[int, memoryview]] = []
    for number, value, _ in _fields(tensor):
        if number == TENSOR_TYPE:
            kind = value
        elif number == TENSOR_EXTERNAL or (number == TENSOR_PLACE and value != 0):
            raise ValueError("it keeps weights outside the file")
        elif number in (TENSOR_RAW, TENSOR_FLOATS) and not isinstance(value, int):
            blocks.append((number, value))
    for number, block in blocks:
        if kind in (FLOAT, FLOAT16):
            half = kind == FLOAT16 and number == TENSOR_RAW
            numbers = np.frombuffer(block, np.dtype("<f2") if half else np.dtype("<f4"))
            if not np.isfinite(numbers).all():
                raise ValueError("it holds weights that are not finite numbers")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview, int]]:
    """Yield (field number, value, end offset) of a protobuf message.

    Values of wire types other than varint are the bytes themselves, not copied.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError("it is no protobuf message")
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value, at
            continue
        if kind == BYTES:
            length, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError("it is no protobuf message")
        if length > len(message) - at:
            raise ValueError("it is no protobuf message, or is cut off")
        yield number, message[at : at + length], at + length
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("it is no protobuf message")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is no ONNX model")
    return value


def _pair(entry: memoryview) -> tuple[str, str]:
    parts = {number: bytes(_bytes(value)).decode() for number, value, _ in _fields(entry)}
    return parts.get(ENTRY_KEY, ""), parts.get(ENTRY_VALUE, "")


def _entry(key: str, value: str) -> bytes:
    """Return a `metadata_props` field of ModelProto, encoded."""
    inner = b"".join(
        _tagged(number, text.encode()) for number, text in ((ENTRY_KEY, key), (ENTRY_VALUE, value))
    )
    return _tagged(MODEL_METADATA, inner)


def _tagged(number: int, content: bytes) -> bytes:
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(content)) + content


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
