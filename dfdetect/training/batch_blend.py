"""Self-blended images for a whole batch at once, where the batch is: on a GPU or on the CPU.

The same recipe as `dfdetect.data.published_blend`, drawn from the same distributions, though not
the same numbers: tests hold areas, widths, displacements, colours and spectra of both together.
There is no loop over samples and nothing that makes a GPU wait for the CPU. Source: Shiohara and
Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dfdetect.data import published_blend as published
from dfdetect.data.face_shape import (
    EYE_BELOW,
    FIVE,
    N_POINTS,
    PUBLISHED_REGIONS,
    RAISED,
    WITH_FOREHEAD,
)
from dfdetect.data.opacity import LEAST_OPACITY, BlendSettings
from dfdetect.training.batch_shapes import fill_hulls, gaussian_rows, hull_corners

N_REGIONS = len(PUBLISHED_REGIONS)
# cells of the elastic field along each side, enough for faces of a quarter of the picture
GRID = 64
# what published_blend calls RIM, less what OpenCV's polygons reach beyond their edge, about two
# thirds of a pixel on either side
RIM = published.RIM - 2.3


@dataclass(frozen=True, slots=True)
class BatchBlend:
    """Genuine pictures, their forged twins and the opacity between them.

    `real` and `fake` are B × 3 × H × W of the input's type, 0 to 255; `mask` is B × 1 × H × W in
    [0, 1], float32; where it is 0 both pictures are equal. `region` (B,) counts the kinds of
    `published_blend.REGIONS`; `method` is `sbi-5pt` or `sbi`.
    """

    real: Tensor
    fake: Tensor
    mask: Tensor
    region: Tensor
    method: str


def blend_batch(
    images: Tensor,
    landmarks: Tensor,
    generator: torch.Generator,
    settings: BlendSettings | None = None,
) -> BatchBlend:
    """Blend every face of a batch with a changed copy of itself.

    Args:
        images: B × 3 × H × W RGB, uint8 or float, 0 to 255, on any device.
        landmarks: B × N × 2 in the pictures' pixels, N of 5, 68 or 81; where a sample's points
            are not finite its mask is 0.
        generator: The only source of chance, on the CPU or on the pictures' device. One on the
            CPU gives the same draws whatever the device.
        settings: Opacities and strength; the training defaults where None.

    Raises:
        ValueError: The pictures or the landmarks have another shape than stated, or the recipe is
            not the published one.
    """
    settings = settings or BlendSettings()
    _require(images, landmarks, settings)
    draw = Draws(generator, images.device, len(images))
    usable = torch.isfinite(landmarks).flatten(1).all(1)
    points = torch.nan_to_num(landmarks.to(images.device, torch.float32), posinf=0.0, neginf=0.0)
    shape = _fitted(points) if points.shape[1] == 5 else points
    height, width = images.shape[-2:]
    face = shape[:, :N_POINTS]
    side = (face.amax(1) - face.amin(1)).amax(1).clamp(1.0, 4.0 * max(height, width))
    pixels = images.to(torch.float32).round()
    changed = _changed(pixels, draw, settings.strength)
    first = _column(draw.chance(0.5))
    source, target = torch.where(first, changed, pixels), torch.where(first, pixels, changed)
    scale, shift = _move(face.mean(1), side, draw, settings.strength)
    moved = _moved(source, scale, shift)
    mask, region = _mask(shape * scale[:, None, None] + shift[:, None], side, draw, height, width)
    ratios = torch.tensor(settings.ratios, device=images.device)
    mask = mask * _column(ratios[draw.integers(0, len(settings.ratios))] * usable.to(mask))
    mixed = (mask * moved + (1 - mask) * target).round()
    fake = torch.where(mask > 0, mixed, target)
    method = "sbi-5pt" if landmarks.shape[1] == 5 else "sbi"
    return BatchBlend(target.to(images.dtype), fake.to(images.dtype), mask, region, method)


class Draws:
    """Numbers for every sample of a batch; they are drawn where the generator is."""

    def __init__(self, generator: torch.Generator, device: torch.device, n: int) -> None:
        """Draw for `n` samples, and hand the numbers over on `device`."""
        self._generator, self._device, self._n = generator, device, n

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return n × shape numbers in [low, high)."""
        drawn = torch.rand(self._n, *shape, generator=self._generator, device=self._at)
        return drawn.to(self._device, non_blocking=True) * (high - low) + low

    def chance(self, probability: float) -> Tensor:
        """Return n truth values."""
        return self.uniform(0, 1) < probability

    def integers(self, low: int, high: int) -> Tensor:
        """Return n whole numbers from low to high - 1."""
        return self.uniform(low, high).floor().clamp(max=high - 1).long()

    def normal(self, *shape: int) -> Tensor:
        """Return n × shape normal numbers."""
        drawn = torch.randn(self._n, *shape, generator=self._generator, device=self._at)
        return drawn.to(self._device, non_blocking=True)

    @property
    def _at(self) -> torch.device:
        return self._generator.device


def _require(images: Tensor, landmarks: Tensor, settings: BlendSettings) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"RGB pictures B × 3 × H × W are needed, got {tuple(images.shape)}")
    if landmarks.ndim != 3 or landmarks.shape[1] not in (5, 68, 81) or landmarks.shape[2] != 2:
        raise ValueError(f"landmarks B × 5, 68 or 81 × 2 are needed, got {tuple(landmarks.shape)}")
    if len(images) != len(landmarks):
        raise ValueError(f"{len(images)} pictures and landmarks of {len(landmarks)}")
    if settings.recipe not in (None, "published"):
        raise ValueError(f"the batched version has the recipe `published`, not {settings.recipe!r}")


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _fitted(points: Tensor) -> Tensor:
    """Place the canonical face on five points each, as `face_shape.fit_shape` does."""
    centre = FIVE.mean(0)
    source, inverse, whole = (
        torch.tensor(values, device=points.device, dtype=torch.float32)
        for values in (FIVE - centre, np.linalg.pinv(FIVE - centre), WITH_FOREHEAD - centre)
    )
    middle = points.mean(1, keepdim=True)
    moved = points - middle
    affine = inverse @ moved
    norm = (source**2).sum()
    a = (source * moved).sum((1, 2)) / norm
    b = (source[:, 0] * moved[..., 1] - source[:, 1] * moved[..., 0]).sum(1) / norm
    similarity = torch.stack([torch.stack([a, b], 1), torch.stack([-b, a], 1)], 1)
    # two by two by hand: a determinant on a GPU would wait for the CPU
    area = affine[:, 0, 0] * affine[:, 1, 1] - affine[:, 0, 1] * affine[:, 1, 0]
    ratio = area / (a**2 + b**2).clamp(min=1e-9)
    believable = (ratio > 0.4) & (ratio < 2.5)
    chosen = torch.where(believable[:, None, None], affine, similarity)
    return whole @ chosen + middle


def _changed(pixels: Tensor, draw: Draws, strength: float) -> Tensor:
    """Change colour, then sharpness or resolution; all values stay whole numbers."""
    shifted = draw.chance(published.RGB_SHIFT_SHARE)[:, None]
    shift = draw.uniform(-published.RGB_SHIFT, published.RGB_SHIFT, 3) * strength * shifted
    contrast = 1 + draw.uniform(-published.CONTRAST, published.CONTRAST) * strength
    light = draw.uniform(-published.BRIGHTNESS, published.BRIGHTNESS) * 255 * strength
    coloured = (pixels + shift[..., None, None]).clamp(0, 255)
    coloured = (coloured * _column(contrast) + _column(light)).clamp(0, 255).round()
    coarse = _coarser(coloured, draw, strength)
    sharp = _sharper(coloured, draw, strength)
    return torch.where(_column(draw.chance(0.5)), coarse, sharp)


def _sharper(pixels: Tensor, draw: Draws, strength: float) -> Tensor:
    amount = _column(draw.uniform(*published.SHARPEN) * strength)
    lightness = _column(draw.uniform(*published.LIGHTNESS))
    around = 9 * functional.avg_pool2d(functional.pad(pixels, (1, 1, 1, 1), "reflect"), 3, 1)
    sharp = pixels * (1 - amount + amount * (9 + lightness)) - amount * around
    return sharp.clamp(0, 255).round()


def _coarser(pixels: Tensor, draw: Draws, strength: float) -> Tensor:
    factors = torch.tensor(published.COARSE_FACTORS, device=pixels.device, dtype=torch.float32)
    factor = 1 + (factors[draw.integers(0, len(factors))] - 1) * max(strength, 0.0)
    for dim in (2, 3):
        pixels = _coarser_along(pixels, factor, dim)
    return pixels.round()


def _coarser_along(pixels: Tensor, factor: Tensor, dim: int) -> Tensor:
    # nearest pixels of a smaller picture, and between them straight lines
    n = pixels.shape[dim]
    count = (n / factor).round().clamp(min=1)[:, None]
    step = n / count
    place = (torch.arange(n, device=pixels.device) + 0.5) / step - 0.5
    lower = place.floor()
    shape = [len(pixels), 1, 1, 1]
    shape[dim] = n
    size = list(pixels.shape)
    near, far = (
        pixels.gather(
            dim,
            (position.clamp(min=0).minimum(count - 1) * step)
            .floor()
            .long()
            .clamp(max=n - 1)
            .reshape(shape)
            .expand(size),
        )
        for position in (lower, lower + 1)
    )
    return torch.lerp(near, far, (place - lower).reshape(shape).expand(size))


def _move(centre: Tensor, side: Tensor, draw: Draws, strength: float) -> tuple[Tensor, Tensor]:
    low = published.SCALE_LOW
    scale = 1 + (draw.uniform(low, 1 / low) - 1) * strength
    reach = torch.tensor(published.SHIFT, device=side.device) * strength
    shift = draw.uniform(-1, 1, 2) * reach * side[:, None]
    return scale, centre * (1 - scale[:, None]) + shift


def _moved(pixels: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    grids = []
    for n, offset in zip(pixels.shape[:1:-1], shift.unbind(1), strict=True):
        place = (torch.arange(n, device=pixels.device) - offset[:, None]) / scale[:, None]
        grids.append((place + 0.5) * 2 / n - 1)
    x, y = grids
    size = (len(pixels), y.shape[1], x.shape[1])
    grid = torch.stack([x[:, None].expand(size), y[..., None].expand(size)], -1)
    # straight lines between whole numbers stay within them; rounding follows 8-bit warps
    return functional.grid_sample(
        pixels, grid, padding_mode="reflection", align_corners=False
    ).round()


def _mask(
    shape: Tensor, side: Tensor, draw: Draws, height: int, width: int
) -> tuple[Tensor, Tensor]:
    rows, columns = max(2, height // 2), max(2, width // 2)
    ratio = torch.tensor([columns / width, rows / height], device=shape.device)
    hulls, region = _hulls((shape + 0.5) * ratio - 0.5, draw)
    hard = fill_hulls(hulls, rows, columns)
    small_side = side * ratio.mean()
    soft = _softened(_pushed(hard, small_side, draw), small_side, draw)
    mask = functional.interpolate(soft, (height, width), mode="bilinear", align_corners=False)
    return torch.where(mask < LEAST_OPACITY, 0.0, mask).clamp(0, 1), region


def _hulls(shape: Tensor, draw: Draws) -> tuple[Tensor, Tensor]:
    """Return the corners of every sample's convex hulls, B × K × D × 2, and the region's number."""
    n_forehead = shape.shape[1] - N_POINTS
    faces = tuple(range(N_POINTS))
    # `whole` comes twice: with the forehead, which lies behind the raised brows, and without it
    top = RAISED[-1] + 1
    table = [parts or (faces,) for parts in PUBLISHED_REGIONS.values()]
    table.append(((*faces, *range(top, top + n_forehead)),))
    longest, most = max(len(p) for row in table for p in row), max(len(row) for row in table)
    # points and hulls that come again change nothing of a union of convex hulls
    padded = [[(*p, *p[:1] * (longest - len(p))) for p in row] for row in table]
    full = torch.tensor([[*row, *row[:1] * (most - len(row))] for row in padded])
    region = draw.integers(0, N_REGIONS)
    kept = ~draw.chance(published.FOREHEAD_DROP)
    whole = list(PUBLISHED_REGIONS).index("whole")
    row = torch.where((region == whole) & kept, len(table) - 1, region)
    below = torch.tensor(EYE_BELOW, device=shape.device)
    raised = 1.5 * shape[:, 17:27] - 0.5 * shape[:, below].mean(2)
    points = torch.cat([shape[:, :N_POINTS], raised, shape[:, N_POINTS:]], 1)
    chosen = full.to(shape.device)[row]
    parts = points[torch.arange(len(points), device=shape.device)[:, None, None], chosen]
    return hull_corners(parts), region


def _pushed(mask: Tensor, side: Tensor, draw: Draws) -> Tensor:
    """Push masks about by smooth random fields whose grain follows the size of the face."""
    rows, columns = mask.shape[-2:]
    unit = side / published.ELASTIC_SIDE
    step = (published.ELASTIC_STEP * unit).clamp(min=max(rows, columns) / (GRID - 6))
    field = draw.normal(2, GRID, GRID)
    sigma = published.ELASTIC_SIGMA / published.ELASTIC_STEP
    wide = torch.full((1,), sigma, device=mask.device)
    blur = gaussian_rows(wide, torch.full_like(wide, 3.0), GRID)
    field = blur @ field @ blur.mT * _column(published.ELASTIC_STD * unit / published.GRID_STD)
    places = [
        ((torch.arange(n, device=mask.device) + 0.5) / step[:, None] + 3) * 2 / GRID - 1
        for n in (columns, rows)
    ]
    size = (len(mask), rows, columns)
    grid = torch.stack([places[0][:, None].expand(size), places[1][..., None].expand(size)], -1)
    shift = functional.grid_sample(field, grid, mode="bicubic", align_corners=False)
    x = torch.arange(columns, device=mask.device) + shift[:, 0]
    y = torch.arange(rows, device=mask.device)[:, None] + shift[:, 1]
    target = torch.stack([(x + 0.5) * 2 / columns - 1, (y + 0.5) * 2 / rows - 1], -1)
    return functional.grid_sample(mask, target, align_corners=False)


def _softened(mask: Tensor, side: Tensor, draw: Draws) -> Tensor:
    """Erode by a blur that is cut at its plateau, then blur what remains; the peak is 1."""
    low, high = published.SOFT_SIDES
    unit = side / draw.uniform(low, high)
    kernels = [2 * (draw.integers(*published.KERNELS) // 2) + 1 for _ in range(2)]
    first, second = kernels[0] + RIM, kernels[1].to(torch.float32)
    blurred = _blurred(mask, (0.15 * (first - 1) + 0.5) * unit, first * unit)
    peak = blurred.amax((2, 3), keepdim=True)
    core = (blurred >= published.PLATEAU * peak) & (peak >= 0.02)
    sigma = draw.integers(*published.SIGMAS) * unit
    soft = _blurred(core.to(mask), sigma, second * unit)
    return soft / soft.amax((2, 3), keepdim=True).clamp(min=1e-6)


def _blurred(mask: Tensor, sigma: Tensor, width: Tensor) -> Tensor:
    # a blur is two products with matrices, which are of one size whatever the kernels' widths
    radius = (width / 2).floor()
    rows, columns = (gaussian_rows(sigma, radius, n)[:, None] for n in mask.shape[-2:])
    return rows @ mask @ columns.mT
