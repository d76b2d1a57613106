"""The laboratory verb `calibrate`: one library call, and lines that say what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfdetect.cli.places import check_file
from dfdetect.cli.terminal import say, say_lines

if TYPE_CHECKING:
    from dfdetect.evaluation.settings import CalibrateSettings


def calibrate(settings: CalibrateSettings, command: str) -> None:
    """Fit a checkpoint's calibration to stored scores, and print it with its error rates."""
    from dfdetect.evaluation.calibrate import calibrate as fit_scores

    check_file(settings.out, "out=FILE")
    result = fit_scores(settings, command)
    say_lines(result.lines())
    say(f"checkpoint: {settings.out}, SHA-256 {result.sha256}")
