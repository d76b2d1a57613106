"""Scores in files as other laboratories keep them, and the manifest of the videos they are of."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfdetect.data.manifest import Manifest
from dfdetect.data.videos import ManifestRow, Videos
from tests.score_runs import video

METHODS = {"original": 0, "Deepfakes": 1, "FaceSwap": 1}
AS_THEIRS = (
    "columns.video=clip",
    "columns.score=p_real",
    "columns.frame=frame",
    "columns.scale=probability",
    "polarity=real",
)
"""How to read what `write_theirs` writes."""


def videos_of(n: int = 8, **facts: object) -> list[ManifestRow]:
    """Return `n` genuine videos and `n` fakes of each of two methods, of one dataset."""
    names = [
        (f"ffpp/{method}/{place:03d}{f'_{place + 1:03d}' if label else ''}", label)
        for method, label in METHODS.items()
        for place in range(n)
    ]
    return [video(name, label, **facts) for name, label in sorted(names)]


def write_manifest(path: Path, rows: Sequence[ManifestRow], split_rule: str = "given") -> Path:
    """Write the manifest of some videos."""
    Manifest(Videos.of(rows), "0" * 64, split_rule=split_rule).write(path)
    return path


def write_theirs(
    path: Path, rows: Sequence[ManifestRow], seed: int, gap: float = 1.0
) -> dict[str, float]:
    """Write probabilities of being real, a row a frame, beside paths of clips.

    Returns the mean logit of being fake of each video.
    """
    rng = np.random.default_rng(seed)
    means = {}
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["clip", "p_real", "frame"])
        for row in rows:
            logits = rng.normal() + gap * row.label + rng.normal(size=9) * 0.3
            p_real = (1 / (1 + np.exp(logits))).round(6)
            writer.writerows(
                [f"their/place/{row.path}", each, 5 * frame] for frame, each in enumerate(p_real)
            )
            means[row.video_id] = float(np.mean(np.log(1 - p_real) - np.log(p_real)))
    return means
