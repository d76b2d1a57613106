"""The laboratory verbs: compose a config with Hydra, check it, call the library, say what came out.

No logic lives here; each task turns settings into one library call.
"""

from __future__ import annotations

import dataclasses
import difflib
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast, get_type_hints

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dfdetect.cli.dialect import (
    as_overrides,
    described,
    example,
    flags_first,
    quoted,
    spoken,
)
from dfdetect.cli.terminal import note
from dfdetect.config import SETTINGS, config_dir, register_schemas, settings_from
from dfdetect.errors import UsageError

Task: TypeAlias = Callable[[Any, str], float | None]
S = TypeVar("S")

# the modules of the tasks, each a function of its verb's name; measuring must start without what
# reads clips
MODULES = {
    "index": "lab",
    "extract": "lab",
    "train": "lab",
    "evaluate": "measuring",
    "diagnose": "measuring",
    "calibrate": "calibrating",
    "strangeness": "strangeness",
    "benchmark": "measuring",
    "compare": "measuring",
    "robustness": "measuring",
    "export": "exporting",
}
SWEEP = ("-m", "--multirun")
HELP = ("-h", "--help")


def run(verb: str, overrides: list[str], typed: Sequence[str] | None = None) -> int:
    """Run one laboratory verb with Hydra's command line (`key=value`, `-m`, `--cfg job`, …).

    Records name the words that were `typed` after `dfdetect`, where they differ.

    Returns 0 when the task ran (or Hydra printed what was asked for) and 2 when the config was
    refused. An error of the task is raised as it is, the first one where jobs of a sweep fail.
    """
    register_schemas(verb)
    overrides = flags_first(as_overrides(verb, overrides))
    _refuse_unknown_keys(verb, overrides)
    asked = [f"hydra.help.header={quoted(_help(verb))}"] if set(HELP) & set(overrides) else []
    failures: list[Exception] = []

    def task(config: DictConfig) -> float | None:
        # Hydra prints a traceback of its own for errors inside a task, and takes a fault for a
        # wrong config; ours are sentences with an exit code, and the other jobs go on
        try:
            settings: Any = settings_from(config, SETTINGS[verb])
            return task_of(verb)(*_own_folder(settings, verb, overrides, typed))
        except Exception as error:
            failures.append(error)
            return None

    program = sys.argv
    sys.argv = [f"dfdetect {' '.join(spoken(verb))}", *map(parsable, overrides), *asked]
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=verb)(task)()
    except SystemExit as stop:
        return 2 if stop.code else 0
    finally:
        sys.argv = program
    for failure in failures[1:]:
        note(f"dfdetect: another job failed: {failure}")
    if failures:
        raise failures[0]
    return 0


def task_of(verb: str) -> Task:
    """Return what runs a laboratory verb, with only its own module imported."""
    return cast(Task, getattr(import_module(f"dfdetect.cli.{MODULES[verb]}"), verb))


def parsable(word: str) -> str:
    r"""Return an override with its value quoted where Hydra's grammar has no other place for it.

    The shell has taken the quotes of a path with accents, brackets or commas in its name.

    Example:
        >>> parsable("data_root=my vidéos"), parsable("seed=1"), parsable("crops=[a,b]")
        ("data_root='my vidéos'", 'seed=1', 'crops=[a,b]')
    """
    key, equals, value = word.partition("=")
    # a list or mapping that does not parse is a mistake, which Hydra points at
    if not equals or word.startswith("-") or value.startswith(("[", "{")):
        return word
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return f"{key}={quoted(value)}"
    return word


def _refuse_unknown_keys(verb: str, overrides: Sequence[str]) -> None:
    """Say which key was meant; Hydra would say how to add it, which no verb takes."""
    known, groups = keys_of(SETTINGS[verb]), [name.partition("@")[0] for name in _defaults(verb)]
    for word in overrides:
        key, equals, value = word.partition("=")
        parts = key.split(".")
        starts = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        if not equals or not key.replace(".", "_").isidentifier():
            continue
        if parts[0] in ("hydra", "paths", *groups) and (len(parts) == 1 or parts[0] == "hydra"):
            continue
        # below what is no dataclass any name may stand
        if parts[0] == "paths" or key in known or any(not known.get(one, True) for one in starts):
            continue
        same = [one for one in known if one.split(".")[-1] == parts[-1]]
        near = same or difflib.get_close_matches(key, known, n=1)
        meant = " or ".join(f"{one}={value}" for one in near[:3])
        hint = (
            f"did you mean: {meant}" if near else f"see: dfdetect {' '.join(spoken(verb))} --help"
        )
        raise UsageError(f"{' '.join(spoken(verb))} has no key {key!r}; {hint}")


def keys_of(settings: type, prefix: str = "") -> dict[str, bool]:
    """Return the dotted keys of a settings dataclass, each with whether it has members.

    Example:
        >>> list(keys_of(SETTINGS["extract"]))[:4]
        ['manifest', 'data_root', 'out', 'faces']
    """
    found: dict[str, bool] = {}
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        name, kind = f"{prefix}{field.name}", hints[field.name]
        found[name] = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        if found[name]:
            found |= keys_of(kind, f"{name}.")
    return found


def _defaults(verb: str) -> list[str]:
    """Return the groups that a verb's config takes its values from."""
    defaults = OmegaConf.load(config_dir() / f"{verb}.yaml").defaults
    return [str(name) for each in defaults if isinstance(each, DictConfig) for name in each]


def _help(verb: str) -> str:
    """Return what a verb does, how it is called, and which files its values may come from."""
    words = " ".join(spoken(verb))
    lines = [f"dfdetect {words}: {described(verb)}.", "", f"  {example(verb)}", ""]
    for name in _defaults(verb):
        folder = config_dir() / name.partition("@")[0]
        options = sorted(path.stem for path in folder.glob("*.yaml"))
        if name not in ("hydra", "paths"):
            lines.append(f"{name}: {', '.join(options)}")
    return "\n".join(lines)


def _own_folder(
    settings: Any, verb: str, overrides: Sequence[str], typed: Sequence[str] | None
) -> tuple[Any, str]:
    """Return the settings and the command that makes the same again.

    Every job of a sweep gets a folder of its own, so that none resumes another's run.
    """
    hydra_config = HydraConfig.get()
    if hydra_config.mode != RunMode.MULTIRUN:
        return settings, shlex.join(["dfdetect", *(typed or (*spoken(verb), *overrides))])
    name, own = in_subfolder(settings, Path(f"job-{hydra_config.job.num:03d}"))
    flags = [word for word in overrides if word not in SWEEP and not _is_override(word)]
    chosen = [
        word for word in hydra_config.overrides.task if word.lstrip("+").partition("=")[0] != name
    ]
    moved = getattr(own, name)
    words = [*flags, *chosen, *([] if moved is None else [f"{name}={moved}"])]
    return own, shlex.join(["dfdetect", *spoken(verb), *words])


def in_subfolder(settings: S, folder: Path) -> tuple[str, S]:
    """Return the settings with their output moved into a folder of its own, and its key."""
    name = "run_dir" if hasattr(settings, "run_dir") else "out"
    out: Path | None = getattr(settings, name)
    if out is None:
        return name, settings
    moved = out / folder if not out.suffix else out.parent / folder / out.name
    return name, dataclasses.replace(settings, **{name: moved})  # type: ignore[type-var]


def _is_override(word: str) -> bool:
    return word.startswith("~") or ("=" in word and not word.startswith("-"))
