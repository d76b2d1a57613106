"""A small crop store of generated clips, and settings that train on it in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfdetect.data.augment import AugmentSettings
from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.data.training_items import Source
from dfdetect.media import FrameSampler
from dfdetect.training.settings import (
    DetectorSettings,
    FitSettings,
    OptimSettings,
    TrainerSettings,
    ValidationSettings,
)
from dfdetect.types import CropPolicy


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    """Faces of ten generated people, genuine and forged, in all three splits."""
    root = tmp_path_factory.mktemp("synthetic")
    dataset = create_dataset("synthetic", n_identities=10, n_frames=4)
    rule = SplitRule("hash", seed=1, train=0.5, val=0.3, test=0.2)
    manifest = build_manifest(dataset, root, rule)
    out = root / "store"
    policy = CropPolicy("square", 1.6, 96)
    extract_crops(manifest, root, out, policy, FrameSampler(count=2))
    return CropStore.open(out)


@pytest.fixture
def settings(store: CropStore, tmp_path: Path) -> FitSettings:
    """Six steps of Meso4; a test replaces what it is about."""
    return FitSettings(
        detector=DetectorSettings("meso4", {}),
        crops=(store.folder,),
        sources=(Source("synthetic", 1.0, 0.5),),
        augment=AugmentSettings(),
        optim=OptimSettings(1e-3, 0.01, 2, 0.9, 0.02, 5.0),
        trainer=TrainerSettings(6, 8, 1, 0, 1, "32-true", "cpu", 3, 2, None, "none"),
        validation=ValidationSettings(2, ()),
        seed=3,
        run_dir=tmp_path / "run",
    )
