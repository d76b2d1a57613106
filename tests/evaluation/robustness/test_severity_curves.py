"""Curves of results against severity: which come first, and what a share of faces is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfdetect.data.tables import TableHeader
from dfdetect.errors import ContractError
from dfdetect.evaluation.results import ResultRow
from dfdetect.evaluation.robustness.curves import (
    FOUND,
    FoundFaces,
    curves,
    parts_of,
    read_curves,
    worst_points,
    write_curves,
)


def row(
    condition: str, value: float, metric: str = "auc", method: str = "all", unit: str = "video"
) -> ResultRow:
    return ResultRow(
        "net", "plain", "d", method, metric, unit, value, value - 0.1, value + 0.1, 5, 7, 2,
        condition,
    )  # fmt: skip


ROWS = [
    row("clean", 0.9),
    row("jpeg 2", 0.6),
    row("blur 2", 0.7),
    row("jpeg 1", 0.8),
    row("messenger", 0.5),
    row("blur 1", 0.65),
]


def test_the_worst_family_comes_first_and_rises_by_severity() -> None:
    points = curves(ROWS)
    names = ["messenger", "jpeg 1", "jpeg 2", "blur 1", "blur 2", "clean"]
    assert [point.condition for point in points] == names
    assert [point.severity for point in points] == [None, 1, 2, 1, 2, 0]
    first = points[0]
    assert (first.ci_low, first.ci_high, first.n_videos, first.n_skipped) == (0.4, 0.6, 12, 2)
    assert [point.condition for point in worst_points(points)] == ["messenger"]


def test_more_is_worse_of_errors() -> None:
    worse = curves(
        [row("clean", 0.1, "ece"), row("jpeg 1", 0.3, "ece"), row("noise 1", 0.4, "ece")]
    )
    assert [point.condition for point in worse] == ["noise 1", "jpeg 1", "clean"]


def test_methods_stand_alone_only_where_none_pools_them() -> None:
    apart = [row("clean", 0.9, method="swap"), row("jpeg 1", 0.5, method="swap")]
    assert [point.method for point in curves(apart)] == ["swap", "swap"]
    assert {point.method for point in curves([*apart, *ROWS])} == {"all"}
    assert curves([row("clean", 0.9, unit="frame"), row("clean", 0.9, metric="eer")]) == ()


def test_fakes_that_were_trained_on_are_not_put_with_those_that_were_not() -> None:
    def told(condition: str, method: str, exposure: str) -> ResultRow:
        return replace(row(condition, 0.6, method=method), exposure=exposure)

    mixed = [told("clean", "all", "mixed"), told("clean", "swap", "seen"),
             told("clean", "reenact", "held-out")]  # fmt: skip
    points = {(point.method, point.exposure) for point in curves(mixed)}
    assert points == {("swap", "seen"), ("reenact", "held-out")}
    alike = [told("clean", "all", "held-out"), told("clean", "swap", "held-out")]
    assert [(point.method, point.exposure) for point in curves(alike)] == [("all", "held-out")]


def test_the_share_of_found_faces_has_an_interval_over_videos() -> None:
    frames = np.array([10, 10, 0, 20])
    found = FoundFaces("net", "jpeg 5", "d", frames, np.array([10, 0, 0, 10]))
    assert found.rate == 0.5
    (point,) = curves([], [found], n_bootstrap=4000)
    assert (point.metric, point.family, point.severity) == (FOUND, "jpeg", 5)
    # a video that could not be read was not looked at; two show no face at all
    assert (point.n_videos, point.n_skipped) == (3, 2)
    # of three videos drawn with replacement, all may be the one without faces (1 in 27), or with
    assert (point.ci_low, point.ci_high) == (0.0, 1.0)
    steady = FoundFaces("net", "clean", "d", np.full(50, 8), np.full(50, 6))
    assert steady.interval(100, 0) == (0.75, 0.75)
    unread = FoundFaces("net", "clean", "d", np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert unread.rate is None
    assert curves([], [unread]) == ()


def test_names_are_taken_apart() -> None:
    assert parts_of("frame_rate 5") == ("frame_rate", 5)
    assert parts_of("my profile") == ("my profile", None)


def test_points_come_back_from_disk_in_their_order(tmp_path: Path) -> None:
    points = curves(ROWS)
    write_curves(points, tmp_path, TableHeader("0" * 64))
    assert read_curves(tmp_path) == points
    with pytest.raises(ContractError, match=r"curves\.parquet"):
        read_curves(tmp_path / "none")
