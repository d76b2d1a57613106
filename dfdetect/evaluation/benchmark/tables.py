"""Tables for readers: one typed form, written as Markdown, LaTeX (booktabs) or on a page.

Cells are plain text. Whoever named a detector or a dataset is not trusted: each writer escapes
what its format would act on, and characters that hide are named before that.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from dfdetect.visible import visible

ROWS_ON_A_PAGE = 38
HEADING_WIDTH = 16
CELL_WIDTH = 36
PARAGRAPH = 0.24
COLUMNS_IN_SMALL = 6
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "Δ": r"$\Delta$",
    "…": r"\ldots{}",
    "·": r"\textperiodcentered{}",
    "’": "'",
    "\u00a0": "~",
}
_MARKDOWN = set("\\|`*_[]<>#$~&")


@dataclass(frozen=True, slots=True)
class Column:
    """A heading with the numbers of its footnotes; `numeric` columns are set flush right.

    Neighbours of one `group` stand under a common heading where there is room for one.
    """

    name: str
    numeric: bool = False
    notes: tuple[int, ...] = ()
    group: str = ""

    @property
    def whole(self) -> str:
        """The heading where it stands alone."""
        return f"{self.group}: {self.name}" if self.group else self.name


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and the numbers of its footnotes."""

    text: str
    notes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its title; the first `n_heads` cells of a row say what the row is of.

    `part` is the part of the document it belongs to, such as an exposure.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    n_heads: int = 1
    part: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that is longer or shorter than the heading."""
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of {self.title!r} has another length than its heading")

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The common headings with how many columns each stands over; () without any."""
        named = groupby(column.group for column in self.columns)
        runs = [(name, len(list(members))) for name, members in named]
        return tuple(runs) if any(name for name, _ in runs) else ()


@dataclass(slots=True)
class Notes:
    """Footnotes of a whole document, numbered from 1; an equal text keeps its number.

    Example:
        >>> notes = Notes()
        >>> notes.number("By video."), notes.number("By frame."), notes.number("By video.")
        (1, 2, 1)
    """

    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        """Return the number of a footnote, which is added where it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1

    def numbers(self, texts: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers of several footnotes, rising."""
        return tuple(sorted({self.number(text) for text in texts}))


def number(value: float, digits: int = 3) -> str:
    """Return a number with a true minus sign.

    Example:
        >>> number(-0.0123), number(0.9871)
        ('−0.012', '0.987')
    """
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """Return a difference, which always bears its sign.

    Example:
        >>> signed(0.0123), signed(-0.0123), signed(0.00001)
        ('+0.012', '−0.012', '0.000')
    """
    text = number(value, digits)
    return f"+{text}" if float(text.replace("−", "-")) > 0 else text


def with_interval(value: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """Return a number and its 95 % interval, or a word that there is none.

    Example:
        >>> with_interval(0.9123, 0.88, 0.94), with_interval(0.5, None, None)
        ('0.912 (0.880–0.940)', '0.500 (no interval)')
    """
    if low is None or high is None:
        return f"{number(value, digits)} (no interval)"
    ends = (number(low, digits), number(high, digits))
    # with a minus sign a dash between the ends cannot be read
    joint = " to " if any("−" in end for end in ends) else "–"
    return f"{number(value, digits)} ({joint.join(ends)})"


def p_words(p: float | None) -> str:
    """Return a p-value as tables print it.

    Example:
        >>> p_words(0.0301), p_words(0.00002)
        ('0.030', '< 0.001')
    """
    if p is None:
        return "not known"
    return "< 0.001" if p < 0.001 else number(p)


def markdown_table(table: Table, level: int = 3) -> str:
    """Return a title and a pipe table; footnotes are bracketed numbers."""
    names = [markdown_text(column.whole) + _bracketed(column.notes) for column in table.columns]
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    lines = [f"{'#' * level} {markdown_text(table.title)}", "", _piped(names), _piped(rule)]
    lines += [
        _piped([markdown_text(cell.text) + _bracketed(cell.notes) for cell in row])
        for row in table.rows
    ]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    r"""Return text that Markdown prints as it is.

    Example:
        >>> markdown_text("a|b *c* <script>")
        'a\\|b \\*c\\* \\<script\\>'
    """
    return "".join(f"\\{letter}" if letter in _MARKDOWN else letter for letter in visible(text))


def latex_table(table: Table) -> str:
    r"""Return a booktabs table: a float, or a `longtable` where it would not fit on a page."""
    columns = "".join(_latex_column(table, place) for place in range(len(table.columns)))
    heading = _latex_heading(table)
    body = [
        _latex_row([latex_text(cell.text) + _raised(cell.notes) for cell in row])
        for row in table.rows
    ]
    caption = rf"\caption{{{latex_text(table.title)}}}"
    if len(body) <= ROWS_ON_A_PAGE:
        lines = [
            r"\begin{table}[htbp]", rf"\centering{_latex_size(table)}", caption,
            rf"\begin{{tabular}}{{{columns}}}", r"\toprule", heading, r"\midrule", *body,
            r"\bottomrule", r"\end{tabular}",
            r"\end{table}",
        ]  # fmt: skip
    else:
        lines = [
            rf"{{{_latex_size(table)}", rf"\begin{{longtable}}{{{columns}}}", rf"{caption}\\",
            r"\toprule", heading, r"\midrule", r"\endfirsthead", r"\toprule", heading,
            r"\midrule", r"\endhead",
            r"\bottomrule", r"\endlastfoot", *body, r"\end{longtable}", "}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_heading(table: Table) -> str:
    lines = []
    if table.groups:
        cells, rules, first = [], [], 1
        for name, span in table.groups:
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{latex_text(name)}}}")
            if name:
                rules.append(rf"\cmidrule(lr){{{first}-{first + span - 1}}}")
            first += span
        lines += [_latex_row(cells), "".join(rules)]
    # a long heading would make its column wider than any number in it
    names = [
        r" \\ ".join(_guarded(latex_text(x)) for x in textwrap.wrap(column.name, HEADING_WIDTH))
        + _raised(column.notes)
        for column in table.columns
    ]
    sides = ["r" if column.numeric else "l" for column in table.columns]
    stacked = [rf"\shortstack[{side}]{{{name}}}" for side, name in zip(sides, names, strict=True)]
    return "\n".join([*lines, _latex_row(stacked)])


def _latex_column(table: Table, place: int) -> str:
    if table.columns[place].numeric:
        return "r"
    longest = max((len(row[place].text) for row in table.rows), default=0)
    return "l" if longest <= CELL_WIDTH else rf"p{{{PARAGRAPH}\textwidth}}"


def _latex_size(table: Table) -> str:
    wide = len(table.columns) > COLUMNS_IN_SMALL
    return r"\footnotesize\setlength{\tabcolsep}{3pt}" if wide else r"\small"


def latex_notes(texts: Sequence[str]) -> str:
    """Return the footnotes as a numbered list in small type."""
    if not texts:
        return ""
    items = [rf"\item {latex_text(text)}" for text in texts]
    return "\n".join([r"{\footnotesize", r"\begin{enumerate}", *items, r"\end{enumerate}", "}", ""])


def latex_text(text: str) -> str:
    r"""Return text that LaTeX prints as it is; letters that pdfLaTeX lacks are named.

    Example:
        >>> print(latex_text("50 % of a_b & c"))
        50 \% of a\_b \& c
    """
    return "".join(_latex_letter(letter) for letter in visible(text))


def _latex_letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    # ASCII and the accented letters of Latin-1 and Latin Extended-A are what T1 fonts hold
    is_known = letter.isascii() or (letter.isalpha() and ord(letter) < 0x180)
    return letter if is_known else f"[U+{ord(letter):04X}]"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_guarded, cells)) + r" \\"


def _guarded(cell: str) -> str:
    # a row that began with a bracket would be read as an argument of the row before it
    return "{}" + cell if cell.startswith("[") else cell


def _raised(notes: tuple[int, ...]) -> str:
    return rf"\textsuperscript{{{latex_text(ranges(notes))}}}" if notes else ""


def _bracketed(notes: tuple[int, ...]) -> str:
    return f" [{ranges(notes)}]" if notes else ""


def ranges(notes: tuple[int, ...]) -> str:
    """Return rising numbers with runs of them as ranges.

    Example:
        >>> ranges((1, 2, 3, 5))
        '1–3, 5'
    """
    runs: list[list[int]] = []
    for note in notes:
        if runs and note == runs[-1][-1] + 1:
            runs[-1].append(note)
        else:
            runs.append([note])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
