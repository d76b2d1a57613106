"""A figure as SVG: without dates and addresses, with words for those who cannot see it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#16181d"
PAPER = "#ffffff"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure: its file's stem, its title, what it shows in words, and the SVG itself."""

    name: str
    title: str
    text: str
    svg: str


def finished(figure: Figure, name: str, title: str, text: str) -> Drawing:
    """Return a figure as SVG, whose bytes depend on what it shows and on nothing else."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
    svg = svg[svg.index("<svg") :]
    # several drawings share one page, where an id must be the only one of its name
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    opening = f'<svg role="img" aria-labelledby="{name}-title {name}-text" '
    words = (
        f'<title id="{name}-title">{escape(title)}</title>\n'
        f' <desc id="{name}-text">{escape(text)}</desc>\n'
    )
    head, tail = svg.split(">", 1)
    svg = f"{opening}{head.removeprefix('<svg ')}>\n {words}{tail.lstrip()}"
    return Drawing(name, title, text, '<?xml version="1.0" encoding="utf-8"?>\n' + svg)


def inline(drawing: Drawing) -> str:
    """Return the SVG for a page that sets ink and paper itself, as a dark one does."""
    svg = drawing.svg.replace(INK, "currentColor").replace(f"fill: {PAPER}", "fill: none")
    return svg[svg.index("<svg") :]
