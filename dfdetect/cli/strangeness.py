"""The laboratory verb `strangeness`: one library call, and lines that say what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfdetect.cli.places import check_file
from dfdetect.cli.terminal import progress_bar, say, say_lines

if TYPE_CHECKING:
    from dfdetect.evaluation.strangeness.settings import StrangenessSettings


def strangeness(settings: StrangenessSettings, command: str) -> None:
    """Fit what is unlike all that a detector learned from, and print whom the limit costs."""
    from dfdetect.evaluation.strangeness.fit import fit_on_crops

    check_file(settings.out, "out=FILE")
    with progress_bar("Looking at crops") as progress:
        result = fit_on_crops(settings, command, progress)
    say_lines(result.lines())
    say(f"checkpoint: {settings.out}, SHA-256 {result.sha256}")
