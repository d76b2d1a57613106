"""Small crop stores for tests, made of one public-domain portrait: no extraction, no finder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfdetect.data.items import CropFacts
from dfdetect.data.manifest import Manifest
from dfdetect.data.shards import CROPS, CropRow, Crops, CropStore, ShardWriter
from dfdetect.data.tables import TableHeader, write_table
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.provenance import sha256_bytes
from dfdetect.types import CropPolicy, FaceBox, Image

LANDMARKS = ((205.0, 101.0), (248.0, 104.0), (226.0, 129.0), (203.0, 140.0), (245.0, 142.0))
"""The five points of the portrait's face, in its 512 × 512 pixels."""

BOX = FaceBox(183, 60, 268, 175)
SCALE = 1.5


def face_crop(portrait: Image, side: int = 96) -> tuple[Image, tuple[tuple[float, float], ...]]:
    """Return the portrait's face at `SCALE` times its box, and its five points in that crop."""
    x, y = BOX.centre
    length = BOX.side * SCALE
    x0, y0 = round(x - length / 2), max(0, round(y - length / 2))
    region = portrait[y0 : y0 + round(length), x0 : x0 + round(length)]
    factor = side / region.shape[0]
    image = np.asarray(cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    return image, tuple(((px - x0) * factor, (py - y0) * factor) for px, py in LANDMARKS)


def make_store(
    folder: Path,
    portrait: Image,
    dataset: str = "toy",
    n_videos: int = 8,
    n_frames: int = 2,
    splits: tuple[str, ...] = ("train", "val", "test"),
    *,
    landmarks: bool = True,
    fakes: bool = True,
    shard_crops: int = 1_000_000,
) -> CropStore:
    """Write a store of `n_videos` people a split, each genuine and forged; forged ones are redder.

    Every picture differs: a brightness of its own for each person, noise for each frame. After
    `shard_crops` pictures a new shard begins.
    """
    base, points = face_crop(portrait)
    videos = [
        _video(dataset, split, person, label)
        for split in splits
        for person in range(n_videos)
        for label in ((0, 1) if fakes else (0,))
    ]
    cuts = _cuts(videos, n_frames, base, points if landmarks else ())
    return write_store(folder, videos, cuts, shard_crops)


def write_store(
    folder: Path,
    videos: Sequence[ManifestRow],
    cuts: Iterable[tuple[CropRow, Image | None]],
    shard_crops: int = 1_000_000,
) -> CropStore:
    """Write a store of given videos and crops; a row without a picture keeps its status."""
    folder.mkdir(parents=True)
    (folder / "shards").mkdir()
    by_id = {video.video_id: video for video in videos}
    rows: list[CropRow] = []
    policy = CropPolicy("square", SCALE, 96)
    with ExitStack() as open_files:
        for number, (row, image) in enumerate(cuts):
            if number % shard_crops == 0:
                open_files.close()
                name = f"shards/{number // shard_crops:06d}.tar"
                shard = ShardWriter(open_files.enter_context((folder / name).open("wb")))
                open_files.callback(shard.close)
            if image is not None:
                facts = CropFacts.of(row, by_id[row.video_id], policy).as_json(row.crop_id)
                offset, size = shard.add(row.crop_id, image, facts)
                row = replace(row, shard=name, offset=offset, size=size)
            rows.append(row)
    record = {"name": policy.name, "scale": policy.scale, "size": policy.size}
    (folder / "extract.json").write_text(json.dumps({"cutter": {"policy": record}}))
    Manifest(Videos.of(sorted(videos, key=lambda row: row.video_id)), "0" * 64).write(
        folder / "manifest.parquet"
    )
    write_table(folder / "crops.parquet", Crops.of(rows).table, CROPS, TableHeader("0" * 64))
    return CropStore.open(folder)


def make_clips(
    folder: Path, portrait: Image, videos: Sequence[ManifestRow], n_frames: int
) -> CropStore:
    """Write a store of given videos, each of `n_frames` crops of the portrait."""
    base, points = face_crop(portrait)
    return write_store(folder, videos, _cuts(videos, n_frames, base, points))


def clip_row(name: str, label: int = 0, **told: Any) -> ManifestRow:
    """Return a video of the dataset `d` that shows the person of its own name, or as told."""
    row = ManifestRow(
        video_id=name, dataset="d", method="swap" if label else "original", label=label,
        split="train", source_ids=(name,), compression="", path=f"{name}.mp4", sha256=name,
        fps=25.0, n_frames=100, width=64, height=64, duration_s=4.0,
    )  # fmt: skip
    return replace(row, **told)


def _cuts(
    videos: Sequence[ManifestRow],
    n_frames: int,
    base: Image,
    points: tuple[tuple[float, float], ...],
) -> Iterator[tuple[CropRow, Image]]:
    rng = np.random.default_rng(0)
    for video in videos:
        tint = np.array([60.0 * video.label, 0, 0]) + rng.uniform(-15, 15)
        for frame in range(n_frames):
            noise = rng.normal(0, 3, base.shape)
            image = np.clip(base + tint + noise, 0, 255).astype(np.uint8)
            row = CropRow(
                crop_id=f"{video.video_id.replace('/', '_')}_{frame}",
                video_id=video.video_id,
                track_id=0,
                frame_index=frame,
                time_s=frame / 10,
                status="ok",
                box=BOX,
                landmarks=points,
                confidence=1.0,
            )
            yield row, image


def _video(dataset: str, split: str, person: int, label: int) -> ManifestRow:
    kind = "fake" if label else "real"
    video_id = f"{dataset}/{split}/{person:02d}_{kind}"
    return ManifestRow(
        video_id=video_id,
        dataset=dataset,
        method="tint" if label else "original",
        label=label,
        split=split,
        source_ids=(f"{dataset}/{split}{person}",),
        compression="none",
        path=f"{video_id}.mp4",
        sha256=sha256_bytes(video_id.encode()),
        fps=10.0,
        n_frames=2,
        width=512,
        height=512,
        duration_s=1.0,
    )
