"""Convex hulls and Gaussian blurs of a whole batch, each sample with its own, without loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A hull is seen from so many directions; a corner whose angle is within one step of flat may be
# missed, which costs a small part of a pixel.
DIRECTIONS = 96
SUBROWS = 2  # rows within a pixel that are looked at where edges are nearly level


def hull_corners(points: Tensor) -> Tensor:
    """Return the corners of convex hulls, in order around them.

    Args:
        points: … × P × 2.

    Returns:
        … × D × 2, D = `DIRECTIONS`: the farthest point in every direction, so that corners come
        several times.

    Example:
        >>> square = torch.tensor([[0.0, 0], [1, 0], [0.5, 0.5], [1, 1], [0, 1]])
        >>> torch.unique(hull_corners(square), dim=0).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    # half a step aside: edges along the axes would be a tie
    angles = (torch.arange(DIRECTIONS, device=points.device) + 0.5) * (2 * math.pi / DIRECTIONS)
    directions = torch.stack([angles.cos(), angles.sin()])
    farthest = (points @ directions).argmax(-2)
    return points.gather(-2, farthest[..., None].expand(*farthest.shape, 2))


def fill_hulls(corners: Tensor, height: int, width: int) -> Tensor:
    """Fill the union of convex polygons: the share of every pixel that is covered.

    Args:
        corners: B × K × D × 2, in order around each polygon; the middle of the first pixel is 0.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        B × 1 × height × width in [0, 1].
    """
    n_rows = height * SUBROWS
    rows = (torch.arange(n_rows, device=corners.device) + 0.5) / SUBROWS - 0.5
    x, y = corners[..., None].unbind(-2)
    x_next, y_next = x.roll(-1, -2), y.roll(-1, -2)
    crossed = (y <= rows) != (y_next <= rows)
    rise = torch.where(y_next == y, 1.0, y_next - y)
    at = x + (rows - y) / rise * (x_next - x)
    left = torch.where(crossed, at, math.inf).amin(-2)[..., None]
    right = torch.where(crossed, at, -math.inf).amax(-2)[..., None]
    columns = torch.arange(width, device=corners.device)
    covered = torch.minimum(right, columns + 0.5) - torch.maximum(left, columns - 0.5)
    # summed, for where two polygons share an edge each covers a part of the same pixel
    union = covered.clamp(0, 1).sum(1).clamp(max=1)
    return union.reshape(-1, 1, height, SUBROWS, width).mean(3)


def gaussian_rows(sigma: Tensor, radius: Tensor, n: int) -> Tensor:
    """Return matrices that blur a line of n pixels by a cut-off Gaussian; edges are mirrored.

    Args:
        sigma: (B,) standard deviations in pixels.
        radius: (B,) how far the kernel reaches to each side, in whole pixels below n.
        n: Length of the line.

    Returns:
        B × n × n; every row sums to 1.
    """
    places = torch.arange(n, device=sigma.device, dtype=torch.float32)
    line, other = places[:, None], places[None]
    sigma, radius = sigma.clamp(min=1e-3)[:, None, None], radius.clamp(max=n - 1.0)[:, None, None]

    def weight(distance: Tensor) -> Tensor:
        return torch.where(distance <= radius, torch.exp(-0.5 * (distance / sigma) ** 2), 0.0)

    # beyond the edge comes the mirror image without the edge pixel itself
    total = weight((line - other).abs())
    total = total + weight(line + other) * (other > 0)
    total = total + weight(2 * (n - 1) - line - other) * (other < n - 1)
    return total / total.sum(-1, keepdim=True)
