"""What the folder of a run says of itself: its settings, its parents, and whose run it is."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfdetect.data.crops import CropStore
from dfdetect.data.training_items import Source
from dfdetect.detectors.base import TRAINED_PARTS
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import RunRecord, environment, sha256_file, sha256_value, written_whole
from dfdetect.training.settings import FitSettings
from dfdetect.types import REAL

BEST = "best.safetensors"
LAST = "last.safetensors"
STATE = "resume.safetensors"
SETTINGS = "settings.json"

# what may change between a kill and a resume: the machinery, the time limit, names of files and
# folders (crops, landmarks and weights to start from count by their hash), and the calibration,
# which every call fits anew
FREE = ("run_dir", "crops", "landmarks", "start_from")
FREE_OF_TRAINER = ("workers", "threads", "max_minutes", "save_every", "logger")

# what the names of landmark files begin with among the parents
MARKS = "landmarks "

Parents = tuple[tuple[str, str], ...]


def parents_of(stores: Sequence[CropStore]) -> Parents:
    """Return the name and the SHA-256 of the table of each crop store."""
    return tuple(
        (store.folder.name, sha256_file(store.folder / "crops.parquet")) for store in stores
    )


def landmark_parents(files: Sequence[Path]) -> Parents:
    """Return the name and the SHA-256 of each file of landmarks.

    Raises:
        ContractError: One is missing.
    """
    for path in files:
        if not path.is_file():
            raise ContractError(f"{path} is missing; give landmarks=[…] .csv or .npz files")
    return tuple((f"{MARKS}{path.name}", sha256_file(path)) for path in files)


def blend_facts(blended_as: Sequence[tuple[str, int]], marks: Parents) -> dict[str, str]:
    """Return what weights say of the blends that they learned from.

    Args:
        blended_as: What the blends are called, and of how many faces they were made.
        marks: The `landmark_parents` of the run.

    Example:
        >>> blend_facts([("sbi", 90), ("sbi-5pt", 6)], (("landmarks a.csv", "0f" * 32),))
        {'blends': 'sbi of 90 faces, sbi-5pt of 6 faces', 'landmarks': 'a.csv 0f0f0f0f0f0f'}
    """
    facts = {
        "blends": ", ".join(f"{name} of {n} faces" for name, n in blended_as),
        "landmarks": ", ".join(f"{name[len(MARKS) :]} {sha256[:12]}" for name, sha256 in marks),
    }
    return {name: fact for name, fact in facts.items() if fact}


def lesson_facts(stores: Sequence[CropStore], sources: Sequence[Source]) -> dict[str, str]:
    """Return what weights say of whose faces they learned from, in words and for programs.

    Fakes of a source that is blended throughout were never drawn, so they are not named.
    """
    drawn = {source.dataset for source in sources if source.weight > 0}
    forged = {source.dataset for source in sources if source.weight > 0 and source.blend_share < 1}
    totals: Counter[tuple[str, str]] = Counter()
    parts = set()
    for store in stores:
        train = store.videos.where(split="train").table
        counts = train.group_by(["dataset", "method", "label"]).aggregate([([], "count_all")])
        for group in counts.to_pylist():
            dataset, is_real = group["dataset"], group["label"] == REAL
            if dataset in (drawn if is_real else forged):
                kind = "genuine" if is_real else "manipulated"
                totals[dataset, kind] += group["count_all"]
                parts.add((dataset, group["method"]))
    told = ", ".join(f"{n} {kind} of {dataset}" for (dataset, kind), n in sorted(totals.items()))
    return {"trained_on": told, TRAINED_PARTS: json.dumps(sorted(parts))}


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
        what = "; ".join(changed[:3]) or "other crops, landmarks or another version's settings"
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
    fixed = {key: value for key, value in plain.items() if key not in FREE}
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
