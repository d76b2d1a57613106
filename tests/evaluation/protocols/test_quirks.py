"""Every switch changes a number, and changes it to what the habit's description gives by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfdetect.errors import UsageError
from dfdetect.evaluation.measure import MeasurePlan, measure
from dfdetect.evaluation.protocols.protocol import (
    DEEPFAKEBENCH,
    PLAIN,
    STRICT,
    Protocol,
    ProtocolView,
    protocol_views,
    under_protocol,
)
from dfdetect.evaluation.protocols.quirks import QUIRKS, Quirks, counting_videos, selected_on_test
from dfdetect.evaluation.results import ResultRow
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.scoring.units import UnitScores
from tests.score_runs import run_of, video

MEAN_P = replace(PLAIN, aggregate="mean_p", video_rule="all_faces", min_faces=1)


def with_quirks(protocol: Protocol = MEAN_P, **switches: object) -> Protocol:
    return replace(protocol, quirks=Quirks(**switches))  # type: ignore[arg-type]


def unit_of(view: ProtocolView, unit: str) -> UnitScores:
    return next(one for one in view.units if one.unit == unit)


def auc_of(view: ProtocolView, unit: str) -> float:
    scores = unit_of(view, unit)
    return float(roc_auc_score(view.videos.column("label").to_numpy()[scores.video], scores.logit))


def p(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def mean_p(*logits: float) -> float:
    mean = sum(map(p, logits)) / len(logits)
    return math.log(mean / (1 - mean))


def said(view: ProtocolView, start: str) -> str:
    return next(note for note in view.notes if note.startswith(start))


def test_q1_takes_the_first_frames() -> None:
    run = run_of({
        "ffpp/original/001": (0, [-1.0, -1.0, -1.0, -1.0, -1.0]),
        "ffpp/FaceSwap/001_002": (1, [-3.0, -3.0, 2.0, 2.0, 2.0]),
    })  # fmt: skip
    two = replace(MEAN_P, frames_per_video=2)
    spread, first = (
        under_protocol(run, two),
        under_protocol(run, with_quirks(two, first_frames=True)),
    )
    # frames 0 and 4, against frames 0 and 1; the fake comes first by id
    assert unit_of(spread, "frame").logit.tolist() == [-3.0, 2.0, -1.0, -1.0]
    assert unit_of(first, "frame").logit.tolist() == [-3.0, -3.0, -1.0, -1.0]
    assert (auc_of(spread, "frame"), auc_of(first, "frame")) == (0.5, 0.0)
    assert "6 rows of other frames are left out" in said(first, "At most 2 frames")


def test_q1_counts_stored_frames_and_spread_ones_count_all() -> None:
    frames = ["no_face", 1.0, "no_face", 2.0, 3.0]
    run = run_of({"ffpp/FaceSwap/1": (1, frames), "ffpp/original/1": (0, [0.0])})
    two = replace(MEAN_P, frames_per_video=2)
    assert unit_of(under_protocol(run, two), "frame").logit.tolist() == [3.0, 0.0]
    first = under_protocol(run, with_quirks(two, first_frames=True))
    assert unit_of(first, "frame").logit.tolist() == [1.0, 2.0, 0.0]
    # of all frames 0 and 4 are the spread ones, so one of two is skipped
    assert unit_of(under_protocol(run, two), "frame").n_skipped.tolist() == [1, 0]


@pytest.mark.parametrize(("n_frames", "count"), [(1, 1), (5, 1), (5, 3), (7, 7), (32, 10), (3, 8)])
def test_spread_frames_are_the_integers_of_a_line(n_frames: int, count: int) -> None:
    frames = [float(index) for index in range(n_frames)]
    run = run_of({"ffpp/a/1": (1, frames), "ffpp/original/1": (0, frames)})
    view = under_protocol(run, replace(MEAN_P, frames_per_video=count))
    wanted = np.unique(np.linspace(0, n_frames - 1, min(count, n_frames)).astype(int))
    assert unit_of(view, "frame").logit.tolist() == [*wanted.tolist(), *wanted.tolist()]


def test_q2_counts_an_unreadable_frame_as_the_first_item() -> None:
    run = run_of({
        "ffpp/A/1": (1, [4.0, 1.0]),
        "ffpp/B/2": (1, [-1.0, "decode_error", "no_face"]),
        "ffpp/original/1": (0, [0.0]),
        "ffpp/original/2": (0, ["decode_error"]),
    })  # fmt: skip
    strict, quirky = (
        under_protocol(run, with_quirks(unreadable_is_first_item=on)) for on in (False, True)
    )
    assert auc_of(strict, "frame") == pytest.approx(2 / 3)
    # two more fakes of 4.0: the item's label comes with its score; no face is no item at all
    assert auc_of(quirky, "frame") == pytest.approx(4 / 5)
    frames = unit_of(quirky, "frame")
    labels = quirky.videos.column("label").to_numpy()[frames.video]
    assert sorted(zip(frames.logit.tolist(), labels.tolist(), strict=True)) == [
        (-1.0, 1), (0.0, 0), (1.0, 1), (4.0, 1), (4.0, 1), (4.0, 1),
    ]  # fmt: skip
    by_video = dict(zip(unit_of(quirky, "video").video.tolist(),
                        unit_of(quirky, "video").logit.tolist(), strict=True))  # fmt: skip
    assert by_video == pytest.approx({0: mean_p(4, 1), 1: mean_p(-1, 4), 2: 0.0, 3: 4.0})
    assert unit_of(strict, "video").logit.tolist() == pytest.approx([mean_p(4, 1), -1.0, 0.0])
    assert unit_of(strict, "video").n_skipped.tolist() == [0, 0, 0, 1]
    assert unit_of(quirky, "video").n_skipped.tolist() == [0, 0, 0, 0]
    assert "2 frames without a score" in said(quirky, "Q2")


def test_q3_merges_the_videos_of_one_folder_name() -> None:
    run = run_of({
        "ffpp/Deepfakes/000_003": (1, [3.0, 3.0]),
        "ffpp/FaceSwap/000_003": (1, [-2.0, -2.0]),
        "ffpp/FaceSwap/071_054": (1, [2.0, 2.0]),
        "ffpp/original/000": (0, [-1.0, -1.0]),
        "ffpp/original/071": (0, [0.0, 0.0]),
    })  # fmt: skip
    strict, quirky = (
        under_protocol(run, with_quirks(folder_name_is_video=on)) for on in (False, True)
    )
    assert auc_of(strict, "video") == pytest.approx(4 / 6)
    together = mean_p(3, 3, -2, -2)
    assert auc_of(quirky, "video") == roc_auc_score([1, 1, 0, 0], [together, 2.0, -1.0, 0.0]) == 1.0
    assert sorted(unit_of(quirky, "video").logit.tolist()) == pytest.approx(
        sorted([together, 2.0, -1.0, 0.0])
    )
    merged = quirky.videos[len(quirky.videos) - 1]
    assert (merged.method, merged.label) == ("Deepfakes+FaceSwap", 1)
    # frames know nothing of it
    assert auc_of(strict, "frame") == auc_of(quirky, "frame")
    assert "2 videos share 1 folder names" in said(quirky, "Q3")


def test_q3_gives_a_name_of_both_classes_the_label_genuine() -> None:
    run = run_of({
        "dfd/fake/01__kitchen": (1, [5.0, 5.0, 5.0]),
        "dfd/fake/02": (1, [1.0]),
        "dfd/original/01__kitchen": (0, [-5.0]),
        "dfd/original/03": (0, [-1.0]),
    })  # fmt: skip
    strict, quirky = (
        under_protocol(run, with_quirks(folder_name_is_video=on)) for on in (False, True)
    )
    assert auc_of(strict, "video") == 1.0
    # three fifths fake, so int(0.75) = 0: the name is genuine and ranks above the other fake
    assert auc_of(quirky, "video") == roc_auc_score(
        [0, 1, 0], [mean_p(5, 5, 5, -5), 1.0, -1.0]
    ) == 0.5  # fmt: skip
    assert "1 names of fakes get the label genuine" in said(quirky, "Q3")
    # videos that are part of another are not absent, whatever becomes of absent ones
    filled = replace(with_quirks(folder_name_is_video=True), coverage="as-fake")
    assert unit_of(under_protocol(run, filled), "video").logit.size == 3


def numbers(run: ScoredRun, protocol: Protocol) -> dict[tuple[str, str, str], float]:
    plan = MeasurePlan("guess", protocol.name, None, None, 0, 0)
    found = {}
    for view in protocol_views(run, protocol):
        for row in measure(view.units, view.videos, plan)[0]:
            if not view.methods or row.method in view.methods:
                assert (row.method, row.metric, row.unit) not in found
                found[row.method, row.metric, row.unit] = row.value
    return found


def test_q3_takes_each_method_as_a_test_set_of_its_own() -> None:
    rng = np.random.default_rng(3)
    videos, methods = {}, ("Deepfakes", "Face2Face", "FaceSwap")
    for pair in range(6):
        videos[f"ffpp/original/{pair:03d}"] = (0, rng.normal(0, 1, 4).tolist())
        for method in methods:
            videos[f"ffpp/{method}/{pair:03d}_x"] = (1, rng.normal(0.7, 2, 4).tolist())
    run = run_of(videos)
    strict, quirky = (numbers(run, with_quirks(folder_name_is_video=on)) for on in (False, True))
    for method in methods:
        assert quirky[method, "auc", "video"] == strict[method, "auc", "video"]
    groups, truth = defaultdict(list), {}
    for name, (label, logits) in videos.items():
        groups[name.split("/")[2]] += logits
        truth[name.split("/")[2]] = label
    wanted = roc_auc_score(
        list(truth.values()), [float(np.mean([p(one) for one in groups[name]])) for name in truth]
    )
    assert quirky["all", "auc", "video"] == pytest.approx(wanted)
    assert quirky["all", "auc", "video"] != strict["all", "auc", "video"]
    assert quirky.keys() == {key for key in strict if key[2] != "track"}


def row(method: str, metric: str, value: float) -> ResultRow:
    return ResultRow("a", "p", "ffpp", method, metric, "frame", value, 0.1, 0.9, 5, 5, 0)


def test_q4_averages_the_best_test_results() -> None:
    aucs, eers = (0.7, 0.9, 0.6, 0.8, 0.5), (0.5, 0.1, 0.3, 0.2, 0.01)
    checkpoints = [
        [row("all", "auc", auc), row("all", "eer", eer), row("FaceSwap", "auc", 1 - auc)]
        for auc, eer in zip(aucs, eers, strict=True)
    ]
    found = {(one.method, one.metric): one for one in selected_on_test(checkpoints, "guess")}
    assert found["all", "auc"].value == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    # the same checkpoints, not each metric's own best
    assert found["all", "eer"].value == pytest.approx((0.1 + 0.2 + 0.5) / 3)
    # and others for another test set
    assert found["FaceSwap", "auc"].value == pytest.approx((0.5 + 0.4 + 0.3) / 3)
    assert found["all", "auc"].ci_low is None
    assert found["all", "auc"].detector == "guess"
    one = selected_on_test(checkpoints, "guess", top=1)
    assert max(each.value for each in one if each.metric == "auc") == 0.9
    with pytest.raises(UsageError, match="every checkpoint"):
        selected_on_test([], "guess")


def test_q8_loses_the_last_batch_and_shifts_names() -> None:
    videos = {
        "dfd/fake/1": (1, [5.0, 4.0, 3.0]),
        "dfd/fake/2": (1, [-2.0, 1.0]),
        "dfd/original/3": (0, [0.0, -1.0]),
        "dfd/original/4": (0, [2.0, -3.0]),
    }
    run = run_of(videos)
    strict, quirky = under_protocol(run, MEAN_P), under_protocol(run, with_quirks(lost_batch=4))
    logits = [logit for _, frames in videos.values() for logit in frames]
    labels = [label for label, frames in videos.values() for _ in frames]
    names = [name for name, (_, frames) in videos.items() for _ in frames]
    # nine items, batches of four: the ninth is lost
    assert auc_of(quirky, "frame") == pytest.approx(roc_auc_score(labels[:8], logits[:8]))
    assert auc_of(quirky, "frame") != auc_of(strict, "frame")
    groups = defaultdict(list)
    for name, logit in zip(names[1:], logits[:8], strict=True):
        groups[name].append(logit)
    wanted = [mean_p(*groups[name]) for name in videos]
    assert unit_of(quirky, "video").logit.tolist() == pytest.approx(wanted)
    assert auc_of(quirky, "video") == pytest.approx(roc_auc_score([1, 1, 0, 0], wanted)) != 1.0
    assert "1 items, is lost" in said(quirky, "Q8")
    # only where it happens
    elsewhere = with_quirks(lost_batch=4, lost_batch_in=("ffpp",))
    assert auc_of(under_protocol(run, elsewhere), "frame") == auc_of(strict, "frame")


def test_q10_counts_videos_of_other_splits() -> None:
    rows = [
        (video("deeperforensics/end_to_end/1", 1), [1.0]),
        (video("deeperforensics/original/1", 0, split="train"), [3.0]),
        (video("deeperforensics/original/2", 0), [0.0]),
        (video("deeperforensics/end_to_end/2", 1, split="train"), [9.0]),
        (video("ffpp/original/9", 0, split="train"), [0.0]),
    ]
    run = run_of(rows)
    on_test = replace(MEAN_P, split="test")
    assert auc_of(under_protocol(run, on_test), "frame") == 1.0
    quirky = under_protocol(run, with_quirks(on_test, overlapping_splits=True))
    assert auc_of(quirky, "frame") == 0.5
    assert said(quirky, "Q10").startswith("Q10: 1 videos of other splits count")
    celeb = run_of([
        (video("celebdf_v2/x/1", 1), [1.0]), (video("celebdf_v2/x/2", 1, split="train"), [1.0])
    ]).videos  # fmt: skip
    for split, wanted in (("test", [1, 0]), ("val", [1, 0]), ("train", [1, 1])):
        assert counting_videos(celeb, split, overlapping=True).tolist() == wanted
    assert counting_videos(celeb, "val", overlapping=False).tolist() == [False, False]


def test_q17_tells_accuracies_as_if_genuine_items_came_first() -> None:
    run = run_of({
        "ffpp/A/1": (1, [2.0, 1.0, 3.0]),
        "ffpp/original/1": (0, [1.0, -1.0, 2.0]),
    })  # fmt: skip
    view = under_protocol(run, with_quirks(genuine_first=True))
    # the list holds the fakes first: right, right, right, wrong, right, wrong
    found = {one.metric: one.value for one in view.numbers}
    assert found == pytest.approx({"acc_real": 3 / 3, "acc_fake": 1 / 3})
    assert "by their labels they are 0.3333 and 1.0000" in said(view, "Q17")
    shuffled = under_protocol(run, with_quirks(genuine_first=True, list_seed=7))
    right = np.array([True, True, True, False, True, False])
    right = right[np.random.default_rng(7).permutation(6)]
    found = {one.metric: one.value for one in shuffled.numbers}
    assert found == pytest.approx({"acc_real": right[:3].mean(), "acc_fake": right[3:].mean()})


def test_clips_are_told_as_videos() -> None:
    run = run_of(
        {
            "ffpp/A/1": (1, [1.0, -1.0]),
            "ffpp/original/1": (0, [0.0, -3.0]),
            "ffpp/original/2": (0, [-2.0, -2.0]),
        },
        unit="clip",
        frames=8,
    )
    strict, quirky = (under_protocol(run, with_quirks(clips_are_videos=on)) for on in (False, True))
    assert auc_of(strict, "video") == 1.0
    # pairs of clips: 1 beats four, -1 beats three
    assert auc_of(quirky, "video") == auc_of(quirky, "clip") == 7 / 8
    every = under_protocol(run, DEEPFAKEBENCH)
    assert said(every, "Q1, Q2, Q3, Q8, Q17 act on scores by frame")
    assert said(every, "Habit of DeepfakeBench, followed: Q4, ")
    assert auc_of(every, "video") == 7 / 8


def test_every_habit_has_a_switch_or_a_place_where_it_is_treated() -> None:
    assert [fact.number for fact in QUIRKS] == [f"Q{number}" for number in range(1, 19)]
    named = {fact.switch for fact in QUIRKS if fact.switch}
    # that clips are told as videos is no numbered habit; the others are parts of switches
    aside = {"clips_are_videos", "lost_batch_in", "list_seed"}
    assert named | aside == set(Quirks.__slots__)
    assert all(fact.treatment for fact in QUIRKS)
    configs = Path(__file__).parents[3] / "configs"
    assert (configs / "experiment" / "ffpp_sbi_b4.yaml").is_file()
    assert not STRICT.quirks.active()
