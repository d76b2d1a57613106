"""A manifest becomes a crop store, whatever happens on the way.

The work is done video by video, by an engine; every video leaves a piece on disk, and the pieces
of a shard become the shard. All of it is written under temporary names and renamed when whole; so
a run that was killed at any moment is simply started again, loses the videos that were in work at
most, and ends in the same store as one that was not.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.claim import alone_in, claim
from dfdetect.data.engines import Engine, LocalEngine
from dfdetect.data.manifest import Manifest
from dfdetect.data.pieces import (
    Job,
    Piece,
    Tally,
    Unit,
    assemble,
    cut_video,
    finished_unit,
    kept_piece,
    sweep,
)
from dfdetect.data.schedule import Schedule
from dfdetect.data.shards import CROPS, CropRow, CropStore
from dfdetect.data.tables import TableHeader, read_header, read_table, write_parts
from dfdetect.data.video_crops import KEEP, Cutter
from dfdetect.data.videos import Videos
from dfdetect.errors import ContractError, UsageError
from dfdetect.faces.crop import check_policy
from dfdetect.faces.finder import FINDERS
from dfdetect.media import FrameSampler
from dfdetect.provenance import sha256_value
from dfdetect.types import CropPolicy

__all__ = ["CropRow", "CropStore", "ExtractProgress", "ExtractSummary", "extract_crops"]

IN_PROCESS = LocalEngine()

# a shared folder may show a file of another machine only after a while
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class ExtractProgress:
    """How far an extraction is: videos done and all of them, and rows by status up to now."""

    n_done: int
    n_all: int
    n_by_status: tuple[tuple[str, int], ...]


OnProgress = Callable[[ExtractProgress], None]


@dataclass(frozen=True, slots=True)
class ExtractSummary:
    """What an extraction made, and how much of it an earlier run had finished.

    `n_skipped` are the rows without a picture by reason. `n_reused` counts the rows whose box was
    taken over from an original, `n_searched` the forgeries that could have had their boxes from
    one and were searched all the same. A unit is a shard and its rows.
    """

    n_videos: int
    n_by_status: tuple[tuple[str, int], ...]
    n_skipped: tuple[tuple[str, int], ...]
    n_reused: int
    n_searched: int
    n_units: int
    n_units_kept: int
    n_videos_kept: int
    config_hash: str

    @property
    def n_rows(self) -> int:
        """The number of sampled frames or faces, usable or not."""
        return sum(n for _, n in self.n_by_status)


def extract_crops(
    manifest: Manifest,
    data_root: Path,
    out: Path,
    policy: CropPolicy,
    sampler: FrameSampler,
    finder: str | None = "onnx",
    faces: str = "largest",
    *,
    landmarks: bool = True,
    min_side_px: float = 0.0,
    reuse_boxes: bool = False,
    finder_options: Sequence[tuple[str, Any]] = (),
    shard_frames: int = 512,
    engine: Engine = IN_PROCESS,
    progress: OnProgress | None = None,
) -> ExtractSummary:
    """Cut the faces out of every video of a manifest into a crop store in the folder `out`.

    `out` receives tar shards of about `shard_frames` pictures, `crops.parquet` with a row for
    every sampled frame or face, and a copy of the manifest. The same call continues a run that
    was interrupted and ends in the same tables and shards, with any `engine`. One run at a time
    may write to a folder.

    `faces` is `largest`, `all`, `tracks` or `mask`, see `Cutter`; `finder` a registered name,
    None only for the policy `whole` without `landmarks`; faces with a box below `min_side_px` get
    no picture. With `reuse_boxes` forgeries take over the faces of originals they line up with.

    Raises:
        UsageError: The settings do not fit together, no video at all is below `data_root`, or
            another run is writing to `out`.
        ContractError: `out` holds crops of other settings or of another manifest.
    """
    finder = _checked_finder(policy, finder, faces, min_side_px, landmarks=landmarks)
    reuses = reuse_boxes and policy.name != "whole"
    cutter = Cutter(policy, sampler, faces, landmarks, min_side_px, reuses)
    settings = _settings(cutter, finder, finder_options, shard_frames, manifest)
    roots = (data_root.absolute(), out.absolute())
    job = Job(cutter, finder, tuple(finder_options), *roots, sha256_value(settings))
    units = tuple(_units(manifest.rows, sampler, shard_frames))
    if not (out / "crops.parquet").exists():
        _require_videos(manifest, data_root)
    with alone_in(out):
        claim(out, settings)
        return _extracted(job, units, manifest, engine, progress)


def _extracted(
    job: Job,
    units: Sequence[Unit],
    manifest: Manifest,
    engine: Engine,
    progress: OnProgress | None,
) -> ExtractSummary:
    n_videos = len(manifest.rows)
    if (job.out / "crops.parquet").exists():
        return _finished(job, units, len(units), n_videos, n_videos)
    sweep(job)
    manifest.write(job.out / "manifest.parquet")
    run = _Run(job, manifest.rows, units, progress)
    n_units_kept, n_videos_kept = run.take_stock()
    try:
        run.cut(engine)
    finally:
        # of an interrupted run only whole pieces stay
        sweep(job)
    _merge(job, units, manifest, run.tally)
    return _finished(job, units, n_units_kept, n_videos, n_videos_kept)


def _checked_finder(
    policy: CropPolicy, finder: str | None, faces: str, min_side_px: float, *, landmarks: bool
) -> str | None:
    # all of it before the folder is claimed, which keeps out settings other than these
    check_policy(policy)
    if finder is not None:
        FINDERS.get(finder)
    if not min_side_px >= 0:
        raise UsageError(f"min_side_px={min_side_px} is no size; give 0 or more")
    if faces not in KEEP:
        raise UsageError(f"unknown faces={faces!r}; choose one of {', '.join(KEEP)}")
    if policy.name == "whole":
        # without landmarks there is nothing to look for
        return finder if landmarks else None
    if finder is None:
        raise UsageError(f"crop policy {policy.name} needs a face finder; give finder=onnx")
    return finder


class _Run:
    """One run of an extraction: what is there, what is missing, and how far it is."""

    def __init__(
        self, job: Job, videos: Videos, units: Sequence[Unit], progress: OnProgress | None
    ) -> None:
        self.tally = Tally()
        self._job, self._videos, self._units, self._progress = job, videos, units, progress
        self._n_done = 0
        self._todo: list[int] = []
        self._n_missing: dict[int, int] = {}

    def take_stock(self) -> tuple[int, int]:
        """Find out what an earlier run left; return how many units and videos it had finished."""
        names = self._videos.column("video_id")
        for unit in self._units:
            tally = finished_unit(self._job, unit)
            if tally is not None:
                shutil.rmtree(self._job.out / unit.folder, ignore_errors=True)
                self._count(unit.stop - unit.start, tally)
                continue
            missing = []
            for place in range(unit.start, unit.stop):
                piece = kept_piece(self._job, unit, place, names[place].as_py())
                if piece is None:
                    missing.append(place)
                else:
                    self._count(1, piece.tally)
            self._todo += missing
            self._n_missing[unit.index] = len(missing)
        self._report()
        return len(self._units) - len(self._n_missing), self._n_done

    def cut(self, engine: Engine) -> None:
        """Cut what is missing, and make shards of what is complete."""
        for unit in self._units:
            if self._n_missing.get(unit.index) == 0:
                assemble(self._job, unit)
        if not self._todo:
            return
        todo: NDArray[np.int64] = np.array(self._todo, dtype=np.int64)
        schedule = Schedule(self._job, self._videos, self._units, todo)
        for piece in engine.run(partial(cut_video, self._job), schedule.tasks()):
            _await(self._job, piece)
            schedule.finished(piece.place)
            self._count(1, piece.tally)
            self._report()
            self._n_missing[piece.unit.index] -= 1
            if not self._n_missing[piece.unit.index]:
                assemble(self._job, piece.unit)

    def _count(self, n_videos: int, tally: Tally) -> None:
        self._n_done += n_videos
        self.tally += tally

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(ExtractProgress(self._n_done, len(self._videos), self.tally.n_by_status))


def _await(job: Job, piece: Piece) -> None:
    path = job.out / piece.unit.piece(piece.place)
    deadline = time.monotonic() + _PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise UsageError(
                f"a worker wrote {path.name}, which does not show in {path.parent}; every machine "
                "that takes part must see one and the same folder there"
            )
        time.sleep(0.2)


def _settings(
    cutter: Cutter,
    finder: str | None,
    finder_options: Sequence[tuple[str, Any]],
    shard_frames: int,
    manifest: Manifest,
) -> dict[str, Any]:
    return {
        "cutter": cutter,
        "finder": finder,
        "finder_options": dict(finder_options),
        "shard_frames": shard_frames,
        "manifest": manifest.content_hash(),
        "crops_version": CROPS.version,
    }


def _units(videos: Videos, sampler: FrameSampler, shard_frames: int) -> Iterator[Unit]:
    n_frames, index, start = 0, 0, 0
    for place, expected in enumerate(expected_frames(videos, sampler).tolist(), 1):
        n_frames += expected
        if n_frames >= shard_frames:
            yield Unit(index, start, place)
            n_frames, index, start = 0, index + 1, place
    if start < len(videos):
        yield Unit(index, start, len(videos))


def expected_frames(videos: Videos, sampler: FrameSampler) -> NDArray[np.int64]:
    """Return how many frames a sampler will take from every video, as its header lets expect."""
    claimed, duration_s, fps = (
        videos.column(name).to_numpy() for name in ("n_frames", "duration_s", "fps")
    )
    # null became NaN
    counted = np.nan_to_num(np.asarray(claimed, dtype=np.float64))
    n_frames = np.where(counted > 0, counted, np.maximum(1, np.rint(duration_s * fps)))
    if sampler.rule == "even":
        n_frames = np.minimum(sampler.count, n_frames)
    elif sampler.rule == "fps":
        n_frames = np.minimum(n_frames, np.maximum(1, np.rint(duration_s * sampler.fps)))
    return n_frames.astype(np.int64)


def _require_videos(manifest: Manifest, data_root: Path) -> None:
    # a mistyped folder would leave a finished store of missing videos, which nothing redoes
    if len(manifest.rows) and not any((data_root / row.path).exists() for row in manifest.rows):
        raise UsageError(
            f"none of the {len(manifest.rows)} videos of the manifest is below {data_root} (the "
            f"first: {manifest.rows[0].path}); give the data_root that it was indexed with"
        )


def _merge(job: Job, units: Sequence[Unit], manifest: Manifest, tally: Tally) -> None:
    header = TableHeader(
        job.config_hash, parents=(("manifest", manifest.content_hash()),), facts=tally.facts
    )
    parts = (read_table(job.out / unit.rows, CROPS)[0] for unit in units)
    write_parts(job.out / "crops.parquet", parts, CROPS, header)


def _finished(
    job: Job, units: Sequence[Unit], n_units_kept: int, n_videos: int, n_videos_kept: int
) -> ExtractSummary:
    header = read_header(job.out / "crops.parquet", CROPS)
    absent = [unit.shard for unit in units if not (job.out / unit.shard).exists()]
    if header.config_hash != job.config_hash or absent:
        raise ContractError(
            f"{job.out} is damaged ({absent[0] if absent else 'crops.parquet'} does not belong to "
            f"it or is gone); remove it with `rm -r {job.out}` and extract again"
        )
    shutil.rmtree(job.out / "parts", ignore_errors=True)
    tally = Tally.stated(header)
    return ExtractSummary(
        n_videos=n_videos,
        n_by_status=tally.n_by_status,
        n_skipped=tally.n_skipped,
        n_reused=tally.n_reused,
        n_searched=tally.n_searched,
        n_units=len(units),
        n_units_kept=n_units_kept,
        n_videos_kept=n_videos_kept,
        config_hash=job.config_hash,
    )
