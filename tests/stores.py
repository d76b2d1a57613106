"""Small crop stores for tests, made of one public-domain portrait: no extraction, no finder."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from dfdetect.data.manifest import Manifest
from dfdetect.data.shards import CROPS, CropRow, Crops, CropStore, ShardWriter
from dfdetect.data.tables import TableHeader, write_table
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.provenance import sha256_bytes
from dfdetect.types import FaceBox, Image

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
) -> CropStore:
    """Write a store of `n_videos` people a split, each genuine and forged; forged ones are redder.

    Every picture differs: a brightness of its own for each person, noise for each frame.
    """
    folder.mkdir(parents=True)
    (folder / "shards").mkdir()
    base, points = face_crop(portrait)
    rng = np.random.default_rng(0)
    videos: list[ManifestRow] = []
    crops: list[CropRow] = []
    with (folder / "shards" / "000000.tar").open("wb") as stream:
        shard = ShardWriter(stream)
        for split in splits:
            for person in range(n_videos):
                for label in (0, 1) if fakes else (0,):
                    video = _video(dataset, split, person, label)
                    videos.append(video)
                    tint = np.array([60.0 * label, 0, 0]) + rng.uniform(-15, 15)
                    for frame in range(n_frames):
                        noise = rng.normal(0, 3, base.shape)
                        image = np.clip(base + tint + noise, 0, 255).astype(np.uint8)
                        crop_id = f"{video.video_id.replace('/', '_')}_{frame}"
                        offset, size = shard.add(crop_id, image, {})
                        crops.append(
                            CropRow(
                                crop_id=crop_id,
                                video_id=video.video_id,
                                track_id=0,
                                frame_index=frame,
                                time_s=frame / 10,
                                status="ok",
                                box=BOX,
                                landmarks=points if landmarks else (),
                                confidence=1.0,
                                shard="shards/000000.tar",
                                offset=offset,
                                size=size,
                            )
                        )
        shard.close()
    policy = {"name": "square", "scale": SCALE, "size": base.shape[0]}
    (folder / "extract.json").write_text(json.dumps({"cutter": {"policy": policy}}))
    Manifest(Videos.of(sorted(videos, key=lambda row: row.video_id)), "0" * 64).write(
        folder / "manifest.parquet"
    )
    write_table(folder / "crops.parquet", Crops.of(crops).table, CROPS, TableHeader("0" * 64))
    return CropStore.open(folder)


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
