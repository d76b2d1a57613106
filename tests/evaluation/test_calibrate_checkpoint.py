"""Which videos of a run calibrate, with which logit, and which of them are kept together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.errors import UsageError
from dfdetect.evaluation import calibrate
from dfdetect.evaluation.calibrate import CalibrationClips, clips_of, fit, require_apart
from dfdetect.evaluation.runs import ScoredRun, network_facts
from dfdetect.evaluation.settings import CalibrateSettings
from dfdetect.scoring.aggregate import video_scores
from dfdetect.scoring.calibrate import fit_platt
from dfdetect.scoring.score_table import ScoreTable, SkippedScore
from dfdetect.types import CropPolicy, FaceScore
from tests.score_runs import run_of, video

PREPROCESS = Preprocess(64, (0.5,) * 3, (0.5,) * 3, CropPolicy(size=64))
HEADER = CheckpointHeader("meso4", (("dropout", 0.5),), PREPROCESS, None, (), True)
SETTINGS = CalibrateSettings(
    checkpoint=Path("a.safetensors"),
    scores=(Path("run"),),
    splits=("val", "test"),
    aggregate="mean_logit",
    balance=False,
    out=Path("b.safetensors"),
    seed=0,
)
FACTS: dict[str, Any] = {
    "network": network_facts(HEADER),
    "parents": (("weights", "a" * 64), ("scores", "b" * 64)),
}
FOLDER = Path("run")


def of(run: ScoredRun, **changes: Any) -> CalibrationClips:
    settings = dataclasses.replace(SETTINGS, **changes)
    return clips_of(FOLDER, run, HEADER, "c" * 64, settings)


def tracks(rows: Sequence[ManifestRow], **facts: Any) -> tuple[ScoredRun, list[FaceScore]]:
    """A run of videos with tracks of 3 to 20 faces, whose logits are random."""
    rng = np.random.default_rng(0)
    faces = [
        FaceScore(row.video_id, track, frame, frame / 25, float(rng.normal(2 * row.label, 2)), 0.5)
        for row in rows
        for track in range(int(rng.integers(1, 4)))
        for frame in range(int(rng.integers(3, 20)))
    ]
    return ScoredRun("a", ScoreTable.of(faces), Videos.of(rows), **FACTS, **facts), faces


def rows_of(n: int, split: str = "val", dataset: str = "mine") -> list[ManifestRow]:
    """Sorted videos, forgeries and genuine ones of the same people."""
    pairs = [(f"{dataset}/{('original', 'swap')[label]}/{k:03d}", label, k) for k in range(n)
             for label in (0, 1)]  # fmt: skip
    return [
        video(name, label, split=split, source_ids=(f"person{k}",))
        for name, label, k in sorted(pairs)
    ]


@pytest.mark.parametrize("aggregate", ["mean_logit", "median_logit", "top_third"])
@pytest.mark.parametrize("frames", [1, 4])
def test_a_videos_logit_is_that_of_its_highest_track(aggregate: str, frames: int) -> None:
    run, faces = tracks(rows_of(20), frames=frames)
    found = of(run, aggregate=aggregate)
    expected = video_scores(faces, aggregate, "highest_track", min_faces=8 // frames)
    assert found.videos.column("video_id").to_pylist() == [one.video_id for one in expected]
    assert found.logits == pytest.approx([one.logit for one in expected])


def test_what_is_left_out_is_counted() -> None:
    rows = [
        video("mine/original/a", 0, split="val"),
        video("mine/original/b", 0, split="test"),
        video("mine/original/c", 0, split=None),
        video("mine/swap/d", 1, split="val"),
        video("mine/swap/e", 1, split="val"),
    ]
    scores = ScoreTable.of(
        [FaceScore(row.video_id, 0, 0, 0.0, 1.0, 0.7) for row in rows[:4]],
        [SkippedScore("mine/swap/e", "no_face")],
    )
    found = of(ScoredRun("a", scores, Videos.of(rows), **FACTS), splits=("val",))
    assert found.videos.column("video_id").to_pylist() == ["mine/original/a", "mine/swap/d"]
    assert (found.n_unscored, found.n_elsewhere) == (1, 2)
    assert found.counts() == "1 genuine and 1 manipulated videos of mine (val)"
    assert found.is_sibling


def test_the_same_weights_are_no_siblings() -> None:
    run, _ = tracks(rows_of(3))
    found = clips_of(FOLDER, run, HEADER, "a" * 64, SETTINGS)
    assert not found.is_sibling
    assert "these weights" in found.fact()


def test_one_trained_video_spoils_a_run_even_where_it_has_no_score() -> None:
    rows = [video("mine/original/a", 0, split="val"), video("mine/swap/b", 1, split="train")]
    run = run_of([(rows[0], [1.0]), (rows[1], [])], **FACTS)
    with pytest.raises(UsageError, match="run has scores of 1 videos of the split"):
        of(run)


def test_a_video_of_another_split_may_be_in_two_runs() -> None:
    # what is left out of both cannot count twice
    shared = [video("also/original/a", 0, split="test")]
    first, _ = tracks([*shared, *rows_of(3, dataset="m1")])
    second, _ = tracks([*shared, *rows_of(3, dataset="m2")])
    require_apart([of(run, splits=("val",)) for run in (first, second)])
    with pytest.raises(UsageError, match="both hold 1 videos"):
        require_apart([of(run) for run in (first, second)])


def test_the_fit_is_that_of_all_runs_with_people_kept_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: dict[str, Any] = {}

    def spy(logits: Any, labels: Any, **facts: Any) -> Any:
        told.update(facts, logits=logits, labels=labels)
        return fit_platt(logits, labels, **facts)

    monkeypatch.setattr(calibrate, "fit_platt", spy)
    runs = [tracks(rows_of(30, split, name))[0] for split, name in (("val", "m1"), ("test", "m2"))]
    clips = [of(run) for run in runs]
    found = fit(clips, SETTINGS)
    assert told["logits"].tolist() == [*clips[0].logits, *clips[1].logits]
    names = [name for one in clips for name in one.videos.column("video_id").to_pylist()]
    groups = dict(zip(names, told["groups"], strict=True))
    assert len(set(groups.values())) == 60
    assert groups["m1/original/004"] == groups["m1/swap/004"] != groups["m2/swap/004"]
    assert told["sets"] == [name.split("/")[0] for name in names]
    assert [one.name for one in found.sets] == ["m1", "m2"]
    assert (found.n_real, found.n_fake) == (60, 60)


def test_facts_of_a_network_tell_what_decides_its_logits() -> None:
    changed = [
        dataclasses.replace(HEADER, detector="mesoinception4"),
        dataclasses.replace(HEADER, kwargs=(("dropout", 0.4),)),
        dataclasses.replace(HEADER, kwargs=()),
        dataclasses.replace(HEADER, frames=4),
        dataclasses.replace(HEADER, preprocess=dataclasses.replace(PREPROCESS, std=(0.4,) * 3)),
    ]
    run, _ = tracks(rows_of(3))
    for header in changed:
        with pytest.raises(UsageError, match="scores of another network"):
            clips_of(FOLDER, run, header, "c" * 64, SETTINGS)
    # what it learned, and what its logits are worth, may differ
    other = dataclasses.replace(HEADER, provenance=(("seed", "1"),), format_version=1)
    assert network_facts(other) == network_facts(HEADER)
