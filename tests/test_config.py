"""Configs: every YAML composes, unknown and mistyped keys are refused, settings arrive typed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dfdetect.config import (
    SETTINGS,
    config_dir,
    register_schemas,
    settings_from,
)
from dfdetect.data.settings import ExtractSettings, IndexSettings
from dfdetect.errors import UsageError
from dfdetect.evaluation.benchmark.benchmark import BenchmarkSettings
from dfdetect.evaluation.benchmark.compare import CompareSettings
from dfdetect.evaluation.protocols.protocol import DEEPFAKEBENCH, PLAIN, STRICT
from dfdetect.evaluation.settings import EvaluateSettings
from dfdetect.media import FrameSampler
from dfdetect.training.settings import FitSettings

# what each verb cannot know by itself
GIVEN = {
    "index": [],
    "extract": ["manifest=m.parquet", "out=o"],
    "train": ["crops=[a,b]", "run_dir=r", "sources=[{dataset: d, weight: 1, blend_share: 0}]"],
    "evaluate": ["crops=[a]"],
    "diagnose": ["runs=[a,b]"],
    "strangeness": ["checkpoint=c.safetensors", "crops=[a]", "out=o.safetensors"],
    "calibrate": ["checkpoint=c.safetensors", "scores=[a]", "out=o.safetensors"],
    "benchmark": ["runs=[a]"],
    "compare": ["runs=[a,b]"],
    "robustness": ["manifest=m.parquet", "data_root=d"],
    "export": ["checkpoint=c.safetensors", "out=o.onnx"],
}
GROUPS = {
    "dataset": "index",
    "split": "index",
    "faces": "extract",
    "sampling": "extract",
    "engine": "extract",
    "detector": "train",
    "augment": "train",
    "optim": "train",
    "trainer": "train",
    "validation": "train",
    "experiment": "train",
    "debug": "train",
    "protocol": "evaluate",
    "design": "benchmark",
}
OPTIONS = [
    (verb, group, path.stem)
    for group, verb in GROUPS.items()
    for path in sorted((config_dir() / group).glob("*.yaml"))
]


def composed(verb: str, *overrides: str) -> DictConfig:
    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(verb, [*GIVEN[verb], *overrides])


def test_every_folder_of_configs_is_covered() -> None:
    folders = {path.name for path in config_dir().iterdir() if path.is_dir()}
    assert folders - {"hydra", "paths", "laundering"} == set(GROUPS)
    assert {path.stem for path in config_dir().glob("*.yaml")} == set(SETTINGS)


@pytest.mark.parametrize("verb", SETTINGS)
def test_every_verb_composes_to_its_settings(verb: str) -> None:
    settings = settings_from(composed(verb), SETTINGS[verb])
    assert isinstance(settings, SETTINGS[verb])
    assert dataclasses.is_dataclass(settings)


@pytest.mark.parametrize(("verb", "group", "option"), OPTIONS)
def test_every_option_composes(verb: str, group: str, option: str) -> None:
    config = composed(verb, f"{group}={option}")
    assert isinstance(settings_from(config, SETTINGS[verb]), SETTINGS[verb])


@pytest.mark.parametrize("verb", SETTINGS)
def test_no_key_has_the_name_of_a_group_that_it_is_not(verb: str) -> None:
    """Hydra takes such a key for the group, and refuses its values."""
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()}
    for field in dataclasses.fields(SETTINGS[verb]):
        if field.name in groups:
            option = next((config_dir() / field.name).glob("*.yaml")).stem
            assert composed(verb, f"{field.name}={option}")


def test_a_rule_is_changed_beside_its_protocol() -> None:
    words = ["protocol=strict", "protocol.min_coverage=0.8", "protocol.split=val"]
    protocol = settings_from(composed("evaluate", *words), EvaluateSettings).protocol
    assert protocol == dataclasses.replace(STRICT, min_coverage=0.8, split="val")
    compared = settings_from(composed("compare", "protocol=deepfakebench"), CompareSettings)
    assert compared.protocol == DEEPFAKEBENCH
    told = settings_from(composed("benchmark", "rules.strict.min_faces=1"), BenchmarkSettings)
    assert told.rules == {
        "plain": PLAIN,
        "strict": dataclasses.replace(STRICT, min_faces=1),
        "deepfakebench": DEEPFAKEBENCH,
    }


def test_a_refusal_of_the_settings_is_its_sentence_alone() -> None:
    config = composed("evaluate", "protocol.min_faces=0", "n_bootstrap=-1")
    with pytest.raises(UsageError, match=r"^protocol\.min_faces=0 must be 1 or more$"):
        settings_from(config, EvaluateSettings)


@pytest.mark.parametrize("path", sorted((config_dir() / "experiment").glob("*.yaml")))
def test_experiments_are_short_and_begin_with_their_command(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 20
    assert lines[0] == "# @package _global_"
    assert f"experiment={path.stem}" in lines[1]


def test_values_arrive_with_their_types() -> None:
    train = settings_from(composed("train"), FitSettings)
    assert train.crops == (Path("a"), Path("b"))
    assert isinstance(train.optim.lr, float)
    assert train.sources[0].dataset == "d"
    assert train.landmarks == ()
    marked = settings_from(composed("train", "landmarks=[a.csv, b.npz]"), FitSettings)
    assert marked.landmarks == (Path("a.csv"), Path("b.npz"))
    extract = settings_from(composed("extract", "sampling.count=4"), ExtractSettings)
    assert isinstance(extract.sampling, FrameSampler)
    assert extract.sampling.count == 4


@pytest.mark.parametrize(
    "override", ["splt=hash", "+split.sed=1", "split.seed=many", "data_root=null"]
)
def test_unknown_and_mistyped_keys_are_refused(override: str) -> None:
    with pytest.raises(Exception, match=r"splt|sed|many|data_root|None") as caught:
        settings_from(composed("index", override), IndexSettings)
    assert not isinstance(caught.value, AssertionError)


def test_a_missing_value_is_named() -> None:
    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("extract", ["manifest=m.parquet"])
    with pytest.raises(UsageError, match=r"out has no value yet.*out=…"):
        settings_from(config, ExtractSettings)


def test_paths_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFDETECT_DATA", "/somewhere")
    assert settings_from(composed("index"), IndexSettings).data_root == Path("/somewhere")
