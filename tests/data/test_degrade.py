"""Each step of degradation against another library: Pillow, OpenCV or plain numpy."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance
from torch import Tensor

from dfdetect.data.augment import AugmentSettings, augment, draw_treatment
from dfdetect.data.augment_settings import geometry_of
from dfdetect.data.degrade import (
    blur,
    down_and_up,
    grey,
    jpeg,
    noisy,
    recolour,
    shift_channels,
)
from dfdetect.types import Image
from tests.blend_measures import textured

S = 112
ONE = textured(S)


def tensor(*pictures: Image) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def array(pictures: Tensor, n: int = 0) -> Image:
    return pictures[n].permute(1, 2, 0).numpy()


def distance(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def enhanced(picture: Image, change: tuple[float, float, float]) -> Image:
    """Brightness, contrast and saturation as Pillow means them."""
    image = Pillow.fromarray(picture)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for kind, share in zip(kinds, change, strict=True):
        image = kind(image).enhance(1 + share)
    return np.asarray(image)


def recoloured(picture: Image, change: tuple[float, float, float]) -> NDArray[np.float64]:
    """The same by the definitions, without rounding in between, as Pillow does it thrice."""
    weights = np.array([0.299, 0.587, 0.114])
    pixels = np.clip(picture * (1 + change[0]), 0, 255)
    mean = (pixels @ weights).mean()
    pixels = np.clip(mean + (pixels - mean) * (1 + change[1]), 0, 255)
    luma = (pixels @ weights)[..., None]
    return np.clip(luma + (pixels - luma) * (1 + change[2]), 0, 255)


def resized(picture: Image, share: float) -> Image:
    small = Pillow.fromarray(picture).resize([round(S * share)] * 2, Pillow.Resampling.BILINEAR)
    return np.asarray(small.resize((S, S), Pillow.Resampling.BILINEAR))


def coded(picture: Image, quality: int) -> Image:
    _, bits = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(bits, cv2.IMREAD_COLOR_RGB), np.uint8)


STEPS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Image], NDArray[np.generic]]]] = {
    "brighter": (lambda all_: recolour(all_, (0.2, 0, 0)), lambda one: enhanced(one, (0.2, 0, 0))),
    "flatter": (
        lambda all_: recolour(all_, (0, -0.25, 0)),
        lambda one: enhanced(one, (0, -0.25, 0)),
    ),
    "paler": (lambda all_: recolour(all_, (0, 0, -0.25)), lambda one: enhanced(one, (0, 0, -0.25))),
    "all three": (
        lambda all_: recolour(all_, (0.1, -0.2, 0.15)),
        lambda one: recoloured(one, (0.1, -0.2, 0.15)),
    ),
    "shift": (
        lambda all_: shift_channels(all_, np.array([20.0, -7.0, 3.4])),
        lambda one: np.clip(one + np.array([20, -7, 3]), 0, 255),
    ),
    "grey": (
        grey,
        lambda one: cv2.cvtColor(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    ),
    "blur 0.5": (lambda all_: blur(all_, 0.5), lambda one: cv2.GaussianBlur(one, (0, 0), 0.5)),
    "blur 1.4": (lambda all_: blur(all_, 1.4), lambda one: cv2.GaussianBlur(one, (0, 0), 1.4)),
    "coarse 0.35": (lambda all_: down_and_up(all_, 0.35), lambda one: resized(one, 0.35)),
    "coarse 0.8": (lambda all_: down_and_up(all_, 0.8), lambda one: resized(one, 0.8)),
    "jpeg 40": (lambda all_: jpeg(all_, 40), lambda one: coded(one, 40)),
    "jpeg 95": (lambda all_: jpeg(all_, 95), lambda one: coded(one, 95)),
}
# a grey level where a step or its reference rounds downwards, else what rounding comes to
LOOSE = {"brighter": 0.6, "flatter": 0.6, "paler": 0.8, "all three": 0.4, "grey": 0.6}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_what_another_library_does(name: str) -> None:
    step, reference = STEPS[name]
    wanted = reference(ONE)
    found = step(tensor(ONE))
    assert found.dtype == torch.uint8
    tolerance = LOOSE.get(name, 0.1)
    assert distance(array(found), wanted) < tolerance
    assert distance(wanted, ONE) > 2 * tolerance, "the step does something"


@pytest.mark.parametrize("name", STEPS)
def test_pictures_of_one_sample_do_not_see_one_another(name: str) -> None:
    step = STEPS[name][0]
    others = [textured(S, seed) for seed in range(1, 4)]
    together = step(tensor(ONE, *others))
    kept = step(tensor(*others, ONE).contiguous())
    for n, picture in enumerate([ONE, *others]):
        alone = array(step(tensor(picture)))
        assert np.array_equal(array(together, n), alone)
        assert np.array_equal(array(kept, (n - 1) % 4), alone)


def test_a_change_of_nothing_is_nothing() -> None:
    assert torch.equal(recolour(tensor(ONE), (0, 0, 0)), tensor(ONE))


def test_a_change_of_more_than_all_stops_at_black() -> None:
    assert int(recolour(tensor(ONE), (-1.5, 0, 0)).max()) == 0


def test_noise_is_normal_equal_for_a_sample_and_from_its_seed() -> None:
    flat = np.full((S, S, 3), 128, np.uint8)
    seed = np.random.SeedSequence(3)
    found = noisy(tensor(flat, flat), 6.0, seed)
    noise = array(found).astype(float) - 128
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(6, rel=0.03)
    assert np.mean(np.abs(noise) < 6) == pytest.approx(0.68, abs=0.05)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05
    assert torch.equal(found[0], found[1])
    assert torch.equal(found, noisy(tensor(flat, flat), 6.0, np.random.SeedSequence(3)))
    assert not torch.equal(found, noisy(tensor(flat, flat), 6.0, np.random.SeedSequence(4)))


def test_jpeg_takes_any_size_and_the_lowest_quality() -> None:
    odd = np.ascontiguousarray(ONE[:53, :71])
    assert distance(array(jpeg(tensor(odd), 75)), coded(odd, 75)) < 0.1
    assert distance(array(jpeg(tensor(odd), 0)), coded(odd, 0)) < 0.1


def test_a_blur_wider_than_the_picture_is_a_blur() -> None:
    small = cv2.resize(ONE, (9, 9), interpolation=cv2.INTER_AREA)
    assert array(blur(tensor(small), 5.0)).std() < small.std()


@pytest.mark.parametrize("most", [8.0, 80.0])
def test_a_turn_is_what_opencv_does_rim_included(most: float) -> None:
    told = geometry_of(AugmentSettings(1.0, 1.0, 0.0, 0.0, rotate=1.0, rotate_high=most))
    for seed in range(6):
        angle = draw_treatment(np.random.default_rng(seed), told).angle
        assert angle is not None
        turn = cv2.getRotationMatrix2D((S / 2 - 0.5, S / 2 - 0.5), angle, 1.0)
        wanted = cv2.warpAffine(ONE, turn, (S, S), borderMode=cv2.BORDER_REFLECT_101)
        found = augment(ONE, 1.0, S, np.random.default_rng(seed), told)
        # OpenCV places pixels to a 32nd of one
        assert distance(found, wanted) < 0.5
