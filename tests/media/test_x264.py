"""Equal pictures give equal bytes, whatever memory held before."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfdetect.data.datasets.synthetic import write_clip
from dfdetect.data.recode import h264
from dfdetect.types import Image


def moving(n: int) -> list[Image]:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (120, 160 + n, 3), dtype=np.uint8)
    return [np.ascontiguousarray(base[:, k : k + 160]) for k in range(n)]


def test_an_encoder_does_not_remember(tmp_path: Path) -> None:
    """libx264 gave other bytes from call to call on processors with AVX-512."""
    pictures, written = moving(24), set()
    for number in range(6):
        # what is left in freed memory differs from call to call
        np.full(5_000_000 + number, number * 37 % 251, dtype=np.uint8).sum()
        write_clip(tmp_path / f"{number}.mp4", pictures, 25)
        written.add((tmp_path / f"{number}.mp4").read_bytes())
    assert len(written) == 1
    first = h264(pictures, 30)
    again = h264(pictures, 30)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
