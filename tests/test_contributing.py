"""The guide's examples are run as they stand; the promise of three places is kept."""

from __future__ import annotations

import importlib.util
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import DATASETS, create_dataset
from dfdetect.data.datasets.base import DatasetEntry, check_entry
from dfdetect.data.loading import CropDataset
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.data.verify import verify_dataset
from dfdetect.detectors import create_detector
from dfdetect.detectors.catalog import DETECTORS
from dfdetect.detectors.testing import check_detector
from dfdetect.media import FrameSampler
from dfdetect.registry import Registry
from dfdetect.types import CropPolicy


def block(project_root: Path, heading: str, language: str) -> str:
    _, _, text = (project_root / "CONTRIBUTING.md").read_text().partition(f"\n## {heading}")
    section = text.partition("\n## ")[0]
    found = re.search(rf"^( *)```{language}\n(.*?)^\1```", section, re.DOTALL | re.MULTILINE)
    assert found is not None
    return textwrap.dedent(found[2])


@contextmanager
def added(module: Path, name: str, registry: Registry) -> Iterator[None]:
    """Import a module as a user would add it; forget it and what it registered at the end."""
    assert module.stem not in registry
    spec = importlib.util.spec_from_file_location(name, module)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
        yield
    finally:
        del sys.modules[name]
        registry._entries.pop(module.stem, None)


def test_the_example_detector_keeps_the_contract(project_root: Path, tmp_path: Path) -> None:
    module = tmp_path / "tiny.py"
    module.write_text(block(project_root, "Add a detector", "python"))
    settings = yaml.safe_load(block(project_root, "Add a detector", "yaml"))
    with added(module, "dfdetect.detectors.tiny", DETECTORS):
        network = create_detector(settings["name"], **settings["kwargs"])
        assert network.name == "tiny"
        check_detector("tiny")


def test_the_example_dataset_goes_from_index_to_crops(project_root: Path, tmp_path: Path) -> None:
    module = tmp_path / "parade.py"
    module.write_text(block(project_root, "Add a dataset", "python"))
    settings = yaml.safe_load(block(project_root, "Add a dataset", "yaml"))
    root = tmp_path / "data"
    with added(module, "dfdetect.data.datasets.parade", DATASETS):
        dataset = create_dataset(settings["name"], **settings["options"])
        assert type(dataset).miniature(root) == dataset
        entries = [item for item in dataset.entries(root) if isinstance(item, DatasetEntry)]
        assert [check_entry(entry).split for entry in entries].count("test") == 4
        (root / "walks" / "ann_2.mp4").touch()
        manifest = build_manifest(dataset, root, SplitRule("official"))
        assert manifest.counts() == {
            ("test", "original", 0): 2, ("test", "swap", 1): 2,
            ("train", "original", 0): 2, ("train", "swap", 1): 2,
        }  # fmt: skip
        assert manifest.n_skipped == {"misnamed": 1}
        swap = manifest.rows.by_id["parade/swaps/ann_bob"]
        assert (swap.source_ids, swap.original_id) == (("ann", "bob"), "parade/walks/ann")
        assert [name for name, _ in manifest.parents] == ["test_people.txt"]
        report = verify_dataset(dataset, root)
        assert list(report.by_kind) == ["misnamed"]
        policy, sampler = CropPolicy("whole", 1.0, 32), FrameSampler(count=2)
        store = tmp_path / "store"
        extract_crops(manifest, root, store, policy, sampler, finder=None, landmarks=False)
        assert len(CropDataset([CropStore.open(store)], "test")) == 8
