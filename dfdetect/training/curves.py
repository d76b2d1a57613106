"""The curves of a run, one line over all its interruptions."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from dfdetect.errors import UsageError
from dfdetect.provenance import written_whole

FOLDER = "log"
LOGGERS = ("csv", "tensorboard", "mlflow", "none")
MLFLOW_RUN = "mlflow_run_id"


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
    if name == "mlflow":
        return _mlflow(run_dir)
    logger = CSVLogger(run_dir, FOLDER, "")
    # Lightning deletes the table of the run before
    rows = [row for row in _rows(run_dir / FOLDER / "metrics.csv") if int(row["step"]) < step]
    for row in rows:
        numbers = {key: _number(text) for key, text in row.items() if text and key != "step"}
        logger.log_metrics({**numbers}, int(row["step"]))
    if rows:
        logger.save()
    return logger


def _mlflow(run_dir: Path) -> Logger:
    # it reports its use to its makers unless told not to, before it is imported
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    # the plain folder of runs, which later versions call their old way, needs no server
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from lightning.pytorch.loggers import MLFlowLogger

    folder = run_dir / FOLDER
    noted = folder / MLFLOW_RUN
    known = noted.read_text(encoding="utf-8").strip() if noted.is_file() else None
    where = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").absolute().as_uri()
    try:
        logger = MLFlowLogger(run_dir.name, run_name=run_dir.name, tracking_uri=where, run_id=known)
        run_id = logger.run_id
    except ModuleNotFoundError as error:
        raise UsageError(
            "trainer.logger=mlflow needs MLflow: pip install 'dfdetect[track]'"
        ) from error
    if run_id:  # the first process only: the others log nothing
        with written_whole(noted) as part:
            part.write_text(f"{run_id}\n", encoding="utf-8")
    return logger


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        # a kill may have torn the last line
        return [row for row in csv.DictReader(stream) if (row.get("step") or "").isdigit()]


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)
