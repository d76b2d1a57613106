"""Paired comparison: common videos only, numbers against references, sentences where too few."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfdetect.data.tables import read_table
from dfdetect.errors import UsageError
from dfdetect.evaluation.benchmark.compare import Comparison, ComparisonRow, compare
from dfdetect.evaluation.benchmark.compare_page import (
    COMPARISON,
    comparison_markdown,
    write_comparison,
)
from dfdetect.evaluation.protocols.protocol import Protocol, under_protocol
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.scoring.comparison import holm, paired_delong
from tests.benchmark_runs import TRAINED, random_run
from tests.score_runs import run_of, video

PLAIN = Protocol(name="plain", official_splits=False, min_coverage=0.0)


def row_of(result: Comparison, method: str) -> ComparisonRow:
    return next(row for row in result.rows if row.method == method)


def by_video(run: ScoredRun) -> dict[str, float]:
    view = under_protocol(run, PLAIN)
    unit = next(one for one in view.units if one.unit == "video")
    names = view.videos.column("video_id").to_pylist()
    return {names[place]: x for place, x in zip(unit.video, unit.logit, strict=True)}


def test_numbers_are_those_of_the_videos_that_both_scored() -> None:
    a, b = random_run("a", 1, lost=3), random_run("b", 2, lost=5)
    row = row_of(compare([a, b], PLAIN), "FaceSwap")
    left, right = by_video(a), by_video(b)
    names = [name for name in sorted(left.keys() & right.keys()) if "Deepfakes" not in name]
    labels = np.array(["original" not in name for name in names], dtype=int)
    ours, theirs = (np.array([side[name] for name in names]) for side in (left, right))
    assert (row.n_real, row.n_fake, row.n_unscored) == (19, 24, 5)
    assert row.auc_a == pytest.approx(roc_auc_score(labels, ours))
    assert row.auc_b == pytest.approx(roc_auc_score(labels, theirs))
    test = paired_delong(labels, ours, theirs)
    assert (row.difference, row.p_value) == pytest.approx((test.difference, test.p_value))
    assert (row.ci_low, row.ci_high) == pytest.approx((test.interval.low, test.interval.high))


def test_holm_covers_every_comparison_of_the_call() -> None:
    runs = [random_run(name, seed) for seed, name in enumerate("abc")]
    result = compare(runs, PLAIN)
    assert len(result.rows) == 9  # three pairs; both methods and all of them
    raw = [row.p_value for row in result.rows if row.p_value is not None]
    assert [row.p_holm for row in result.rows] == pytest.approx(holm(raw))


def test_a_difference_is_called_one_only_where_holm_leaves_it() -> None:
    strong = random_run("strong", 1, levels={"x": 3.0}, n=60)
    weak = random_run("weak", 2, levels={"x": 0.3}, n=60)
    (row,) = compare([weak, strong], PLAIN).rows
    assert row.sentence.startswith("On ffpp, x, the AUC of strong is higher than that of weak by 0")
    assert row.difference is not None
    assert row.difference < 0
    low, high = (-(row.ci_high or 0), -(row.ci_low or 0))
    assert f"{low:.3f} to {high:.3f}" in row.sentence
    assert 0 < low < -row.difference < high
    twin = dataclasses.replace(strong, name="twin")
    (same,) = compare([strong, twin], PLAIN).rows
    assert (same.difference, same.p_value) == (0, 1)
    assert "cannot be told apart" in same.sentence


def test_too_few_videos_give_a_sentence_and_no_number() -> None:
    result = compare([random_run("a", 1, n=4), random_run("b", 2, n=4)], PLAIN)
    assert all(row.p_value is None and row.auc_a is None for row in result.rows)
    said = {row.method: row.sentence for row in result.rows}
    assert "4 genuine and 4 fake" in said["FaceSwap"]
    assert said["FaceSwap"].startswith("On ffpp, FaceSwap, a and b are not compared: ")
    assert said["all"].startswith("On ffpp, all methods, ")
    assert "no number" in comparison_markdown(result)
    assert row_of(compare([random_run("a", 1, n=4), random_run("b", 2, n=4)], PLAIN, fewest=4),
                  "FaceSwap").p_value is not None  # fmt: skip


def test_a_perfect_auc_of_few_videos_is_not_called_certain() -> None:
    clips = [video(f"d/{'m' if x else 'original'}/{n}", x) for n in range(6) for x in (0, 1)]
    sure = run_of([(one, [50.0 * one.label + place] * 8) for place, one in enumerate(clips)],
                  name="a")  # fmt: skip
    other = run_of([(one, [float(5 * place % 7)] * 8) for place, one in enumerate(clips)], name="b")
    (row,) = compare([sure, other], PLAIN).rows
    assert (row.auc_a, row.auc_a_high) == (1.0, 1.0)
    # six pairs, all won
    assert row.auc_a_low == pytest.approx(0.025 ** (1 / 6))


def test_constant_scores_of_both_are_equal_and_not_an_error() -> None:
    pairs = [(video(f"d/{'m' if x else 'original'}/{n}", x), [1.0] * 8)
             for n in range(6) for x in (0, 1)]  # fmt: skip
    (row,) = compare([run_of(pairs, name="a"), run_of(pairs, name="b")], PLAIN).rows
    assert (row.auc_a, row.auc_b, row.p_value) == (0.5, 0.5, 1.0)


def test_what_is_left_out_is_counted_and_said() -> None:
    a = random_run("a", 1, levels={"m": 1.0})
    ids = a.videos.column("video_id").to_pylist()
    rows = list(a.videos)
    # one video is unknown to b, another has a different method there
    pairs = [(row, [0.1 * place, 0.3] * 5) for place, row in enumerate(rows)][1:]
    last = pairs[-1][0]
    pairs[-1] = (dataclasses.replace(last, label=1 - last.label), pairs[-1][1])
    b = run_of(pairs, name="b")
    (row,) = (one for one in compare([a, b], PLAIN).rows if one.method == "m")
    assert ids[0] not in b.scores.video_ids
    assert (row.n_only_a, row.n_only_b, row.n_conflicting) == (1, 0, 1)
    assert row.n_real + row.n_fake == len(ids) - 2
    told = comparison_markdown(compare([a, b], PLAIN))
    assert "2 (1 only A, 1 conflicting)" in told.replace("\\", "")


def test_seen_and_held_out_fakes_stand_in_tables_of_their_own() -> None:
    held = TrainedOn((("ffpp", "original"),))
    runs = [random_run("a", 1, trained_on=TRAINED), random_run("b", 2, trained_on=TRAINED),
            random_run("c", 3, trained_on=held), random_run("d", 4)]  # fmt: skip
    text = comparison_markdown(compare(runs, PLAIN))
    parts = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    seen = next(body for title, body in parts.items() if title.startswith("In distribution"))
    held_out = next(body for title, body in parts.items() if title.startswith("Held out"))
    assert "Deepfakes" in seen
    assert "FaceSwap" not in seen
    assert "FaceSwap" in held_out
    assert "Deepfakes" not in held_out
    assert any(title.startswith("Not alike") for title in parts)
    assert any(title.startswith("Unknown") for title in parts)


def test_files_hold_the_rows(tmp_path: Path) -> None:
    runs = [random_run("a|b", 1, oracle="on test"), random_run("<b>", 2)]
    result = compare(runs, dataclasses.replace(PLAIN, oracle=True))
    write_comparison(result, tmp_path, "dfdetect benchmark compare x y")
    table, header = read_table(tmp_path / "comparison.parquet", COMPARISON)
    assert table.to_pylist() == [
        {name: getattr(row, name) for name in COMPARISON.schema.names} for row in result.rows
    ]
    with (tmp_path / "comparison.csv").open() as stream:
        assert [row["sentence"] for row in csv.DictReader(stream)] == [
            row.sentence for row in result.rows
        ]
    record = json.loads((tmp_path / "run.json").read_text())
    assert ["a|b: weights", "a" * 64] in record["parents"]
    assert record["config_sha256"] == header.config_hash
    text = (tmp_path / "comparison.md").read_text()
    assert "oracle: a" in text.splitlines()[0]
    assert "<b>" not in text.replace("\\<", "")


@pytest.mark.parametrize("names", [("a",), ("a", "a")])
def test_two_names_are_needed(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="two runs or more"):
        compare([random_run(name) for name in names], PLAIN)


def test_runs_without_a_common_video_are_refused() -> None:
    with pytest.raises(UsageError, match="in common"):
        compare([random_run("a"), random_run("b", dataset="dfd")], PLAIN)
