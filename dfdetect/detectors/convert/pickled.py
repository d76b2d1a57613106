"""Reading state dicts that PyTorch pickled, without running anything in them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dfdetect.detectors.convert.conversion import State
from dfdetect.errors import UntrustedCheckpoint

PARALLEL = "module."
"""What a network in a parallel wrapper puts before its names."""

# deep nesting and nonsense lengths fail in these ways
BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    RecursionError,
)


class _Left:
    """Stands where a file holds one of numpy's numbers, such as a best score: it does nothing."""

    def __init__(self, *_given: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


# scores beside the weights, where a trainer stored them as numpy's; nothing of numpy is called
_NUMPY = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


def read_pickled(*places: str) -> Callable[[Path], State]:
    """Return a reader of files with a state dict at one of `places`.

    Args:
        places: Keys of the dictionary around the state dict, of which the first counts that is
            there; "" for none around it.
    """

    def read(source: Path) -> State:
        content = _unpickled(source)
        for place in places:
            state = content.get(place) if place else content
            if isinstance(state, Mapping) and all(isinstance(key, str) for key in state):
                return _bare(state)
        wanted = " or ".join(f"under {place!r}" if place else "bare" for place in places)
        raise UntrustedCheckpoint(
            f"{source} holds no state dict where one belongs ({wanted}); check which file it is"
        )

    return read


def _unpickled(source: Path) -> Mapping[Any, Any]:
    allowed: list[Any] = [(_Left, name) for name in _NUMPY]
    try:
        # torch warns of what is then refused
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(source, map_location="cpu", weights_only=True)
    except BROKEN as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise UntrustedCheckpoint(
            f"{source} is no file of plain tensors that PyTorch wrote ({reason}); nothing in it "
            "was run, fetch it again from its project"
        ) from None
    if not isinstance(content, Mapping):
        raise UntrustedCheckpoint(
            f"{source} holds a {type(content).__name__}, expected a dictionary of tensors"
        )
    return content


def _bare(state: Mapping[str, Any]) -> State:
    if all(key.startswith(PARALLEL) for key in state):
        return {key.removeprefix(PARALLEL): value for key, value in state.items()}
    return state
