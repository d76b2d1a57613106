"""Crops reach a detector only as they were cut for it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from dfdetect.data.crops import CropStore
from dfdetect.detectors import create_detector
from dfdetect.errors import ContractError
from dfdetect.training import FitSettings, fit
from dfdetect.training.feed import require_policy
from dfdetect.training.settings import DetectorSettings, ValidationSettings


def recut(store: CropStore, folder: Path, policy: str) -> CropStore:
    """Return a copy of a store that says its crops were cut by another policy."""
    shutil.copytree(store.folder, folder)
    path = folder / "extract.json"
    told = json.loads(path.read_text())
    told["cutter"]["policy"]["name"] = policy
    path.write_text(json.dumps(told))
    return CropStore.open(folder)


@pytest.mark.parametrize("crop", ["square", "aligned"])
@pytest.mark.parametrize("cut", ["square", "aligned", "whole"])
def test_crops_of_another_policy_are_refused(
    store: CropStore, tmp_path: Path, cut: str, crop: str
) -> None:
    preprocess = create_detector("meso4", crop=crop).preprocess
    crops = recut(store, tmp_path / cut, cut)
    if cut in ("whole", crop):
        require_policy([crops], "meso4", preprocess)
        return
    words = f"name {cut} instead of {crop}, which detector 'meso4' .* extract them .* faces={crop}"
    with pytest.raises(ContractError, match=words):
        require_policy([crops], "meso4", preprocess)


def test_a_run_looks_at_all_its_stores_before_it_begins(
    settings: FitSettings, store: CropStore, tmp_path: Path
) -> None:
    aligned = DetectorSettings("meso4", {"crop": "aligned"})
    with pytest.raises(ContractError, match="faces=aligned"):
        fit(dataclasses.replace(settings, detector=aligned))
    clips = recut(store, tmp_path / "clips", "aligned")
    told = dataclasses.replace(settings, validation=ValidationSettings(2, (clips.folder,)))
    with pytest.raises(ContractError, match=r"clips have name aligned instead of square"):
        fit(told)
    assert not settings.run_dir.exists()
