"""The published tables: what they hold, what they refuse, and that nothing else contradicts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdetect.data.datasets import DATASETS
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.fidelity import fidelity_card
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.published.numbers import (
    PublishedNumber,
    Table,
    find_published,
    numbers_of,
    parse_table,
    published_number,
    published_numbers,
    published_tables,
)
from dfdetect.scoring.aggregate import AGGREGATES

EXPERIMENTS = Path(__file__).parents[3] / "configs" / "experiment"

# copied by hand from the sources' own words
BY_HAND = {
    "deepfakebench-table2/meso4/ffpp_c23": 0.6077,
    "deepfakebench-table2/meso4/average_cross": 0.6551,
    "deepfakebench-table2/cnn_aug/uadfv": 0.8739,
    "deepfakebench-table2/xception/celebdf_v2": 0.7365,
    "deepfakebench-table2/xception/faceshifter": 0.6249,
    "deepfakebench-table2/face_xray/deeperforensics": 0.5531,
    "deepfakebench-table2/ucf/average_in": 0.9527,
    "deepfakebench-table2/spsl/dfdc_preview": 0.7408,
    "deepfakebench-table2/srm/neuraltextures": 0.9295,
    "deepfakebench-issue159/xception/celebdf_v1": 0.7538,
    "deepfakebench-issue159/f3net/uadfv": 0.8912,
    "deepfakebench-issue159/core/celebdf_v1": 0.7176,
    "deepfakebench-issue109/ucf/celebdf_v2": 0.7716,
    "effort-table1/effort/celebdf_v2": 0.956,
    "effort-table1/effort/e4s": 0.983,
    "effort-table1/f3net/simswap": 0.674,
    "effort-table1/iid/average_datasets": 0.789,
    "effort-table1/prodet/mobileswap": 0.975,
    "lsda-frames/lsda/dfdc": 0.736,
    "lsda-videos/lsda-lowest/celebdf_v2": 0.898,
    "core-table8/core-dfdc_selim/celebdf": 0.7945,
    "dfdc-private/seferbekov/private": 0.42798,
    "dfdc-private/rank_10/private": 0.45149,
    "sbi-paper/sbi/celebdf_v2": 0.9318,
    "sbi-paper/sbi/ffpp_raw": 0.9964,
    "sbi-released/sbi-c23/dfd": 0.9816,
    "sbi-frames/sbi/celebdf_v2": 0.8510,
    "sbi-ffpp-c23/sbi/neuraltextures": 0.8254,
    "sbi-reproductions/sbi-caddm19/celebdf_v2": 0.913,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_value_is_the_one_that_was_published(name: str) -> None:
    assert published_number(name).value == BY_HAND[name]


def table_of(name: str) -> Table:
    return next(table for table in published_tables() if table.id == name)


def test_the_large_tables_are_complete() -> None:
    benchmark, effort = table_of("deepfakebench-table2"), table_of("effort-table1")
    assert {len(row.values) for row in benchmark.rows} == {len(benchmark.columns)} == {16}
    assert len(benchmark.rows) == 15
    assert {len(row.values) for row in effort.rows} == {len(effort.columns)} == {17}
    assert len(effort.rows) == 13


@pytest.mark.parametrize("table", published_tables(), ids=lambda table: table.id)
def test_a_printed_average_adds_up_unless_it_is_said_not_to(table: Table) -> None:
    # members and mean are each rounded by up to half of the last digit
    rounding = 10.0**-table.digits + 1e-9
    for row in table.rows:
        for name, column in table.columns.items():
            if column.mean_of and name in row.values:
                members = [row.values[member] for member in column.mean_of]
                apart = abs(sum(members) / len(members) - row.values[name])
                assert (apart > rounding) == (name in row.does_not_add), (row.title, name, apart)


def test_fakes_of_equally_many_methods_have_the_mean_of_their_aucs() -> None:
    (row,) = table_of("sbi-ffpp-c23").rows
    parts = [value for name, value in row.values.items() if name != "ffpp_c23"]
    assert len(parts) == 5
    assert sum(parts) / 5 == pytest.approx(row.values["ffpp_c23"], abs=1e-4)


def test_the_spread_of_the_xception_class_is_what_the_note_says() -> None:
    names = {"xception", "efficientnet_b4", "ffd", "core", "recce", "ucf", "f3net", "spsl", "srm"}
    values = [
        one.value
        for one in published_numbers()
        if one.table == "deepfakebench-table2"
        and one.column == "celebdf_v2"
        and one.detector in names
    ]
    assert (len(values), round(min(values), 3), round(max(values), 3)) == (9, 0.732, 0.765)


def test_detectors_datasets_and_aggregates_are_dfdetects_own_where_it_has_them() -> None:
    others = {"celebdf", "dfdc_private"}  # a version that is not noted; a set that is not public
    for number in published_numbers():
        assert (number.detector in DETECTORS) == number.in_dfdetect, number.id
        assert (number.dataset in DATASETS) == (number.dataset not in {"", *others}), number.id
        assert number.aggregate is None or number.aggregate in AGGREGATES, number.id
        assert bool(number.mean_of) == (not number.dataset), number.id


def test_every_number_has_a_name_of_its_own_and_a_source() -> None:
    numbers = published_numbers()
    assert len({number.id for number in numbers}) == len(numbers) > 500
    assert all(number.source and number.trained_on for number in numbers)


def test_a_paper_comes_before_its_re_runs() -> None:
    found = find_published("ucf", "celebdf_v2", "all", "auc", "frame")
    assert [(one.kind, one.value) for one in found] == [("paper", 0.7527), ("re-run", 0.7716)]


def test_numbers_are_found_by_the_names_of_results() -> None:
    sole = find_published("xception", "celebdf_v2", "Celeb-synthesis", "auc", "frame")
    assert [one.value for one in sole] == [0.7365]
    assert [one.value for one in find_published("xception", "ffpp/c40", unit="frame")] == [0.8261]
    both = find_published("xception", "ffpp", "all", "auc", "frame")
    assert [one.compression for one in both] == ["c23", "c40"]
    assert find_published("xception", "celebdf_v2", unit="video") == ()
    assert not any(one.mean_of for one in find_published("xception", "ffpp"))


def test_single_values_may_have_a_status_and_a_bar_of_their_own() -> None:
    assert published_number("sbi-paper/sbi/celebdf_v2").status == "secondary"
    assert published_number("sbi-paper/sbi/celebdf_v2").at_least == 0.9
    assert published_number("sbi-paper/sbi/ffiw").status == "recalled"
    assert "c23" in published_number("sbi-released/sbi-c23/dfd").trained_on
    assert published_number("deepfakebench-table2/core/dfd").selected_on_test


def test_a_mistyped_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'deepfakebench-table2/xception/dfdc"):
        published_number("deepfakebench-table2/xceptoin/dfdc")


GOOD = """
id: made-up
title: Made up
source: nobody
read: nowhere
status: verified
kind: paper
level: frame
metric: auc
trained_on: nothing
columns:
  one: {title: One, dataset: ffpp}
  two: {title: Two, dataset: dfd}
  mean: {title: Mean, mean_of: [one, two]}
rows:
  - {detector: xception, title: X, values: {one: 0.5, two: 0.75, mean: 0.625}}
"""


def test_a_small_table_is_read() -> None:
    numbers: list[PublishedNumber] = list(numbers_of(parse_table(GOOD, "made_up.yaml")))
    assert [one.id for one in numbers] == [f"made-up/xception/{n}" for n in ("one", "two", "mean")]
    assert (numbers[1].dataset, numbers[1].value, numbers[1].digits) == ("dfd", 0.75, 3)


def twice(text: str) -> str:
    return text + "  - {detector: xception, title: Again, values: {one: 0.4}}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("metric:", "metrik:"), "metrik"),
        (
            lambda text: text.replace("one: 0.5", "one: 1.5"),
            r"values\.one: 1.5 is outside \[0, 1\]",
        ),
        (lambda text: text.replace("one: 0.5", "one: -0.1"), r"values\.one: -0.1 is outside"),
        (lambda text: text.replace("one: 0.5", "one: '0.5'"), "'0.5' is no float"),
        (lambda text: text.replace("one: 0.5", "one: .nan"), r"values\.one: nan is outside"),
        (lambda text: text.replace("two: 0.75", "twoo: 1"), "no such column; did you mean 'two'"),
        (lambda text: text.replace("two: 0.75", "one: 0.75"), "line 16: the key 'one' is there"),
        (lambda text: text.replace("verified", "sure"), "status: 'sure' is none of verified"),
        (lambda text: text.replace("level: frame", "level: face"), "level: 'face' is none of"),
        (lambda text: text.replace("[one, two]", "[one, too]"), "mean_of.too: the table has no"),
        (lambda text: text.replace("dataset: dfd", "data: dfd"), "data"),
        (lambda text: text.replace("title: Made up", "title: 7"), "7 is no str"),
        (lambda text: text.replace("source: nobody\n", ""), "source"),
        (lambda text: text.replace("id: made-up", "id: [made"), "is no YAML"),
        (twice, "rows.xception: it is there twice; tell the rows apart by variant"),
    ],
)
def test_a_slip_is_refused_with_file_and_place(change: Callable[[str], str], message: str) -> None:
    with pytest.raises(ContractError, match=message) as refused:
        parse_table(change(GOOD), "made_up.yaml")
    assert "made_up.yaml" in str(refused.value)


PLACES = {
    "FF++ c23": ("ffpp/c23", "all"),
    "Celeb-DF-v1": ("celebdf_v1", "all"),
    "Celeb-DF-v2": ("celebdf_v2", "all"),
    "DFD": ("dfd", "all"),
    "DFDC preview": ("dfdc_preview", "all"),
    "DFDC": ("dfdc", "all"),
    "DeeperForensics": ("deeperforensics", "all"),
    "WildDeepfake": ("wilddeepfake", "all"),
    "FFIW": ("ffiw", "all"),
}
FIGURE = re.compile(
    rf"(?<![\d.])(0?\.\d{{3,4}}) ({'|'.join(map(re.escape, sorted(PLACES, key=len)[::-1]))})\b"
)


def contradictions(detector: str, text: str) -> tuple[int, list[str]]:
    """Figures of a text `frame AUC 0.7365 Celeb-DF-v2 …` that the tables have another value for."""
    known, wrong = 0, []
    # a figure is of the level that was named last before it
    for part in re.split(r"(?=\b(?:frame|video) AUC\b)", " ".join(text.split()), flags=re.I):
        level = re.match(r"(frame|video) AUC", part, flags=re.I)
        for value, place in FIGURE.findall(part) if level else []:
            dataset, method = PLACES[place]
            unit = level.group(1).lower() if level else ""
            found = find_published(detector, dataset, method, "auc", unit)
            known += bool(found)
            if found and float(value) not in {one.value for one in found}:
                wrong.append(f"{detector}: {unit} {value} {place}, not {found[0].value}")
    return known, wrong


def test_the_reader_of_figures_sees_a_contradiction() -> None:
    text = "Frame AUC 0.7365 Celeb-DF-v2, .9999 DFDC; video AUC 0.1234 Celeb-DF-v2 by nobody."
    known, wrong = contradictions("xception", text)
    assert known == 2
    assert wrong == ["xception: frame .9999 DFDC, not 0.7077"]


def test_no_fidelity_card_contradicts_the_tables() -> None:
    found = [
        contradictions(name, fidelity_card(DETECTORS.get(name)).published)
        for name in DETECTORS.names()
    ]
    assert sum(known for known, _ in found) > 40
    assert [line for _, wrong in found for line in wrong] == []


def test_no_experiment_contradicts_the_tables() -> None:
    found = []
    for path in sorted(EXPERIMENTS.glob("ffpp_*.yaml")):
        detector = path.stem.removeprefix("ffpp_").replace("sbi_b4", "sbi")
        comment = " ".join(
            line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("#")
        )  # fmt: skip
        found.append(contradictions(detector, comment))
    assert sum(known for known, _ in found) > 25
    assert [line for _, wrong in found for line in wrong] == []
