"""Benchmarks end to end on small runs: what is measured, set apart, ordered, marked and written."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dfdetect.errors import LowCoverage, UsageError
from dfdetect.evaluation.benchmark.benchmark import (
    BenchmarkPlan,
    BenchmarkResult,
    benchmark,
    code_sha256,
)
from dfdetect.evaluation.benchmark.tables import Table
from dfdetect.evaluation.measure import MeasurePlan, measure
from dfdetect.evaluation.protocols.designs import Design
from dfdetect.evaluation.protocols.protocol import DEEPFAKEBENCH, Protocol, under_protocol
from dfdetect.evaluation.results import ResultRow, read_results
from dfdetect.evaluation.robustness.curves import curves
from dfdetect.evaluation.runs import TrainedOn
from tests.benchmark_runs import FAKES, TRAINED, random_run

PLAIN = Protocol(name="plain", official_splits=False, min_coverage=0.0)
PLAN = BenchmarkPlan(n_bootstrap=50, command="dfdetect benchmark 'runs=[a,b]'")
CELEB = "Celeb-synthesis"
GENUINE = TrainedOn((("ffpp", "original"),))


def tables_of(result: BenchmarkResult, kind: str) -> tuple[Table, ...]:
    return dict(result.tables).get(kind, ())


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def two(**facts: object) -> list:  # type: ignore[type-arg]
    return [
        random_run("a", 1, trained_on=TRAINED, **facts),  # type: ignore[arg-type]
        random_run("b", 2, trained_on=GENUINE),
    ]


def test_rows_are_those_of_measuring_each_run_under_each_protocol() -> None:
    run = two()[0]
    result = benchmark([run], [PLAIN], PLAN)
    view = under_protocol(run, PLAIN)
    plan = MeasurePlan("a", "plain", None, None, 50, 0, trained_on=TRAINED)
    assert result.rows == measure(view.units, view.videos, plan)[0]


def test_trained_on_and_held_out_fakes_never_share_a_table() -> None:
    result = benchmark(two(), [PLAIN], PLAN)
    for kind in ("auc", "other metrics"):
        for table in tables_of(result, kind):
            found = {(row[1], row[2]) for row in cells(table)}
            if "In distribution" in table.title:
                assert found == {("Deepfakes", "a")}
            elif "Mixed" in table.title:
                assert found == {("all methods", "a")}
            else:
                assert "Held out" in table.title
                assert found == {("FaceSwap", "a"), ("FaceSwap", "b"), ("Deepfakes", "b"),
                                 ("all methods", "b")}  # fmt: skip


def test_the_worst_method_comes_first_and_totals_last() -> None:
    held_out = tables_of(benchmark(two(), [PLAIN], PLAN), "auc")[0]
    methods = [row[1] for row in cells(held_out)]
    assert methods == ["FaceSwap", "FaceSwap", "Deepfakes", "all methods"]
    numbers = [float(row[3].split()[0]) for row in cells(held_out)[:2]]
    assert numbers == sorted(numbers)


def test_protocols_stand_side_by_side_with_their_own_counts_and_footnotes() -> None:
    result = benchmark(two(lost=3), [PLAIN, DEEPFAKEBENCH], PLAN)
    table = tables_of(result, "auc")[0]
    assert table.groups == (("", 3), ("plain", 3), ("deepfakebench", 3))
    row = next(one for one in cells(table) if one[1:3] == ["FaceSwap", "a"])
    assert row[4] == "21 + 24, 3"
    assert row[5] == "93.7 %"
    noted = {note for column in table.columns for note in column.notes}
    texts = [result.definitions[note - 1] for note in noted]
    assert any(text.startswith("plain: ") for text in texts)
    assert any(text.startswith("deepfakebench: ") and "Q3" in text for text in texts)
    # what holds under both is said once
    (intervals,) = (text for text in result.definitions if "percentile bootstrap" in text)
    assert intervals.startswith("every protocol: ")


def test_every_number_in_a_table_has_its_interval() -> None:
    for _, tables in benchmark(two(), [PLAIN], PLAN).tables:
        for table in tables:
            for row in table.rows:
                for cell, column in zip(row, table.columns, strict=True):
                    if column.name.endswith("(95 %)"):
                        assert "(" in cell.text or cell.text == "–"


def test_a_published_number_stands_beside_ours_with_its_difference() -> None:
    run = random_run("mine", 1, levels={CELEB: 0.8}, dataset="celebdf_v2", trained_on=GENUINE)
    plan = dataclasses.replace(PLAN, published_as=(("mine", "xception"),))
    result = benchmark([run], [PLAIN], plan)
    (table,) = tables_of(result, "published")
    row = next(one for one in cells(table) if one[6].startswith("0.7365"))
    ours = next(one for one in result.rows if (one.metric, one.unit) == ("auc", "frame"))
    assert row[4] == "AUC by frame"
    assert float(row[7].replace("−", "-")) == pytest.approx(ours.value - 0.7365, abs=5e-4)
    assert "tolerance" in row[8]
    (note,) = next(one for one in table.rows if one[6].text == row[6])[6].notes
    assert "level: frame" in result.definitions[note - 1]
    assert not tables_of(benchmark([run], [PLAIN], PLAN), "published")


def test_a_number_of_another_compression_is_not_set_beside() -> None:
    run = random_run("xception", 1, trained_on=TRAINED)  # c23
    shown = [row[6] for table in tables_of(benchmark([run], [PLAIN], PLAN), "published")
             for row in cells(table)]  # fmt: skip
    assert any(text.startswith("0.9637") for text in shown)
    assert not any(text.startswith("0.8261") for text in shown)


def test_an_oracle_is_refused_or_marked_in_every_title() -> None:
    runs = two(oracle="best of the test split")
    strict = benchmark(runs, [PLAIN], PLAN)
    assert {row.detector for row in strict.rows} == {"b"}
    assert any("a has no numbers under plain" in text for text in strict.undefined)
    open_to_it = dataclasses.replace(PLAIN, oracle=True)
    marked = benchmark(runs, [open_to_it], PLAN)
    for _, tables in marked.tables:
        for table in tables:
            named = any("a" in row for row in cells(table))
            assert table.title.startswith("Oracle (a: best of the test split)") == named
    for _, drawings in marked.drawings:
        assert any("Oracle (a" in drawing.title for drawing in drawings)


def test_a_design_keeps_to_its_videos_and_says_what_it_leaves_out() -> None:
    foreign = random_run("c", 3, dataset="celebdf_v2", trained_on=TRAINED)
    result = benchmark([*two(), foreign], [PLAIN], PLAN, design=Design("cross_manipulation"))
    found = {(row.detector, row.dataset, row.method) for row in result.rows}
    assert ("a", "ffpp", "FaceSwap") in found
    assert ("a", "ffpp", "Deepfakes") not in found
    assert not [one for one in found if one[0] == "c"]
    assert any(text.startswith("c: ") for text in result.left_out)


def test_low_coverage_is_told_after_everything_is_written(tmp_path: Path) -> None:
    wanting = dataclasses.replace(PLAIN, min_coverage=0.99)
    result = benchmark(two(lost=6), [wanting], PLAN, tmp_path)
    assert (tmp_path / "results.parquet").exists()
    with pytest.raises(LowCoverage, match=r"a under plain: .*18 of 24"):
        result.require_coverage()
    benchmark(two(), [wanting], PLAN).require_coverage()


def test_all_files_are_written_and_say_where_they_come_from(tmp_path: Path) -> None:
    points = [
        ResultRow("a", "plain", "ffpp", "all", "auc", "video", value, value - 0.1, value, 9, 9, 1,
                  condition, "seen")
        for condition, value in (("clean", 0.9), ("jpeg 1", 0.8), ("blur 1", 0.6))
    ]  # fmt: skip
    plan = dataclasses.replace(PLAN, curves=curves(points))
    result = benchmark(two(), [PLAIN], plan, tmp_path)
    rows, header = read_results(tmp_path / "results.parquet")
    assert rows == result.rows
    with (tmp_path / "results.csv").open() as stream:
        assert [float(row["value"]) for row in csv.DictReader(stream)] == [
            row.value for row in rows
        ]
    figures = sorted((tmp_path / "figures").iterdir())
    assert {path.name.split("-")[0] for path in figures} == {
        "roc", "det", "calibration", "methods", "severity"
    }  # fmt: skip
    for path in figures:
        ElementTree.parse(path)
    record = json.loads((tmp_path / "run.json").read_text())
    parents = dict(record["parents"])
    assert (record["command"], record["seed"]) == (PLAN.command, 0)
    assert record["config_sha256"] == header.config_hash == result.config_hash
    assert parents["a: weights"] == "a" * 64
    assert parents["code"] == code_sha256()
    assert "b: videos measured" in parents
    (robust,) = tables_of(result, "robustness")
    assert [row[0] for row in cells(robust)] == ["blur 1", "jpeg 1", "clean"]


def test_equal_runs_give_equal_tables_and_figures(tmp_path: Path) -> None:
    names = ("results.parquet", "results.csv", "results.md", "results.tex")
    for folder in ("one", "two"):
        benchmark(two(), [PLAIN], PLAN, tmp_path / folder)
    figures = [path.relative_to(tmp_path / "one")
               for path in (tmp_path / "one" / "figures").iterdir()]  # fmt: skip
    assert figures
    for name in (*names, *figures):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_has_one_class_is_told_in_a_sentence() -> None:
    alone = random_run("a", 1, levels={}, dataset="dfd")
    result = benchmark([alone, random_run("b", 2)], [PLAIN], PLAN)
    assert any(text.startswith("a, plain: dfd") for text in result.undefined)
    with pytest.raises(UsageError, match="nothing can be measured"):
        benchmark([alone], [PLAIN], PLAN)


def test_names_are_needed_and_tell_runs_apart() -> None:
    with pytest.raises(UsageError, match="runs with names of their own"):
        benchmark([random_run("a"), random_run("a", 2)], [PLAIN], PLAN)
    with pytest.raises(UsageError, match="protocols with names"):
        benchmark([random_run("a")], [], PLAN)


def test_more_detectors_than_colours_share_several_figures() -> None:
    runs = [random_run(f"d{seed}", seed, levels=FAKES, n=12, n_frames=3) for seed in range(8)]
    result = benchmark(runs, [dataclasses.replace(PLAIN, min_faces=1)],
                       dataclasses.replace(PLAN, n_bootstrap=10))  # fmt: skip
    drawn = [one for _, drawings in result.drawings for one in drawings]
    rocs = [one for one in drawn if one.name.startswith("roc-")]
    assert len(rocs) == 2
    assert [sum(f"d{seed}:" in one.text for seed in range(8)) for one in rocs] == [6, 2]
