"""The stream of crops as torch's DataLoader takes it; `streaming` itself needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.utils.data import IterableDataset, get_worker_info

from dfdetect.data.items import CropItem, Transform
from dfdetect.data.streaming import StreamLimits, stream_crops
from dfdetect.errors import UsageError


class StreamingCrops(IterableDataset[CropItem]):
    """Crops out of shards, each shard read by one worker of one rank.

    The order is a function of seed, epoch and the numbers of ranks and workers. Ranks get whole
    shards, so not equally many crops: a training on several ranks must bound its steps.
    """

    def __init__(
        self,
        shards: Sequence[str | Path],
        split: str | None = None,
        *,
        shuffle: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        transform: Transform | None = None,
        limits: StreamLimits = StreamLimits(),  # noqa: B008 — frozen
    ) -> None:
        """Take what `stream_crops` takes, and the place among the ranks.

        Raises:
            UsageError: `rank` is not below `world_size`, or there are fewer shards than ranks.
        """
        super().__init__()
        if not 0 <= rank < world_size:
            raise UsageError(f"rank={rank} of world_size={world_size}: ranks count from 0")
        if len(shards) < world_size:
            raise UsageError(
                f"{len(shards)} shard(s) do not suffice for {world_size} ranks; extract with "
                "smaller shards, or load with CropDataset"
            )
        self._shards, self._split = tuple(str(shard) for shard in shards), split
        self._shuffle, self._seed, self._transform = shuffle, seed, transform
        self._rank, self._world_size, self._limits = rank, world_size, limits
        # in shared memory, so that workers that outlive an epoch hear of the next one
        epoch = torch.zeros((), dtype=torch.int64)
        self._epoch: torch.Tensor = epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is streamed next, from 0."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[CropItem]:
        worker = get_worker_info()
        number, n_workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return stream_crops(
            self._shards,
            self._split,
            shuffle=self._shuffle,
            seed=self._seed,
            epoch=int(self._epoch),
            part=number * self._world_size + self._rank,
            n_parts=n_workers * self._world_size,
            transform=self._transform,
            limits=self._limits,
        )
