"""Fakes that are left out stay unseen: by training, by selection and by calibration."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from dfdetect.data.crops import CropStore
from dfdetect.data.manifest import Manifest
from dfdetect.detectors.base import TRAINED_PARTS
from dfdetect.detectors.checkpoint import read_header
from dfdetect.errors import UsageError
from dfdetect.training import fit
from dfdetect.training.settings import FitSettings
from dfdetect.types import FAKE


@pytest.fixture
def two_methods(store: CropStore, tmp_path: Path) -> CropStore:
    """The generated store, every second forgery of each split by another method."""
    folder = tmp_path / "two"
    shutil.copytree(store.folder, folder)
    manifest = Manifest.read(folder / "manifest.parquet")
    counts: Counter[str | None] = Counter()
    names = []
    for row in manifest.rows:
        counts[row.split] += row.label
        names.append("other" if row.label and counts[row.split] % 2 else row.method)
    told = dataclasses.replace(manifest, rows=manifest.rows.with_column("method", names))
    told.write(folder / "manifest.parquet")
    return CropStore.open(folder)


def methods(store: CropStore) -> set[str]:
    return {row.method for row in store.videos if row.label}


def test_a_store_without_a_method_has_neither_its_videos_nor_its_crops(store: CropStore) -> None:
    method = min(methods(store))
    rest = store.without("synthetic", method)
    gone = {row.video_id for row in store.videos if row.method == method}
    assert gone
    assert {row.video_id for row in store.videos} - {row.video_id for row in rest.videos} == gone
    assert {crop.video_id for crop in rest.crops}.isdisjoint(gone)
    assert len(rest.usable()) == len([c for c in store.usable() if c.video_id not in gone])
    assert len(store.without("elsewhere", method).videos) == len(store.videos)
    crop = rest.usable("test")[0]
    assert (rest.image(crop) == store.image(crop)).all()


def test_what_is_left_out_is_no_lesson(two_methods: CropStore, settings: FitSettings) -> None:
    kept = min(methods(two_methods) - {"other"})
    told = dataclasses.replace(
        settings, crops=(two_methods.folder,), leave_out=("synthetic/other",)
    )
    facts = dict(read_header(fit(told).checkpoint).provenance)
    assert json.loads(facts[TRAINED_PARTS]) == sorted(
        [["synthetic", kept], ["synthetic", "original"]]
    )
    in_val = two_methods.without("synthetic", "other").videos.where(split="val", label=FAKE)
    assert 0 < len(in_val) < len(two_methods.videos.where(split="val", label=FAKE))
    assert facts["val_synthetic"].endswith(f"+{len(in_val)})")


def test_an_unknown_method_is_refused_with_those_there_are(
    store: CropStore, settings: FitSettings
) -> None:
    told = dataclasses.replace(settings, leave_out=("synthetic/FaceSwp",))
    with pytest.raises(UsageError, match=r"FaceSwp.*choose of synthetic/"):
        fit(told)
