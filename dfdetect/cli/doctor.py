"""Say whether this installation can work, without changing anything.

Exit codes: 0 all is well, 1 something is not; each line says what, and how to repair it.
"""

from __future__ import annotations

import os
import platform
import socket
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from dfdetect.cli.offline import NetworkOffError, network_off
from dfdetect.cli.terminal import say
from dfdetect.errors import DfdetectError

# the decoders that make each codec readable; FFmpeg's own av1 needs a graphics card
CODECS = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "vp9": ("vp9", "libvpx-vp9"),
    "av1": ("libdav1d", "libaom-av1"),
    "prores": ("prores",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, whether it is well, and what was seen."""

    part: str
    is_well: bool
    detail: str


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the flags of `doctor`."""
    parser.add_argument(
        "--gpu", action="store_true", help="also look for a graphics card (imports torch: seconds)"
    )


def run(arguments: Namespace) -> int:
    """Print one line a finding; return 0 when all is well, else 1."""
    with network_off():
        findings = [*_software(), _checked("codecs", codecs), _checked("network", network)]
        findings += [_checked("faces", faces), _checked("weights", weights)]
        findings.append(_checked("device", gpu if arguments.gpu else processor))
    for finding in findings:
        say(f"{'ok' if finding.is_well else 'NOT OK':8}{finding.part}: {finding.detail}")
    ill = [finding.part for finding in findings if not finding.is_well]
    say(f"Not well: {', '.join(ill)}." if ill else "All is well.")
    return 1 if ill else 0


def codecs() -> str:
    """Return the codecs that can be decoded; raise where one of `CODECS` cannot."""
    # the decoder's libraries may be what is broken, so nothing imports them earlier
    import av
    import av.codec

    def known(decoder: str) -> bool:
        try:
            av.codec.Codec(decoder, "r")
        except av.codec.codec.UnknownCodecError:
            return False
        return True

    missing = [name for name, decoders in CODECS.items() if not any(map(known, decoders))]
    if missing:
        raise DfdetectError(
            f"PyAV {av.__version__} cannot decode {', '.join(missing)}; reinstall it from its "
            "wheel: pip install --force-reinstall --only-binary av av"
        )
    return f"{', '.join(CODECS)} can be decoded (PyAV {av.__version__})"


def network() -> str:
    """Return that the guard refuses a connection; raise where it lets one through."""
    try:
        # an address for documentation: nobody answers there, even without the guard
        socket.create_connection(("192.0.2.1", 9), timeout=0.2).close()
    except NetworkOffError:
        return "off: predict, demo, verify and doctor refuse every connection"
    except OSError:
        pass
    raise DfdetectError("the guard did not refuse a connection; please report this")


def faces() -> str:
    """Return that the bundled finder sees the face of the bundled portrait."""
    # as for the codecs
    from dfdetect.faces.finder import create_finder
    from dfdetect.inference.demo import portrait
    from dfdetect.types import Frame

    found = create_finder("onnx").find(Frame(0, 0.0, portrait()))
    if len(found) != 1:
        raise DfdetectError(f"{len(found)} faces found in a portrait of one; reinstall dfdetect")
    return f"the finder sees the portrait's face ({found[0].confidence:.3f})"


def weights() -> str:
    """Return that the bundled weights are those that were shipped, and that they run."""
    # as for the codecs
    import numpy as np

    from dfdetect.detectors.checkpoint import load_detector

    detector = load_detector()
    size = detector.header.preprocess.size
    logit = float(detector.logits(np.zeros((1, size, size, 3), np.uint8))[0])
    if not np.isfinite(logit):
        raise DfdetectError("the bundled detector gives no finite score; reinstall dfdetect")
    calibrated = "calibrated" if detector.header.calibration else "NOT calibrated"
    sha256 = detector.weights_sha256
    return f"{detector.header.detector}, {calibrated}, SHA-256 {sha256} as listed"


def processor() -> str:
    """Return what computes: the CPU, until a graphics card is asked for."""
    return f"CPU, {os.cpu_count()} cores ({platform.machine()}); --gpu looks for a graphics card"


def gpu() -> str:
    """Return the graphics card that torch can use, or that there is none; both are well."""
    # seconds of imports, hence only behind --gpu
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} (torch {torch.__version__})"
    return f"no graphics card that torch {torch.__version__} can use; the CPU does everything"


def _software() -> list[Finding]:
    # hashing and JSON only, but importing it late keeps --help quick
    from dfdetect.provenance import PACKAGES, environment

    found = environment()
    installed = dict(found.packages)
    missing = [name for name in PACKAGES if name not in installed]
    listed = ", ".join(f"{name} {version}" for name, version in found.packages)
    hint = f"; missing: {', '.join(missing)} (pip install dfdetect)" if missing else ""
    system = f"dfdetect {found.dfdetect}, Python {found.python}, {found.system} {found.machine}"
    return [Finding("system", True, system), Finding("packages", not missing, listed + hint)]


def _checked(part: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(part, True, check())
    except Exception as error:  # a broken installation can fail in any way; that is the finding
        kind = "" if isinstance(error, DfdetectError) else f"{type(error).__name__}: "
        return Finding(part, False, f"{kind}{error}")
