"""List the detectors, and what the bundled one was trained on and how well it did.

Published weights that were downloaded become files of dfdetect's own format here, too.
"""

from __future__ import annotations

import sys
import textwrap
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dfdetect.cli.terminal import note, say
from dfdetect.errors import DfdetectError, UsageError

if TYPE_CHECKING:
    from dfdetect.detectors.base import CheckpointHeader


DEFAULT = "default"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the flags of `models`."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="print this detector's fidelity card instead; `default`: all that was measured of the "
        "bundled one",
    )
    parser.add_argument(
        "--json", action="store_true", help="with `default`: print the card's JSON as it is"
    )
    parser.add_argument(
        "--detector", type=Path, metavar="FILE", help="describe this file of weights instead"
    )
    parser.add_argument(
        "--convert",
        nargs=2,
        metavar=("NAME", "FILE"),
        help="read published weights that you downloaded, such as deepfakebench/xception xcep.pth",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the .safetensors file that --convert writes"
    )


def run(arguments: Namespace) -> int:
    """Describe the bundled weights, then list what can be trained."""
    # --help needs none of it
    from dfdetect.detectors.catalog import list_detectors
    from dfdetect.detectors.checkpoint import bundled_detector, read_header
    from dfdetect.provenance import sha256_file

    if arguments.convert or arguments.out:
        return _convert(arguments)
    if arguments.json and arguments.name != DEFAULT:
        raise UsageError("--json belongs to the bundled detector's card: dfdetect models default")
    if arguments.name == DEFAULT:
        _say_bundled(as_json=arguments.json)
        return 0
    if arguments.name is not None:
        _say_card(arguments.name)
        return 0
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
        say(f"  {'all of it':22}dfdetect models {DEFAULT}")
        say("")
    say("Detectors that can be trained (dfdetect train detector=NAME):")
    for info in list_detectors():
        say(f"  {info.name:22}{info.summary} ({info.n_parameters:,} weights, {info.size} px)")
    say("")
    say("Published weights that can be read (dfdetect models --convert NAME FILE --out FILE):")
    for name, detector in _conversions():
        say(f"  {name:32}→ {detector}")
    return 0


def _say_bundled(*, as_json: bool) -> None:
    """Print the bundled detector's card; where it has none, say so and print what the file says."""
    # --help needs none of it
    from dfdetect.cli.card_page import say_card
    from dfdetect.detectors.checkpoint import bundled_detector, read_header
    from dfdetect.evaluation.cards.files import encode_card, read_card
    from dfdetect.provenance import sha256_file

    bundled = bundled_detector()
    path, digest = bundled.with_suffix(".json"), sha256_file(bundled)
    fault = ""
    if not path.is_file():
        fault = f"{path} is missing, so there is no card to show"
    else:
        card = read_card(path)
        if (bundled.name, digest) in card.files:
            if as_json:
                sys.stdout.write(encode_card(card))
            else:
                say_card(card)
            return
        fault = f"{path} is the card of other weights than {bundled.name}"
    repair = "`dfdetect export bundle=true checkpoint=FILE out=FOLDER` writes one"
    if as_json:
        raise UsageError(f"{fault}; {repair}")
    say(f"{fault}; {repair}. The weights themselves say:")
    describe(bundled, read_header(bundled), digest)


def _conversions() -> list[tuple[str, str]]:
    # --help needs none of it
    from dfdetect.detectors.convert import CONVERSIONS, Conversion

    entries = ((name, CONVERSIONS.get(name)) for name in CONVERSIONS)
    return [(name, entry.detector) for name, entry in entries if isinstance(entry, Conversion)]


def _convert(arguments: Namespace) -> int:
    if not (arguments.convert and arguments.out):
        raise UsageError(
            "--convert and --out belong together: dfdetect models --convert NAME FILE --out "
            "OUT.safetensors"
        )
    # --help needs none of it
    from dfdetect.detectors.convert import convert

    name, source = arguments.convert
    converted = convert(name, Path(source), arguments.out)
    describe(arguments.out, converted.header, converted.sha256)
    return 0


def _say_card(name: str) -> None:
    """Print what of its paper a detector is, and what its training batches must hold."""
    from dfdetect.detectors.catalog import DETECTORS
    from dfdetect.detectors.fidelity import fidelity_card

    card = fidelity_card(DETECTORS.get(name))
    say(f"{name}: {card.summary}")
    for field in ("paper", "same", "differs", "published"):
        lines = textwrap.wrap(getattr(card, field), 78)
        say(f"  {field:11}{lines[0]}")
        for line in lines[1:]:
            say(f"  {'':11}{line}")
    say(f"  {'train':11}dfdetect train detector={name} … (its settings: configs/detector/)")


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
