"""From a downloaded file to a checkpoint of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.catalog import create_detector
from dfdetect.detectors.checkpoint import make_header, save_checkpoint
from dfdetect.detectors.convert.catalog import CONVERSIONS
from dfdetect.detectors.convert.conversion import Refusal, matched
from dfdetect.errors import UsageError
from dfdetect.provenance import sha256_file


@dataclass(frozen=True, slots=True)
class Converted:
    """The header of a file that was written, and its SHA-256."""

    header: CheckpointHeader
    sha256: str


def convert(name: str, source: Path, out: Path) -> Converted:
    """Write a published network's weights as a checkpoint.

    The header holds the project's size, statistics and crop, and in its provenance the file's name
    and SHA-256, the project, its licence, and how pictures are prepared there other than here.

    Args:
        name: A name in `CONVERSIONS`.
        source: The downloaded file.
        out: The `.safetensors` file to write.

    Raises:
        UsageError: There is no such conversion or file, the network has no equal here, or `out` has
            another ending.
        UntrustedCheckpoint: The file is not exactly what `name` says.
    """
    conversion = CONVERSIONS.get(name)
    if isinstance(conversion, Refusal):
        raise UsageError(f"{name} cannot be converted: {conversion.reason}")
    if out.suffix != ".safetensors":
        raise UsageError(f"{out} must end in .safetensors, the only format written here")
    if not source.is_file():
        raise UsageError(f"{source} is missing or no file; check the path of the download")
    state = conversion.read(source)
    network = create_detector(
        conversion.detector, **{**conversion.settings, **conversion.chosen(state)}
    )
    tensors = matched(conversion, state, network, source)
    # what only training uses keeps its random numbers, and is not stored
    network.load_state_dict({**network.state_dict(), **tensors}, strict=True)
    provenance = {
        "source": source.name,
        "source_sha256": sha256_file(source),
        "project": conversion.project,
        "licence": conversion.licence,
        "trained_on": f"as {conversion.project} says; not known here",
        "command": f"dfdetect models --convert {name}",
        "preprocessing": conversion.differs,
    }
    if conversion.unused:
        provenance["left_out"] = "; ".join(
            f"{each.prefix}… ({each.count} tensors): {each.reason}" for each in conversion.unused
        )
    header = make_header(network, trained=True, provenance=provenance)
    return Converted(header, save_checkpoint(out, network, header))
