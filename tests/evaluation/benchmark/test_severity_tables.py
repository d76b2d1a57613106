"""Tables of damage: exposures apart, held-out first, found faces beside every number."""

from __future__ import annotations

import dataclasses

from dfdetect.evaluation.benchmark.result_tables import FEW_VIDEOS, NO_SPREAD
from dfdetect.evaluation.benchmark.severity_tables import by_place, severity_tables
from dfdetect.evaluation.benchmark.tables import Notes
from dfdetect.evaluation.robustness.curves import FOUND, CurvePoint


def point(method: str, exposure: str, metric: str = "auc", condition: str = "jpeg 5") -> CurvePoint:
    family, _, severity = condition.partition(" ")
    return CurvePoint("net", "d", method, metric, family, int(severity or 0), condition, 0.6, 0.5,
                      0.7, 9, 1, exposure)  # fmt: skip


POINTS = [
    point("swap", "seen"),
    point("reenact", "held-out"),
    point("reenact", "held-out", "ece"),
    point("all", "", FOUND),
]


def test_trained_on_and_held_out_fakes_have_tables_of_their_own() -> None:
    notes = Notes()
    tables = severity_tables(POINTS, {}, notes)
    assert [table.title for table in tables] == [
        "Robustness by video. d, reenact, held out",
        "Robustness by video. d, swap, in distribution",
    ]
    heads = [column.name for column in tables[0].columns]
    assert heads[2:5] == ["AUC (95 %)", "ECE (95 %)", "share of frames with a face (95 %)"]
    assert [cell.text for cell in tables[0].rows[0]][2:5] == ["0.600 (0.500–0.700)"] * 3
    # nine videos are few for an AUC; faces are not of two classes
    assert [cell.notes for cell in tables[0].rows[0]][2:5] == [(1,), (1,), ()]
    assert notes.texts == [FEW_VIDEOS]


def test_a_share_that_all_resamples_give_is_marked() -> None:
    always = dataclasses.replace(POINTS[-1], value=1.0, ci_low=1.0, ci_high=1.0)
    notes = Notes()
    (table,) = severity_tables([always], {}, notes)
    assert (table.rows[0][2].notes, notes.texts) == ((1,), [NO_SPREAD])


def test_found_faces_without_any_number_have_a_table() -> None:
    (table,) = severity_tables([POINTS[-1]], {"net": "on test"}, Notes())
    assert table.title == "Oracle (net: on test): Robustness by video. d, all methods"
    assert list(by_place(POINTS)) == [("held-out", "d", "reenact"), ("seen", "d", "swap")]
