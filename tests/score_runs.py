"""Small scored runs for tests, written out by hand: videos, and a logit for each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dfdetect.data.videos import ORIGINAL, ManifestRow, Videos
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.scoring.score_table import ScoreTable

Frame = float | str
"""The logit of a frame, or why it has none."""


def video(video_id: str, label: int, **facts: Any) -> ManifestRow:
    """Return a video called `dataset/method/name`, whose path and source come from its id."""
    dataset, method, name = video_id.split("/")
    given = {
        "dataset": dataset,
        "method": method if label else ORIGINAL,
        "label": label,
        "split": "test",
        "source_ids": (video_id,),
        "compression": "c23",
        "path": f"{method}/c23/videos/{name}.mp4",
        "sha256": f"bytes of {video_id}",
        "fps": 25.0,
        "n_frames": None,
        "width": 64,
        "height": 64,
        "duration_s": 1.0,
        **facts,
    }
    return ManifestRow(video_id=video_id, **given)


def run_of(
    videos: Mapping[str, tuple[int, Sequence[Frame]]]
    | Sequence[tuple[ManifestRow, Sequence[Frame]]],
    **facts: Any,
) -> ScoredRun:
    """Return a run from the frames of each video, in order; one without frames is not extracted.

    Videos are rows of a manifest, or ids with a label.
    """
    if isinstance(videos, Mapping):
        pairs = [(video(name, label), frames) for name, (label, frames) in videos.items()]
    else:
        pairs = list(videos)
    pairs.sort(key=lambda pair: pair[0].video_id)
    cells: list[tuple[Any, ...]] = []
    for row, frames in pairs:
        for index, frame in enumerate(frames):
            is_scored = not isinstance(frame, str)
            logit, status = (frame, "ok") if is_scored else (float("nan"), frame)
            track = 0 if is_scored else -1
            cells.append((row.video_id, track, index, index / row.fps, logit, status))
        if not frames:
            cells.append((row.video_id, -1, -1, 0.0, float("nan"), "not_extracted"))
    table = ScoreTable.from_columns(*zip(*cells, strict=True))
    manifest = Videos.of(row for row, _ in pairs)
    return ScoredRun(facts.pop("name", "guess"), table, manifest, **facts)
