"""Crops → a trained detector: one loop for every network, selection on the validation split only."""

from __future__ import annotations

from dfdetect.training.fit import FitResult, fit
from dfdetect.training.settings import FitSettings

__all__ = ["FitResult", "FitSettings", "fit"]
