"""Scored runs for benchmarks: random logits about a level of each method, the same for a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from tests.score_runs import Frame, run_of, video

FAKES: Mapping[str, float] = {"Deepfakes": 2.0, "FaceSwap": 0.7}
TRAINED = TrainedOn((("ffpp", "original"), ("ffpp", "Deepfakes")))


def random_run(
    name: str,
    seed: int = 0,
    *,
    levels: Mapping[str, float] = FAKES,
    n: int = 24,
    n_frames: int = 9,
    dataset: str = "ffpp",
    lost: int = 0,
    **facts: Any,
) -> ScoredRun:
    """Return a run on `n` genuine videos and `n` fakes of each method.

    The first `lost` genuine videos have no usable face. A fake's name has two ids, as in FF++.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for method, level in {"original": 0.0, **levels}.items():
        for place in range(n):
            label = int(method != "original")
            stem = f"{place:03d}_{place + 1:03d}" if label else f"{place:03d}"
            own = level + rng.normal() * 0.8
            frames: list[Frame] = [float(own + rng.normal() * 0.5) for _ in range(n_frames)]
            if not label and place < lost:
                frames = ["no_face"] * n_frames
            pairs.append((video(f"{dataset}/{method}/{stem}", label), frames))
    return run_of(pairs, name=name, parents=(("weights", "a" * 64),), **facts)
