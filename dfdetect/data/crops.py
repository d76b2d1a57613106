"""A manifest becomes a crop store, whatever happens on the way.

Work is done in units of some videos. A unit is one shard and the rows that belong to it, both
written under temporary names and renamed when whole; so a run that was killed at any moment is
simply started again and ends in the same store as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa

from dfdetect.data.manifest import Manifest, Progress
from dfdetect.data.shards import CROPS, RECORD, CropRow, Crops, CropStore, ShardWriter
from dfdetect.data.tables import TableHeader, read_table, write_table
from dfdetect.data.video_crops import KEEP, Cutter
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import ContractError, DfdetectError, UsageError
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.media import FrameSampler
from dfdetect.provenance import canonical_json, sha256_value, written_whole
from dfdetect.types import CropPolicy

__all__ = ["CropRow", "CropStore", "ExtractSummary", "extract_crops"]


@dataclass(frozen=True, slots=True)
class ExtractSummary:
    """What an extraction made: rows by status, and how many units an earlier run had finished."""

    n_videos: int
    n_by_status: tuple[tuple[str, int], ...]
    n_units: int
    n_units_kept: int
    config_hash: str

    @property
    def n_rows(self) -> int:
        """The number of sampled frames or faces, usable or not."""
        return sum(n for _, n in self.n_by_status)


@dataclass(frozen=True, slots=True)
class _Unit:
    index: int
    rows: tuple[ManifestRow, ...]

    @property
    def shard(self) -> str:
        return f"shards/{self.index:06d}.tar"

    @property
    def part(self) -> str:
        return f"parts/{self.index:06d}.parquet"


@dataclass(frozen=True, slots=True)
class _Job:
    cutter: Cutter
    finder: str | None
    finder_options: tuple[tuple[str, Any], ...]
    data_root: Path
    out: Path
    config_hash: str


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
    finder_options: Sequence[tuple[str, Any]] = (),
    shard_frames: int = 512,
    workers: int = 1,
    progress: Progress | None = None,
) -> ExtractSummary:
    """Cut the faces out of every video of a manifest into a crop store in the folder `out`.

    `out` receives tar shards of about `shard_frames` pictures, `crops.parquet` with a row for
    every sampled frame or face, and a copy of the manifest. The same call continues a run that
    was interrupted and ends in the same tables and shards, with any number of `workers`
    (processes). One run at a time may write to a folder. `progress` gets videos done and all.

    `faces` is `largest`, `all` or `tracks`, see `Cutter`; `finder` a registered name, None only
    for the policy `whole` without `landmarks`; faces with a box below `min_side_px` get no picture.

    Raises:
        UsageError: The settings do not fit together, or no video at all is below `data_root`.
        ContractError: `out` holds crops of other settings or of another manifest.
    """
    if faces not in KEEP:
        raise UsageError(f"unknown faces={faces!r}; choose one of {', '.join(KEEP)}")
    if policy.name == "whole" and not landmarks:
        finder = None
    elif finder is None:
        raise UsageError(f"crop policy {policy.name} needs a face finder; give finder=onnx")
    cutter = Cutter(policy, sampler, faces, landmarks, min_side_px)
    settings = _settings(cutter, finder, finder_options, shard_frames, manifest)
    job = _Job(cutter, finder, tuple(finder_options), data_root, out, sha256_value(settings))
    units = tuple(_units(manifest.rows, sampler, shard_frames))
    if not (out / "crops.parquet").exists():
        _require_videos(manifest, data_root)
    _claim(out, settings)
    if (out / "crops.parquet").exists():
        return _finished(job, units, len(manifest.rows))
    _sweep(out)
    manifest.write(out / "manifest.parquet")
    unfinished = [unit for unit in units if not _is_done(job, unit)]
    n_done = len(manifest.rows) - sum(len(unit.rows) for unit in unfinished)
    _run(job, unfinished, workers, _Reporter(progress, n_done, len(manifest.rows)))
    _merge(job, units, manifest)
    return _finished(job, units, len(manifest.rows), n_kept=len(units) - len(unfinished))


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


class _Reporter:
    def __init__(self, progress: Progress | None, n_done: int, n_all: int) -> None:
        self._progress, self._n_done, self._n_all = progress, n_done, n_all
        self.add(0)

    def add(self, n_videos: int) -> None:
        self._n_done += n_videos
        if self._progress is not None:
            self._progress(self._n_done, self._n_all)


def _units(rows: Videos, sampler: FrameSampler, shard_frames: int) -> Iterator[_Unit]:
    index, n_frames, members = 0, 0, []
    for row in rows:
        members.append(row)
        n_frames += _expected_frames(row, sampler)
        if n_frames >= shard_frames:
            yield _Unit(index, tuple(members))
            index, n_frames, members = index + 1, 0, []
    if members:
        yield _Unit(index, tuple(members))


def _expected_frames(row: ManifestRow, sampler: FrameSampler) -> int:
    n_frames: int = row.n_frames or max(1, round(row.duration_s * row.fps))
    if sampler.rule == "even":
        return min(int(sampler.count), n_frames)
    if sampler.rule == "fps":
        return min(n_frames, max(1, round(row.duration_s * sampler.fps)))
    return n_frames


def _require_videos(manifest: Manifest, data_root: Path) -> None:
    # a mistyped folder would leave a finished store of missing videos, which nothing redoes
    if len(manifest.rows) and not any((data_root / row.path).exists() for row in manifest.rows):
        raise UsageError(
            f"none of the {len(manifest.rows)} videos of the manifest is below {data_root} (the "
            f"first: {manifest.rows[0].path}); give the data_root that it was indexed with"
        )


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    record = out / RECORD
    wanted = json.loads(canonical_json(settings))
    if not record.exists():
        if (out / "crops.parquet").exists():
            raise ContractError(f"{out} holds a crop store without {RECORD}; give another out=…")
        with written_whole(record) as part:
            part.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n")
        return
    try:
        found = json.loads(record.read_text())
    except ValueError:
        found = {}
    differing = sorted(key for key in wanted if found.get(key) != wanted[key])
    if differing:
        raise ContractError(
            f"{out} holds crops made with another {', '.join(differing)}; give another out=…, or "
            f"remove them with `rm -r {out}`"
        )


def _sweep(out: Path) -> None:
    # what a killed run left under temporary names
    for folder in (out, out / "shards", out / "parts"):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.part"):
            leftover.unlink(missing_ok=True)


def _is_done(job: _Job, unit: _Unit) -> bool:
    shard, part = job.out / unit.shard, job.out / unit.part
    if not (shard.exists() and part.exists()):
        return False
    _, header = read_table(part, CROPS)
    return header.config_hash == job.config_hash and header.fact("bytes") == shard.stat().st_size


def _run(job: _Job, units: Sequence[_Unit], workers: int, report: _Reporter) -> None:
    if workers <= 1 or len(units) <= 1:
        for unit in units:
            _work(job, unit, on_video=report.add)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(units)), context, _start_worker) as pool:
        running = {pool.submit(_work, job, unit): unit for unit in units}
        try:
            for future in as_completed(running):
                future.result()
                report.add(len(running[future].rows))
        except BrokenProcessPool as error:
            raise DfdetectError(
                f"a worker of the extraction to {job.out} ended early (out of memory? a script "
                "without `if __name__ == '__main__':`?); run it again, with fewer workers: "
                "finished shards are kept"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    # a worker whose parent was killed would wait for work for ever
    wait([sentinel])
    os._exit(1)


def _work(job: _Job, unit: _Unit, on_video: Callable[[int], None] | None = None) -> None:
    finder = _finder(job.finder, job.finder_options)
    rows: list[CropRow] = []
    with written_whole(job.out / unit.shard) as path:
        with path.open("wb") as stream:
            shard = ShardWriter(stream)
            for video in unit.rows:
                rows.extend(_stored(job, unit, video, finder, shard))
                if on_video is not None:
                    on_video(1)
            shard.close()
        n_bytes = path.stat().st_size
    header = TableHeader(job.config_hash, facts=(("bytes", n_bytes),))
    write_table(job.out / unit.part, Crops.of(rows).table, CROPS, header)


def _stored(
    job: _Job, unit: _Unit, video: ManifestRow, finder: FaceFinder | None, shard: ShardWriter
) -> Iterator[CropRow]:
    for row, image in job.cutter.cut(video, job.data_root, finder):
        if image is None:
            yield row
            continue
        facts = {
            "crop_id": row.crop_id,
            "video_id": row.video_id,
            "dataset": video.dataset,
            "method": video.method,
            "label": video.label,
            "split": video.split,
            "track_id": row.track_id,
            "frame_index": row.frame_index,
            "time_s": row.time_s,
            "landmarks": row.landmarks,
        }
        offset, size = shard.add(row.crop_id, image, facts)
        yield dataclasses.replace(row, shard=unit.shard, offset=offset, size=size)


@cache
def _finder(name: str | None, options: tuple[tuple[str, Any], ...]) -> FaceFinder | None:
    # loading the networks takes longer than a short video; a process does it once
    return None if name is None else create_finder(name, **dict(options))


def _merge(job: _Job, units: Sequence[_Unit], manifest: Manifest) -> None:
    parts = [read_table(job.out / unit.part, CROPS)[0] for unit in units]
    table = pa.concat_tables(parts) if parts else Crops.of(()).table
    counts = Counter(table.column("status").to_pylist())
    header = TableHeader(
        job.config_hash,
        parents=(("manifest", manifest.content_hash()),),
        facts=(("n_by_status", dict(sorted(counts.items()))),),
    )
    write_table(job.out / "crops.parquet", table, CROPS, header)


def _finished(
    job: _Job, units: Sequence[_Unit], n_videos: int, n_kept: int | None = None
) -> ExtractSummary:
    _, header = read_table(job.out / "crops.parquet", CROPS)
    absent = [unit.shard for unit in units if not (job.out / unit.shard).exists()]
    if header.config_hash != job.config_hash or absent:
        raise ContractError(
            f"{job.out} is damaged ({absent[0] if absent else 'crops.parquet'} does not belong to "
            f"it or is gone); remove it with `rm -r {job.out}` and extract again"
        )
    shutil.rmtree(job.out / "parts", ignore_errors=True)
    return ExtractSummary(
        n_videos=n_videos,
        n_by_status=tuple(sorted(header.fact("n_by_status", {}).items())),
        n_units=len(units),
        n_units_kept=len(units) if n_kept is None else n_kept,
        config_hash=job.config_hash,
    )
