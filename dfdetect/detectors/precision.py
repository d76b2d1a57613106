"""What must not be computed in half precision when the rest of a network is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context in which float32 stays float32 under mixed precision.

    Fine frequencies, cosines close to 1 and sums that cancel are the small differences of large
    numbers: the 8 bits of bfloat16 hold none of them.
    """
    if tensor.is_meta:
        # an outline has no mixed precision, and torch refuses to speak of one
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


def at_least_single(tensor: Tensor) -> Tensor:
    """Return a tensor of half precision as float32, and any other as it is.

    Example:
        >>> at_least_single(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
        >>> at_least_single(torch.zeros(1, dtype=torch.float64)).dtype
        torch.float64
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
