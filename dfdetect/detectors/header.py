"""The header of a file of weights as JSON: strict both ways, so that a round trip is exact."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from dfdetect.detectors.base import FORMAT_VERSION, CheckpointHeader
from dfdetect.errors import ContractError, UntrustedCheckpoint

HEADER_KEY = "dfdetect.header"
DIGEST_KEY = "dfdetect.sha256"
MAX_HEADER_BYTES = 256 * 1024
SINGLE, MAX_FRAMES = 1, 256
# what calibrations written before there was such a thing lack: lists, which are then empty
CALIBRATION_ADDITIONS = ("operating_points", "sets")


def encode_header(header: CheckpointHeader) -> str:
    """Return the header as ASCII JSON with sorted keys, the same on every machine.

    Raises:
        ContractError: It holds a number that is not finite, another type than it declares, or is
            longer than `MAX_HEADER_BYTES`.

    Example:
        >>> from dfdetect.detectors.base import Preprocess
        >>> from dfdetect.types import CropPolicy
        >>> half = Preprocess(64, (0.5,) * 3, (0.5,) * 3, CropPolicy(size=64))
        >>> header = CheckpointHeader("meso4", (("dropout", 0.5),), half, None, (), True)
        >>> decode_header(encode_header(header), "meso4.onnx") == header
        True
    """
    try:
        plain = {
            field.name: _encode(getattr(header, field.name)) for field in dataclasses.fields(header)
        }
        plain["kwargs"] = {name: _encode(value) for name, value in header.kwargs}
        if type(header.frames) is int and header.frames == SINGLE:
            # so a detector of single crops has the header that it always had, byte for byte
            del plain["frames"]
        if header.strangeness_limit is None:
            del plain["strangeness_limit"]
        _drop_additions(plain["calibration"])
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
        matches = decode_header(text, header.detector) == header
    except (TypeError, ValueError, UntrustedCheckpoint) as error:
        raise ContractError(
            f"the header of detector {header.detector!r} cannot be stored: {error}"
        ) from None
    if not matches:
        raise ContractError(
            f"the header of detector {header.detector!r} cannot be stored: kwargs must have unique "
            "names in sorted order, and every value the type that the header declares"
        )
    return text


def decode_header(text: str, source: str) -> CheckpointHeader:
    """Return the header that JSON describes; `source` names the file in messages.

    Raises:
        UntrustedCheckpoint: It is no such header: broken JSON, a missing, unknown or repeated
            key, a value of another type or a number that is not finite, a newer format.
    """
    try:
        if len(text) > MAX_HEADER_BYTES:
            raise ValueError(f"it is longer than {MAX_HEADER_BYTES} bytes")
        plain = json.loads(text, object_pairs_hook=_unique)
        version = plain.get("format_version") if isinstance(plain, dict) else None
        if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT_VERSION:
            raise UntrustedCheckpoint(
                f"{source} has format version {version}, expected at most {FORMAT_VERSION}; "
                "update dfdetect (pip install -U dfdetect)"
            )
        if isinstance(plain, dict):
            plain.setdefault("frames", SINGLE)
            plain.setdefault("strangeness_limit", None)
            _add_additions(plain.get("calibration"))
        if isinstance(plain, dict) and isinstance(plain.get("kwargs"), dict):
            plain["kwargs"] = [[name, value] for name, value in sorted(plain["kwargs"].items())]
        header: CheckpointHeader = _decode(CheckpointHeader, plain, "header")
        if header.format_version < 1:
            raise ValueError(f"header.format_version is {header.format_version}, expected 1")
        if not SINGLE <= header.frames <= MAX_FRAMES:
            raise ValueError(f"header.frames is {header.frames}, expected 1 to {MAX_FRAMES}")
        if header.strangeness_limit is not None and header.strangeness_limit <= 0:
            raise ValueError(
                f"header.strangeness_limit is {header.strangeness_limit}, expected more than 0"
            )
    except (ValueError, OverflowError, RecursionError) as error:
        raise UntrustedCheckpoint(
            f"{source} holds no valid dfdetect header ({error}); expected a checkpoint written by "
            "`dfdetect train` or `dfdetect export`, fetch or make it again"
        ) from None
    return header


def _drop_additions(calibration: Any) -> None:
    # so a calibration without them is stored as it always was, byte for byte
    for name in CALIBRATION_ADDITIONS if isinstance(calibration, dict) else ():
        if not calibration[name]:
            del calibration[name]


def _add_additions(calibration: Any) -> None:
    for name in CALIBRATION_ADDITIONS if isinstance(calibration, dict) else ():
        calibration.setdefault(name, [])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is repeated")
    return made


def _encode(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value


def _decode(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the annotated type, or say at which place it is something else."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _decode_dataclass(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise ValueError(f"{where} is {type(value).__name__}, expected {hint.__name__}")
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{where} is not a finite number")
    if hint is str:
        value.encode()  # lone surrogates would fail later, where the text is printed
    return value


def _decode_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    for choice in choices:
        if _json_type(choice) is type(value):
            return _decode(choice, value, where)
    if float in choices and type(value) is int:
        return _decode(float, value, where)
    raise ValueError(f"{where} is {type(value).__name__}, which is not allowed there")


def _json_type(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return dict
    return list if typing.get_origin(hint) is tuple else hint


def _decode_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {type(value).__name__}, expected a list")
    if items[-1] is Ellipsis:
        items = items[:1] * len(value)
    if len(items) != len(value):
        raise ValueError(f"{where} has {len(value)} values, expected {len(items)}")
    return tuple(
        _decode(item, each, f"{where}[{place}]")
        for place, (item, each) in enumerate(zip(items, value, strict=True))
    )


def _decode_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {type(value).__name__}, expected an object")
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if missing := sorted(names - value.keys()):
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(value.keys() - names):
        raise ValueError(f"{where} has unknown {', '.join(unknown)[:80]}")
    return kind(**{name: _decode(hints[name], value[name], f"{where}.{name}") for name in names})
