"""The laboratory verbs: compose a config with Hydra, check it, call the library, say what came out.

No logic lives here; each task turns settings into one library call.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from dfdetect.cli import lab, measuring
from dfdetect.cli.dialect import as_overrides, spoken
from dfdetect.cli.terminal import note
from dfdetect.config import SETTINGS, config_dir, register_schemas, settings_from

TASKS: dict[str, Callable[[Any, str], float | None]] = {
    "index": lab.index,
    "extract": lab.extract,
    "train": lab.train,
    "evaluate": measuring.evaluate,
    "diagnose": measuring.diagnose,
    "benchmark": measuring.benchmark,
    "compare": measuring.compare,
    "robustness": measuring.robustness,
    "export": lab.export,
}
SWEEP = ("-m", "--multirun")


def run(verb: str, overrides: list[str]) -> int:
    """Run one laboratory verb with Hydra's command line (`key=value`, `-m`, `--cfg job`, …).

    Returns 0 when the task ran (or Hydra printed what was asked for) and 2 when the config was
    refused. An error of the task is raised as it is, the first one where jobs of a sweep fail.
    """
    register_schemas()
    overrides = as_overrides(verb, overrides)
    failures: list[Exception] = []

    def task(config: DictConfig) -> float | None:
        # Hydra prints a traceback of its own for errors inside a task, and takes a fault for a
        # wrong config; ours are sentences with an exit code, and the other jobs go on
        try:
            settings: Any = settings_from(config, SETTINGS[verb])
            return TASKS[verb](*_own_folder(settings, verb, overrides))
        except Exception as error:
            failures.append(error)
            return None

    program = sys.argv
    sys.argv = [f"dfdetect {' '.join(spoken(verb))}", *map(parsable, overrides)]
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
        escaped = value.replace("'", "\\'")
        return f"{key}='{escaped}'"
    return word


def _own_folder(settings: Any, verb: str, overrides: Sequence[str]) -> tuple[Any, str]:
    """Return the settings and the command that makes the same again.

    Every job of a sweep gets a folder of its own, so that none resumes another's run.
    """
    hydra_config = HydraConfig.get()
    if hydra_config.mode != RunMode.MULTIRUN:
        return settings, shlex.join(["dfdetect", *spoken(verb), *overrides])
    name, own = lab.in_subfolder(settings, Path(f"job-{hydra_config.job.num:03d}"))
    flags = [word for word in overrides if word not in SWEEP and not _is_override(word)]
    chosen = [
        word for word in hydra_config.overrides.task if word.lstrip("+").partition("=")[0] != name
    ]
    words = [*flags, *chosen, f"{name}={getattr(own, name)}"]
    return own, shlex.join(["dfdetect", *spoken(verb), *words])


def _is_override(word: str) -> bool:
    return word.startswith("~") or ("=" in word and not word.startswith("-"))
