"""Crop stores and a detector → a scored run: a row a face or clip, and one for all that is none."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from dfdetect.data.crops import CropRow, CropStore
from dfdetect.data.shards import CROPS, OK
from dfdetect.data.tables import content_hash, read_header, read_table
from dfdetect.data.videos import MANIFEST, ManifestRow, Videos
from dfdetect.detectors.base import ORACLE, TRAINED_PARTS, LoadedDetector
from dfdetect.detectors.score import CropBatch, clip_key, score
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.runs import CLIP, FRAME, ScoredRun, TrainedOn, network_facts
from dfdetect.provenance import sha256_value
from dfdetect.scoring.score_table import ScoreTable, SkippedScore
from dfdetect.types import Calibration

Progress = Callable[[int, int], None]
Crop: TypeAlias = tuple[CropStore, CropRow]
WHOLE = "whole"
HASH = "hash"
NOT_EXTRACTED = "not_extracted"
SHORT_TRACK = "short_track"


def score_stores(
    store: CropStore | Sequence[CropStore],
    detector: LoadedDetector,
    split: str | None = "test",
    *,
    name: str | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> ScoredRun:
    """Score every usable crop of a split.

    A detector of clips judges T consecutive crops of a track, one clip after the other; a track
    that is shorter than a clip is a row of status `short_track`, and a rest is not judged. How far
    apart the frames are is what was extracted: for adjacent ones, extract with sampling=all.

    Args:
        store: One crop store or several, whose crops the detector's preprocessing fits.
        detector: As `load_detector` returns it.
        split: Which videos are scored; None: all.
        name: What tables call the run; None: the detector's name.
        batch_size: Crops judged together.
        progress: Called with the number of crops scored and of all crops.

    Raises:
        UsageError: The split has no usable crop (or no clip).
        ContractError: The crops were cut by another policy than the detector's, or two stores
            hold one video.
    """
    stores = (store,) if isinstance(store, CropStore) else tuple(store)
    header = detector.header
    videos = _videos_of(stores, split)
    items = _items(_crops_of(stores, split, detector), header.frames)
    found = score(detector, _batches(items, max(1, batch_size // header.frames), progress))
    skipped = _skipped(stores, videos, items, header.frames)
    facts = dict(header.provenance)
    return ScoredRun(
        name=name or header.detector,
        scores=ScoreTable.of(found, skipped),
        videos=Videos.of(videos[video_id] for video_id in sorted(videos)),
        unit=FRAME if header.frames == 1 else CLIP,
        trained_on=_trained_on(facts.get(TRAINED_PARTS)),
        calibration=header.calibration,
        threshold=_even_odds(header.calibration),
        # what a table's title must say: these weights were chosen by what they are measured on
        oracle=facts.get(ORACLE, ""),
        parents=_parents(stores, detector),
        frames=header.frames,
        split_rule=_split_rule(stores),
        network=network_facts(header),
    )


def _trained_on(stated: str | None) -> TrainedOn | None:
    if stated is None:
        return None
    return TrainedOn(tuple((dataset, method) for dataset, method in json.loads(stated)))


def _split_rule(stores: Sequence[CropStore]) -> str:
    rules = {
        read_header(store.folder / "manifest.parquet", MANIFEST).fact("split_rule", "")
        for store in stores
    }
    # one store whose splits are no dataset's own is enough to make the whole unofficial
    return HASH if HASH in rules else ", ".join(sorted(rules))


def _even_odds(calibration: Calibration | None) -> float | None:
    """Return the logit whose likelihood ratio is 1, by what the val split taught."""
    if calibration is None or calibration.slope <= 0:
        return None
    return -calibration.intercept / calibration.slope


def _crops_of(
    stores: Sequence[CropStore], split: str | None, detector: LoadedDetector
) -> list[Crop]:
    for store in stores:
        _require_policy(store, detector)
    crops = [(store, crop) for store in stores for crop in store.usable(split)]
    if not crops:
        raise UsageError(
            f"split {split!r} has no usable crop in {_named(stores)}; choose another "
            "protocol.split=… or extract its videos"
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


def _skipped(
    stores: Sequence[CropStore],
    videos: Mapping[str, ManifestRow],
    items: Sequence[tuple[Crop, ...]],
    frames: int,
) -> Iterator[SkippedScore]:
    rows = [row for store in stores for row in store.crops if row.video_id in videos]
    for row in rows:
        if row.status != OK:
            yield SkippedScore(row.video_id, row.status, row.track_id, row.frame_index, row.time_s)
    for video_id in sorted(videos.keys() - {row.video_id for row in rows}):
        yield SkippedScore(video_id, NOT_EXTRACTED)
    if frames > 1:
        judged = {(crop.video_id, crop.track_id) for item in items for _, crop in item}
        usable = {(row.video_id, row.track_id) for row in rows if row.status == OK}
        for video_id, track_id in sorted(usable - judged):
            yield SkippedScore(video_id, SHORT_TRACK, track_id)


def _videos_of(stores: Sequence[CropStore], split: str | None) -> dict[str, ManifestRow]:
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
