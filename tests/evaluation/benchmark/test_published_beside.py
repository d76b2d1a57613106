"""What is said of a difference from a published number."""

from __future__ import annotations

import dataclasses

import pytest

from dfdetect.evaluation.benchmark.published_beside import difference_words, note_of
from dfdetect.evaluation.published.numbers import RECALLED, published_number
from dfdetect.evaluation.results import ResultRow

THEIRS = dataclasses.replace(
    published_number("deepfakebench-table2/xception/celebdf_v2"), value=0.70, tolerance=0.03
)


def ours(value: float, low: float | None = None, high: float | None = None) -> ResultRow:
    return ResultRow("xception", "plain", "celebdf_v2", "celebdf", "auc", "frame", value, low,
                     high, 9, 9, 0)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ours(0.72, 0.69, 0.75), ("inside our interval", "within the tolerance of ±0.03")),
        (ours(0.73, 0.71, 0.75), ("outside our interval", "within the tolerance of ±0.03")),
        (ours(0.74, 0.69, 0.79), ("inside our interval", "beyond the tolerance of ±0.03")),
        (ours(0.50), ("ours has no interval", "beyond")),
    ],
)
def test_interval_and_tolerance_are_judged_apart(row: ResultRow, words: tuple[str, str]) -> None:
    said = difference_words(row, THEIRS)
    assert all(word in said for word in words)


def test_a_lowest_value_a_recalled_number_and_a_missing_tolerance_are_named() -> None:
    theirs = dataclasses.replace(
        THEIRS, tolerance=None, at_least=0.72, status=RECALLED, selected_on_test=True
    )
    said = difference_words(ours(0.73, 0.7, 0.8), theirs)
    assert "ours reaches the 0.720" in said
    assert "no tolerance is on record" in said
    assert "recalled" in said
    assert "selected on test sets" in said
    assert "does not reach" in difference_words(ours(0.71), theirs)


def test_the_footnote_tells_every_definition() -> None:
    note = note_of(THEIRS)
    for word in ("level: frame", "aggregation of faces:", "frames a video: 32", "trained on: ",
                 "weights selected: ", "compression: "):  # fmt: skip
        assert word in note
    assert "not checked" in note_of(dataclasses.replace(THEIRS, status=RECALLED))
