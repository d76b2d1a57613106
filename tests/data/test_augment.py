"""Augmentation: equal draws treat equally wherever they are made, regions and sizes hold."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from dfdetect.data.augment import NO_AUGMENT, AugmentSettings, augment, face_region
from tests.blend_measures import textured

ALWAYS = AugmentSettings(1.0, 1.4, 0.1, 1.0, 1.0, 0.3, 1.0, 1.0, 1.0, 0.3, 1.0, 10.0, 1.0, 40)
# nothing of a step before is lost in a later one
FINE = dataclasses.replace(ALWAYS, grey=0.0, rotate=1.0, rgb_shift=1.0, noise_high=1.0, jpeg_low=95)


def ramp(side: int) -> np.ndarray:
    column = np.linspace(0, 255, side).astype(np.uint8)
    return np.stack(
        [
            np.tile(column, (side, 1)),
            np.tile(column[:, None], (1, side)),
            np.full((side, side), 128, np.uint8),
        ],
        axis=2,
    )


@given(
    st.integers(9, 200),
    st.sampled_from([16, 32, 64]),
    st.integers(0, 2**32),
    st.floats(1.0, 2.0),
    st.booleans(),
)
def test_any_crop_gives_the_wanted_size_and_repeats(
    side: int, size: int, seed: int, scale: float, everything: bool
) -> None:
    settings = ALWAYS if everything else AugmentSettings()
    crop = ramp(side)
    kept = crop.copy()
    one, other = (
        augment(crop, scale, size, np.random.default_rng(seed), settings) for _ in range(2)
    )
    assert one.shape == (size, size, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, other)
    assert np.array_equal(crop, kept)


def test_a_pair_is_treated_alike() -> None:
    """Where two pictures are equal they are equal after augmentation, JPEG and noise included."""
    crop = ramp(96)
    for seed in range(20):
        one, other = (
            augment(picture, 1.6, 64, np.random.default_rng(seed), ALWAYS)
            for picture in (crop, crop.copy())
        )
        assert np.array_equal(one, other)


class Treated(Dataset[np.ndarray]):
    """Pictures by position alone."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return 6

    def __getitem__(self, position: int) -> np.ndarray:
        rng = np.random.default_rng([7, position])
        return augment(textured(self.size + 30, position), 1.6, self.size, rng, FINE)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("size", [224, 380])
def test_no_number_of_threads_and_no_process_changes_a_picture(size: int) -> None:
    torch.set_num_threads(1)
    items = Treated(size)
    alone = [items[n] for n in range(len(items))]
    assert not np.array_equal(alone[0], alone[1])
    torch.set_num_threads(3)
    assert all(np.array_equal(items[n], one) for n, one in enumerate(alone))
    workers = DataLoader(items, batch_size=None, num_workers=2)
    assert all(np.array_equal(*pair) for pair in zip(workers, alone, strict=True))


def test_the_generators_of_torch_and_numpy_are_neither_read_nor_moved() -> None:
    crop, pictures = ramp(96), []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002 – the global generator is what this is about
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        pictures.append(augment(crop, 1.6, 64, np.random.default_rng(0), ALWAYS))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert np.array_equal(*pictures)


def test_scoring_sees_the_same_region_and_settings_are_read_without_torch() -> None:
    program = (
        "import sys, dfdetect.config, dfdetect.data.batches, dfdetect.data.scoring_clips;"
        "print({'torch', 'torchvision'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "set()"
    crop = textured(150)
    for scale, size in ((1.0, 64), (1.3, 128), (1.6, 112)):
        fixed = dataclasses.replace(NO_AUGMENT, scale_low=scale, scale_high=scale)
        trained = augment(crop, 1.6, size, np.random.default_rng(0), fixed)
        assert np.array_equal(trained, face_region(crop, 1.6, scale, size))


def test_without_augmentation_only_the_region_is_cut() -> None:
    crop = ramp(160)
    expected = crop[30:130, 30:130]
    assert np.array_equal(augment(crop, 1.6, 100, np.random.default_rng(0), NO_AUGMENT), expected)
    assert np.array_equal(face_region(crop, 1.6, 1.0, 100), expected)


def test_a_scale_beyond_the_stored_one_gives_the_whole_crop() -> None:
    crop = ramp(64)
    assert np.array_equal(face_region(crop, 1.05, 1.3, 64), crop)


@pytest.mark.parametrize("size", [32, 200])
def test_resizing_keeps_brightness(size: int) -> None:
    crop = ramp(100)
    assert abs(face_region(crop, 1.0, 1.0, size).mean() - crop.mean()) < 1.5
