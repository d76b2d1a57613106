"""Training by files of landmarks: what matched is said, hashed and named, and resumed alike."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dfdetect.cli.main import main
from dfdetect.data.crops import CropStore
from dfdetect.data.face_shape import fit_shape
from dfdetect.data.training_items import Source
from dfdetect.detectors.checkpoint import load_checkpoint, read_header
from dfdetect.errors import ContractError, UsageError
from dfdetect.provenance import sha256_file
from dfdetect.training import FitSettings, fit
from dfdetect.types import REAL


def landmarks(store: CropStore, path: Path, n: int, scale: float = 1.0) -> Path:
    """Write 68 points for the first `n` genuine training crops, in each one's pixels."""
    crops = [
        crop for crop in store.usable("train") if store.videos.by_id[crop.video_id].label == REAL
    ][:n]
    points = np.stack([fit_shape(crop.landmarks)[:68] * scale for crop in crops])
    np.savez(path, crop_id=[crop.crop_id for crop in crops], points=points)
    return path


@pytest.fixture
def marked(settings: FitSettings, store: CropStore, tmp_path: Path) -> FitSettings:
    """Blends alone; three of the genuine training crops have 68 points."""
    path = landmarks(store, tmp_path / "marks.npz", 3)
    sources = (Source("synthetic", 1.0, 1.0),)
    return dataclasses.replace(settings, sources=sources, landmarks=(path,))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(path).network.state_dict())


def test_a_run_says_what_its_blends_were_made_by(
    marked: FitSettings, store: CropStore, tmp_path: Path
) -> None:
    (path,) = marked.landmarks
    wrong = landmarks(store, tmp_path / "wrong.npz", 5, scale=2.0)
    lines: list[str] = []
    result = fit(dataclasses.replace(marked, landmarks=(path, wrong)), tell=lines.append)
    (line,) = lines
    n_crops = len(store.usable("train"))
    assert f"3 of {n_crops} training crops have 68 or 81 points" in line
    assert line.endswith(": 5")
    facts = dict(read_header(result.checkpoint).provenance)
    genuine = sum(store.videos.by_id[r.video_id].label == REAL for r in store.usable("train"))
    assert facts["blends"] == f"sbi of 3 faces, sbi-5pt of {genuine - 3} faces"
    assert facts["landmarks"].startswith(f"marks.npz {sha256_file(path)[:12]}, wrong.npz ")
    record = json.loads((marked.run_dir / "run.json").read_text())
    assert ["landmarks marks.npz", sha256_file(path)] in record["parents"]


def test_without_landmarks_a_run_says_so(marked: FitSettings) -> None:
    lines: list[str] = []
    result = fit(dataclasses.replace(marked, landmarks=()), tell=lines.append)
    assert not lines
    facts = dict(read_header(result.checkpoint).provenance)
    assert re.fullmatch(r"sbi-5pt of \d+ faces", facts["blends"])
    assert "landmarks" not in facts


def test_landmarks_change_the_weights_and_a_resume_does_not(
    marked: FitSettings, tmp_path: Path
) -> None:
    def run(name: str, **changes: object) -> dict[str, torch.Tensor]:
        told = dataclasses.replace(marked, run_dir=tmp_path / name, **changes)  # type: ignore[arg-type]
        return weights(fit(told).checkpoint.with_name("last.safetensors"))

    stopped = dataclasses.replace(marked.trainer, max_minutes=0.0)
    run("parts", trainer=stopped)
    whole, resumed, plain = run("whole"), run("parts"), run("plain", landmarks=())
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], plain[name]) for name in whole)


def test_a_run_goes_on_with_the_same_landmarks_only(
    marked: FitSettings, store: CropStore, tmp_path: Path
) -> None:
    stopped = dataclasses.replace(marked.trainer, max_minutes=0.0)
    fit(dataclasses.replace(marked, trainer=stopped))
    (path,) = marked.landmarks
    (tmp_path / "other").mkdir()
    other = landmarks(store, tmp_path / "other" / path.name, 4)
    with pytest.raises(UsageError, match="other crops, landmarks or"):
        fit(dataclasses.replace(marked, landmarks=(other,)))
    # what a file holds counts, not where it lies
    other.write_bytes(path.read_bytes())
    assert fit(dataclasses.replace(marked, landmarks=(other,))).finished


def test_files_that_are_of_no_training_crop_are_refused(
    marked: FitSettings, store: CropStore, tmp_path: Path
) -> None:
    def refused(path: Path, words: str, kind: type[Exception] = UsageError) -> None:
        with pytest.raises(kind, match=words):
            fit(dataclasses.replace(marked, landmarks=(path,)))

    far = landmarks(store, tmp_path / "far.npz", 4, scale=3.0)
    refused(far, r"no training crop has landmarks in .*far\.npz; all 4 .* five points")
    unknown = tmp_path / "unknown.npz"
    np.savez(unknown, crop_id=["nobody"], points=np.zeros((1, 68, 2)))
    refused(unknown, r"must be those of crops\.parquet")
    refused(tmp_path / "absent.npz", r"absent\.npz is missing", ContractError)
    assert not marked.run_dir.exists()


def test_blends_on_a_device_refuse_landmarks(marked: FitSettings) -> None:
    trainer = dataclasses.replace(marked.trainer, blend_on="device")
    with pytest.raises(UsageError, match=r"set trainer\.blend_on=loader"):
        dataclasses.replace(marked, trainer=trainer)


def test_the_command_takes_landmarks(
    marked: FitSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *("train", "detector=meso4", "trainer=smoke", f"crops=[{marked.crops[0]}]"),
        "sources=[{dataset: synthetic, weight: 1, blend_share: 1}]",
        *(f"landmarks=[{marked.landmarks[0]}]", f"run_dir={tmp_path / 'by_command'}"),
    ]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "landmarks: 3 of " in said.err
    assert "checkpoint: " in said.out
