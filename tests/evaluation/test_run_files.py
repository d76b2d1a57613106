"""A scored run comes back from its folder as it went there, and refuses what does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import ContractError
from dfdetect.evaluation.run_files import SCORES_FILE, VIDEOS_FILE, read_run, write_run
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.provenance import sha256_file
from dfdetect.scoring.score_table import ScoreTable, SkippedScore
from dfdetect.types import (
    Band,
    BandRate,
    Calibration,
    FaceScore,
    OperatingPoint,
    SetRates,
)

FITTED = Calibration(
    "platt", 1.5, -0.25, 0.1, 9.0, 11, 13, "clips", "2026-11-22",
    (BandRate(Band.WEAK, 1, 11, 6, 13),), (0.1, 0.0, 0.2), "median_logit",
)  # fmt: skip


def video(name: str, label: int) -> ManifestRow:
    method = "swap" if label else "original"
    return ManifestRow(
        name, "mine", method, label, "test", (name,), "c23", f"{name}.mp4", "0" * 64, 25.0, 100,
        640, 480, 4.0,
    )  # fmt: skip


def a_run(**changes: object) -> ScoredRun:
    faces = [FaceScore("a", 0, 3, 0.12, -1.25, 0.22), FaceScore("b", 1, 0, 0.0, 900.0, 1.0)]
    skipped = [SkippedScore("b", "no_face", -1, 7, 0.3), SkippedScore("c", "not_extracted")]
    run = ScoredRun(
        name="mine",
        scores=ScoreTable.of(faces, skipped),
        videos=Videos.of([video("a", 0), video("b", 1), video("c", 1)]),
        trained_on=TrainedOn((("mine", "original"), ("mine", "swap"))),
        calibration=FITTED,
        threshold=0.25 / 1.5,
        oracle="selected on test",
        parents=(("weights", "ab" * 32),),
    )
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


WHOLE = dataclasses.replace(
    FITTED,
    operating_points=(
        OperatingPoint(0.01, None, 11, 0, 13, 0),
        OperatingPoint(0.05, 1.25, 11, 1, 13, 9),
    ),
    sets=(SetRates("mine", 11, 13, FITTED.rates),),
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trained_on": None, "calibration": None},
        {"calibration": WHOLE, "network": (("detector", '"meso4"'), ("frames", "1"))},
    ],
)
def test_a_run_comes_back(tmp_path: Path, changes: dict[str, object]) -> None:
    run = a_run(**changes)
    write_run(run, tmp_path, {"seed": 3})
    for path in (tmp_path, tmp_path / SCORES_FILE):
        found = read_run(path)
        scores = ("scores", sha256_file(tmp_path / SCORES_FILE))
        assert found == dataclasses.replace(run, parents=(*run.parents, scores))


def test_what_has_no_score_has_no_number_on_disk(tmp_path: Path) -> None:
    write_run(a_run(), tmp_path)
    cells = pq.read_table(tmp_path / SCORES_FILE).to_pylist()
    assert [(row["logit"], row["p_fake"], row["status"]) for row in cells] == [
        (-1.25, pytest.approx(0.2227, abs=1e-4), "ok"),
        (None, None, "no_face"),
        (900.0, 1.0, "ok"),
        (None, None, "not_extracted"),
    ]


def test_another_manifest_is_refused(tmp_path: Path) -> None:
    write_run(a_run(), tmp_path)
    other = dataclasses.replace(
        a_run(),
        scores=ScoreTable.of([FaceScore("z", 0, 0, 0.0, 1.0, 0.7)]),
        videos=Videos.of([video("z", 1)]),
    )
    write_run(other, tmp_path / "other")
    (tmp_path / "other" / VIDEOS_FILE).replace(tmp_path / VIDEOS_FILE)
    with pytest.raises(ContractError, match=r"other videos.*dfdetect evaluate"):
        read_run(tmp_path)


def test_a_missing_half_is_named(tmp_path: Path) -> None:
    write_run(a_run(), tmp_path)
    (tmp_path / VIDEOS_FILE).unlink()
    with pytest.raises(ContractError, match=r"videos\.parquet is missing"):
        read_run(tmp_path)


def test_scores_of_other_videos_are_no_run() -> None:
    with pytest.raises(ValueError, match="name other videos"):
        a_run(videos=Videos.of([video("a", 0)]))
