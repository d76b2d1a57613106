"""A card as JSON: exact both ways, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dfdetect.errors import ContractError
from dfdetect.evaluation.cards.files import (
    MAX_BYTES,
    decode_card,
    encode_card,
    read_card,
    write_card,
)
from dfdetect.evaluation.cards.making import CardParts, make_card
from tests.cards import header, whole_card


def test_a_card_comes_back_exactly(tmp_path: Path) -> None:
    card = whole_card()
    write_card(tmp_path / "default.json", card)
    assert read_card(tmp_path / "default.json") == card
    assert encode_card(read_card(tmp_path / "default.json")) == encode_card(card)
    bare = make_card(header(), (), CardParts("It errs."))
    assert decode_card(encode_card(bare), "x") == bare


def test_a_number_that_is_none_cannot_be_stored() -> None:
    card = dataclasses.replace(whole_card(), crop_scale=float("nan"))
    with pytest.raises(ContractError, match="cannot be stored"):
        encode_card(card)


def _set(plain: dict[str, Any], path: str, value: Any) -> None:
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    for part in way:
        plain = plain[part]  # type: ignore[index]
    plain[last] = value  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 0), ("version", 2), ("version", True), ("contract", "results"),
        ("title", 3), ("frames", "1"), ("frames", 1.0), ("frames", True), ("crop_scale", "1.2"),
        ("crop_scale", 1), ("measured", "none"), ("measured", {}),
        ("measured.0.numbers.0.value", None),
        ("measured.0.numbers.0.n_real", 1.5), ("files.0", ["name"]), ("files.0", "ab"),
        ("calibration.whole.bands.0.band", "certain"), ("limits", "\ud800"), ("surprise", 1),
        ("measured.0.made.surprise", 1), ("calibration", []), ("measured", [None]),
    ],
)  # fmt: skip
def test_what_is_no_card_is_a_sentence(path: str, value: object) -> None:
    plain = json.loads(encode_card(whole_card()))
    _set(plain, path, value)
    with pytest.raises(ContractError, match=r"x\.json is no card of version 1 .*make it again"):
        decode_card(json.dumps(plain), "x.json")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", "{", '{"a": 1, "a": 1}', "[" * 100_000, '{"version": NaN}'],
)
def test_broken_json_is_a_sentence(text: str) -> None:
    with pytest.raises(ContractError, match="make it again"):
        decode_card(text, "x.json")


def test_a_missing_key_and_a_number_beyond_floats_are_refused() -> None:
    plain = json.loads(encode_card(whole_card()))
    del plain["measured"][0]["split"]
    with pytest.raises(ContractError, match="split"):
        decode_card(json.dumps(plain), "x.json")
    text = encode_card(whole_card()).replace('"crop_scale": 1.2', '"crop_scale": 1e999')
    with pytest.raises(ContractError, match=r"float @ \$\.crop_scale"):
        decode_card(text, "x.json")


def test_files_that_are_none_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot be read"):
        read_card(tmp_path / "absent.json")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ContractError, match="cannot be read"):
        read_card(tmp_path / "x.json")
    with (tmp_path / "long.json").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ContractError, match="longer than"):
        read_card(tmp_path / "long.json")
