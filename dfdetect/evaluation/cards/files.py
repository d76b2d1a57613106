"""Cards as JSON: strict both ways, so that a round trip is exact."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from functools import cache
from pathlib import Path
from typing import Any

import cattrs

from dfdetect.errors import ContractError
from dfdetect.evaluation.cards.card import Card
from dfdetect.provenance import written_whole
from dfdetect.types import Band

VERSION = 1
MAX_BYTES = 8 * 1024 * 1024
REPAIR = "dfdetect export bundle=true checkpoint=FILE out=FOLDER"

_CONTRACT = "dfdetect detector card"


def encode_card(card: Card) -> str:
    """Return the card as readable JSON, the same on every machine.

    Raises:
        ContractError: It holds a number that is not finite.
    """
    plain = {"contract": _CONTRACT, "version": VERSION, **dataclasses.asdict(card)}
    try:
        return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ContractError(f"the card of {card.title!r} cannot be stored: {error}") from None


def decode_card(text: str, source: str) -> Card:
    """Return the card that JSON describes; `source` names the file in messages.

    Raises:
        ContractError: It is no such card: broken JSON, a missing, unknown or repeated key, a value
            of another type, a number that is not finite, or another version.
    """
    try:
        plain = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        found = (plain.pop("contract", None), plain.pop("version", None))
        if found != (_CONTRACT, VERSION) or type(found[1]) is not int:
            raise ValueError(f"it is {found[0]!r} version {found[1]!r}")
        return _converter().structure(plain, Card)
    except (cattrs.BaseValidationError, ValueError, TypeError, AttributeError, RecursionError) as e:
        reason = e
        if isinstance(e, cattrs.BaseValidationError):
            reason = ValueError("; ".join(cattrs.transform_error(e)[:3]))
        raise ContractError(
            f"{source} is no card of version {VERSION} ({str(reason)[:300]}); make it again with "
            f"`{REPAIR}`"
        ) from None


def write_card(path: Path, card: Card) -> None:
    """Write the card's JSON, whole or not at all."""
    text = encode_card(card)
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read_card(path: Path) -> Card:
    """Read what `write_card` wrote.

    Raises:
        ContractError: The file is missing, too long, or as for `decode_card`.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ContractError(f"{path} is longer than {MAX_BYTES} bytes, which no card is")
        return decode_card(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(
            f"{path} cannot be read ({type(error).__name__}); make it with `{REPAIR}`"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is repeated")
    return made


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (str, int, float):
        converter.register_structure_hook(kind, _exact)
    # the hook of str would be taken for this subclass of it
    converter.register_structure_hook(Band, lambda value, _: Band(_exact(value, str)))
    converter.register_structure_hook_func(
        _is_tuple,
        lambda value, hint: _tuple(converter, value, hint),
    )
    return converter


def _is_tuple(hint: Any) -> bool:
    origin: Any = typing.get_origin(hint)
    return origin is tuple


def _exact(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} where {kind.__name__} was expected")
    if kind is float and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if kind is str:
        value.encode()  # lone surrogates would fail later, where the text is printed
    return value


def _tuple(converter: cattrs.Converter, value: Any, hint: Any) -> tuple[Any, ...]:
    if type(value) is not list:
        raise ValueError(f"{type(value).__name__} where a list was expected")
    members = typing.get_args(hint)
    if members[-1] is Ellipsis:
        return tuple(converter.structure(each, members[0]) for each in value)
    if len(members) != len(value):
        raise ValueError(f"{len(value)} values where {len(members)} were expected")
    return tuple(
        converter.structure(each, member) for each, member in zip(value, members, strict=True)
    )
