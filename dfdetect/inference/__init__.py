"""One clip → an `Analysis` → a report on disk → the check that nothing in it was altered."""

from __future__ import annotations

from dfdetect.inference.pipeline import Analyzer, analyze
from dfdetect.inference.report import ReportFiles, write_report
from dfdetect.inference.verify import Check, CheckLine, VerifyResult, verify_report

__all__ = [
    "Analyzer",
    "Check",
    "CheckLine",
    "ReportFiles",
    "VerifyResult",
    "analyze",
    "verify_report",
    "write_report",
]
