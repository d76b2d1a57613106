"""Rules of protocols beside each other: what differs comes first, and every rule is told."""

from __future__ import annotations

from dfdetect.evaluation.benchmark.protocol_rules import protocol_rules_table
from dfdetect.evaluation.protocols.protocol import DEEPFAKEBENCH, PLAIN, STRICT


def test_what_differs_comes_first() -> None:
    table = protocol_rules_table([STRICT, PLAIN])
    rules = {row[0].text: (row[1].text, row[2].text) for row in table.rows}
    differ = [one != two for one, two in rules.values()]
    assert differ == sorted(differ, reverse=True)
    assert rules["which videos"] == ("split test", "all of the run")
    assert rules["weights selected on the test set"] == ("refused", "taken, told in every title")
    assert rules["share of videos that needs a score"] == ("90 %", "0 %")


def test_the_benchmarks_column_names_its_habits_and_its_figure() -> None:
    table = protocol_rules_table([DEEPFAKEBENCH])
    rules = {row[0].text: row[1].text for row in table.rows}
    assert rules["habits of DeepfakeBench"] == "Q1, Q2, Q3, Q4, Q8, Q10, Q17"
    assert rules["figure that stands for it"].startswith("AUC by frame; EER the FPR of")
    assert rules["score of a video"] == "all its faces"
    assert rules["frames of a video"] == "32 at most"
