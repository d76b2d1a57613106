"""What the strict protocol refuses and says, the shipped YAML files, and the designs of tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cattrs
import numpy as np
import pytest
from omegaconf import OmegaConf

from dfdetect.data.splits import SplitRule, assign_splits, hashed_by
from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.evaluation.protocols.designs import DESIGNS, Design, of_videos, select
from dfdetect.evaluation.protocols.protocol import (
    DEEPFAKEBENCH,
    PLAIN,
    STRICT,
    Protocol,
    under_protocol,
)
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.types import Calibration
from tests.score_runs import run_of, video

CONFIGS = Path(__file__).parents[3] / "configs"
METHODS = ("Deepfakes", "FaceSwap", "NeuralTextures")


def composed(group: str, name: str) -> dict[str, Any]:
    loaded = OmegaConf.load(CONFIGS / group / f"{name}.yaml")
    own: Mapping[str, Any] = OmegaConf.to_container(loaded)  # type: ignore[assignment]
    merged = OmegaConf.create({})
    for base in own.get("defaults", ()):
        merged = OmegaConf.merge(merged, composed(group, base))  # type: ignore[assignment]
    merged = OmegaConf.merge(merged, {k: v for k, v in own.items() if k != "defaults"})  # type: ignore[assignment]
    return OmegaConf.to_container(merged)  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", [STRICT, PLAIN, DEEPFAKEBENCH], ids=lambda one: one.name)
def test_yaml_and_python_say_the_same(protocol: Protocol) -> None:
    converter = cattrs.Converter(forbid_extra_keys=True)
    assert converter.structure(composed("protocol", protocol.name), Protocol) == protocol


@pytest.mark.parametrize("name", sorted(DESIGNS))
def test_every_design_has_its_yaml(name: str) -> None:
    converter = cattrs.Converter(forbid_extra_keys=True)
    design = converter.structure(composed("design", name), Design)
    assert design == Design(name, "c23" if name == "per_compression" else "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("coverage", "as-nothing"), ("video_rule", "best"), ("headline_eer", "e"),
        ("min_coverage", 1.5), ("frames_per_video", 0), ("min_faces", 0), ("aggregate", "meen_p"),
    ],
)  # fmt: skip
def test_unknown_rules_are_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError):
        replace(STRICT, **{field: value})


def small(**facts: Any) -> ScoredRun:
    return run_of(
        {
            "ffpp/Deepfakes/1": (1, [2.0, 1.0, "no_face"]),
            "ffpp/original/1": (0, [-2.0, -1.0]),
            "ffpp/original/2": (0, []),
        },
        **facts,
    )


def test_strict_states_what_is_in_force() -> None:
    notes = " | ".join(under_protocol(small(), STRICT).notes)
    for sentence in (
        "Split test: 3 of the run's 3 videos",
        "mean_logit of its faces; a video's is that of its highest track of 8 faces or more",
        "Rows without a score: 1 no_face, 1 not_extracted",
        "1 of 3 videos have no score (the first: ffpp/original/2); as-missing",
        "Video ids are unique",
        "eer, interpolated, where FNR = FPR",
    ):
        assert sentence in notes
    assert "DeepfakeBench" not in notes
    benchmark = " | ".join(under_protocol(small(), DEEPFAKEBENCH).notes)
    for number in range(1, 19):
        assert f"followed: Q{number}, " in benchmark
    assert "eer_nearest" in benchmark


def test_footnotes_are_short_enough_to_be_read() -> None:
    notes = under_protocol(small(), DEEPFAKEBENCH).notes
    habits = [note for note in notes if note.startswith("Habit of DeepfakeBench")]
    assert len(habits) == 18
    assert max(map(len, notes)) < 400
    assert any("An original" in note or "an original" in note for note in notes)


def test_the_aggregate_is_the_calibrations_unless_the_protocol_has_one() -> None:
    fitted = Calibration("platt", 1.0, 0.0, 0.1, 10.0, 5, 5, "val", "2026-01-01", aggregate="max")
    view = under_protocol(small(calibration=fitted), STRICT)
    assert next(one for one in view.units if one.unit == "video").logit.tolist() == [2.0, -1.0]
    view = under_protocol(small(calibration=fitted), replace(STRICT, aggregate="mean_logit"))
    assert next(one for one in view.units if one.unit == "video").logit.tolist() == [1.5, -1.5]


def test_faces_of_a_track_are_counted_in_clips() -> None:
    rows = [(video("a/m/1", 1), [1.0] * 2), (video("a/original/1", 0), [0.0])]
    notes = under_protocol(run_of(rows, unit="clip", frames=4), STRICT).notes
    assert any("highest track of 2 clips" in note for note in notes)


def test_strict_refuses_selection_on_the_test_set() -> None:
    run = small(oracle="selected on test")
    with pytest.raises(UsageError, match=r"selected on test.*protocol\.oracle=true"):
        under_protocol(run, STRICT)
    view = under_protocol(run, replace(STRICT, oracle=True))
    assert view.oracle == "selected on test"
    assert "Oracle: selected on test" in view.notes


def test_strict_measures_one_split() -> None:
    rows = [
        (video("a/m/1", 1), [1.0]),
        (video("a/m/2", 1, split="train"), [1.0]),
        (video("a/original/1", 0), [0.0]),
    ]
    view = under_protocol(run_of(rows), STRICT)
    assert view.videos.column("video_id").to_pylist() == ["a/m/1", "a/original/1"]
    assert view.notes[0].startswith("Split test: 2 of the run's 3 videos")
    with pytest.raises(UsageError, match=r"split 'val' \(it has test, train\)"):
        under_protocol(run_of(rows), replace(STRICT, split="val"))
    assert len(under_protocol(run_of(rows), replace(STRICT, split=None)).videos) == 3


def test_strict_refuses_videos_without_an_official_split() -> None:
    rows = [(video("a/m/1", 1, split=None), [1.0]), (video("a/original/1", 0), [0.0])]
    with pytest.raises(UsageError, match=r"1 of 2 videos of guess have no split.*official_splits"):
        under_protocol(run_of(rows), STRICT)
    view = under_protocol(run_of(rows), replace(STRICT, official_splits=False))
    assert len(view.videos) == 2
    with pytest.raises(UsageError, match="come from a hash"):
        under_protocol(small(split_rule="hash"), STRICT)


@pytest.mark.parametrize("seed", [0, 42])
def test_strict_finds_out_that_splits_were_hashed(seed: int) -> None:
    listed = Videos.of(
        video(f"a/{'m' if label else 'original'}/{person:03d}", label, source_ids=(str(person),))
        for person in range(300)
        for label in (0, 1)
    )
    hashed = assign_splits(listed, SplitRule(strategy="hash", seed=seed))
    tested = hashed.where(split="test")
    found = hashed_by(tested)
    assert found is not None
    assert found.seed == seed
    rows = [(row, [float(row.label)]) for row in tested]
    with pytest.raises(UsageError, match=f"split.strategy=hash gives with seed {seed}"):
        under_protocol(run_of(rows), STRICT)
    assert under_protocol(run_of(rows), replace(STRICT, official_splits=False)).units
    # the same people under another list's split, and too few people to tell
    drawn = listed.take(np.random.default_rng(1).permutation(len(listed))[:40])
    assert hashed_by(drawn) is None
    assert hashed_by(tested[:4]) is None


def leave_one_out() -> list[ScoredRun]:
    runs = []
    for held_out in METHODS:
        rows = [(video(f"ffpp/{method}/1", 1), [1.0]) for method in METHODS]
        rows += [(video("ffpp/original/1", 0), [0.0])]
        rows += [(video("dfdc/x/1", 1), [1.0]), (video("dfdc/original/1", 0), [0.0])]
        learned = [("ffpp", method) for method in METHODS if method != held_out]
        parts = TrainedOn((("ffpp", "original"), *learned))
        runs.append(run_of(rows, name=f"without {held_out}", trained_on=parts))
    return runs


def test_leave_one_out_takes_each_method_from_the_run_that_did_not_see_it() -> None:
    selection = select(Design("cross_manipulation"), leave_one_out())
    rows = [(one.run.name, one.row) for one in selection.pairings]
    assert rows == [(f"without {method}", f"ffpp, {method} held out") for method in METHODS]
    for method, pairing in zip(METHODS, selection.pairings, strict=True):
        ids = [f"ffpp/{method}/1", "ffpp/original/1"]
        assert pairing.videos.column("video_id").to_pylist() == ids
        assert pairing.scored().scores.video_ids == tuple(ids)
    assert "without Deepfakes: it was trained on FaceSwap, NeuralTextures of ffpp" in (
        selection.left_out
    )
    assert "without Deepfakes: dfdc is another dataset than it was trained on" in selection.left_out


def test_in_domain_and_cross_dataset_part_what_was_seen() -> None:
    run = leave_one_out()[0]
    (inside,) = select(Design("in_domain"), [run]).pairings
    assert inside.videos.column("method").to_pylist() == ["FaceSwap", "NeuralTextures", "original"]
    (outside,) = select(Design("cross_dataset"), [run]).pairings
    assert set(outside.videos.column("dataset").to_pylist()) == {"dfdc"}
    # a detector of blends has seen genuine videos of a dataset, and none of its fakes
    blends = replace(run, trained_on=TrainedOn((("ffpp", "original"),)))
    assert select(Design("in_domain"), [blends]).pairings == ()
    assert [one.row for one in select(Design("cross_dataset"), [blends]).pairings] == ["dfdc"]
    held_out = select(Design("cross_manipulation"), [blends]).pairings
    assert [one.row for one in held_out] == [f"ffpp, {method} held out" for method in METHODS]


def test_per_compression_marks_the_one_of_training() -> None:
    rows = [
        (video(f"ffpp/m/{number}", number % 2, compression=how), [0.0])
        for number, how in enumerate(("c23", "c23", "c40", "c40", ""))
    ]
    rows += [(video("dfd/m/1", 1), [0.0])]
    run = run_of(rows, trained_on=TrainedOn((("ffpp", "m"),)))
    found = select(Design("per_compression", "c23"), [run]).pairings
    assert {one.row: len(one.videos) for one in found} == {
        "dfd, c23": 1, "ffpp, uncompressed": 1, "ffpp, c23 (as trained)": 2, "ffpp, c40": 2,
    }  # fmt: skip


def test_nothing_is_told_of_a_run_that_nobody_describes() -> None:
    for name in ("in_domain", "cross_dataset", "cross_manipulation"):
        selection = select(Design(name), [small()])
        assert selection.pairings == ()
        assert "nobody says what it was trained on" in selection.left_out[0]
    with pytest.raises(UsageError, match="unknown design"):
        Design("sideways")


def test_a_part_of_a_run_keeps_its_rows() -> None:
    run = small()
    part = of_videos(run, run.videos.where(label=0))
    assert part.scores.video_ids == ("ffpp/original/1", "ffpp/original/2")
    assert (part.scores.n_scored, len(part.scores)) == (2, 3)


def test_measuring_scores_loads_no_decoder_and_no_networks() -> None:
    program = (
        "import sys, dfdetect.evaluation.imported, dfdetect.evaluation.protocols.protocol\n"
        "heavy = {'torch', 'timm', 'lightning', 'cv2', 'av'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
