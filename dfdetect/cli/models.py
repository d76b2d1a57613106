"""List the detectors, and what the bundled one was trained on and how well it did."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dfdetect.cli.terminal import note, say
from dfdetect.errors import DfdetectError

if TYPE_CHECKING:
    from dfdetect.detectors.base import CheckpointHeader


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the flags of `models`."""
    parser.add_argument(
        "--detector", type=Path, metavar="FILE", help="describe this file of weights instead"
    )


def run(arguments: Namespace) -> int:
    """Describe the bundled weights, then list what can be trained."""
    # --help needs none of it
    from dfdetect.detectors.catalog import list_detectors
    from dfdetect.detectors.checkpoint import bundled_detector, read_header
    from dfdetect.provenance import sha256_file

    path: Path | None = arguments.detector
    if path is not None:
        describe(path, read_header(path), sha256_file(path))
        return 0
    try:
        bundled = bundled_detector()
        header = read_header(bundled)
    except DfdetectError as error:
        note(f"dfdetect: {error}")
    else:
        say("Bundled detector, used where --detector names no other:")
        describe(bundled, header, sha256_file(bundled))
        card = bundled.with_suffix(".md")
        say(f"  {'card':22}{card if card.is_file() else 'missing'}")
        say("")
    say("Detectors that can be trained (dfdetect train detector=NAME):")
    for info in list_detectors():
        say(f"  {info.name:22}{info.summary} ({info.n_parameters:,} weights, {info.size} px)")
    return 0


def describe(path: Path, header: CheckpointHeader, sha256: str) -> None:
    """Print what a file of weights says of itself: one fact a line."""
    kwargs = ", ".join(f"{key}={value}" for key, value in header.kwargs)
    crop = header.preprocess.crop
    facts = [
        ("file", str(path)),
        ("sha256", sha256),
        ("detector", f"{header.detector} ({kwargs})" if kwargs else header.detector),
        ("face crop", f"{crop.name}, {crop.scale:g} × the face, {crop.size} px"),
        *((key.replace("_", " "), value) for key, value in header.provenance),
    ]
    if calibration := header.calibration:
        facts.append(
            (
                "calibrated on",
                f"{calibration.set_name} ({calibration.date}): {calibration.n_real:,} authentic, "
                f"{calibration.n_fake:,} manipulated",
            )
        )
    else:
        facts.append(("calibrated on", "nothing yet: predict refuses these weights"))
    for key, value in facts:
        say(f"  {key:22}{value}")
