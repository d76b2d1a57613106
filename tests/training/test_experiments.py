"""The published recipes run: each trains its detector, a small one of its kind, for two steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from dfdetect.config import config_dir, register_schemas, settings_from
from dfdetect.detectors import DETECTORS
from dfdetect.training import FitSettings, fit
from dfdetect.types import Image
from tests.stores import clip_row, make_clips

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
RECIPES = sorted(path.stem for path in (config_dir() / "experiment").glob("ffpp_*.yaml"))
# those without a light setting of their own are made for smaller pictures
SMALL = {"size": 96}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> Path:
    """Two scenes in train and one in val, genuine and by every method, of eight frames."""
    videos = []
    for split, person in (("train", "a"), ("train", "b"), ("val", "c")):
        about = {"dataset": "ffpp", "split": split, "source_ids": (person,)}
        videos.append(clip_row(f"{person}/real", **about))
        videos += [
            clip_row(f"{person}/{method}", 1, method=method, original_id=f"{person}/real", **about)
            for method in METHODS
        ]
    folder = tmp_path_factory.mktemp("stores") / "ffpp"
    make_clips(folder, portrait, videos, 8)
    return folder


def recipe(name: str, crops: Path, run_dir: Path) -> FitSettings:
    register_schemas()
    given = [f"experiment={name}", "trainer=smoke", f"crops=[{crops}]", f"run_dir={run_dir}"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose(
            "train", [*given, "detector.kwargs.init=null"] if _has_init(name) else given
        )
    settings = settings_from(config, FitSettings)
    made = DETECTORS.get(settings.detector.name)
    light = dict(made.check_kwargs) or (SMALL if "size" in settings.detector.kwargs else {})
    kwargs = {**settings.detector.kwargs, **light}
    detector = dataclasses.replace(settings.detector, kwargs=kwargs)
    # an experiment's own step count comes after trainer=smoke
    batch = 10 if settings.detector.name == "lsda" else 4
    trainer = dataclasses.replace(
        settings.trainer, steps=2, batch_size=batch, validate_every=2, save_every=2
    )
    return dataclasses.replace(settings, detector=detector, trainer=trainer)


def _has_init(name: str) -> bool:
    return 'init: "???"' in (config_dir() / "experiment" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", RECIPES)
def test_a_published_recipe_says_what_it_claims(name: str) -> None:
    text = (config_dir() / "experiment" / f"{name}.yaml").read_text()
    for field in ("# Paper: ", "# Expected: ", "# Differs: "):
        assert field in text
    assert "within 0.0" in text or "bar" in text or "no tolerance is claimed" in text


def test_only_face_xray_blends_two_people(crops: Path, tmp_path: Path) -> None:
    blends = {
        name: {source.blend for source in recipe(name, crops, tmp_path).sources} for name in RECIPES
    }
    assert blends.pop("ffpp_face_xray") == {"xray"}
    assert set().union(*blends.values()) == {"self"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_published_recipe_runs(name: str, crops: Path, tmp_path: Path) -> None:
    result = fit(recipe(name, crops, tmp_path / "run"))
    assert (result.finished, result.n_steps) == (True, 2)
    assert result.checkpoint.is_file()
