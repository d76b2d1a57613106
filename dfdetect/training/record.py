"""What the folder of a run says of itself: its settings, its parents, and whose run it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from dfdetect.data.crops import CropStore
from dfdetect.errors import UsageError
from dfdetect.provenance import RunRecord, environment, sha256_file, sha256_value, written_whole
from dfdetect.training.settings import FitSettings

BEST = "best.safetensors"
LAST = "last.safetensors"
STATE = "resume.safetensors"
SETTINGS = "settings.json"

# what may change between a kill and a resume: the machinery, the time limit, names of folders
# (the crops themselves count by their hash), and the calibration, which every call fits anew
FREE_OF_TRAINER = ("workers", "threads", "max_minutes", "save_every", "logger")

Parents = tuple[tuple[str, str], ...]


def parents_of(stores: Sequence[CropStore]) -> Parents:
    """Return the name and the SHA-256 of the table of each crop store."""
    return tuple(
        (store.folder.name, sha256_file(store.folder / "crops.parquet")) for store in stores
    )


def run_hash(settings: FitSettings, parents: Parents) -> str:
    """Return the SHA-256 of all that decides which weights a run ends in."""
    fixed = dataclasses.asdict(settings)
    for name in FREE_OF_TRAINER:
        del fixed["trainer"][name]
    del fixed["run_dir"], fixed["crops"], fixed["validation"]["calibrate_on"]
    return sha256_value({"settings": fixed, "parents": parents})


def require_same_run(settings: FitSettings, digest: str) -> None:
    """Refuse a folder that holds the weights of another run.

    A folder without weights, such as that of a command that was refused, is nobody's.

    Raises:
        UsageError: The sentence names the folder.
    """
    folder = settings.run_dir
    if not any((folder / name).is_file() for name in (STATE, BEST)):
        return
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        # weights that do not say whose they are belong to another run, too
        found = ""
    if found != digest:
        raise UsageError(
            f"{folder} holds a run with other settings or crops; choose another run_dir, or delete "
            "that folder"
        )


def write_record(
    settings: FitSettings, digest: str, parents: Parents, calibrated_on: Parents, command: str
) -> None:
    """Write `settings.json` and `run.json` into the folder of a run."""
    plain = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    with written_whole(settings.run_dir / SETTINGS) as part:
        part.write_text(json.dumps({"sha256": digest, "settings": plain}, indent=2) + "\n")
    marked = tuple((f"calibration {name}", sha256) for name, sha256 in calibrated_on)
    record = RunRecord(command, digest, settings.seed, parents + marked, environment())
    record.write(settings.run_dir / "run.json")
