"""Crops → a trained detector: one loop for every network, selection on the validation split only.

Importing the settings costs no torch: a config can be checked and printed without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfdetect.training.settings import FitSettings

if TYPE_CHECKING:
    from dfdetect.training.run import FitResult, fit

__all__ = ["FitResult", "FitSettings", "fit"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dfdetect.training import run

    value: object = getattr(run, name)
    globals()[name] = value
    return value
