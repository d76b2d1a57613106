"""Detectors on clips that were degraded or shared before any face was looked for.

Every condition takes the videos through the same reading, face search and scoring as clean clips.
Clips are laundered some at a time and removed once their faces are cut out, so that only the crops
of all conditions need room. A run that was killed is started again and goes on where it was.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dfdetect.data.claim import alone_in, claim
from dfdetect.data.crops import IN_PROCESS, ExtractProgress, extract_crops
from dfdetect.data.engines import Engine
from dfdetect.data.manifest import Manifest, Problem
from dfdetect.data.shards import MISSING, OK, CropStore
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.detectors.base import LoadedDetector
from dfdetect.errors import UsageError
from dfdetect.evaluation.results import CLEAN
from dfdetect.evaluation.robustness.curves import (
    CurvePoint,
    FoundFaces,
    curves,
    parts_of,
    worst_points,
)
from dfdetect.evaluation.robustness.laundered_clips import LaunderJob, laundered, unpaired
from dfdetect.evaluation.robustness.laundering import Condition
from dfdetect.evaluation.robustness.settings import RobustnessPlan, RobustnessSettings
from dfdetect.evaluation.run_files import SCORES_FILE, read_run, write_run
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.evaluation.scored import SHORT_TRACK, score_stores
from dfdetect.provenance import sha256_bytes
from dfdetect.scoring.score_table import ScoreTable, SkippedScore
from dfdetect.types import CropPolicy

__all__ = [
    "ConditionRun",
    "CurvePoint",
    "FoundFaces",
    "RobustnessPlan",
    "RobustnessProgress",
    "RobustnessResult",
    "RobustnessSettings",
    "curves",
    "parts_of",
    "robustness",
    "worst_points",
]

LAUNDER, EXTRACT, SCORE = "launder", "extract", "score"


@dataclass(frozen=True, slots=True)
class RobustnessProgress:
    """How far one stage (`launder`, `extract`, `score`) of one condition is, of all its items."""

    condition: str
    stage: str
    n_done: int
    n_all: int


OnProgress: TypeAlias = Callable[[RobustnessProgress], None]


@dataclass(frozen=True, slots=True)
class ConditionRun:
    """One detector under one condition.

    `found` has one entry a dataset; `problems` are the videos that could not be read or coded.
    """

    condition: Condition
    run: ScoredRun
    found: tuple[FoundFaces, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class RobustnessResult:
    """Every detector under every condition: conditions in the order given, detectors in each."""

    runs: tuple[ConditionRun, ...]

    @property
    def found(self) -> tuple[FoundFaces, ...]:
        """The counts of faces of all runs."""
        return tuple(one for run in self.runs for one in run.found)


def robustness(
    manifest: Manifest,
    data_root: Path,
    detectors: Mapping[str, LoadedDetector],
    conditions: Sequence[Condition],
    work: Path,
    plan: RobustnessPlan,
    *,
    engine: Engine = IN_PROCESS,
    progress: OnProgress | None = None,
) -> RobustnessResult:
    """Score detectors on the videos of a split under every condition.

    Detectors whose crops are cut alike share one extraction. A condition under which no face at
    all is left has a run without scores, in which every video is skipped. The same call continues
    a run that was interrupted; more conditions and detectors may join later.

    Args:
        manifest: The videos, whose labels and splits hold under every condition.
        data_root: The folder that the manifest's paths are relative to.
        detectors: By the names that tables call them.
        conditions: As from `conditions_of`.
        work: A folder of its own for crops and scores.
        plan: What is the same under every condition.
        engine: Who launders and cuts.
        progress: Called as the work goes on.

    Raises:
        UsageError: The split is empty, or another run is writing to `work`.
        ContractError: `work` holds a run of other settings or of another manifest.
    """
    videos = chosen(manifest.rows.where(split=plan.split), plan)
    missing = tuple(row.video_id for row in videos if not (data_root / row.path).exists())
    _require(detectors, videos, missing, plan.split, data_root)
    settings = {
        "plan": replace(plan, keep_clips=False),
        "manifest": manifest.content_hash(),
        "missing": missing,
    }
    runs: list[ConditionRun] = []
    with alone_in(work):
        claim(work, settings)
        for condition in conditions:
            folder = work / condition.slug
            folder.mkdir(exist_ok=True)
            claim(folder, {"steps": [(type(step).__name__, step) for step in condition.steps]})
            under = _Under(condition, folder, data_root, videos, missing, plan, engine, progress)
            runs += under.runs(detectors)
    return RobustnessResult(tuple(runs))


def _require(
    detectors: Mapping[str, LoadedDetector],
    videos: Sequence[ManifestRow],
    missing: Sequence[str],
    split: str,
    data_root: Path,
) -> None:
    if not detectors:
        raise UsageError("no detector was given; name at least one checkpoint")
    if not videos:
        raise UsageError(f"the manifest has no video in the split {split!r}; give split=…")
    if len(missing) == len(videos):
        raise UsageError(
            f"none of the {len(videos)} videos of the split {split!r} is below {data_root} (the "
            f"first: {videos[0].path}); give the data_root that the manifest was indexed with"
        )


def chosen(videos: Videos, plan: RobustnessPlan) -> tuple[ManifestRow, ...]:
    """Return the videos that a plan takes, sorted by id: of each method those of lowest hash."""
    rows = sorted(videos, key=lambda row: row.video_id)
    if plan.per_method is None:
        return tuple(rows)
    ranked: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in rows:
        rank = sha256_bytes(f"{plan.seed}/{row.video_id}".encode()) + row.video_id
        ranked[row.dataset, row.method, row.compression].append(rank)
    drawn = {rank[64:] for ranks in ranked.values() for rank in sorted(ranks)[: plan.per_method]}
    return tuple(row for row in rows if row.video_id in drawn)


class _Under:
    """The work under one condition, all of it below one folder."""

    def __init__(
        self,
        condition: Condition,
        folder: Path,
        data_root: Path,
        videos: Sequence[ManifestRow],
        missing: Sequence[str],
        plan: RobustnessPlan,
        engine: Engine,
        progress: OnProgress | None,
    ) -> None:
        self._condition, self._folder, self._plan = condition, folder, plan
        self._data_root, self._videos, self._missing = data_root.absolute(), videos, missing
        self._there = tuple(row for row in videos if row.video_id not in set(missing))
        self._engine, self._progress = engine, progress
        self._problems: list[Problem] = []

    def runs(self, detectors: Mapping[str, LoadedDetector]) -> Iterator[ConditionRun]:
        policies = {
            name: crop_policy(one, cropped=self._plan.finder is None)
            for name, one in detectors.items()
        }
        stores = self._stores(tuple(dict.fromkeys(policies.values())))
        for name, detector in detectors.items():
            own = stores[policies[name]]
            run = self._scored(name, detector, own)
            found = found_faces(own, self._videos, name, self._condition.name)
            yield ConditionRun(self._condition, run, found, tuple(self._problems))

    def _stores(self, policies: Sequence[CropPolicy]) -> dict[CropPolicy, tuple[CropStore, ...]]:
        size = self._plan.batch_videos
        batches = [
            self._batch(start, self._there[start : start + size], policies)
            for start in range(0, len(self._there), size)
        ]
        return {policy: tuple(batch[policy] for batch in batches) for policy in policies}

    def _batch(
        self, start: int, videos: Sequence[ManifestRow], policies: Sequence[CropPolicy]
    ) -> dict[CropPolicy, CropStore]:
        """Return the crops of some videos by each policy, cut out of clips made for the purpose."""
        stores = {policy: self._store_folder(policy, start) for policy in policies}
        clips = self._folder / "clips" / f"{start:06d}"
        missing = {
            policy: folder
            for policy, folder in stores.items()
            if not (folder / "crops.parquet").exists()
        }
        if missing:
            manifest, root = self._clips(clips, start, videos)
            for policy, folder in missing.items():
                self._cut(manifest, root, folder, policy, start)
        if not self._plan.keep_clips:
            # the manifest last: without it the clips would be taken for unfinished
            shutil.rmtree(clips, ignore_errors=True)
        opened = {policy: CropStore.open(folder) for policy, folder in stores.items()}
        self._problems += Manifest.read(next(iter(stores.values())) / "manifest.parquet").problems
        return opened

    def _clips(
        self, folder: Path, start: int, videos: Sequence[ManifestRow]
    ) -> tuple[Manifest, Path]:
        plan = self._plan
        if self._condition.family == CLEAN and plan.window_s is None:
            # the clips as they are; a window is cut from clean ones too
            return Manifest(Videos.of(map(unpaired, videos)), ""), self._data_root
        job = LaunderJob(
            self._condition, self._data_root, folder.absolute(), plan.seed, plan.window_s
        )
        told = partial(self._tell, LAUNDER, start)
        return laundered(job, videos, self._engine, told), folder

    def _cut(
        self, manifest: Manifest, root: Path, out: Path, policy: CropPolicy, start: int
    ) -> None:
        plan = self._plan

        def told(progress: ExtractProgress) -> None:
            self._tell(EXTRACT, start, progress.n_done)

        extract_crops(
            manifest,
            root,
            out,
            policy,
            plan.sampler,
            plan.finder,
            plan.faces,
            landmarks=plan.finder is not None,
            engine=self._engine,
            progress=told,
        )

    def _scored(
        self, name: str, detector: LoadedDetector, stores: Sequence[CropStore]
    ) -> ScoredRun:
        folder = self._folder / "scores" / detector.weights_sha256[:16]
        if not (folder / SCORES_FILE).exists():

            def told(n_done: int, n_all: int) -> None:
                self._tell(SCORE, 0, n_done, n_all)

            run = self._score(detector, stores, told)
            scores = _with_skipped(run.scores, self._missing, MISSING)
            write_run(replace(run, scores=scores, videos=Videos.of(self._videos)), folder)
        return replace(read_run(folder), name=name)

    def _score(
        self,
        detector: LoadedDetector,
        stores: Sequence[CropStore],
        told: Callable[[int, int], None],
    ) -> ScoredRun:
        if has_items(stores, detector.header.frames):
            return score_stores(stores, detector, self._plan.split, progress=told)
        # nothing was left to score, which is a finding and no fault
        skipped = [
            SkippedScore(
                row.video_id, row.status if row.status != OK else SHORT_TRACK, row.track_id,
                row.frame_index, row.time_s,
            )
            for store in stores
            for row in store.crops
        ]  # fmt: skip
        header = detector.header
        return ScoredRun(
            header.detector,
            ScoreTable.of((), skipped),
            Videos.of(self._there),
            unit="clip" if header.frames > 1 else "frame",
            calibration=header.calibration,
            parents=(("weights", detector.weights_sha256),),
            frames=header.frames,
        )

    def _store_folder(self, policy: CropPolicy, start: int) -> Path:
        named = f"{policy.name}-{policy.scale:g}-{policy.size}"
        return self._folder / "crops" / named / f"{start:06d}"

    def _tell(self, stage: str, start: int, n_done: int, n_all: int | None = None) -> None:
        if self._progress is not None:
            total = len(self._there) if n_all is None else n_all
            self._progress(RobustnessProgress(self._condition.name, stage, start + n_done, total))


def _with_skipped(table: ScoreTable, video_ids: Sequence[str], status: str) -> ScoreTable:
    """Return a table with a row more for each of some videos that it does not know."""
    added = len(video_ids)
    return ScoreTable.from_columns(
        [*(table.video_ids[video] for video in table.video.tolist()), *video_ids],
        [*table.track_id.tolist(), *[-1] * added],
        [*table.frame_index.tolist(), *[-1] * added],
        [*table.time_s.tolist(), *[0.0] * added],
        [*table.logit.tolist(), *[np.nan] * added],
        [*(table.statuses[code] for code in table.status.tolist()), *[status] * added],
    )


def crop_policy(detector: LoadedDetector, *, cropped: bool) -> CropPolicy:
    """Return how crops are cut for a detector: by its own policy, or whole pictures of its size."""
    own = detector.header.preprocess.crop
    return CropPolicy("whole", 1.0, own.size) if cropped else own


def has_items(stores: Sequence[CropStore], frames: int) -> bool:
    """Tell whether some track has as many usable crops as a detector judges at a time."""
    longest = Counter((row.video_id, row.track_id) for store in stores for row in store.usable())
    return any(n >= frames for n in longest.values())


def found_faces(
    stores: Sequence[CropStore], videos: Sequence[ManifestRow], detector: str, condition: str
) -> tuple[FoundFaces, ...]:
    """Return in how many frames faces were found, an entry a dataset."""
    frames: dict[str, set[int]] = defaultdict(set)
    usable: dict[str, set[int]] = defaultdict(set)
    for store in stores:
        for row in store.crops:
            if row.frame_index >= 0:
                frames[row.video_id].add(row.frame_index)
                if row.status == OK:
                    usable[row.video_id].add(row.frame_index)
    by_dataset: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        by_dataset[video.dataset].append(video.video_id)
    return tuple(
        FoundFaces(
            detector,
            condition,
            dataset,
            np.array([len(frames[video_id]) for video_id in ids], np.int64),
            np.array([len(usable[video_id]) for video_id in ids], np.int64),
        )
        for dataset, ids in by_dataset.items()
    )
