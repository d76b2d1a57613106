"""Score a split of a crop store with a detector and measure it, by frame, track and video."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dfdetect.data.crops import CropRow, CropStore
from dfdetect.data.shards import CROPS, OK
from dfdetect.data.tables import content_hash, read_table
from dfdetect.data.videos import ManifestRow
from dfdetect.detectors.base import ORACLE, LoadedDetector
from dfdetect.detectors.score import CropBatch, clip_key, score
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.measure import CLIP, FRAME, LEVEL, MeasurePlan, gather_samples, measure
from dfdetect.evaluation.results import EvaluationResult, write_results
from dfdetect.provenance import sha256_value
from dfdetect.scoring.aggregate import AGGREGATES, MIN_FACES, video_scores

Progress = Callable[[int, int], None]
Crop: TypeAlias = tuple[CropStore, CropRow]
WHOLE = "whole"
NOT_EXTRACTED = "not_extracted"


def evaluate(
    store: CropStore | Sequence[CropStore],
    detector: LoadedDetector,
    split: str = "test",
    *,
    out: Path | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
    aggregate: str | None = None,
    video_rule: str = "highest_track",
    min_faces: int = MIN_FACES,
    batch_size: int = 64,
    protocol: str | None = None,
    command: str = "dfdetect evaluate",
    progress: Progress | None = None,
) -> EvaluationResult:
    """Score every usable crop of a split and measure the detector, with intervals over videos.

    For each dataset (and compression, where it has several) the fakes of each method, and all of
    them together, stand against all genuine videos; datasets are never pooled. Every face, track
    and video bears its video's label. Intervals are a percentile bootstrap that draws whole
    videos within each class. What has no usable face is not scored, but counted as skipped.

    A detector of clips judges T consecutive crops of a track, one clip after the other; a clip
    then counts as a face does, and a rest that is shorter than a clip is not judged. How far apart
    the frames are is what was extracted: for adjacent ones, extract with sampling=all.

    Args:
        store: One crop store or several, whose crops the detector's preprocessing fits.
        detector: As `load_detector` returns it.
        split: Which videos are measured.
        out: Where to write the files of `write_results`; None writes nothing.
        n_bootstrap: Resamples.
        seed: Of the resampling.
        aggregate: How faces become a track (`scoring.AGGREGATES`); None: as the calibration says,
            or else the mean of the logits.
        video_rule: How tracks become a video (`scoring.video_scores`).
        min_faces: Faces that a track needs to decide on a video; for a detector of clips, clips
            that hold so many.
        batch_size: Crops judged together.
        protocol: What the results call the protocol; None: the split's name.
        command: What `run.json` says was run.
        progress: Called with the number of crops scored and of all crops.

    Raises:
        UsageError: The split has no usable crop (or no clip), or no dataset in it has both classes;
            or a rule is unknown.
        ContractError: The crops were cut by another policy than the detector's, or two stores
            hold one video.
    """
    stores = (store,) if isinstance(store, CropStore) else tuple(store)
    calibration = detector.header.calibration
    how = aggregate or (calibration.aggregate if calibration else "mean_logit")
    plan = MeasurePlan(detector.header.detector, protocol or split, calibration, n_bootstrap, seed)
    frames = detector.header.frames
    settings = _settings(plan, split, how, video_rule, min_faces)
    settings += (("frames", frames),) if frames > 1 else ()
    # what a table's title must say: these weights were chosen by what they are measured on
    oracle = dict(detector.header.provenance).get(ORACLE)
    settings += ((ORACLE, oracle),) if oracle else ()
    AGGREGATES.get(how)
    videos = _videos_of(stores, split)
    items = _items(_crops_of(stores, split, detector), frames)
    found = score(detector, _batches(items, max(1, batch_size // frames), progress))
    scores = tuple(sorted(found, key=lambda one: (one.video_id, one.track_id, one.frame_index)))
    video_level = video_scores(scores, how, video_rule, -(-min_faces // frames))
    rows = [crop for one in stores for crop in one.crops if crop.video_id in videos]
    unit = CLIP if frames > 1 else FRAME
    samples = gather_samples(scores, video_level, rows, videos.keys(), how, unit)
    numbers, undefined = measure(samples, videos, plan)
    if not numbers:
        raise UsageError(f"nothing can be measured in {_named(stores)}: {'; '.join(undefined)}")
    result = EvaluationResult(
        rows=numbers,
        scores=scores,
        undefined=undefined,
        n_skipped_by_status=_statuses(rows, videos),
        n_unsound=sum(not one.is_sound for one in video_level),
        parents=_parents(stores, detector),
        settings=settings,
        config_hash=sha256_value(dict(settings)),
    )
    if out is not None:
        write_results(result, out, command)
    return result


def _settings(
    plan: MeasurePlan, split: str, aggregate: str, video_rule: str, min_faces: int
) -> tuple[tuple[str, str | int | float], ...]:
    return (
        ("detector", plan.detector),
        ("protocol", plan.protocol),
        ("split", split),
        ("aggregate", aggregate),
        ("video_rule", video_rule),
        ("min_faces", min_faces),
        ("n_bootstrap", plan.n_bootstrap),
        ("seed", plan.seed),
        ("level", LEVEL),
    )


def _crops_of(stores: Sequence[CropStore], split: str, detector: LoadedDetector) -> list[Crop]:
    for store in stores:
        _require_policy(store, detector)
    crops = [(store, crop) for store in stores for crop in store.usable(split)]
    if not crops:
        raise UsageError(
            f"split {split!r} has no usable crop in {_named(stores)}; choose another split=… or "
            "extract its videos"
        )
    return crops


def _items(crops: Sequence[Crop], frames: int) -> list[tuple[Crop, ...]]:
    """Return what is judged one by one: single crops, or clips of so many crops of one track."""
    if frames == 1:
        return [(crop,) for crop in crops]
    tracks: dict[tuple[str, int], list[Crop]] = defaultdict(list)
    for store, crop in crops:
        tracks[crop.video_id, crop.track_id].append((store, crop))
    clips = [
        tuple(track[start : start + frames])
        for track in (sorted(one, key=lambda each: each[1].frame_index) for one in tracks.values())
        for start in range(0, len(track) - frames + 1, frames)
    ]
    if not clips:
        raise UsageError(
            f"no track has the {frames} usable crops that the detector judges at a time; extract "
            f"more frames: sampling.count={4 * frames}"
        )
    return clips


def _batches(
    items: Sequence[tuple[Crop, ...]], size: int, progress: Progress | None
) -> Iterator[CropBatch]:
    for start in range(0, len(items), size):
        chunk = items[start : start + size]
        pictures = np.stack([store.image(crop) for item in chunk for store, crop in item])
        n_frames = len(chunk[0])
        yield CropBatch(
            tuple(clip_key([crop.key for _, crop in item]) for item in chunk),
            pictures if n_frames == 1 else pictures.reshape(-1, n_frames, *pictures.shape[1:]),
        )
        # the batch is judged when the loop asks for the next
        if progress is not None:
            progress(n_frames * (start + len(chunk)), n_frames * len(items))


def _videos_of(stores: Sequence[CropStore], split: str) -> dict[str, ManifestRow]:
    videos: dict[str, ManifestRow] = {}
    for store in stores:
        own = {row.video_id: row for row in store.videos.where(split=split)}
        if twice := videos.keys() & own.keys():
            raise ContractError(
                f"{store.folder} holds {len(twice)} video(s) that another store holds too (the "
                f"first: {min(twice)}); name each store once"
            )
        videos.update(own)
    return videos


def _require_policy(store: CropStore, detector: LoadedDetector) -> None:
    cut, wanted = store.policy, detector.header.preprocess.crop
    # pictures cropped by somebody else have no scale that we know of: only the size is checked
    keys = ("size",) if cut.name == WHOLE else ("name", "scale", "size")
    differing = [
        f"{key} {getattr(cut, key)} instead of {getattr(wanted, key)}"
        for key in keys
        if getattr(cut, key) != getattr(wanted, key)
    ]
    if differing:
        raise ContractError(
            f"the crops in {store.folder} have {', '.join(differing)}, which detector "
            f"{detector.header.detector!r} was trained on; extract them again with its crop policy"
        )


def _statuses(
    rows: Sequence[CropRow], videos: dict[str, ManifestRow]
) -> tuple[tuple[str, int], ...]:
    counts = Counter(row.status for row in rows if row.status != OK)
    if absent := len(videos.keys() - {row.video_id for row in rows}):
        counts[NOT_EXTRACTED] = absent
    return tuple(sorted(counts.items()))


def _parents(stores: Sequence[CropStore], detector: LoadedDetector) -> tuple[tuple[str, str], ...]:
    parents = [("weights", detector.weights_sha256)]
    if detector.header.calibration is not None:
        parents.append(("calibration", sha256_value(detector.header.calibration)))
    for number, store in enumerate(stores):
        table, header = read_table(store.folder / "crops.parquet", CROPS)
        mark = f" {number + 1}" if len(stores) > 1 else ""
        parents += [
            (f"crops{mark}", content_hash(table)),
            (f"crops config{mark}", store.config_hash),
        ]
        parents += [(f"{role}{mark}", digest) for role, digest in header.parents]
    return tuple(parents)


def _named(stores: Sequence[CropStore]) -> str:
    return ", ".join(str(store.folder) for store in stores) or "no store"
