"""A trained detector → a `torch.export` program (.pt2), for use outside dfdetect.

`torch.export.load` unpickles parts of what it is given (torch 2.15 reads any weight that the
archive marks as pickled with `weights_only=False`), so opening somebody else's .pt2 can run code.
dfdetect therefore never judges with one: `load_detector` takes .onnx and .safetensors only, and
what is loaded here are the very bytes that this process has just made. `read_program_header` opens
the archive as the ZIP file that it is, and unpickles nothing.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.detectors.header import HEADER_KEY, MAX_HEADER_BYTES, decode_header, encode_header
from dfdetect.errors import UntrustedCheckpoint
from dfdetect.export.graph import MAX_BATCH, example_shape
from dfdetect.provenance import sha256_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dfdetect.detectors.checkpoint import Checkpoint

# what the tracer notes of the source, and with it of the folders of the machine
SOURCE_NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


class MadeProgram:
    """A program that was just made, in the file's bytes and as a `LoadedDetector`."""

    def __init__(self, trained: Checkpoint, header: CheckpointHeader) -> None:
        """Trace the network with a free batch, write the file, and load what was written."""
        import torch

        shape = example_shape(trained)
        batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
        program = torch.export.export(
            trained.network, (torch.zeros(shape),), dynamic_shapes=({0: batch},)
        )
        for node in program.graph.nodes:
            for note in SOURCE_NOTES:
                node.meta.pop(note, None)
        stream = io.BytesIO()
        torch.export.save(program, stream, extra_files={HEADER_KEY: encode_header(header)})
        self.header = header
        self.content = stream.getvalue()
        self.weights_sha256 = sha256_bytes(self.content)
        # safe for these bytes alone, see above
        self._module: Any = torch.export.load(io.BytesIO(self.content)).module()

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one logit a crop, or a clip; see `LoadedDetector.logits`."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(self.header.preprocess.normalise(crops))
            answer: NDArray[np.float32] = self._module(pixels).numpy()
        return answer


def read_program_header(path: Path) -> CheckpointHeader:
    """Return what a .pt2 file of dfdetect says of itself; no code of it runs.

    Raises:
        UntrustedCheckpoint: It holds no valid header.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"extra/{HEADER_KEY}")]
            if len(names) != 1:
                raise ValueError(f"it holds {len(names)} headers")
            with archive.open(names[0]) as stream:
                text = stream.read(MAX_HEADER_BYTES + 1).decode()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UntrustedCheckpoint(
            f"{path} is no program of dfdetect ({error}); expected a file written by "
            "`dfdetect export format=torch_export`"
        ) from None
    return decode_header(text, str(path))
