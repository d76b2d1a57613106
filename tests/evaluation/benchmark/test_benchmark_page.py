"""The page of a benchmark: it loads nothing, escapes everything, and can be read without eyes."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dfdetect.evaluation.benchmark.benchmark import BenchmarkPlan, benchmark
from dfdetect.evaluation.protocols.protocol import DEEPFAKEBENCH, Protocol
from dfdetect.evaluation.results import ResultRow
from dfdetect.evaluation.robustness.curves import curves
from dfdetect.evaluation.runs import TrainedOn
from tests.benchmark_runs import random_run

HOSTILE = "<script>alert('x')</script>|&\"$1$ \\input{y}\n\u202e_%"
LEARNED = TrainedOn((("ffpp", "original"), ("ffpp", "Deepfakes")))
VOID = {"meta", "link", "br", "img", "hr", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def inside(self, tag: str) -> list[Element]:
        found = [one for one in self.children if one.tag == tag]
        return found + [deep for one in self.children for deep in one.inside(tag)]


class Reader(HTMLParser):
    """Reads a page into elements, and minds that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Element("", {}, None)
        self.all: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.children.append(element)
        self.all.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.text += data


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of two detectors, one with a hostile name, as files."""
    folder = tmp_path_factory.mktemp("benchmark")
    named = replace(random_run(HOSTILE, 1, trained_on=LEARNED), oracle=f"by {HOSTILE}")
    points = [
        ResultRow(HOSTILE, "p", "ffpp", "all", "auc", "video", value, value - 0.1, value, 9, 9, 1,
                  condition, "seen")
        for condition, value in (("clean", 0.9), (f"{HOSTILE} 1", 0.8), ("jpeg 2", 0.6))
    ]  # fmt: skip
    plan = BenchmarkPlan(
        n_bootstrap=20, title=HOSTILE, command=f"dfdetect {HOSTILE}", curves=curves(points),
        published_as=((HOSTILE, "xception"),),
    )  # fmt: skip
    rules = Protocol(name=f"p {HOSTILE}", official_splits=False, oracle=True)
    benchmark([named, random_run("b", 2)], [rules, DEEPFAKEBENCH], plan, folder)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> Reader:
    reader = Reader()
    reader.feed((out / "benchmark.html").read_text(encoding="utf-8"))
    reader.close()
    return reader


def test_nothing_is_loaded_and_nothing_runs(page: Reader, out: Path) -> None:
    assert page.here is page.root
    loading = {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}
    for element in page.all:
        assert element.tag not in {"script", "iframe", "object", "embed", "link", "base", "image"}
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            assert name not in loading or value.startswith("#")
    text = (out / "benchmark.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!['\"]?#)", text)
    (policy,) = (
        one.attributes["content"]
        for one in page.all
        if one.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")


def test_hostile_names_are_told_letter_by_letter(page: Reader, out: Path) -> None:
    text = (out / "benchmark.html").read_text(encoding="utf-8")
    assert "\u202e" not in text
    assert "⟨U+202E⟩" in text
    assert any("alert('x')" in one.text for one in page.all if one.tag == "span")
    for name in ("results.md", "results.tex"):
        written = (out / name).read_text(encoding="utf-8")
        assert "\u202e" not in written
        assert not re.search(r"(?<!\\)<script>", written)
    assert "\\input{y}" not in (out / "results.tex").read_text(encoding="utf-8")
    assert all(re.fullmatch(r"[a-z0-9-]+\.svg", one.name) for one in (out / "figures").iterdir())


def test_headings_come_in_order(page: Reader) -> None:
    levels = [int(one.tag[1]) for one in page.all if re.fullmatch(r"h[1-6]", one.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_every_heading_a_scope(page: Reader) -> None:
    tables = [one for one in page.all if one.tag == "table"]
    assert len(tables) > 6
    for table in tables:
        (caption,) = table.inside("caption")
        assert caption.text.strip()
        assert all(one.attributes.get("scope") for one in table.inside("th"))
        for body in table.inside("tbody"):
            for row in body.inside("tr"):
                assert row.children[0].tag == "th"


def test_rows_are_as_wide_as_their_headings_and_name_their_cells(page: Reader) -> None:
    for table in (one for one in page.all if one.attributes.get("class") == "stack"):
        *_, heads = table.inside("thead")[0].inside("tr")
        for row in table.inside("tbody")[0].inside("tr"):
            assert len(row.children) == len(heads.children)
            # on a narrow screen each cell bears its heading itself
            for cell, head in zip(row.children, heads.children, strict=True):
                assert cell.attributes["data-label"].endswith(head.text.strip())


def test_figures_have_words_and_a_caption(page: Reader) -> None:
    figures = [one for one in page.all if one.tag == "figure"]
    assert len(figures) >= 8
    ids = {one.attributes["id"]: one for one in page.all if "id" in one.attributes}
    for figure in figures:
        (svg,) = figure.inside("svg")
        assert svg.attributes["role"] == "img"
        assert all(ids[name].text.strip() for name in svg.attributes["aria-labelledby"].split())
        assert figure.inside("figcaption")[0].text.strip()


def test_ids_are_distinct_and_every_link_leads_somewhere(page: Reader) -> None:
    ids = [one.attributes["id"] for one in page.all if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    links = [
        value[1:]
        for one in page.all
        for name, value in one.attributes.items()
        if name in {"href", "xlink:href"}
    ]
    assert links
    assert set(links) <= set(ids)
    named = [name for one in page.all for name in one.attributes.get("aria-labelledby", "").split()]
    assert set(named) <= set(ids)


def test_the_page_names_oracles_hashes_and_the_command(page: Reader) -> None:
    text = " ".join(one.text for one in page.all)
    assert "Oracle:" in text
    assert "a" * 64 in text
    assert "dfdetect <script>" in text
    assert any("In distribution" in one.text for one in page.all if one.tag == "h2")
