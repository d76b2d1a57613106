"""Pairs that are blended on the training device: alike on both halves, exact over a resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from dfdetect.data import degrade as single
from dfdetect.data.augment import (
    NO_AUGMENT,
    AugmentSettings,
    augment,
    augment_marked,
    draw_treatment,
)
from dfdetect.data.augment_settings import geometry_of
from dfdetect.data.crops import CropStore
from dfdetect.data.training_items import Source, TrainingItems
from dfdetect.detectors import create_detector
from dfdetect.detectors.base import BatchNeeds, Preprocess
from dfdetect.errors import UsageError
from dfdetect.training import FitSettings, fit
from dfdetect.training.batch_blend import Draws
from dfdetect.training.batch_degrade import Degradations, degrade, draw_degradations, jpeg
from dfdetect.training.device_pairs import DevicePairs, Unblended
from dfdetect.training.feed import CollateUnblended
from dfdetect.training.module import DetectorModule
from dfdetect.training.settings import DetectorSettings
from dfdetect.types import CropPolicy, Image
from tests.stores import SCALE, face_crop, make_store

S = 96
WHOLE = Preprocess(S, (0.5,) * 3, (0.25,) * 3, CropPolicy("square", SCALE, S))
PLAIN = BatchNeeds()
AT_ONCE = 1e-9


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, portrait: Image) -> CropStore:
    return make_store(tmp_path_factory.mktemp("stores") / "toy", portrait, n_videos=6)


@pytest.fixture(scope="module")
def face(portrait: Image) -> Image:
    return face_crop(portrait, S)[0]


def unblended(
    store: CropStore, share: float = 1.0, n: int = 8, told: AugmentSettings = NO_AUGMENT
) -> Unblended:
    items = TrainingItems([store], [Source("toy", 1, share)], WHOLE, told, 0, n, blends=False)
    return CollateUnblended(PLAIN)([items[i] for i in range(n)])


def pairs(given: Unblended, told: AugmentSettings, needs: BatchNeeds = PLAIN) -> Tensor:
    batch = DevicePairs(WHOLE, needs, told)(given, torch.Generator().manual_seed(1))
    return batch.pixels.reshape(-1, 2, 3, S, S)


def nothing(**changes: Tensor) -> Degradations:
    n = 1
    still = {
        "colour": torch.zeros(n, 3),
        "rgb_shift": torch.zeros(n, 3),
        "grey": torch.zeros(n, dtype=torch.bool),
        "sigma": torch.zeros(n),
        "smaller": torch.ones(n),
        "noise": torch.zeros(n, 3, S, S),
        "quality": torch.full((n,), 101.0),
    }
    return dataclasses.replace(Degradations(**still), **changes)


# what happens to both halves after the blend


COLOUR, SHIFT = (0.1, -0.2, 0.15), (9.0, -4.5, 1.2)
STEPS: list[tuple[dict[str, Tensor], Callable[[Tensor], Tensor], float]] = [
    ({"sigma": torch.tensor([1.2])}, lambda one: single.blur(one, 1.2), 0.01),
    ({"sigma": torch.tensor([0.5])}, lambda one: single.blur(one, 0.5), 0.01),
    ({"smaller": torch.tensor([0.45])}, lambda one: single.down_and_up(one, 0.45), 0.3),
    ({"colour": torch.tensor([COLOUR])}, lambda one: single.recolour(one, COLOUR), 0.01),
    (
        {"rgb_shift": torch.tensor([SHIFT])},
        lambda one: single.shift_channels(one, np.array(SHIFT)),
        0.01,
    ),
    ({"grey": torch.tensor([True])}, single.grey, 0.01),
    ({"quality": torch.tensor([40.0])}, lambda one: single.jpeg(one, 40), 0.7),
    ({"quality": torch.tensor([90.0])}, lambda one: single.jpeg(one, 90), 0.7),
]


@pytest.mark.parametrize(("changes", "step", "tolerance"), STEPS)
def test_a_step_does_what_it_does_to_single_pictures(
    face: Image, changes: dict[str, Tensor], step: Callable[[Tensor], Tensor], tolerance: float
) -> None:
    pixels = torch.from_numpy(face).permute(2, 0, 1)[None]
    found = degrade(pixels[None].to(torch.float32), nothing(**changes))[0]
    wanted = step(pixels).to(torch.float32)
    assert float((found - wanted).abs().mean()) < tolerance
    assert float((wanted - pixels).abs().mean()) > 2 * tolerance


def test_no_step_changes_nothing(face: Image) -> None:
    pixels = torch.from_numpy(face).permute(2, 0, 1)[None, None].to(torch.float32)
    assert torch.equal(degrade(pixels, nothing()), pixels)


def test_jpeg_takes_any_size(face: Image) -> None:
    odd = np.ascontiguousarray(face[:53, :71])
    pixels = torch.from_numpy(odd).permute(2, 0, 1)[None, None].to(torch.float32)
    found = jpeg(pixels, torch.tensor([75.0]))[0, 0].permute(1, 2, 0).numpy()
    _, coded = cv2.imencode(".jpg", odd[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    assert np.abs(found - cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB)).mean() < 0.8


def test_steps_happen_as_often_and_as_strongly_as_in_the_loader() -> None:
    told = AugmentSettings(rgb_shift=0.3)
    n = 4000
    drawn = draw_degradations(
        Draws(torch.Generator().manual_seed(0), torch.device("cpu"), n), told, 8
    )
    rng = np.random.default_rng(0)
    single = [draw_treatment(rng, told) for _ in range(n)]
    for batched, name, none in (
        (drawn.sigma, "sigma", 0.0),
        (drawn.smaller, "smaller", 1.0),
        (drawn.quality, "quality", 101.0),
    ):
        one = np.array([getattr(each, name) or none for each in single], dtype=float)
        assert abs(float((batched != none).float().mean()) - (one != none).mean()) < 0.04
        assert abs(float(batched.mean()) - one.mean()) < 0.05 * max(1.0, one.std() * 2)
    for tensor, name in ((drawn.colour, "colour"), (drawn.rgb_shift, "rgb_shift")):
        values = np.array([v for each in single if (v := getattr(each, name)) is not None])
        share = float((tensor != 0).any(1).float().mean())
        assert abs(share - len(values) / n) < 0.04
        assert float(tensor[(tensor != 0).any(1)].std()) == pytest.approx(values.std(), rel=0.1)


# pairs


def test_both_halves_are_treated_alike(toy: CropStore) -> None:
    # points that are nowhere make a mask of 0: then both halves must stay equal, whatever happens
    given = unblended(toy)
    points = torch.full_like(given.points.view(torch.float32), 1e4)
    strong = AugmentSettings(colour=1, blur=1, resize=1, noise=1, jpeg=1, rgb_shift=1)
    found = pairs(given._replace(points=points.view(torch.int32)), strong)
    assert torch.equal(found[:, 0], found[:, 1])
    assert not torch.equal(
        found, pairs(given._replace(points=points.view(torch.int32)), NO_AUGMENT)
    )


def test_halves_differ_in_the_face_alone_and_masks_say_where(toy: CropStore) -> None:
    given = unblended(toy)
    batch = DevicePairs(WHOLE, BatchNeeds(masks=True), NO_AUGMENT)(
        given, torch.Generator().manual_seed(1)
    )
    assert batch.labels.tolist() == [0.0, 1.0] * 8
    assert batch.masks is not None
    assert batch.masks.shape == (16, 1, S, S)
    assert batch.masks[::2].max() == 0
    assert float(batch.masks[1::2].amax()) <= 1
    assert float(batch.masks[1::2].amax((1, 2, 3)).min()) > 0.1
    differs = (batch.pixels[::2] != batch.pixels[1::2]).any(1, keepdim=True)
    assert differs.any()
    assert not differs[batch.masks[1::2] == 0].any()


def test_forged_faces_of_the_dataset_stay_as_they_are(toy: CropStore) -> None:
    given = unblended(toy, share=0.0)
    assert given.forged is not None
    found = pairs(given, NO_AUGMENT)
    for half, pictures in enumerate((given.genuine, given.forged)):
        wanted = torch.from_numpy(WHOLE.normalise(pictures.numpy()))
        assert torch.equal(found[:, half], wanted)
    mixed = unblended(toy, share=0.5, n=40)
    is_blend = mixed.points.view(torch.float32).isfinite().all((1, 2))
    assert 8 < int(is_blend.sum()) < 32
    assert unblended(toy).forged is None


def test_points_follow_the_face(face: Image, portrait: Image) -> None:
    """Dots drawn on the landmarks are found where the points are said to be."""
    points = face_crop(portrait, S)[1]
    planes = [np.zeros((S, S), np.uint8) for _ in range(3)]
    for plane, (x, y) in zip(planes, points, strict=False):
        cv2.circle(plane, (round(x), round(y)), 3, 255, -1)
    dotted = np.stack(planes, axis=2)
    told = geometry_of(AugmentSettings(flip=0.5, rotate=1.0, scale_low=1.2))
    mirrored = 0
    for seed in range(12):
        rng, again = (np.random.default_rng(seed) for _ in range(2))
        picture, moved = augment_marked(dotted, SCALE, 80, rng, told, points)
        assert np.array_equal(picture, augment(dotted, SCALE, 80, again, told))
        # the left eye stays the left one, so red and green change places in a mirrored face
        assert moved[0, 0] < moved[1, 0]
        assert moved[3, 0] < moved[4, 0]
        places = [np.argwhere(picture[..., n] > 100).mean(0)[::-1] for n in range(3)]
        if places[0][0] > places[1][0]:
            mirrored += 1
            places[:2] = places[1::-1]
        assert np.abs(np.array(places) - moved[:3]).max() < 1
    assert 2 < mirrored < 10


@pytest.mark.parametrize(
    ("sources", "told", "needs", "words"),
    [
        ([Source("toy", 1, 1, "xray")], NO_AUGMENT, PLAIN, "two people"),
        ([Source("toy", 1, 1)], NO_AUGMENT, BatchNeeds(views=2), "several views"),
        ([Source("toy", 1, 1)], NO_AUGMENT, BatchNeeds(frames=2), "clips"),
        ([Source("toy", 1, 1)], AugmentSettings(codec=0.1), PLAIN, "video codec"),
        ([Source("toy", 1, 1)], AugmentSettings(cutout=0.1), PLAIN, "cut-outs"),
    ],
)
def test_what_the_device_cannot_do_is_refused(
    toy: CropStore,
    sources: list[Source],
    told: AugmentSettings,
    needs: BatchNeeds,
    words: str,
) -> None:
    with pytest.raises(UsageError, match=rf"{words}.*trainer\.blend_on=loader"):
        TrainingItems([toy], sources, WHOLE, told, 0, 4, needs, blends=False)


# runs


def on_device(settings: FitSettings, run_dir: Path, **trainer: object) -> FitSettings:
    told = dataclasses.replace(settings.trainer, blend_on="device", accumulate=2, **trainer)  # type: ignore[arg-type]
    return dataclasses.replace(settings, trainer=told, run_dir=run_dir)


def last(run_dir: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(run_dir / "resume.safetensors")


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_a_run_that_blends_on_the_device_resumes_exactly(
    settings: FitSettings, tmp_path: Path, rho: float
) -> None:
    settings = dataclasses.replace(settings, optim=dataclasses.replace(settings.optim, sam_rho=rho))
    assert fit(on_device(settings, tmp_path / "whole")).finished
    stopped = fit(on_device(settings, tmp_path / "parts", max_minutes=AT_ONCE))
    assert (stopped.finished, stopped.n_steps) == (False, 1)
    assert fit(on_device(settings, tmp_path / "parts")).finished
    one, other = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_xrays_are_learned_from_blends_of_the_device(settings: FitSettings, tmp_path: Path) -> None:
    told = on_device(settings, tmp_path / "run", steps=2, batch_size=4, validate_every=2)
    xray = DetectorSettings("face_xray", {"model_name": "hrnet_w18_small", "size": 64})
    told = dataclasses.replace(
        told, detector=xray, sources=(dataclasses.replace(told.sources[0], blend_share=1.0),)
    )
    assert fit(told).finished


def test_half_precision_rounds_no_landmark(toy: CropStore, settings: FitSettings) -> None:
    given = unblended(toy)
    assert given.genuine.dtype == torch.uint8
    # Lightning rounds what is a float in a batch, and nothing else
    assert not given.points.is_floating_point()
    assert float(given.points.view(torch.float32).max()) < S


def test_an_unknown_place_to_blend_is_refused(settings: FitSettings) -> None:
    with pytest.raises(UsageError, match=r"trainer\.blend_on=moon"):
        dataclasses.replace(settings.trainer, blend_on="moon")
    with pytest.raises(UsageError, match=r"trainer\.blend_on=loader"):
        dataclasses.replace(settings.trainer, blend_on="device", overfit_items=2)


def test_no_two_processes_blend_alike(
    settings: FitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = set()
    for rank in range(3):
        monkeypatch.setattr(DetectorModule, "global_rank", rank)
        module = DetectorModule(create_detector("meso4"), settings)
        for module.step in range(3):
            seeds |= {module._seed(part, purpose) for part in range(2) for purpose in (0xB1, 0xD0)}
    assert len(seeds) == 3 * 3 * 2 * 2
