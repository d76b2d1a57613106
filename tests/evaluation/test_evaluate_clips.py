"""Evaluation of a detector of clips: which crops make a clip, and how clips are counted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfdetect.data.shards import CropRow, CropStore
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.errors import UsageError
from dfdetect.evaluation.evaluate import evaluate
from dfdetect.evaluation.protocols.protocol import PLAIN
from dfdetect.scoring import metrics
from dfdetect.types import CropPolicy, Image
from tests.stores import SCALE, clip_row, write_store

SIZE, FRAMES = 96, 3


class Rising:
    """Its logit is how much brighter a clip's last crop is than its first."""

    weights_sha256 = "f" * 64

    def __init__(self) -> None:
        crop = CropPolicy("square", SCALE, SIZE)
        preprocess = Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3, crop)
        self.header = CheckpointHeader("rising", (), preprocess, None, (), True, frames=FRAMES)
        self.batches: list[tuple[int, ...]] = []

    def logits(self, crops: Any) -> Any:
        self.batches.append(crops.shape)
        moments = crops.mean(axis=(2, 3, 4))
        return (moments[:, -1] - moments[:, 0]).astype(np.float32)


def flat(level: int) -> Image:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


def store(folder: Path, levels: dict[str, tuple[tuple[int, ...], ...]]) -> CropStore:
    """Videos by name (f… is fake) with the brightness of every crop, by track, out of order."""
    videos = [
        clip_row(name, int(name.startswith("f")), split="test", source_ids=(name,))
        for name in levels
    ]
    cuts: list[tuple[CropRow, Image | None]] = []
    for name, tracks in levels.items():
        for track_id, track in enumerate(tracks):
            for frame, level in enumerate(track):
                crop_id = f"{name}_{track_id}_{frame}"
                row = CropRow(crop_id, name, track_id, 5 * frame, frame / 5, "ok")
                cuts.append((row, flat(level)))
            lost = CropRow(f"{name}_{track_id}_x", name, track_id, 99, 9.0, "too_small")
            cuts.append((lost, None))
    return write_store(folder, videos, cuts[::-1])


LEVELS = {
    "r0": ((10, 20, 30, 40, 50, 60, 70), (9, 9)),
    "r1": ((50, 50, 50),),
    "r2": ((9, 9),),
    "f0": ((10, 90, 90, 10, 10, 90),),
    "f1": ((100, 0, 10), (0, 0, 200)),
}


def test_clips_are_consecutive_crops_of_one_track(tmp_path: Path) -> None:
    detector, seen = Rising(), []
    result = evaluate(
        store(tmp_path / "crops", LEVELS),
        detector,
        n_bootstrap=20,
        batch_size=7,
        protocol=replace(PLAIN, min_faces=4),
        progress=lambda done, n: seen.append((done, n)),
    )
    found = {
        (one.video_id, one.track_id, one.frame_index): one.logit
        for one in result.run.scores.faces()
    }
    # a clip goes by its middle frame; the seventh crop of r0 is in none
    assert found == {
        ("r0", 0, 5): 20,
        ("r0", 0, 20): 20,
        ("r1", 0, 5): 0,
        ("f0", 0, 5): 80,
        ("f0", 0, 20): 80,
        ("f1", 0, 5): -90,
        ("f1", 1, 5): 200,
    }
    assert detector.batches == [(2, 3, 96, 96, 3)] * 3 + [(1, 3, 96, 96, 3)]
    assert seen[-1] == (21, 21)
    assert dict(result.settings)["frames"] == 3


def test_clips_are_counted_as_clips(tmp_path: Path) -> None:
    made = store(tmp_path / "crops", LEVELS)
    result = evaluate(made, Rising(), n_bootstrap=20, protocol=replace(PLAIN, min_faces=4))
    row = result.value("auc", "clip")
    assert row.value == pytest.approx(
        metrics.roc_auc([0, 0, 0, 1, 1, 1, 1], [20, 20, 0, 80, 80, -90, 200])
    )
    # the second track of r0 and the only one of r2 are shorter than a clip
    assert (row.n_real, row.n_fake, row.n_skipped) == (3, 4, 2)
    assert result.value("auc", "track").n_skipped == 2
    video = result.value("auc", "video")
    assert (video.n_real, video.n_fake, video.n_skipped) == (2, 2, 1)
    # four faces are two clips: tracks with one alone are unsound
    assert result.n_unsound == 2
    lenient = replace(PLAIN, min_faces=3)
    assert evaluate(made, Rising(), n_bootstrap=20, protocol=lenient).n_unsound == 0
    with pytest.raises(KeyError, match="by frame"):
        result.value("auc", "frame")


def test_tracks_that_are_all_too_short_are_a_usage_error(tmp_path: Path) -> None:
    made = store(tmp_path / "crops", {"r0": ((1, 2),), "f0": ((3, 4),)})
    with pytest.raises(UsageError, match=r"no track has the 3 usable crops.*sampling\.count=12"):
        evaluate(made, Rising())
