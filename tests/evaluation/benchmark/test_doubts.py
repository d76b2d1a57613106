"""Marks beside intervals that mean less than they say."""

from __future__ import annotations

import dataclasses

import pytest

from dfdetect.evaluation.benchmark.result_tables import FEW_VIDEOS, NO_SPREAD, Doubts, number_cell
from dfdetect.evaluation.benchmark.tables import Notes
from dfdetect.evaluation.results import ResultRow

ROW = ResultRow("net", "strict", "d", "swap", "auc", "video", 0.8, 0.7, 0.9, 40, 9, 0)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (ROW, [FEW_VIDEOS]),
        (dataclasses.replace(ROW, n_fake=10), []),
        (dataclasses.replace(ROW, n_fake=10, ci_low=0.9), [NO_SPREAD]),
        (dataclasses.replace(ROW, ci_low=0.9), [FEW_VIDEOS, NO_SPREAD]),
        (dataclasses.replace(ROW, ci_low=None, ci_high=None), []),
    ],
)
def test_few_videos_and_no_spread_are_marked(row: ResultRow, expected: list[str]) -> None:
    notes = Notes()
    cell = number_cell(row, Doubts.of([row], notes))
    assert [notes.texts[mark - 1] for mark in cell.notes] == expected


def test_frames_are_doubted_by_their_videos() -> None:
    frames = dataclasses.replace(ROW, unit="frame", n_real=1280, n_fake=288)
    assert number_cell(frames, Doubts.of([ROW, frames], Notes())).notes == (1,)
    assert number_cell(frames, Doubts.of([frames], Notes())).notes == ()
