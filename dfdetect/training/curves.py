"""The curves of a run, one line over all its interruptions."""

from __future__ import annotations

import csv
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from dfdetect.errors import UsageError

FOLDER = "log"
LOGGERS = ("csv", "tensorboard", "none")


def open_logger(name: str, run_dir: Path, step: int) -> Logger | None:
    """Return the logger by its name, with what was logged of the first `step` steps.

    Points of later steps come from a piece of the run that was lost, and will be logged again.

    Raises:
        UsageError: There is no such logger.
    """
    if name not in LOGGERS:
        raise UsageError(f"unknown trainer.logger={name!r}; choose one of {', '.join(LOGGERS)}")
    if name == "none":
        return None
    if name == "tensorboard":
        return TensorBoardLogger(run_dir, FOLDER, "", purge_step=step or None)
    logger = CSVLogger(run_dir, FOLDER, "")
    # Lightning deletes the table of the run before
    rows = [row for row in _rows(run_dir / FOLDER / "metrics.csv") if int(row["step"]) < step]
    for row in rows:
        numbers = {key: _number(text) for key, text in row.items() if text and key != "step"}
        logger.log_metrics({**numbers}, int(row["step"]))
    if rows:
        logger.save()
    return logger


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        # a kill may have torn the last line
        return [row for row in csv.DictReader(stream) if (row.get("step") or "").isdigit()]


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)
