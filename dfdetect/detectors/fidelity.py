"""The fidelity card of a detector: what of the paper it is, read from its class's docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from dfdetect.errors import ContractError

FIELDS = ("Paper", "Same", "Differs", "Published")


@dataclass(frozen=True, slots=True)
class FidelityCard:
    """How true a detector is to its paper, in words.

    `summary` is the docstring's first line, `paper` the source with its sections, `same` what was
    built as described, `differs` what was not and why, `published` the numbers others report, with
    level, training set and status.
    """

    summary: str
    paper: str
    same: str
    differs: str
    published: str


def fidelity_card(detector: type) -> FidelityCard:
    """Read the paragraphs `Paper:`, `Same:`, `Differs:` and `Published:` of a docstring.

    Raises:
        ContractError: One of them is missing.

    Example:
        >>> class Guess:
        ...     '''A coin.
        ...
        ...     Paper: none. Same: all. Differs: nothing.
        ...
        ...     Published: half of the time.
        ...     '''
        >>> fidelity_card(Guess).differs, fidelity_card(Guess).published
        ('nothing.', 'half of the time.')
    """
    text = inspect.cleandoc(detector.__doc__ or "")
    summary = text.partition("\n")[0].rstrip(".")
    pieces = re.split(rf"\b({'|'.join(FIELDS)}): ", " ".join(text.split()))
    found = dict(zip(pieces[1::2], (piece.strip() for piece in pieces[2::2]), strict=True))
    missing = [field for field in FIELDS if not found.get(field)]
    if missing or not summary:
        raise ContractError(
            f"the docstring of {detector.__name__} has no paragraph {', '.join(missing)}; a "
            "detector says what it takes from its paper and where it differs"
        )
    return FidelityCard(summary, *(found[field] for field in FIELDS))
