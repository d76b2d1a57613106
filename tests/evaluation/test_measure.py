"""Scores by unit → rows: each number and interval as by the plain functions, each part its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.evaluation.measure import (
    AT_THRESHOLD,
    OF_LOG_LR,
    OF_PROBABILITY,
    RANKING,
    MeasurePlan,
    measure,
)
from dfdetect.evaluation.results import ResultRow
from dfdetect.evaluation.runs import TrainedOn
from dfdetect.scoring import bootstrap, metrics
from dfdetect.scoring.aggregate import sigmoid
from dfdetect.scoring.calibrate import log_likelihood_ratio
from dfdetect.scoring.units import UnitScores
from dfdetect.types import Calibration

FITTED = Calibration("platt", 1.3, -0.2, 0.2, 8.0, 40, 40, "val", "2026-01-01")
THRESHOLD = 0.35
PLAN = MeasurePlan("ours", "strict", FITTED, THRESHOLD, n_bootstrap=40, seed=7)


def log_lrs(logits: np.ndarray) -> np.ndarray:
    return np.array([log_likelihood_ratio(FITTED, logit) for logit in logits.tolist()])


def at(function: Callable[..., float], **how: float) -> metrics.Metric:
    return lambda labels, scores: function(labels, scores, **how)


# what each name means: of which values, and by which plain function
MEANINGS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], metrics.Metric]] = {
    "auc": (np.asarray, metrics.roc_auc),
    "eer": (np.asarray, metrics.eer),
    "eer_nearest": (np.asarray, metrics.eer_nearest),
    "ap": (np.asarray, metrics.average_precision),
    "pauc_fpr10": (np.asarray, at(metrics.partial_auc, max_fpr=0.1)),
    "tpr_at_fpr0_1": (np.asarray, at(metrics.tpr_at_fpr, max_fpr=0.001)),
    "tpr_at_fpr1": (np.asarray, at(metrics.tpr_at_fpr, max_fpr=0.01)),
    "tpr_at_fpr5": (np.asarray, at(metrics.tpr_at_fpr, max_fpr=0.05)),
    "tpr_at_fpr10": (np.asarray, at(metrics.tpr_at_fpr, max_fpr=0.1)),
    "accuracy": (sigmoid, metrics.accuracy),
    "balanced_accuracy": (sigmoid, metrics.balanced_accuracy),
    "log_loss": (sigmoid, metrics.log_loss),
    "brier": (sigmoid, metrics.brier),
    "ece": (sigmoid, metrics.ece),
    "cllr": (log_lrs, metrics.cllr),
    "balanced_accuracy_lr1": (log_lrs, at(metrics.balanced_accuracy, threshold=0.0)),
    "accuracy_val": (np.asarray, at(metrics.accuracy, threshold=THRESHOLD)),
    "balanced_accuracy_val": (np.asarray, at(metrics.balanced_accuracy, threshold=THRESHOLD)),
}


def videos_of(*methods: str, dataset: str = "mine", compression: str = "c23") -> Videos:
    return Videos.of(
        ManifestRow(
            f"{dataset}/{compression}/{number:03d}", dataset, method, int(method != "original"),
            "test", (f"p{number}",), compression, f"{number}.mp4", "0" * 64, 25.0, 100, 640, 480,
            4.0,
        )
        for number, method in enumerate(methods)
    )  # fmt: skip


def scores_of(videos: Videos, faces: int = 1, unit: str = "video", seed: int = 0) -> UnitScores:
    rng = np.random.default_rng(seed)
    labels = videos.column("label").to_numpy()
    video = np.repeat(np.arange(len(videos)), faces)
    of_video = rng.normal(labels * 1.5 - 0.5, 1.2)
    # coarse, so that there are ties
    logit = np.round((of_video[video] + rng.normal(0, 0.7, video.size)) * 4) / 4
    return UnitScores(unit, video, logit, np.zeros(len(videos), np.int64))


def plain_rows(unit: UnitScores, videos: Videos, plan: MeasurePlan) -> list[tuple[object, ...]]:
    """Return name, value and interval of every metric, all videos together, the slow way."""
    labels = videos.column("label").to_numpy()[unit.video].astype(int)
    names = np.array(videos.column("video_id").to_pylist())[unit.video]
    found = []
    for name, (values_of, metric) in MEANINGS.items():
        values = values_of(unit.logit)
        interval = metrics.bootstrap_ci(
            metric, labels, values, names, plan.n_bootstrap, plan.seed, level=0.95
        )
        found.append((name, metric(labels, values), interval.low, interval.high))
    return found


def numbers(rows: tuple[ResultRow, ...], unit: str) -> list[tuple[object, ...]]:
    return [(row.metric, row.value, row.ci_low, row.ci_high) for row in rows if row.unit == unit]


def assert_same(found: list[tuple[object, ...]], expected: list[tuple[object, ...]]) -> None:
    assert [row[0] for row in found] == [row[0] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[1:] == pytest.approx(other[1:], rel=1e-9), one[0]


class TestNumbers:
    VIDEOS = videos_of(*["original"] * 14, *["swap"] * 9)

    def test_every_number_is_that_of_the_plain_functions(self) -> None:
        frames, by_video = scores_of(self.VIDEOS, 6, "frame"), scores_of(self.VIDEOS, seed=1)
        rows, undefined = measure((frames, by_video), self.VIDEOS, PLAN)
        assert undefined == ()
        for unit in (frames, by_video):
            assert_same(numbers(rows, unit.unit), plain_rows(unit, self.VIDEOS, PLAN))

    def test_names_in_order(self) -> None:
        names = [*RANKING, *OF_PROBABILITY, *OF_LOG_LR, *AT_THRESHOLD]
        assert names == list(MEANINGS)

    def test_units_of_other_videos_are_drawn_apart(self) -> None:
        frames, by_video = scores_of(self.VIDEOS, 6, "frame"), scores_of(self.VIDEOS, seed=1)
        # two genuine videos and a fake have no frames
        kept = ~np.isin(frames.video, (0, 5, 20))
        frames = dataclasses.replace(frames, video=frames.video[kept], logit=frames.logit[kept])
        rows, _ = measure((frames, by_video), self.VIDEOS, PLAN)
        for unit in (frames, by_video):
            assert_same(numbers(rows, unit.unit), plain_rows(unit, self.VIDEOS, PLAN))

    def test_order_of_scores_does_not_matter_and_the_seed_does(self) -> None:
        frames = scores_of(self.VIDEOS, 6, "frame")
        order = np.random.default_rng(0).permutation(frames.video.size)
        moved = dataclasses.replace(frames, video=frames.video[order], logit=frames.logit[order])
        expected, _ = measure((frames,), self.VIDEOS, PLAN)
        assert measure((moved,), self.VIDEOS, PLAN)[0] == expected
        other, _ = measure((frames,), self.VIDEOS, dataclasses.replace(PLAN, seed=8))
        assert [row.value for row in other] == [row.value for row in expected]
        assert [row.ci_low for row in other] != [row.ci_low for row in expected]

    def test_far_logits_are_told_apart(self) -> None:
        by_video = scores_of(self.VIDEOS)
        labels = self.VIDEOS.column("label").to_numpy()
        logit = 800 + np.arange(23) + labels * 100.0
        far = dataclasses.replace(by_video, logit=logit)
        rows = measure((far,), self.VIDEOS, PLAN)[0]
        found = {row.metric: row.value for row in rows}
        assert (found["auc"], found["accuracy"]) == (1.0, pytest.approx(9 / 23))
        # all resamples say 1, which is no reason to be sure: 9 pairs, all won
        (auc,) = (row for row in rows if row.metric == "auc")
        assert (auc.ci_low, auc.ci_high) == pytest.approx((0.025 ** (1 / 9), 1.0))
        assert all(map(math.isfinite, found.values()))

    def test_values_are_exact_where_resamples_are_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bootstrap, "RANK_BINS", 3)
        frames = scores_of(self.VIDEOS, 6, "frame")
        expected, _ = measure((frames,), self.VIDEOS, PLAN)
        monkeypatch.setitem(bootstrap.replicates.__kwdefaults__, "exact_scores", 5)
        rows, _ = measure((frames,), self.VIDEOS, PLAN)
        assert [row.value for row in rows] == [row.value for row in expected]
        moved = {
            row.metric
            for row, exact in zip(rows, expected, strict=True)
            if (row.ci_low, row.ci_high) != pytest.approx((exact.ci_low, exact.ci_high))
        }
        # no bin spans a threshold
        assert "auc" in moved
        assert not any("accuracy" in name for name in moved)


class TestWhatIsLeftOut:
    VIDEOS = videos_of(*["original"] * 4, *["swap"] * 4)

    def names(self, **changes: object) -> list[str]:
        plan = dataclasses.replace(PLAN, **changes)  # type: ignore[arg-type]
        return [row.metric for row in measure((scores_of(self.VIDEOS),), self.VIDEOS, plan)[0]]

    def test_by_plan(self) -> None:
        assert self.names(calibration=None) == [*RANKING, *OF_PROBABILITY, *AT_THRESHOLD]
        assert self.names(threshold=None) == [*RANKING, *OF_PROBABILITY, *OF_LOG_LR]
        only = self.names(threshold=None, calibration=None, ranked_only=True)
        assert only == [*RANKING]

    def test_intervals(self) -> None:
        none = dataclasses.replace(PLAN, n_bootstrap=0)
        lone = videos_of(*["original"] * 4, "swap")
        for videos, plan in ((self.VIDEOS, none), (lone, PLAN)):
            rows, _ = measure((scores_of(videos),), videos, plan)
            assert len(rows) == len(MEANINGS)
            assert {(row.ci_low, row.ci_high) for row in rows} == {(None, None)}


class TestParts:
    def test_each_method_stands_against_all_genuine_videos(self) -> None:
        videos = videos_of(*["original"] * 5, *["swap"] * 4, *["puppet"] * 3)
        unit = scores_of(videos, 2, "frame")
        n_skipped = np.arange(12)
        rows, _ = measure((dataclasses.replace(unit, n_skipped=n_skipped),), videos, PLAN)
        found = {
            row.method: (row.value, row.n_real, row.n_fake, row.n_skipped)
            for row in rows
            if row.metric == "auc"
        }
        for method, members in (
            ("all", np.arange(12)),
            ("puppet", np.r_[0:5, 9:12]),
            ("swap", np.arange(9)),
        ):
            chosen = np.isin(unit.video, members)
            labels = (unit.video[chosen] >= 5).astype(int)
            assert found.pop(method) == (
                pytest.approx(metrics.roc_auc(labels, unit.logit[chosen])),
                10,
                2 * (members.size - 5),
                members.sum(),
            )
        assert not found

    def test_datasets_and_compressions_stay_apart(self) -> None:
        sets = [
            videos_of("original", "swap", compression="c23"),
            videos_of("original", "swap", compression="c40"),
            videos_of("original", "swap", dataset="other", compression=""),
        ]
        videos = Videos.joined(sets)
        rows, _ = measure((scores_of(videos),), videos, PLAN)
        assert [row.dataset for row in rows if row.metric == "auc"] == [
            "mine/c23",
            "mine/c40",
            "other",
        ]
        assert {(row.n_real, row.n_fake) for row in rows} == {(1, 1)}

    def test_what_has_no_numbers_is_said(self) -> None:
        videos = videos_of("original", "original", "swap", "puppet")
        unit = scores_of(videos)
        # the puppet has no score
        few = dataclasses.replace(unit, video=unit.video[:3], logit=unit.logit[:3])
        rows, undefined = measure((few,), videos, PLAN)
        assert {row.method for row in rows} == {"all", "swap"}
        assert undefined == (
            "mine, puppet, by video: 2 genuine and 0 fake items with a usable face, but both are "
            "needed",
        )
        none = dataclasses.replace(unit, video=unit.video[:0], logit=unit.logit[:0])
        assert measure((none,), videos, PLAN)[0] == ()

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            (None, ("unknown", "unknown", "unknown")),
            ((("mine", "original"),), ("held-out", "held-out", "held-out")),
            ((("mine", "swap"),), ("mixed", "held-out", "seen")),
            ((("mine", "swap"), ("mine", "puppet")), ("seen", "seen", "seen")),
            ((("theirs", "swap"),), ("held-out", "held-out", "held-out")),
        ],
    )
    def test_exposure(
        self, parts: tuple[tuple[str, str], ...] | None, expected: tuple[str, ...]
    ) -> None:
        # two compressions: what was trained on is told by the dataset's own name
        methods = ("original", "swap", "puppet")
        videos = Videos.joined([videos_of(*methods), videos_of(*methods, compression="c40")])
        plan = dataclasses.replace(
            PLAN, trained_on=None if parts is None else TrainedOn(parts), condition="jpeg 3"
        )
        rows, _ = measure((scores_of(videos),), videos, plan)
        found = [row for row in rows if row.metric == "auc"]
        assert [row.exposure for row in found] == [*expected, *expected]
        assert [row.method for row in found[:3]] == ["all", "puppet", "swap"]
        assert {row.condition for row in rows} == {"jpeg 3"}
