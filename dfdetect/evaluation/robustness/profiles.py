"""Laundering profiles: what happens to a clip on its way through platforms, as a YAML chain."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dfdetect.errors import UsageError
from dfdetect.evaluation.robustness.clip_steps import STEPS, Step

FOLDER = "laundering"


@dataclass(frozen=True, slots=True)
class Profile:
    """A named chain of steps, applied in order.

    `about` says what it stands for and whose values it has, in the comment that its file opens
    with.
    """

    name: str
    steps: tuple[Step, ...]
    about: str = ""


def profiles_dir() -> Path:
    """Return the folder of the shipped profiles: in the checkout, or inside the wheel.

    Raises:
        UsageError: Neither is there; the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "configs" / FOLDER, package.parent / "configs" / FOLDER):
        if folder.is_dir():
            return folder
    raise UsageError(f"no configs/{FOLDER} beside {package}; reinstall dfdetect")


def profile_names() -> tuple[str, ...]:
    """Return the names of the shipped profiles, sorted."""
    return tuple(sorted(path.stem for path in profiles_dir().glob("*.yaml")))


def read_profile(path: Path) -> Profile:
    """Read a profile: a key `steps`, a list of steps, each with its word as `step` and its keys.

    Raises:
        UsageError: The file is missing or no YAML, or holds a step, key or value that is unknown.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML ({type(error).__name__}); correct it") from error
    if not isinstance(content, dict) or set(content) != {"steps"}:
        raise UsageError(f"{path} must hold one key, `steps`, with the list of its steps")
    listed = content["steps"]
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"{path} has no steps; list at least one below `steps`")
    steps = tuple(_step(item, f"{path}, step {place}") for place, item in enumerate(listed, 1))
    opening = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return Profile(path.stem, steps, " ".join(line.lstrip("# ") for line in opening))


def _step(item: Any, where: str) -> Step:
    if not isinstance(item, dict) or not isinstance(item.get("step"), str):
        raise UsageError(f"{where} names no step; write `step: NAME` and its keys below")
    try:
        kind = STEPS.get(item["step"])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    given = {key: value for key, value in item.items() if key != "step"}
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    for key in given:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"{where}: {item['step']} knows no key {key!r}; {hint}it takes {', '.join(fields)}"
            )
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING:
            raise UsageError(f"{where}: {item['step']} needs the key {name!r}")
    hints = typing.get_type_hints(kind)
    values = {key: _typed(value, hints[key], f"{where}: {key}") for key, value in given.items()}
    try:
        return kind(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _typed(value: Any, hint: Any, where: str) -> Any:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    wanted = typing.get_args(hint) if is_union else (hint,)
    # a whole number is a number, but true is none
    if float in wanted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in wanted:
        names = " or ".join("nothing" if one is types.NoneType else one.__name__ for one in wanted)
        raise UsageError(f"{where} is {value!r}, but a {names} is wanted")
    return value
