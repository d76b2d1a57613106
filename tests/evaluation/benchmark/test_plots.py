"""Figures: the same bytes every time, sound XML that loads nothing, and what they say in words."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from dfdetect.evaluation.benchmark.drawings import INK, Drawing, inline
from dfdetect.evaluation.benchmark.plots import (
    LETTERS,
    MOST_BARS,
    Bar,
    Line,
    RocLine,
    draw_bars,
    draw_det,
    draw_reliability,
    draw_roc,
    draw_severity,
)
from dfdetect.evaluation.benchmark.roc_curves import reliability, roc_curve

HOSTILE = '<script>alert(1)</script> $x$ & "q"'
SPACE = "{http://www.w3.org/2000/svg}"


def roc_lines(names: tuple[str, ...] = ("one", "two"), n: int = 60) -> list[RocLine]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    return [
        RocLine(name, "AUC 0.8 (0.7–0.9)", roc_curve(labels, rng.normal(size=n) + labels), place)
        for place, name in enumerate(names)
    ]


def roc(name: str = "one") -> Drawing:
    return draw_roc(roc_lines((name, "two")), "roc", f"ROC, {name}: n = 30 genuine and 30 fake")


def det(name: str = "one") -> Drawing:
    return draw_det(roc_lines((name, "two")), "det", f"DET, {name}")


def calibration(name: str = "one") -> Drawing:
    p = np.linspace(0.01, 0.99, 60)
    bins = reliability((np.arange(60) % 3 == 0).astype(int), p)
    return draw_reliability([(name, 0, bins), ("two", 1, bins), ("three", 2, bins)], "cal", name)


def bars(name: str = "one") -> Drawing:
    found = [
        Bar(method, detector, 0.4 + 0.1 * place, 0.3, None if place else 0.5, place)
        for method in ("FaceSwap", name)
        for place, detector in enumerate((name, "two"))
    ]
    return draw_bars(found, "bars", f"bars {name}", "AUC")


def severity(name: str = "one") -> Drawing:
    line = Line(name, 0, (0.0, 1.0, 3.0), (0.9, 0.8, 0.6), (0.8, None, 0.5), (1.0, None, 0.7))
    panels = [("jpeg", [line]), (name, [line]), ("blur", [line])]
    return draw_severity(panels, "severity", f"severity {name}", "AUC", chance=0.5)


FIGURES = (roc, det, calibration, bars, severity)


def texts(drawing: Drawing) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(drawing.svg).iter(f"{SPACE}text")]


@pytest.mark.parametrize("figure", FIGURES)
def test_bytes_depend_on_nothing_but_the_numbers(figure: Callable[..., Drawing]) -> None:
    assert figure() == figure()
    assert "metadata" not in figure().svg
    assert not re.search(r"20\d\d-\d\d-\d\d", figure().svg)


@pytest.mark.parametrize("figure", FIGURES)
def test_hostile_names_are_text(figure: Callable[..., Drawing]) -> None:
    drawing = figure(HOSTILE)
    root = ElementTree.fromstring(drawing.svg)
    assert not list(root.iter(f"{SPACE}script"))
    assert any("<script>" in text for text in texts(drawing))
    # dollar signs make no formula
    assert any("$x$" in text for text in (drawing.title, *texts(drawing)))


@pytest.mark.parametrize("figure", FIGURES)
def test_nothing_is_loaded_and_the_picture_is_told_in_words(figure: Callable[..., Drawing]) -> None:
    drawing = figure()
    root = ElementTree.fromstring(drawing.svg)
    links = [value for one in root.iter() for key, value in one.attrib.items() if "href" in key]
    assert all(link.startswith(f"#{drawing.name}-") for link in links)
    assert "@import" not in drawing.svg
    named = {one.get("id"): one.text for one in root.iter() if one.get("id")}
    assert root.get("role") == "img"
    told = [named[name] for name in (root.get("aria-labelledby") or "").split()]
    assert told == [drawing.title, drawing.text]


@pytest.mark.parametrize("figure", FIGURES)
def test_ids_are_distinct_and_bear_the_figures_name(figure: Callable[..., Drawing]) -> None:
    drawing = figure()
    ids = re.findall(r'\bid="([^"]+)"', drawing.svg)
    assert len(ids) == len(set(ids))
    assert all(name.startswith(f"{drawing.name}-") for name in ids)


def test_the_roc_names_its_lines_chance_and_axes() -> None:
    found = texts(roc())
    assert {"chance", "one  AUC 0.8 (0.7–0.9)", "two  AUC 0.8 (0.7–0.9)"} <= set(found)
    # each letter stands on its line and in the key
    assert [found.count(letter) for letter in LETTERS[:2]] == [2, 2]
    assert any("genuine videos flagged" in text for text in found)
    assert any("30 genuine" in text for text in found)


def test_bars_print_their_numbers_in_order_and_stop_at_a_page() -> None:
    found = [text for text in texts(bars()) if re.fullmatch(r"0\.\d{3}", text)]
    assert found == ["0.400", "0.500"] * 2
    many = [Bar(f"m{place}", "one", 0.7, 0.6, 0.8, 0) for place in range(MOST_BARS + 9)]
    drawn = texts(draw_bars(many, "many", "many", "AUC"))
    assert sum(text.startswith("m") and text[1:].isdigit() for text in drawn) == MOST_BARS


def test_a_page_sets_ink_and_paper_itself() -> None:
    svg = inline(roc())
    assert svg.startswith("<svg")
    assert INK not in svg
    assert "fill: #ffffff" not in svg
    assert "currentColor" in svg


def test_matplotlib_is_loaded_for_figures_only_and_pyplot_never() -> None:
    code = (
        "import sys, dfdetect.evaluation, dfdetect.evaluation.benchmark.benchmark, "
        "dfdetect.evaluation.benchmark.compare\n"
        "assert not {'matplotlib', 'torch', 'cv2', 'timm'} & set(sys.modules)\n"
        "import dfdetect.evaluation.benchmark.plots\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
