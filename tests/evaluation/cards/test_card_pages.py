"""The page of a card: every number of the JSON stands in it, and nothing breaks out of a table."""

from __future__ import annotations

import dataclasses
import re

from dfdetect.evaluation.cards.files import decode_card, encode_card
from dfdetect.evaluation.cards.making import CardParts, make_card
from dfdetect.evaluation.cards.markdown import markdown
from tests.cards import header, whole_card

# how a page shows a number: shares and metrics to three places, ratios to three digits
FORMS = ("{:.3f}", "{:g}", "{:.3g}", "{}")


def numbers_in(value: object, name: str = "") -> list[tuple[str, float]]:
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return [one for each in fields for one in numbers_in(getattr(value, each.name), each.name)]
    if isinstance(value, tuple):
        return [one for each in value for one in numbers_in(each, name)]
    return [(name, value)] if isinstance(value, int | float) else []


def test_the_markdown_holds_every_number_and_hash_of_the_json() -> None:
    card = decode_card(encode_card(whole_card()), "x")
    text = markdown(card)
    shown = set(re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text))
    found = numbers_in(card)
    assert len(found) > 150
    skipped = {"frames"} if card.frames == 1 else set()
    missing = [
        (name, value)
        for name, value in found
        if name not in skipped and not {form.format(value) for form in FORMS} & shown
    ]
    assert missing == []
    for part in (
        "It errs.", "shop window", "9 clips", "research terms", "dfdetect evaluate out=x", "seed 4",
        "abababab", "cd" * 8, "ef" * 32, "A sibling without swaps.", "dropout=0.5", "too few",
        "dfdetect train lr=1", "drawn.py, seed 0", "76" * 8, "54" * 8, "more clips needed",
        "toy-b", "never trained on: clips/swap",
    ):  # fmt: skip
        assert part in text, part


def test_a_cell_stays_one_cell() -> None:
    text = markdown(whole_card())
    assert "rate \\| 1" in text
    for block in text.split("\n\n"):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    strange = (("a<b>\n|\x1b[31m", "00" * 32),)
    (row,) = [line for line in markdown(whole_card(strange)).splitlines() if "a\\<b>" in line]
    assert row.replace("\\|", "").count("|") == 3
    assert "\x1b" not in row


def test_whose_numbers_they_are_is_said() -> None:
    text = markdown(whole_card())
    inside = text[text.index("## In domain") : text.index("## Left out")]
    assert "The checkpoint that these weights were made from: `abababab" in inside
    left_out = text[text.index("## Left out") :]
    assert "Other weights than these: `98989898" in left_out


def test_a_card_of_nothing_measured_is_short() -> None:
    text = markdown(make_card(header(), (), CardParts("It errs."), compared=["Same answers."]))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert headings == [
        "The bundled detector", "Limits", "Training", "Compared with its checkpoint", "Files",
    ]  # fmt: skip
    assert "Same answers." in text
