"""Generated scores of faces as runs, as anybody's files would give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.scoring.score_table import ScoreTable
from dfdetect.scoring.units import unit_scores

METHODS = ("Deepfakes", "FaceSwap")
N_FRAMES = 12


def manifest(names: Sequence[str], compressions: Sequence[str] = ()) -> Videos:
    """Videos `ffpp/METHOD/NUMBER`, genuine ones of the method `original`."""
    rows = []
    for place, name in enumerate(names):
        method = name.split("/")[1] if "/" in name else "unknown"
        rows.append(
            ManifestRow(
                video_id=name,
                dataset="ffpp",
                method=method,
                label=int(method != "original"),
                split="test",
                source_ids=(name,),
                compression=compressions[place] if compressions else "c23",
                path=name,
                sha256=name.replace("-copy", ""),
                fps=25.0,
                n_frames=N_FRAMES,
                width=64,
                height=64,
                duration_s=1.0,
            )
        )
    return Videos.of(rows)


def run_of(
    names: Sequence[str], logits: Sequence[Sequence[float]], videos: Videos | None = None
) -> ScoredRun:
    """A row for each frame of each video; NaN is a frame without a face."""
    cells = [
        (name, 0, frame, frame / 25, logit, "ok" if np.isfinite(logit) else "no_face")
        for name, row in zip(names, logits, strict=True)
        for frame, logit in enumerate(row)
    ]
    table = ScoreTable.from_columns(*map(list, zip(*cells, strict=True)))
    ordered = sorted(names)
    found = manifest(ordered) if videos is None else videos
    return ScoredRun("generated", table, found)


def generated(
    seed: int, n_per_method: int = 40, spread: float = 1.5
) -> tuple[list[str], np.ndarray]:
    """Names and V × N_FRAMES logits; frames of a fake are skewed, so that aggregates differ."""
    rng = np.random.default_rng(seed)
    kinds = [(kind, n) for kind in ("original", *METHODS) for n in range(n_per_method)]
    names = [f"ffpp/{kind}/{n:03d}" for kind, n in kinds]
    centre = np.array([0.0 if kind == "original" else 0.9 for kind, _ in kinds])
    own = rng.normal(centre, 1.0)[:, None]
    drift = np.linspace(0, 1, N_FRAMES) * rng.normal(0, 1.5, (len(names), 1))
    noise = rng.exponential(spread, (len(names), N_FRAMES)) * rng.choice([-1, 3], (len(names), 1))
    return names, own + drift + noise


def trembling(seed: int) -> ScoredRun:
    """Videos that are easier to tell apart than their frames are, by hundredths and more."""
    rng = np.random.default_rng(seed)
    names, _ = generated(seed, 150)
    fake = np.array(["original" not in name for name in names])
    own = rng.normal(np.where(fake, 1.5, 0.0), 1.0)[:, None]
    return run_of(names, own + rng.normal(0, 4.0, (len(names), N_FRAMES)))


def by_video(run: ScoredRun, aggregate: str, rule: str = "all_faces") -> ScoredRun:
    """The same run as somebody would hand it on who kept one score a video."""
    (found,) = (one for one in unit_scores(run.scores, aggregate, rule, 8) if one.unit == "video")
    count = found.video.size
    table = ScoreTable.coded(
        run.scores.video_ids, found.video, [-1] * count, [-1] * count, [0.0] * count,
        found.logit, [0] * count, ["ok"],
    )  # fmt: skip
    return dataclasses.replace(run, scores=table, unit="video")
