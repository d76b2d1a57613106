"""Check a report against the clip, the weights and its own files.

This finds any later change to one of them; it does not prove who wrote the report. Exit codes:
0 everything agrees, 1 something was altered, 3 something is not here to be compared.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from dfdetect.cli.offline import network_off
from dfdetect.cli.session import EXIT_ANALYSED, EXIT_INCONCLUSIVE
from dfdetect.cli.terminal import say

EXIT_ALTERED = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the flags of `verify`."""
    parser.add_argument("report", type=Path, metavar="report.json", help="what predict wrote")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="the clip it is about")
    parser.add_argument(
        "--detector", type=Path, metavar="FILE", help="the weights it was made with"
    )


def run(arguments: Namespace) -> int:
    """Print one line a part and return whether all of them agree."""
    # --help needs no decoder
    from dfdetect.inference import verify_report

    report: Path = arguments.report
    if report.is_dir():
        report /= "report.json"
    with network_off():
        result = verify_report(report, arguments.clip, arguments.detector)
    for line in result.lines:
        say(f"{line.check.value:8}{line.part}: {line.detail}")
    if result.is_altered:
        say("Something was altered after the report was written.")
        return EXIT_ALTERED
    if not result.is_complete:
        say("Nothing was found to be altered, but not everything could be compared.")
        return EXIT_INCONCLUSIVE
    say("Everything agrees with the report.")
    return EXIT_ANALYSED
