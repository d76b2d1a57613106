"""The laboratory verbs: compose a config with Hydra, check it, call the library, say what came out.

No logic lives here; each task turns settings into one library call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dfdetect.cli import lab
from dfdetect.config import SETTINGS, config_dir, register_schemas, settings_from
from dfdetect.errors import DfdetectError

TASKS: dict[str, Callable[[Any], None]] = {
    "index": lab.index,
    "extract": lab.extract,
    "train": lab.train,
    "evaluate": lab.evaluate,
    "export": lab.export,
}


def run(verb: str, overrides: list[str]) -> int:
    """Run one laboratory verb with Hydra's command line (`key=value`, `-m`, `--cfg job`, …).

    Returns 0 when the task ran (or Hydra printed what was asked for) and 2 when the config was
    refused. A `DfdetectError` of the task is raised as it is.
    """
    register_schemas()
    failures: list[DfdetectError] = []

    def task(config: DictConfig) -> None:
        # Hydra prints a traceback of its own for errors inside a task; ours are sentences
        try:
            TASKS[verb](_own_folder(settings_from(config, SETTINGS[verb])))
        except DfdetectError as error:
            failures.append(error)

    program = sys.argv
    sys.argv = [f"dfdetect {verb}", *overrides]
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=verb)(task)()
    except SystemExit as stop:
        return 2 if stop.code else 0
    finally:
        sys.argv = program
    if failures:
        raise failures[0]
    return 0


def _own_folder(settings: Any) -> Any:
    """Give every job of a sweep a folder of its own, so that none resumes another's run."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode != RunMode.MULTIRUN:
        return settings
    return lab.in_subfolder(settings, Path(f"job-{hydra_config.job.num:03d}"))
