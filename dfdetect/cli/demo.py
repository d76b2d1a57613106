"""Make a portrait clip and a forged twin, and analyse both.

The portrait is NASA's photograph of Eileen Collins (public domain). The forgery is made up, with
its traces exaggerated: the demo shows what a report looks like and is no measure of accuracy.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from dfdetect.cli.offline import network_off
from dfdetect.cli.places import check_out
from dfdetect.cli.predict import add_detector_arguments, make_analyzer
from dfdetect.cli.session import EXIT_ANALYSED, EXIT_INCONCLUSIVE, Session, worst
from dfdetect.cli.terminal import note, progress_bar, say

DISCLAIMER = (
    "This was a made-up demonstration, not a measure of accuracy: one portrait under a moving "
    "camera, once as it is and once with a blended face."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the flags of `demo`."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-report"),
        metavar="DIR",
        help="default: ./demo-report",
    )
    add_detector_arguments(parser)


def run(arguments: Namespace) -> int:
    """Make and analyse both clips; an inconclusive answer is an answer here."""
    out: Path = arguments.out
    check_out(out)
    note("Making demo-genuine.mp4 and demo-forged.mp4 …")
    with network_off():
        # as in predict: nothing heavy before the first line
        from dfdetect.inference.demo import make_demo_clips

        session = Session(make_analyzer(arguments), out=out, debug=arguments.debug)
        with progress_bar("Making both clips") as progress:
            clips = make_demo_clips(out, progress)
        codes = [
            session.examine(clips.genuine, folder=out / "genuine"),
            session.examine(clips.forged, folder=out / "forged"),
        ]
    say(f"Both clips and both reports are in {out}{'/' if out.name else ''}. {DISCLAIMER}")
    worst_code = worst(codes)
    return EXIT_ANALYSED if worst_code == EXIT_INCONCLUSIVE else worst_code
