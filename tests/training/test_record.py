"""What weights say of their lessons: only what was drawn, in words and for programs."""

from __future__ import annotations

import json

import pytest

from dfdetect.data.crops import CropStore
from dfdetect.data.training_items import Source
from dfdetect.detectors.base import TRAINED_PARTS
from dfdetect.training.record import lesson_facts
from dfdetect.types import Image
from tests.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    return make_store(tmp_path_factory.mktemp("stores") / "toy", portrait, n_videos=3)


def parts(store: CropStore, *sources: Source) -> tuple[str, list[list[str]]]:
    facts = lesson_facts([store], sources)
    return facts["trained_on"], json.loads(facts[TRAINED_PARTS])


def test_fakes_that_were_never_drawn_are_no_lesson(store: CropStore) -> None:
    """A detector of self-blends once claimed to be trained on its dataset's forgeries."""
    method = next(row.method for row in store.videos if row.label)
    assert parts(store, Source("toy", 1, 1.0)) == ("3 genuine of toy", [["toy", "original"]])
    assert parts(store, Source("toy", 1, 0.5)) == (
        "3 genuine of toy, 3 manipulated of toy",
        sorted([["toy", method], ["toy", "original"]]),
    )


def test_a_dataset_of_two_sources_is_counted_once(store: CropStore) -> None:
    """Videos of a dataset that is blended in two ways were once counted twice."""
    twice = (Source("toy", 1, 1.0), Source("toy", 2, 1.0, blend="xray"))
    assert parts(store, *twice) == ("3 genuine of toy", [["toy", "original"]])
    assert parts(store, Source("toy", 1, 1.0), Source("toy", 1, 0.0))[0] == (
        "3 genuine of toy, 3 manipulated of toy"
    )


def test_a_dataset_of_no_weight_is_no_lesson(store: CropStore) -> None:
    assert parts(store, Source("toy", 0, 0.5), Source("elsewhere", 1, 0.5)) == ("", [])
