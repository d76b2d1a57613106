"""What is measured of a face: of its pixels, its box and its video's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfdetect.data.shards import CropRow, CropStore
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.conditions.values import bits_per_pixel, measured_faces
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.types import FaceBox, FaceQuality, Image
from tests.score_runs import run_of
from tests.stores import clip_row, write_store

QUALITY = FaceQuality(80.0, 30.0, 55.0, -0.4, 0.99)


def store_of(folder: Path, pictures: Sequence[tuple[Image, FaceQuality | None]]) -> CropStore:
    videos = [clip_row(f"v{number}", number % 2) for number in range(len(pictures))]
    cuts = [
        (
            CropRow(
                f"c{number}", f"v{number}", 0, 0, 0.0, "ok", FaceBox(0, 0, 9, 9), quality=quality
            ),
            image,
        )
        for number, (image, quality) in enumerate(pictures)
    ]
    return write_store(folder, videos, cuts)


def run_on(store: CropStore) -> ScoredRun:
    return run_of([(video, [0.5]) for video in store.videos])


def grey(level: int) -> Image:
    return np.full((96, 96, 3), level, np.uint8)


def test_brightness_is_of_the_middle_that_the_box_fills(tmp_path: Path) -> None:
    # the store's crops are 1.5 times the box: a frame of 16 pixels lies around it
    framed = grey(255)
    framed[16:80, 16:80] = 60
    faces = measured_faces(
        run_on(store := store_of(tmp_path / "s", [(framed, QUALITY), (grey(200), None)])), [store]
    )
    assert faces.values["brightness"].tolist() == [60.0, 200.0]
    assert faces.values["face size"][0] == 80
    assert faces.values["turn of the head"][0] == pytest.approx(0.4)
    assert faces.values["sharpness"].tolist() == [55.0, 0.0]
    assert np.isnan(faces.values["face size"][1])
    assert np.isnan(faces.values["compression"]).all()


def test_compression_is_the_files_bits_by_its_pixels(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", [(grey(9), QUALITY)] * 2)
    (tmp_path / "v0.mp4").write_bytes(bytes(64 * 64 * 100))
    faces = measured_faces(run_on(store), [store], tmp_path)
    # eight bits a byte, a byte a pixel of 100 frames; the other file is not there
    assert faces.values["compression"][0] == 8.0
    assert np.isnan(faces.values["compression"][1])
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(bytes(64 * 64))
    row = replace(clip_row("x"), path="pictures", n_frames=None, duration_s=2.0, fps=1.0)
    assert bits_per_pixel(row, tmp_path) == 8.0
    with pytest.raises(UsageError, match="is below"):
        measured_faces(run_on(store), [store], tmp_path / "elsewhere")


def test_faces_of_another_store_are_a_sentence(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", [(grey(9), QUALITY)] * 2)
    other = store_of(tmp_path / "o", [(grey(9), QUALITY)])
    with pytest.raises(ContractError, match="name the stores that were scored"):
        measured_faces(run_on(store), [other])
    with pytest.raises(UsageError, match="counted by face"):
        measured_faces(replace(run_on(store), unit="clip"), [store])
