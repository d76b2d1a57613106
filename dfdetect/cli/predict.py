"""Analyse clips and write a report on each.

A clip is a video, a picture, or a folder of pictures. Its report (report.html to read,
report.json to process) goes into a folder of its own under --out, named after the clip and its
hash. The network stays off. Exit codes: 0 analysed, 2 usage, 3 inconclusive, 4 no face,
5 unreadable; of several clips, each is analysed and the worst one's code is returned (worst to
best: 1, 2, 5, 4, 3, 0, where 1 is a fault in dfdetect itself).
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dfdetect.cli.offline import network_off
from dfdetect.cli.places import check_out
from dfdetect.cli.session import Session, named, worst
from dfdetect.cli.terminal import note

if TYPE_CHECKING:
    from dfdetect.inference import Analyzer

MOST_FRAMES = 10_000


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the flags of `predict`."""
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="what to analyse")
    parser.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="default: ./report"
    )
    parser.add_argument(
        "--json", action="store_true", help="print report.json instead of three lines"
    )
    parser.add_argument(
        "--reveal", action="store_true", help="show faces in the report instead of obscuring them"
    )
    parser.add_argument(
        "--frames", type=_frames, default=32, metavar="N", help="frames to look at (default: 32)"
    )
    add_detector_arguments(parser)


def add_detector_arguments(parser: ArgumentParser) -> None:
    """Declare the flags that choose what judges; `demo` has them too."""
    parser.add_argument(
        "--detector", type=Path, metavar="FILE", help="weights (.onnx or .safetensors) to use"
    )
    parser.add_argument(
        "--finder", choices=("onnx", "facenet"), default="onnx", help="what finds the faces"
    )
    parser.add_argument(
        "--device", default="cpu", help="where .safetensors and facenet run: cpu, cuda, …"
    )


def run(arguments: Namespace) -> int:
    """Analyse every clip and return the worst exit code."""
    clips = [named(text) for text in arguments.clips]
    check_out(arguments.out)
    # before anything heavy is imported: whoever waits should know that something happens
    note(f"Reading {clips[0].name} …")
    with network_off():
        session = Session(
            make_analyzer(arguments, arguments.frames),
            out=arguments.out,
            reveal=arguments.reveal,
            as_json=arguments.json,
            debug=arguments.debug,
        )
        codes = [session.examine(clips[0])]
        for clip in clips[1:]:
            note(f"Reading {clip.name} …")
            codes.append(session.examine(clip))
    return worst(codes)


def make_analyzer(arguments: Namespace, frames: int = 32) -> Analyzer:
    """Return the analyzer that the flags describe.

    Raises:
        DfdetectError: The weights are missing, cannot be trusted or do not run on the device.
    """
    # decoding, OpenCV and ONNX Runtime cost most of the start-up, and --help needs none of them
    from dfdetect.detectors.checkpoint import load_detector
    from dfdetect.faces.finder import create_finder
    from dfdetect.inference import Analyzer
    from dfdetect.media import FrameSampler

    options = {"device": arguments.device} if arguments.finder == "facenet" else {}
    # a finder on the GPU does not move an ONNX detector, which knows the CPU only
    is_onnx = arguments.detector is None or arguments.detector.suffix == ".onnx"
    device = "cpu" if options and is_onnx else arguments.device
    return Analyzer(
        load_detector(arguments.detector, device),
        create_finder(arguments.finder, **options),
        FrameSampler(count=frames, allow_neighbours=True),
        finder_name=arguments.finder,
    )


def _frames(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_FRAMES:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 to {MOST_FRAMES}")
    return int(text)
