"""The short way from a file to its sampled frames, and the reference to hold them against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from dfdetect.media import FrameSampler, probe
from dfdetect.types import Frame, SamplingSummary

Image = NDArray[np.uint8]


@pytest.fixture(scope="session")
def sampled() -> Callable[..., tuple[list[Frame], SamplingSummary]]:
    """Take frames as the keyword arguments of `FrameSampler` say."""

    def sample(path: Path, **kwargs: object) -> tuple[list[Frame], SamplingSummary]:
        stream = FrameSampler(**kwargs).sample(probe(path))  # type: ignore[arg-type]
        frames = list(stream)
        return frames, stream.summary

    return sample


@pytest.fixture(scope="session")
def decode_all() -> Callable[[Path], list[tuple[float | None, Image]]]:
    """The reference: every frame by a plain loop, with its time after the first frame."""

    def decode(path: Path) -> list[tuple[float | None, Image]]:
        with av.open(str(path)) as container:
            frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
        start = frames[0][0]
        return [(None if t is None or start is None else t - start, image) for t, image in frames]

    return decode
