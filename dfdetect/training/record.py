"""What the folder of a run says of itself: its settings, its parents, and whose run it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
    return sha256_value({"settings": _fixed(_plain(settings)), "parents": parents})


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
        record = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        found, before = record["sha256"], dict(_leaves(_fixed(record["settings"])))
    except (OSError, ValueError, KeyError, TypeError):
        # weights that do not say whose they are belong to another run, too
        found, before = "", {}
    if found != digest:
        now = dict(_leaves(_fixed(_plain(settings))))
        changed = [
            f"{key}={before[key]} there, {key}={now[key]} here"
            for key in sorted(before.keys() & now.keys())
            if before[key] != now[key]
        ]
        what = "; ".join(changed[:3]) or "other crops or another version's settings"
        raise UsageError(
            f"{folder} holds a run with other settings ({what}); choose another run_dir, or delete "
            "that folder"
        )


def write_record(
    settings: FitSettings, digest: str, parents: Parents, calibrated_on: Parents, command: str
) -> None:
    """Write `settings.json` and `run.json` into the folder of a run."""
    plain = _plain(settings)
    with written_whole(settings.run_dir / SETTINGS) as part:
        part.write_text(json.dumps({"sha256": digest, "settings": plain}, indent=2) + "\n")
    marked = tuple((f"calibration {name}", sha256) for name, sha256 in calibrated_on)
    record = RunRecord(command, digest, settings.seed, parents + marked, environment())
    record.write(settings.run_dir / "run.json")


def _plain(settings: FitSettings) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    return plain


def _fixed(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the weights: the settings without what may change on a resume."""
    fixed = {key: value for key, value in plain.items() if key not in ("run_dir", "crops")}
    for group, free in (("trainer", FREE_OF_TRAINER), ("validation", ("calibrate_on",))):
        fixed[group] = {key: value for key, value in plain[group].items() if key not in free}
    return fixed


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of nested settings, as the command line writes them."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value
