"""A detector of clips goes through training, selection, calibration and evaluation."""

from pathlib import Path
from typing import Any

import numpy as np

from dfdetect.data.augment import AugmentSettings
from dfdetect.data.training_items import Source
from dfdetect.detectors import load_detector
from dfdetect.training import fit
from dfdetect.training.settings import (
    DetectorSettings,
    FitSettings,
    OptimSettings,
    TrainerSettings,
    ValidationSettings,
)
from dfdetect.types import Image
from tests.stores import make_store


def test_a_detector_of_clips_is_trained_and_calibrated(tmp_path: Path, portrait: Image) -> None:
    toy = make_store(tmp_path / "toy", portrait, n_videos=6, n_frames=5)
    machinery: dict[str, Any] = {
        "steps": 2, "batch_size": 4, "accumulate": 1, "workers": 0, "threads": 1,
        "precision": "32-true", "accelerator": "cpu", "validate_every": 1, "save_every": 1,
        "max_minutes": None, "logger": "none",
    }  # fmt: skip
    settings = FitSettings(
        detector=DetectorSettings("ftcn", {"frames": 4, "size": 32}),
        crops=(toy.folder,),
        sources=(Source("toy", 1.0, 0.0),),
        augment=AugmentSettings(),
        optim=OptimSettings(1e-3, 0.02, 1, 0.5, 0.0, 5.0),
        trainer=TrainerSettings(**machinery),
        validation=ValidationSettings(4, ()),
        seed=3,
        run_dir=tmp_path / "run",
    )
    result = fit(settings)
    assert (result.finished, result.n_steps) == (True, 2)
    detector = load_detector(result.checkpoint)
    assert detector.header.frames == 4
    assert detector.header.calibration is not None
    assert (detector.header.calibration.n_real, detector.header.calibration.n_fake) == (6, 6)
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
    assert np.isfinite(detector.logits(clips)).all()
