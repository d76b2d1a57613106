"""A card's page as Markdown."""

from __future__ import annotations

from pathlib import Path

from dfdetect.evaluation.cards.card import Card
from dfdetect.evaluation.cards.page import page
from dfdetect.evaluation.cards.words import Heading, Text
from dfdetect.provenance import written_whole
from dfdetect.visible import visible


def markdown(card: Card) -> str:
    """Return the card as Markdown; nothing in a table's cell can break out of it."""
    parts: list[str] = []
    for block in page(card):
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {_cell(block.text)}")
        elif isinstance(block, Text):
            parts.append("\n".join(map(visible, block.text.splitlines())))
        else:
            lines = [_row(block.header), "|" + "---|" * len(block.header)]
            parts.append("\n".join([*lines, *map(_row, block.rows)]))
    return "\n\n".join(parts) + "\n"


def write_markdown(path: Path, card: Card) -> None:
    """Write the card as Markdown, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(markdown(card), encoding="utf-8")


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace("<", "\\<").replace("|", "\\|")
