"""A run may begin with the weights of another one, and says what those had learned from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dfdetect.data.crops import CropStore
from dfdetect.data.training_items import Source
from dfdetect.detectors import create_detector
from dfdetect.detectors.base import TRAINED_PARTS
from dfdetect.detectors.checkpoint import load_checkpoint, read_header
from dfdetect.errors import UsageError
from dfdetect.provenance import sha256_file
from dfdetect.training import fit
from dfdetect.training.settings import DetectorSettings, FitSettings
from dfdetect.training.start import take_weights


@pytest.fixture
def first(settings: FitSettings) -> Path:
    """Weights that learned from everything in the store."""
    return fit(settings).checkpoint


def later(settings: FitSettings, start: Path, tmp_path: Path) -> FitSettings:
    """A run of blends only that starts from those weights."""
    return dataclasses.replace(
        settings,
        start_from=start,
        sources=(Source("synthetic", 1.0, 1.0),),
        run_dir=tmp_path / "later",
    )


def test_the_network_is_that_of_the_file(first: Path) -> None:
    network = create_detector("meso4")
    take_weights(network, first)
    there = load_checkpoint(first).network.state_dict()
    assert all((tensor == there[name]).all() for name, tensor in network.state_dict().items())


def test_training_goes_on_from_there(settings: FitSettings, first: Path, tmp_path: Path) -> None:
    still = dataclasses.replace(settings.optim, lr=1e-12, weight_decay=0.0, ema_decay=0.0)
    told = dataclasses.replace(later(settings, first, tmp_path), optim=still)
    found = load_checkpoint(fit(told).checkpoint).network.state_dict()
    there = load_checkpoint(first).network.state_dict()
    moved = [
        name
        for name, tensor in found.items()
        if "running" not in name
        and "num_batches" not in name
        and not tensor.allclose(there[name], atol=1e-4)
    ]
    assert moved == []


def test_what_was_learned_before_counts(
    settings: FitSettings, first: Path, tmp_path: Path, store: CropStore
) -> None:
    told = later(settings, first, tmp_path)
    before, after = (dict(read_header(path).provenance) for path in (first, fit(told).checkpoint))
    own = fit(dataclasses.replace(told, start_from=None, run_dir=tmp_path / "alone")).checkpoint
    # blends of genuine faces only: by itself the run never saw a forgery
    assert json.loads(dict(read_header(own).provenance)[TRAINED_PARTS]) == [
        ["synthetic", "original"]
    ]
    assert json.loads(after[TRAINED_PARTS]) == json.loads(before[TRAINED_PARTS])
    assert sha256_file(first)[:12] in after["trained_before"]
    assert before["trained_on"] in after["trained_before"]
    record = json.loads((told.run_dir / "run.json").read_text())
    assert ["start_from", sha256_file(first)] in record["parents"]


def test_other_weights_are_another_run(settings: FitSettings, first: Path, tmp_path: Path) -> None:
    told = later(settings, first, tmp_path)
    fit(told)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(first.read_bytes())
    fit(dataclasses.replace(told, start_from=moved))
    with pytest.raises(UsageError, match="another run_dir"):
        fit(dataclasses.replace(told, start_from=None))


def test_weights_of_another_detector_are_refused(
    settings: FitSettings, first: Path, tmp_path: Path
) -> None:
    told = later(settings, first, tmp_path)
    other = dataclasses.replace(told, detector=DetectorSettings("meso_inception4", {}))
    with pytest.raises(UsageError, match="another detector"):
        fit(other)
    with pytest.raises(UsageError, match="missing"):
        fit(dataclasses.replace(told, start_from=tmp_path / "none.safetensors"))


def test_a_network_may_go_on_with_larger_pictures(settings: FitSettings, tmp_path: Path) -> None:
    kwargs = {"model_name": "resnet10t", "size": 32}
    small = dataclasses.replace(settings, detector=DetectorSettings("backbone", kwargs))
    first = fit(small).checkpoint
    large = DetectorSettings("backbone", kwargs | {"size": 64})
    told = dataclasses.replace(later(small, first, tmp_path), detector=large)
    header = read_header(fit(told).checkpoint)
    assert header.preprocess.size == 64
    assert sha256_file(first)[:12] in dict(header.provenance)["trained_before"]


def test_weights_for_pictures_of_one_size_do_not_fit_another(
    settings: FitSettings, tmp_path: Path
) -> None:
    kwargs = {"model_name": "vit_tiny_patch16_224", "size": 32}
    small = dataclasses.replace(settings, detector=DetectorSettings("backbone", kwargs))
    first = fit(small).checkpoint
    large = DetectorSettings("backbone", kwargs | {"size": 64})
    with pytest.raises(UsageError, match=r"detector\.kwargs\.size=32"):
        fit(dataclasses.replace(later(small, first, tmp_path), detector=large))
