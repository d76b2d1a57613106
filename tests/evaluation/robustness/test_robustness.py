"""Robustness runs: every condition goes the whole way, survives a kill and counts what it lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.engines import EngineSettings
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.results import read_results
from dfdetect.evaluation.robustness.curves import FOUND, read_curves
from dfdetect.evaluation.robustness.laundering import Condition, conditions_of
from dfdetect.evaluation.robustness.results import measured, named, run_robustness
from dfdetect.evaluation.robustness.run import (
    RobustnessPlan,
    RobustnessProgress,
    RobustnessResult,
    RobustnessSettings,
    robustness,
)
from dfdetect.evaluation.run_files import read_run
from dfdetect.media import FrameSampler
from dfdetect.scoring import metrics
from dfdetect.types import Calibration, CropPolicy
from tests.extractions import lay_pictures

CONDITIONS = ("jpeg 5", "messenger")
POLICY = CropPolicy("square", 1.3, 64)
PLAN = RobustnessPlan(sampler=FrameSampler(count=3), batch_videos=3)


class Roughness:
    """Its logit falls with the detail of a crop, so that tests know what should happen to it."""

    def __init__(self, policy: CropPolicy = POLICY, frames: int = 1, mark: str = "a") -> None:
        preprocess = Preprocess(policy.size, (0.5,) * 3, (0.5,) * 3, policy)
        calibration = Calibration("platt", 1.0, 0.0, 0.05, 20.0, 30, 30, "val", "2026-01-01")
        self.header = CheckpointHeader(
            "rough", (), preprocess, calibration, (), True, frames=frames
        )
        self.weights_sha256 = mark * 64

    def logits(self, crops: Any) -> Any:
        steps = np.abs(np.diff(crops.astype(np.float32), axis=-2))
        return (5 - steps.mean(axis=tuple(range(1, steps.ndim)))).astype(np.float32)


def lay(root: Path) -> Manifest:
    """Two genuine clips in the test split and a forgery of each, six frames long."""
    dataset = create_dataset("synthetic", n_identities=10, n_frames=6)
    return build_manifest(dataset, root, SplitRule("official"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def manifest(root: Path) -> Manifest:
    return lay(root)


@pytest.fixture(scope="module")
def result(root: Path, manifest: Manifest, tmp_path_factory: Any) -> RobustnessResult:
    work = tmp_path_factory.mktemp("whole")
    return robustness(manifest, root, {"rough": Roughness()}, conditions_of(CONDITIONS), work, PLAN)


def table_of(result: RobustnessResult) -> dict[str, Any]:
    return {
        f"{one.run.name} {one.condition.name}": (
            [(face.video_id, face.frame_index, face.logit) for face in one.run.scores.faces()],
            one.run.scores.n_by_status(),
            [(found.n_frames.tolist(), found.n_found.tolist()) for found in one.found],
        )
        for one in result.runs
    }


def test_clean_runs_are_what_an_extraction_gives(
    root: Path, manifest: Manifest, result: RobustnessResult, tmp_path: Path
) -> None:
    # the copy that a window asks for differs in nothing from reading the clips themselves
    windowed = replace(PLAN, window_s=60.0)
    copied = robustness(
        manifest, root, {"rough": Roughness()}, (Condition("clean"),), tmp_path / "w", windowed
    )
    assert table_of(copied)["rough clean"] == table_of(result)["rough clean"]
    test = Manifest(manifest.rows.where(split="test"), "")
    extract_crops(test, root, tmp_path / "store", POLICY, PLAN.sampler)
    store = CropStore.open(tmp_path / "store")
    wanted = {
        (crop.video_id, crop.frame_index): float(Roughness().logits(store.image(crop)[None])[0])
        for crop in store.usable()
    }
    clean = result.runs[0]
    found = {(face.video_id, face.frame_index): face.logit for face in clean.run.scores.faces()}
    assert found == wanted
    assert clean.run.videos.column("label").to_pylist() == [1, 1, 0, 0]


def test_conditions_reach_the_scores_and_the_numbers(result: RobustnessResult) -> None:
    assert [one.condition.name for one in result.runs] == ["clean", *CONDITIONS]
    clean, jpeg, messenger = (one.run.scores.logit for one in result.runs)
    # JPEG at quality 10 adds edges of blocks and removes detail; a re-encode smoothes
    assert not np.array_equal(clean, jpeg)
    assert messenger.mean() > clean.mean()
    numbers = measured(result, n_bootstrap=50)
    for one in result.runs:
        table = one.run.scores
        per_video = [table.logit[table.video == video].mean() for video in range(4)]
        (row,) = (
            row
            for row in numbers.rows
            if (row.condition, row.metric, row.unit) == (one.condition.name, "auc", "video")
        )
        assert row.value == pytest.approx(metrics.roc_auc([1, 1, 0, 0], per_video))
        assert one.found[0].rate == 1.0
        assert not one.problems
    found = [point for point in numbers.points if point.metric == FOUND]
    assert {(point.condition, point.value) for point in found} == {
        (one.condition.name, 1.0) for one in result.runs
    }
    assert {"auc", "ece", "cllr"} < {point.metric for point in numbers.points}


def test_a_killed_run_goes_on_to_the_same_result(
    root: Path, manifest: Manifest, result: RobustnessResult, project_root: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    script = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(project_root)!r})
        from tests.evaluation.robustness import test_robustness as own
        root = Path({str(root)!r})
        own.robustness(
            own.lay(root), root, {{"rough": own.Roughness()}},
            own.conditions_of(own.CONDITIONS), Path({str(work)!r}), own.PLAN,
            progress=lambda one: print(one.condition, one.stage, one.n_done, flush=True),
        )
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("jpeg 5 launder 2"):
            process.send_signal(signal.SIGKILL)
            break
    else:
        pytest.fail("the run ended before it could be killed")
    process.wait()
    process.stdout.close()
    made = sorted((work / "jpeg-5" / "clips" / "000000").glob("*.mp4"))
    assert len(made) >= 2
    before = made[0].stat().st_mtime_ns
    seen: list[RobustnessProgress] = []
    kept: list[int] = []

    def watch(progress: RobustnessProgress) -> None:
        if (progress.condition, progress.stage) == ("jpeg 5", "extract") and made[0].exists():
            kept.append(made[0].stat().st_mtime_ns)
        seen.append(progress)

    resumed = robustness(
        manifest, root, {"rough": Roughness()}, conditions_of(CONDITIONS), work, PLAN,
        progress=watch,
    )  # fmt: skip
    assert table_of(resumed) == table_of(result)
    # what was done stays done: the clean clips' scores, and the clip of the killed condition
    assert "clean" not in {one.condition for one in seen}
    assert set(kept) == {before}
    assert not list(work.glob("*/clips/*"))
    started = time.monotonic()
    again = robustness(
        manifest, root, {"rough": Roughness()}, conditions_of(CONDITIONS), work, PLAN
    )
    assert time.monotonic() - started < 2
    assert table_of(again) == table_of(result)


def test_detectors_share_an_extraction_where_crops_are_cut_alike(
    root: Path, manifest: Manifest, tmp_path: Path
) -> None:
    detectors = {
        "one": Roughness(),
        "clips": Roughness(frames=2, mark="b"),
        "small": Roughness(CropPolicy("square", 1.6, 32), mark="c"),
    }
    plan = replace(PLAN, per_method=1)
    found = robustness(
        manifest, root, detectors, conditions_of(["frame_rate 1"]), tmp_path / "w", plan
    )
    assert [one.run.name for one in found.runs] == ["one", "clips", "small"] * 2
    stores = {path.name for path in (tmp_path / "w" / "frame_rate-1" / "crops").iterdir()}
    assert stores == {"square-1.3-64", "square-1.6-32"}
    assert {len(one.run.videos) for one in found.runs} == {2}
    assert [one.run.unit for one in found.runs] == ["frame", "clip", "frame"] * 2
    # of six frames three are left
    assert found.found[3].n_frames.tolist() == [3, 3]


def test_what_cannot_be_read_or_found_is_counted(clips: Any, portrait: Any, tmp_path: Path) -> None:
    root = tmp_path / "clips"
    dataset = create_dataset("synthetic", n_identities=10, n_frames=3)
    manifest = build_manifest(dataset, root, SplitRule("official"))
    rows = list(manifest.rows.where(split="test"))
    paths = [root / row.path for row in rows]
    # a clip that was cut off, one that is another than was indexed, one that is gone
    paths[0].write_bytes(paths[0].read_bytes()[:600])
    clips.write_clip(paths[1], 4, width=64, height=64)
    paths[2].unlink()
    (tmp_path / "corner.yaml").write_text(
        "steps: [{step: crop, share: 0.08}, {step: reencode, crf: 20}]"
    )
    words = ["blur 1", str(tmp_path / "corner.yaml")]
    plan = replace(PLAN, batch_videos=1)
    found = robustness(
        manifest, root, {"rough": Roughness()}, conditions_of(words), tmp_path / "w", plan
    )
    by_name = {one.condition.name: one for one in found.runs}
    assert list(by_name) == ["clean", "blur 1", "corner"]
    faults = {"altered": 1, "missing": 1, "unreadable": 1}
    assert dict(by_name["clean"].run.scores.n_by_status()) == faults
    assert dict(by_name["blur 1"].run.scores.n_by_status()) == faults
    assert dict(by_name["corner"].run.scores.n_by_status()) == {**faults, "no_face": 3}
    assert by_name["corner"].run.scores.n_scored == 0
    assert [one.found[0].rate for one in found.runs] == [1.0, 1.0, 0.0]
    assert [problem.path for problem in by_name["blur 1"].problems] == [rows[0].path]
    numbers = measured(found, n_bootstrap=20)
    assert any(one.startswith("rough, corner: nothing was left") for one in numbers.undefined)
    worst = next(point for point in numbers.points if point.metric == FOUND)
    assert (worst.condition, worst.value, worst.n_videos) == ("corner", 0.0, 1)


def test_another_run_in_the_same_folder_is_refused(
    root: Path, manifest: Manifest, tmp_path: Path
) -> None:
    plan = replace(PLAN, per_method=1)
    profile = tmp_path / "mine.yaml"
    profile.write_text("steps: [{step: scale, share: 0.9}]")
    conditions = conditions_of([str(profile)])
    work = tmp_path / "w"
    robustness(manifest, root, {"a": Roughness()}, conditions, work, plan)
    with pytest.raises(ContractError, match=r"another plan\.seed"):
        robustness(manifest, root, {"a": Roughness()}, conditions, work, replace(plan, seed=1))
    profile.write_text("steps: [{step: scale, share: 0.8}]")
    with pytest.raises(ContractError, match="another steps"):
        robustness(manifest, root, {"a": Roughness()}, conditions, work, plan)
    # clips that are kept or not make no other run
    robustness(
        manifest, root, {"a": Roughness()}, conditions[:1], work, replace(plan, keep_clips=True)
    )


def test_requests_that_cannot_be_met_are_refused(
    root: Path, manifest: Manifest, tmp_path: Path
) -> None:
    def ask(detectors: dict[str, Any], folder: Path, plan: RobustnessPlan) -> None:
        robustness(manifest, folder, detectors, (Condition("clean"),), tmp_path / "w", plan)

    with pytest.raises(UsageError, match="no detector"):
        ask({}, root, PLAN)
    with pytest.raises(UsageError, match="no video in the split 'none'"):
        ask({"a": Roughness()}, root, replace(PLAN, split="none"))
    with pytest.raises(UsageError, match="none of the 4 videos"):
        ask({"a": Roughness()}, tmp_path, PLAN)
    with pytest.raises(UsageError, match="masks do not lie"):
        replace(PLAN, faces="mask")


def test_pictures_that_were_cropped_before_need_no_finder(tmp_path: Path) -> None:
    pictures = lay_pictures(tmp_path / "pictures", 4)
    found = robustness(
        pictures,
        tmp_path / "pictures",
        {"a": Roughness()},
        conditions_of(["pixelation 5"]),
        tmp_path / "w",
        replace(PLAN, finder=None, split="train"),
    )
    clean, coarse = (one.run.scores for one in found.runs)
    assert clean.n_scored == coarse.n_scored == 4
    assert (coarse.logit > clean.logit).all()


def test_the_command_writes_runs_results_and_curves(
    root: Path, manifest: Manifest, tmp_path: Path
) -> None:
    from dfdetect.detectors.checkpoint import bundled_detector

    manifest.write(tmp_path / "manifest.parquet")
    settings = RobustnessSettings(
        manifest=tmp_path / "manifest.parquet",
        data_root=root,
        checkpoints=(bundled_detector(),),
        names=("bundled",),
        conditions=("h264 5",),
        plan=PLAN,
        engine=EngineSettings("local"),
        work=tmp_path / "work",
        out=tmp_path / "out",
        n_bootstrap=20,
    )
    numbers = run_robustness(settings, "dfdetect benchmark robustness …")
    out = settings.out
    rows, _ = read_results(out / "results.parquet")
    assert rows == numbers.rows
    assert {row.condition for row in rows} == {"clean", "h264 5"}
    assert read_curves(out) == numbers.points
    (name,) = (path.name for path in (out / "runs").iterdir())
    assert {name} == {row.detector for row in rows} == {"bundled"}
    assert {path.name for path in (out / "runs" / name).iterdir()} == {"clean", "h264-5"}
    assert len(read_run(out / "runs" / name / "h264-5").videos) == 4
    page = (out / "robustness.md").read_text()
    assert "DeeperForensics-1.0" in page
    assert "| h264 5 |" in page
    assert (out / "run.json").exists()


def test_names_are_one_for_each_checkpoint() -> None:
    one = Roughness()
    assert list(named([one, one], ["a", "b"])) == ["a", "b"]
    for wanted in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(UsageError, match="does not name 2 checkpoints"):
            named([one, one], wanted)
