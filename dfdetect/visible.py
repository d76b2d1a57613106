"""Text of strangers, made safe to read: what would hide or turn around what is shown is named."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    r"""Return text in which nothing hides: line breaks, controls and bidi marks are named.

    A file name may hold characters that turn its own display around, so that `gpj.exe` reads
    as `exe.jpg`; they are shown as their code points.

    Example:
        >>> visible("a\nb")
        'a⟨U+000A⟩b'
    """
    return "".join(f"⟨U+{ord(letter):04X}⟩" if _hides(letter) else letter for letter in text)


def _hides(letter: str) -> bool:
    category = unicodedata.category(letter)
    return category in {"Cc", "Cf", "Cs", "Zl", "Zp"} or (category == "Zs" and letter != " ")
