"""Cosine transforms as matrix products.

Matrices of constants export to ONNX and give the same numbers everywhere, which library
transforms do not promise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix D, float32, size × size.

    D x is the transform of a column x, D P Dᵀ that of a picture P, and Dᵀ its inverse. Row i holds
    sqrt(2 / n) · cos(pi · i · (j + ½) / n), the first row sqrt(1 / n).

    Example:
        >>> matrix = dct_matrix(8)
        >>> bool(torch.allclose(matrix @ matrix.T, torch.eye(8), atol=1e-6))
        True
    """
    place = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / size * torch.outer(place, place + 0.5)) * math.sqrt(2 / size)
    return torch.cat([rows[:1] / math.sqrt(2), rows[1:]]).float()


def diagonal_band(size: int, low: int, high: int) -> Tensor:
    """Return 1 where low ≤ i + j ≤ high and 0 elsewhere, float32, size × size.

    In a picture's cosine transform that is a band of frequencies, from coarse to fine.

    Example:
        >>> diagonal_band(3, 1, 2)
        tensor([[0., 1., 1.],
                [1., 1., 0.],
                [1., 0., 0.]])
    """
    place = torch.arange(size)
    diagonal = place[:, None] + place
    return ((diagonal >= low) & (diagonal <= high)).float()
