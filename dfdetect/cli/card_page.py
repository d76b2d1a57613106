"""A detector's card on a terminal, or through a pipe at 80 columns."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dfdetect.cli.terminal import printable, say, say_lines
from dfdetect.evaluation.cards.page import page
from dfdetect.evaluation.cards.words import Heading, Table, Text

if TYPE_CHECKING:
    from dfdetect.evaluation.cards.card import Card

_PIPED, _MOST, _LEAST = 80, 120, 40
_BULLET = re.compile(r"([-*]|\d+\.) ")


def say_card(card: Card) -> None:
    """Write a card to stdout: headings, filled prose, and tables that fit the width."""
    width = _PIPED
    if sys.stdout.isatty():
        width = max(_LEAST, min(_MOST, shutil.get_terminal_size().columns))
    for number, block in enumerate(page(card)):
        if number:
            say("")
        if isinstance(block, Heading):
            title = printable(block.text)
            say_lines((title, "=-"[block.level > 1] * min(len(title), width)))
        elif isinstance(block, Text):
            say_lines(filled(block.text, width))
        else:
            _say_table(block, width)


def filled(markdown: str, width: int) -> Iterator[str]:
    r"""Yield the lines of hand-written Markdown anew: paragraphs and bullets that fill a width.

    Example:
        >>> list(filled("- one\n  two\n- three", 9))
        ['- one two', '- three']
    """
    item: list[str] = []
    for line in markdown.splitlines():
        text = line.strip()
        if item and (not text or _BULLET.match(text)):
            yield from _wrapped(" ".join(item), width)
            item = []
        if text:
            item.append(text)
        else:
            yield ""
    if item:
        yield from _wrapped(" ".join(item), width)


def _wrapped(text: str, width: int) -> list[str]:
    bullet = _BULLET.match(text)
    indent = " " * (bullet.end() if bullet else 0)
    # a hash or command longer than a line stays whole, to be copied
    return textwrap.wrap(
        printable(text), width, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _say_table(table: Table, width: int) -> None:
    # the only verb that lays out tables for a pipe
    from rich.box import ASCII_DOUBLE_HEAD
    from rich.console import Console
    from rich.table import Table as Laid
    from rich.text import Text as Cell

    laid = Laid(box=ASCII_DOUBLE_HEAD, show_edge=False, pad_edge=False, show_lines=False)
    for name in table.header:
        laid.add_column(Cell(printable(name)), overflow="fold")
    for row in table.rows:
        laid.add_row(*(Cell(printable(cell)) for cell in row))
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(laid)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")
