"""Blends of a whole batch: what each promises, and that they are drawn as single ones are."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfdetect.data import published_blend
from dfdetect.data.blend import BlendSettings, fit_shape, self_blend
from dfdetect.data.opacity import LEAST_OPACITY
from dfdetect.training.batch_blend import (
    GRID,
    Draws,
    _coarser_along,
    _fitted,
    _moved,
    _pushed,
    _sharper,
    blend_batch,
)
from dfdetect.training.batch_shapes import fill_hulls, gaussian_rows, hull_corners
from tests.blend_measures import MEASURES, differ, face_81, textured

SIDE = 256
N_DRAWS = 250


def tensor_of(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def batch(n: int, side: int = 96) -> tuple[Tensor, Tensor]:
    images = torch.stack([tensor_of(textured(side, seed)) for seed in range(n)])
    return images, torch.from_numpy(face_81(side)).expand(n, -1, -1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# what a blend promises


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("count", [5, 68, 81])
def test_pictures_are_equal_outside_the_mask(kind: torch.dtype, count: int) -> None:
    images, points = batch(16)
    images = images.to(kind)
    before = images.clone()
    face = points[:, :count]
    if count == 5:
        face = torch.stack(
            [
                points[:, 36:42].mean(1),
                points[:, 42:48].mean(1),
                *points[:, [30, 48, 54]].unbind(1),
            ],
            1,
        )
    blend = blend_batch(images, face, seeded(0))
    assert torch.equal(images, before)
    assert blend.real.dtype == blend.fake.dtype == kind
    assert blend.mask.shape == (16, 1, 96, 96)
    assert blend.mask.dtype == torch.float32
    assert 0 <= blend.mask.min() <= blend.mask.max() <= 1
    assert blend.mask[blend.mask > 0].min() > 0.2 * LEAST_OPACITY
    outside = (blend.mask == 0).expand_as(images)
    assert outside.float().mean() > 0.3
    assert torch.equal(blend.real[outside], blend.fake[outside])
    changed = (blend.real != blend.fake).any(1, keepdim=True)
    assert changed[blend.mask > 0].float().mean() > 0.1
    assert blend.method == ("sbi-5pt" if count == 5 else "sbi")


def test_the_same_seed_gives_the_same_blends() -> None:
    images, points = batch(8)
    first, again, other = (blend_batch(images, points, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.fake, again.fake)
    assert torch.equal(first.mask, again.mask)
    assert torch.equal(first.region, again.region)
    assert not torch.equal(first.fake, other.fake)


def test_half_of_the_genuine_pictures_are_untouched() -> None:
    images, points = batch(200, 48)
    blend = blend_batch(images, points, seeded(1))
    untouched = (blend.real == images).flatten(1).all(1).float().mean()
    assert 0.38 < untouched < 0.62
    counts = torch.bincount(blend.region, minlength=4)
    assert counts.min() > 30


def test_a_sample_without_usable_landmarks_is_left_alone() -> None:
    images, points = batch(4)
    points = points.clone()
    points[1, 7] = float("nan")
    points[2] += 5000
    blend = blend_batch(images, points, seeded(2))
    assert torch.isfinite(blend.mask).all()
    assert not blend.mask[1:3].any()
    assert torch.equal(blend.real[1:3], blend.fake[1:3])
    assert blend.mask[0].any()


def test_pictures_need_not_be_square() -> None:
    images, points = batch(3)
    blend = blend_batch(images[:, :, :95, :77], points, seeded(5))
    assert blend.fake.shape == (3, 3, 95, 77)
    assert blend.mask.shape == (3, 1, 95, 77)


@pytest.mark.parametrize(
    ("images", "points", "message"),
    [
        ((2, 1, 32, 32), (2, 68, 2), "B × 3"),
        ((2, 3, 32, 32), (2, 67, 2), "5, 68 or 81"),
        ((2, 3, 32, 32), (3, 68, 2), "landmarks of 3"),
    ],
)
def test_other_shapes_are_refused(
    images: tuple[int, ...], points: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        blend_batch(torch.zeros(images), torch.zeros(points), seeded(0))


def test_another_recipe_is_refused() -> None:
    told = BlendSettings(recipe="varied")
    with pytest.raises(ValueError, match="recipe"):
        blend_batch(torch.zeros(1, 3, 32, 32), torch.zeros(1, 5, 2), seeded(0), told)


# distributions, against single blends


@pytest.fixture(scope="module")
def both() -> tuple[list[SimpleNamespace], list[SimpleNamespace]]:
    image, face = textured(SIDE), face_81(SIDE)
    single = [self_blend(image, face, np.random.default_rng(n)) for n in range(N_DRAWS)]
    images = tensor_of(image).expand(25, -1, -1, -1)
    points = torch.from_numpy(face).expand(25, -1, -1)
    generator, batched = seeded(11), []
    for _ in range(N_DRAWS // 25):
        blend = blend_batch(images, points, generator)
        batched += [
            SimpleNamespace(
                real=real.permute(1, 2, 0).numpy(), fake=fake.permute(1, 2, 0).numpy(),
                mask=mask[0].numpy(),
            )
            for real, fake, mask in zip(blend.real, blend.fake, blend.mask, strict=True)
        ]  # fmt: skip
    return single, batched


@pytest.mark.parametrize("name", MEASURES)
def test_batches_draw_from_the_same_distribution(
    both: tuple[list[SimpleNamespace], list[SimpleNamespace]], name: str
) -> None:
    single, batched = ([MEASURES[name](blend) for blend in blends] for blends in both)
    assert not differ(name, single, batched)


def test_the_elastic_field_is_that_of_single_blends() -> None:
    ramp = np.tile(np.arange(128, dtype=np.float32), (128, 1))
    masks = torch.from_numpy(ramp).expand(24, 1, -1, -1)
    draws = Draws(seeded(0), torch.device("cpu"), 24)
    ours = (_pushed(masks, torch.full((24,), 64.0), draws) - masks)[:, 0, 12:-12, 12:-12].numpy()
    told = published_blend.ELASTIC_STD
    theirs = np.stack(
        [published_blend.elastic(ramp, 64.0, np.random.default_rng(n), told) - ramp
         for n in range(24)]
    )[:, 12:-12, 12:-12]  # fmt: skip
    assert ours.std() == pytest.approx(theirs.std(), rel=0.1)
    for lag in (2, 4, 8):
        grain = [(f[..., lag:] * f[..., :-lag]).mean() / f.var() for f in (ours, theirs)]
        assert grain[0] == pytest.approx(grain[1], abs=0.1)
    assert GRID >= 128 / 8


# each step, against OpenCV or by hand


@pytest.mark.parametrize(("side", "factor"), [(64, 2.0), (64, 4.0), (50, 4.0), (33, 2.0)])
def test_shrinking_and_enlarging_is_opencv_s(side: int, factor: float) -> None:
    image = textured(side)
    small = cv2.resize(image, (round(side / factor),) * 2, interpolation=cv2.INTER_NEAREST)
    expected = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR).astype(float)
    pixels = tensor_of(image)[None].float()
    for dim in (2, 3):
        pixels = _coarser_along(pixels, torch.tensor([factor]), dim)
    assert np.abs(pixels[0].permute(1, 2, 0).numpy() - expected).max() <= 1.1


def test_sharpening_is_a_filter_of_opencv() -> None:
    image = textured(40)
    draws = Draws(seeded(9), torch.device("cpu"), 1)
    ours = _sharper(tensor_of(image)[None].float(), draws, 1.0)[0].permute(1, 2, 0).numpy()
    draws = Draws(seeded(9), torch.device("cpu"), 1)
    amount = float(draws.uniform(*published_blend.SHARPEN))
    lightness = float(draws.uniform(*published_blend.LIGHTNESS))
    kernel = np.full((3, 3), -amount, np.float32)
    kernel[1, 1] = 1 - amount + amount * (8 + lightness)
    assert np.abs(ours - cv2.filter2D(image, -1, kernel)).max() <= 1


def test_moving_is_a_warp_of_opencv() -> None:
    image = textured(48)
    moved = _moved(
        tensor_of(image)[None].float(), torch.tensor([1.04]), torch.tensor([[-3.3, 2.6]])
    )
    move = np.array([[1.04, 0, -3.3], [0, 1.04, 2.6]])
    expected = cv2.warpAffine(image, move, (48, 48), borderMode=cv2.BORDER_REFLECT)
    # OpenCV rounds places to 1/32 of a pixel
    assert np.abs(moved[0].permute(1, 2, 0).numpy() - expected).mean() < 1


def test_blurring_is_opencv_s_mirrored_edges_included() -> None:
    mask = textured(30)[..., 0].astype(np.float32)
    rows = gaussian_rows(torch.tensor([2.2]), torch.tensor([4.0]), 30)[0]
    assert torch.allclose(rows.sum(1), torch.ones(30), atol=1e-6)
    ours = (rows @ torch.from_numpy(mask) @ rows.T).numpy()
    assert np.abs(ours - cv2.GaussianBlur(mask, (9, 9), 2.2)).max() < 1e-2


def test_corners_bound_the_same_hull() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.normal(0, 20, (30, 2)).astype(np.float32)
        corners = hull_corners(torch.from_numpy(points)).numpy()
        area = cv2.contourArea(cv2.convexHull(points))
        assert cv2.contourArea(corners) == pytest.approx(area, rel=0.01)


def test_a_filled_triangle_has_its_area_and_a_shared_edge_leaves_no_seam() -> None:
    square = [[10.2, 8.3], [40.7, 8.3], [40.7, 50.1], [10.2, 50.1]]
    halves = torch.tensor([[[square[0], square[1], square[2]], [square[0], square[2], square[3]]]])
    one = fill_hulls(halves[:, :1], 64, 64)
    assert float(one.sum()) == pytest.approx(30.5 * 41.8 / 2, rel=0.02)
    both = fill_hulls(halves, 64, 64)[0, 0]
    assert float(both[10:49, 12:40].min()) > 0.9999
    assert float(both.sum()) == pytest.approx(30.5 * 41.8, rel=0.02)


def test_five_points_are_fitted_as_single_ones_are() -> None:
    rng = np.random.default_rng(1)
    upright = np.array([[80, 90], [120, 92], [101, 115], [84, 140], [117, 139]], float)
    flat = np.array([[80, 90], [120, 90.5], [100, 91], [84, 90.4], [117, 90.1]], float)
    for points in (upright + rng.normal(0, 3, (5, 2)), flat):
        fitted = _fitted(torch.from_numpy(points)[None].float())[0].numpy()
        expected = fit_shape([(float(x), float(y)) for x, y in points])
        assert np.abs(fitted - expected).max() < 0.05
