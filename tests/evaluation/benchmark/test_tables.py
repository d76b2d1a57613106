"""Tables as Markdown and LaTeX: what is escaped, how rows line up, how numbers are printed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.evaluation.benchmark.tables import (
    ROWS_ON_A_PAGE,
    Cell,
    Column,
    Table,
    latex_notes,
    latex_table,
    latex_text,
    markdown_table,
    signed,
    with_interval,
)

HOSTILE = "<script>|\n\\input{x}$%&#_{}~^`\u202etxt"


def table(rows: int = 2, text: str = HOSTILE) -> Table:
    columns = (Column("name"), Column("AUC", True, (1, 2, 3, 5), "strict"))
    body = tuple((Cell(text), Cell(f"0.{place:03d}", (7,))) for place in range(rows))
    return Table(f"Title {text}", columns, body)


def cells_of(line: str) -> list[str]:
    """Split a row at the pipes that are not escaped."""
    return re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]


def test_markdown_rows_have_as_many_cells_as_headings_whatever_the_names() -> None:
    lines = markdown_table(table()).splitlines()
    assert lines[0].startswith("### Title ")
    assert [len(cells_of(line)) for line in lines[2:]] == [2] * 4
    assert "strict: AUC [1–3, 5]" in lines[2].replace("\\", "")
    assert "<script>" not in "\n".join(lines)
    assert "⟨U+000A⟩" in lines[4]
    assert "\u202e" not in lines[4]


def test_latex_is_balanced_and_every_special_letter_is_escaped() -> None:
    text = latex_table(table())
    begun = re.findall(r"\\begin\{(\w+)\}", text)
    assert re.findall(r"\\end\{(\w+)\}", text) == begun[::-1] == ["tabular", "table"]
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    # what columns have in common, their names, two rows
    assert len(body) == 4
    assert all(len(re.findall(r"(?<!\\)&", line)) == 1 for line in body)
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"\input" not in text
    assert r"\textsuperscript{1--3, 5}" in text


@given(st.text())
def test_latex_text_leaves_nothing_for_tex_to_act_on(text: str) -> None:
    found = latex_text(text)
    commands = r"\\(?:text\w+\{\}|ldots\{\}|[{}$&#%_])|\$(?:-|\\(?:pm|times|le|ge|Delta))\$"
    rest = re.sub(commands, "", found)
    # the only tilde is the one that stands for a fixed space
    assert not set(rest) & set("\\{}$&#%_^")
    assert "\n" not in rest
    assert all(letter.isascii() or ord(letter) < 0x180 for letter in found)


def test_a_table_longer_than_a_page_goes_on_to_the_next() -> None:
    assert "longtable" not in latex_table(table(ROWS_ON_A_PAGE))
    long = latex_table(table(ROWS_ON_A_PAGE + 1))
    assert r"\begin{longtable}{lr}" in long
    assert long.count(r"\endhead") == 1


def test_latex_sets_what_protocols_share_above_their_columns_and_breaks_long_headings() -> None:
    columns = (
        Column("dataset"),
        *(
            Column(name, True, (), group)
            for group in ("strict", "x_y")
            for name in ("AUC (95 %)", "genuine + fake, skipped")
        ),
    )
    text = latex_table(Table("t", columns, (tuple(map(Cell, "abcde")),)))
    groups = (
        r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{strict} & "
        r"\multicolumn{2}{c}{x\_y} \\"
    )
    assert groups in text
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}" in text
    assert r"\shortstack[r]{genuine + fake, \\ skipped}" in text
    wordy = latex_table(Table("t", (Column("rule"), Column("is")), ((Cell("x"), Cell("y " * 40)),)))
    assert r"\begin{tabular}{lp{0.24\textwidth}}" in wordy
    hidden = latex_table(Table("t", (Column("a 0123456789abcd \u202e"),), ((Cell("x"),),)))
    assert r"\\ [U" not in hidden


def test_a_row_that_begins_with_a_bracket_is_no_argument() -> None:
    line = next(x for x in latex_table(table(1, "[2cm]")).splitlines() if x.startswith("{}[2cm]"))
    assert line.endswith(r"\\")


def test_notes_are_numbered_in_latex_and_may_be_absent() -> None:
    assert latex_notes([]) == ""
    found = latex_notes(["50 % of a_b", "two"])
    assert found.count(r"\item") == 2
    assert r"50 \% of a\_b" in found


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="another length"):
        Table("t", (Column("a"), Column("b")), ((Cell("1"),),))


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.98765, 0.9, 1.0, "0.988 (0.900–1.000)"),
        (0.5, None, 0.6, "0.500 (no interval)"),
        (-0.1, -0.2, 0.05, "−0.100 (−0.200 to 0.050)"),
    ],
)
def test_no_number_stands_bare(
    value: float, low: float | None, high: float | None, expected: str
) -> None:
    assert with_interval(value, low, high) == expected


def test_differences_bear_signs_but_nothing_does_not() -> None:
    assert [signed(x) for x in (0.1, -0.1, -0.0001)] == ["+0.100", "−0.100", "0.000"]
