"""The processes that train together: who does what, and how they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process, number `rank` of `n` that hold the same weights; `device` is its own."""

    rank: int = 0
    n: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share: every item is in exactly one.

        Example:
            >>> [Ranks(rank, 2).own("abcde") for rank in (0, 1)]
            ['ace', 'bd']
        """
        return items[self.rank :: self.n]

    def together(self, values: NDArray[np.float32], n_items: int) -> NDArray[np.float32]:
        """Return one number for every item, in order, from the numbers of each process's share.

        Every process must call it, and each gets all of them.
        """
        if self.n == 1:
            return values
        # shares differ by one at most, and what is sent must be of one length
        length = -(-n_items // self.n)
        own = torch.zeros(length, device=self.device)
        own[: len(values)] = torch.from_numpy(values).to(self.device)
        shares = [torch.empty_like(own) for _ in range(self.n)]
        torch.distributed.all_gather(shares, own)
        return np.asarray(torch.stack(shares, dim=1).flatten()[:n_items].cpu().numpy())

    def wait(self) -> None:
        """Return when every process got here."""
        if self.n > 1:
            torch.distributed.barrier()
