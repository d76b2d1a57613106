"""What a conversion is: where each of our tensors comes from, and what of a file goes unused.

Names and shapes of a published network follow from ours and a rule for the names, so that every
tensor of a file can be accounted for without a list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dfdetect.detectors.base import Setting
from dfdetect.detectors.network import Detector
from dfdetect.errors import UntrustedCheckpoint

State: TypeAlias = Mapping[str, Any]
"""What a file holds by name: tensors if it is what it should be."""

Arrange: TypeAlias = Callable[..., Tensor]
Names: TypeAlias = tuple[tuple[str, str], ...]
"""How names of ours begin, and how the same ones begin in the file; the first that fits counts."""

# of constants: float32's rounding, in whichever order they were computed
CONSTANT_TOLERANCE = 1e-5


def as_it_is(tensor: Tensor) -> Tensor:
    """Return the tensor."""
    return tensor


@dataclass(frozen=True, slots=True)
class Source:
    """Where one of our tensors comes from: the names in the file, and what is made of them.

    All of `keys` have the same `shape` and our tensor's type; `arrange` takes them in order.
    """

    keys: tuple[str, ...]
    shape: tuple[int, ...]
    arrange: Arrange = as_it_is


@dataclass(frozen=True, slots=True)
class Unused:
    """So many tensors of a file whose names begin with `prefix` are left out, and why."""

    prefix: str
    count: int
    reason: str


Sources: TypeAlias = dict[str, Source]


def _no_constants(_network: Detector) -> dict[str, Tensor]:
    return {}


def _no_settings(_state: State) -> Mapping[str, Setting]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How the weights of one published network become those of one of ours.

    Attributes:
        detector: A name in `DETECTORS`.
        settings: What it is created with; size, statistics, crop and crop_scale are the project's.
        project: Where the network is published, and which state of it was looked at.
        licence: The terms of the project's code and what is known of those of its weights.
        differs: How pictures are prepared there other than here, in words.
        read: Reads a file.
        sources: Our tensors' names → where they come from.
        unused: What the score does not depend on.
        constants: Names in the file → the values that must stand there, which our network computes.
        chosen: Settings that depend on the file.
    """

    detector: str
    settings: Mapping[str, Setting]
    project: str
    licence: str
    differs: str
    read: Callable[[Path], State]
    sources: Callable[[Detector], Sources]
    unused: tuple[Unused, ...] = ()
    constants: Callable[[Detector], dict[str, Tensor]] = _no_constants
    chosen: Callable[[State], Mapping[str, Setting]] = _no_settings


@dataclass(frozen=True, slots=True)
class Refusal:
    """Published weights that no detector here can express; `reason` is a clause that says why."""

    reason: str


def renamed(network: Detector, names: Names) -> Sources:
    """Return the sources of all tensors whose names begin as `names` says; the others are left out.

    Example:
        >>> from dfdetect.detectors.catalog import create_detector
        >>> sources = renamed(create_detector("meso4"), (("head.2.", "fc1."),))
        >>> sources["head.2.bias"].keys, sources["head.2.bias"].shape
        (('fc1.bias',), (16,))
    """
    sources = {}
    for key, tensor in network.stored_state().items():
        for ours, theirs in names:
            if key.startswith(ours):
                sources[key] = Source((theirs + key.removeprefix(ours),), tuple(tensor.shape))
                break
    return sources


def two_logits(ours: str, theirs: str, width: int) -> Sources:
    """Return the sources of a layer to one logit, where the file's gives one each: real, fake.

    The softmax of two logits is the sigmoid of their difference.
    """
    return {
        f"{ours}.weight": Source((f"{theirs}.weight",), (2, width), second_less_first),
        f"{ours}.bias": Source((f"{theirs}.bias",), (2,), second_less_first),
    }


def second_less_first(rows: Tensor) -> Tensor:
    """Return the difference of two rows as one row."""
    return rows[1:] - rows[:1]


def matched(
    conversion: Conversion, state: State, network: Detector, source: Path
) -> dict[str, Tensor]:
    """Return our network's tensors, each made from a file's; every tensor of it is accounted for.

    Raises:
        UntrustedCheckpoint: A name, shape or type differs, the first of which is named; a number is
            not finite, or a constant another than it should be.
    """
    sources, constants = conversion.sources(network), conversion.constants(network)
    ours = network.stored_state()
    expected = {key: (tuple(value.shape), value.dtype) for key, value in constants.items()}
    for name, each in sources.items():
        expected |= dict.fromkeys(each.keys, (each.shape, ours[name].dtype))
    used = _without_unused(conversion.unused, state, source)
    if problem := _difference(expected, used):
        raise UntrustedCheckpoint(
            f"{source} is not the file that was named: {problem}; expected exactly the tensors of "
            f"{conversion.project}, check which network it holds"
        )
    used = {key: tensor.detach() for key, tensor in used.items()}
    for key, tensor in used.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UntrustedCheckpoint(
                f"{source}: {key!r} holds NaN or infinity, expected finite weights; fetch it again"
            )
    for key, value in constants.items():
        if float((used[key] - value).abs().max()) > CONSTANT_TOLERANCE:
            raise UntrustedCheckpoint(
                f"{source}: {key!r} differs from the constant of this network, expected equal "
                "numbers; it belongs to another version of it"
            )
    made = {name: each.arrange(*(used[key] for key in each.keys)) for name, each in sources.items()}
    return {name: made[name].reshape(tensor.shape) for name, tensor in ours.items()}


def _without_unused(unused: tuple[Unused, ...], state: State, source: Path) -> State:
    left = dict(state)
    for each in unused:
        found = [key for key in left if key.startswith(each.prefix)]
        if len(found) != each.count:
            raise UntrustedCheckpoint(
                f"{source} holds {len(found)} tensors called {each.prefix}… ({each.reason}), "
                f"expected {each.count}; check which network it holds"
            )
        for key in found:
            del left[key]
    return left


def _difference(expected: Mapping[str, tuple[tuple[int, ...], torch.dtype]], found: State) -> str:
    for key, tensor in found.items():
        if key not in expected:
            return f"{key[:80]!r} is not part of it"
        shape, dtype = expected[key]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            return f"{key!r} is no plain tensor"
        if tuple(tensor.shape) != shape:
            return f"{key!r} has shape {tuple(tensor.shape)}, expected {shape}"
        if tensor.dtype != dtype:
            return f"{key!r} is {tensor.dtype}, expected {dtype}"
    missing = [key for key in expected if key not in found]
    return f"{missing[0]!r} is missing" if missing else ""
