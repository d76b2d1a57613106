"""The blocks of a card's page, and how numbers stand in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from dfdetect.scoring.band_ratios import Share

NONE = "–"
"""What stands where there is no number."""


METRIC_WORDS = {"auc": "AUC", "eer": "EER", "ap": "AP", "cllr": "Cllr"}


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the page's own."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """Prose as Markdown: paragraphs and bullets."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block: TypeAlias = Heading | Text | Table


class Ranged(Protocol):
    """A value with the ends of its interval."""

    @property
    def value(self) -> float | None:
        """The value, None where there is none."""

    @property
    def ci_low(self) -> float | None:
        """The lower end."""

    @property
    def ci_high(self) -> float | None:
        """The upper end."""


def ranged(number: Ranged) -> str:
    """Return `0.846 (0.664 – 0.972)`, or a dash where there is no value."""
    if number.value is None:
        return NONE
    return f"{number.value:.3f}{ends(number.ci_low, number.ci_high)}"


def ends(low: float | None, high: float | None, digits: int = 3) -> str:
    """Return ` (0.664 – 0.972)`, or '' where there is no interval."""
    if low is None or high is None:
        return ""
    return f" ({low:.{digits}f} – {high:.{digits}f})"


def counted(share: Share | None) -> str:
    """Return `3 of 40 (0.016 – 0.204)`, or a dash where nothing was counted."""
    if share is None:
        return NONE
    return f"{share.count} of {share.n}{ends(share.low, share.high)}"
