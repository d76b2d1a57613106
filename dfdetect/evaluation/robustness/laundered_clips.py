"""Some videos of a manifest under a condition: their laundered clips and the manifest of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dfdetect.data.engines import Engine
from dfdetect.data.manifest import UNREADABLE, Manifest, Problem
from dfdetect.data.video_crops import is_as_indexed
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import UnreadableVideo
from dfdetect.evaluation.robustness.laundering import Condition, launder
from dfdetect.media import probe
from dfdetect.provenance import sha256_bytes, sha256_file, sha256_value

MANIFEST = "manifest.parquet"


@dataclass(frozen=True, slots=True)
class LaunderJob:
    """What laundering one video after the other has in common; the folders are absolute."""

    condition: Condition
    data_root: Path
    folder: Path
    seed: int
    window_s: float | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    place: int
    row: ManifestRow
    problem: Problem | None = None


def unpaired(row: ManifestRow) -> ManifestRow:
    """Return a video without its original and its mask, which no longer lie over it frame by frame.

    The clean clips go without them too, so that every condition chooses faces alike.
    """
    return dataclasses.replace(row, original_id=None, mask_path=None)


def laundered(
    job: LaunderJob,
    videos: Sequence[ManifestRow],
    engine: Engine,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Launder videos into the job's folder and return the manifest of the clips there.

    What is there already stays. A video that is missing or altered stays so for whoever reads the
    manifest; in place of one that cannot be read or coded lies an empty file, and the reason is
    among the manifest's problems.

    Args:
        job: What is done to them and where they are.
        videos: As the source's manifest has them.
        engine: Who does the work.
        progress: Called with the number of videos done.
    """
    path = job.folder / MANIFEST
    if path.exists():
        return Manifest.read(path)
    job.folder.mkdir(parents=True, exist_ok=True)
    outcomes: list[_Outcome] = []
    for outcome in engine.run(partial(_laundered_row, job), enumerate(videos)):
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes))
    outcomes.sort(key=lambda one: one.place)
    problems = tuple(one.problem for one in outcomes if one.problem is not None)
    settings = {"steps": repr(job.condition.steps), "seed": job.seed, "window_s": job.window_s}
    rows = Videos.of(one.row for one in outcomes)
    manifest = Manifest(rows, sha256_value(settings), problems=problems)
    manifest.write(path)
    return manifest


def _laundered_row(job: LaunderJob, task: tuple[int, ManifestRow]) -> _Outcome:
    place, row = task
    row = unpaired(row)
    clip = job.folder / f"{place:06d}.mp4"
    source = job.data_root / row.path
    as_it_was = dataclasses.replace(row, path=clip.name)
    if clip.is_symlink() or (clip.exists() and not clip.stat().st_size):
        # what an interrupted run left in place of a clip
        clip.unlink()
    if not source.exists():
        return _Outcome(place, as_it_was)
    try:
        if not is_as_indexed(probe(source), row):
            # the reader of the manifest finds that out as we did
            clip.symlink_to(source)
            return _Outcome(place, as_it_was)
        launder(source, job.condition, clip, _seed_of(job.seed, row.video_id), job.window_s)
        video = probe(clip)
    except UnreadableVideo as error:
        clip.write_bytes(b"")
        reason = str(error).replace(f"{job.data_root}/", "")
        return _Outcome(place, as_it_was, Problem(row.path, UNREADABLE, reason))
    facts = dataclasses.replace(
        as_it_was,
        sha256=sha256_file(clip),
        fps=video.fps,
        n_frames=video.n_frames,
        width=video.width,
        height=video.height,
        duration_s=video.duration_s,
    )
    return _Outcome(place, facts)


def _seed_of(seed: int, video_id: str) -> int:
    return int(sha256_bytes(f"{seed}/{video_id}".encode())[:12], 16)
