"""A trained detector and a crop store → scores and a table of results, with their hashes."""

from __future__ import annotations

from dfdetect.evaluation.evaluate import evaluate
from dfdetect.evaluation.results import (
    EvaluationResult,
    ResultRow,
    read_results,
    read_scores,
    write_results,
)

__all__ = [
    "EvaluationResult",
    "ResultRow",
    "evaluate",
    "read_results",
    "read_scores",
    "write_results",
]
