"""The training items as Lightning takes them: each process its share, from the step reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from dfdetect.data.crops import CropStore
from dfdetect.data.landmarks import read_landmarks
from dfdetect.data.shapes import Shapes, shapes_of
from dfdetect.data.training_items import TrainingItem, TrainingItems
from dfdetect.detectors.base import BatchNeeds, Preprocess
from dfdetect.errors import ContractError, UsageError
from dfdetect.training.device_pairs import Unblended
from dfdetect.training.module import Given
from dfdetect.training.ranks import Ranks
from dfdetect.training.settings import FitSettings

T = TypeVar("T", bound=np.generic)
WHOLE = "whole"


class FromStep(Sampler[int]):
    """The positions of the training items, in order, from the step that the run has reached.

    Of every batch each process takes its share, so that all together take what one alone would.
    """

    def __init__(
        self,
        step: Callable[[], int],
        n_steps: int,
        accumulate: int,
        per_batch: int,
        ranks: Ranks,
        only: int = 0,
    ) -> None:
        """Number `per_batch` items a batch, `accumulate` batches a step; `only` the first few."""
        self._only = only or n_steps * accumulate * per_batch
        self._step, self._n_batches = step, n_steps * accumulate
        self._accumulate, self._per_batch, self._ranks = accumulate, per_batch, ranks

    def __iter__(self) -> Iterator[int]:
        for batch in range(self._step() * self._accumulate, self._n_batches):
            first = batch * self._per_batch
            batch_items = range(first, first + self._per_batch)
            yield from (position % self._only for position in self._ranks.own(batch_items))

    def __len__(self) -> int:
        n_batches = self._n_batches - self._step() * self._accumulate
        return n_batches * (self._per_batch // self._ranks.n)


def require_policy(stores: Sequence[CropStore], name: str, preprocess: Preprocess) -> None:
    """Refuse crops that were cut in another way than a detector judges them.

    Training cuts down larger crops itself, so that scale and size may differ; pictures cropped by
    somebody else (`whole`) are taken as they are.

    Raises:
        ContractError: The sentence names the folder and what to do.
    """
    wanted = preprocess.crop.name
    for store in stores:
        if store.policy.name not in (WHOLE, wanted):
            raise ContractError(
                f"the crops in {store.folder} have name {store.policy.name} instead of {wanted}, "
                f"which detector {name!r} is trained on; extract them again with its crop policy: "
                f"faces={wanted}"
            )


class Feed(lightning.LightningDataModule):
    """The loader of one run; `step` tells the optimiser steps that are done.

    Attributes:
        blended_as: What its blends are called, and of how many faces they are made.
        about_landmarks: What became of the files of landmarks, in a sentence; empty without any.
    """

    def __init__(
        self,
        settings: FitSettings,
        stores: tuple[CropStore, ...],
        preprocess: Preprocess,
        needs: BatchNeeds,
        step: Callable[[], int],
        ranks: Ranks,
    ) -> None:
        """Take the training faces out of the stores, and their landmarks out of files.

        Raises:
            UsageError: A batch cannot be divided as wanted, or the stores lack what it needs, or
                files of landmarks are of none of the faces.
            ContractError: A file of landmarks is faulty.
        """
        super().__init__()
        told = settings.trainer
        n_faces = 1 + len(needs.methods) if needs.grouped else 2
        if told.batch_size % (n_faces * ranks.n):
            raise UsageError(
                f"trainer.batch_size={told.batch_size} cannot be shared by {ranks.n} process(es) "
                f"in items of {n_faces} faces; give a multiple of {n_faces * ranks.n}"
            )
        per_batch = told.batch_size // n_faces
        on_device = told.blend_on == "device"
        shapes = _shapes(settings.landmarks, stores)
        items = TrainingItems(
            stores,
            settings.sources,
            preprocess,
            settings.augment,
            settings.seed,
            told.steps * told.accumulate * per_batch,
            needs,
            blends=not on_device,
            shapes=shapes,
        )
        self.blended_as = items.blended_as
        self.about_landmarks = "" if shapes is None else _in_words(shapes)
        self._workers = told.workers
        self._arguments: dict[str, Any] = {
            "dataset": items,
            "batch_size": per_batch // ranks.n,
            "sampler": FromStep(
                step, told.steps, told.accumulate, per_batch, ranks, told.overfit_items
            ),
            "num_workers": told.workers,
            "collate_fn": CollateUnblended(needs) if on_device else Collate(preprocess, needs),
            "worker_init_fn": _one_thread,
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader; forked workers would inherit threads, so they are spawned."""
        context = "forkserver" if self._workers else None
        return DataLoader(**self._arguments, multiprocessing_context=context)


def _shapes(files: Sequence[Path], stores: Sequence[CropStore]) -> Shapes | None:
    if not files:
        return None
    shapes = shapes_of(stores, "train", [read_landmarks(path) for path in files])
    if not shapes.n_given:
        why = (
            f"all {shapes.n_refused} that name one lie off its five points: they must be in pixels "
            "of the upright frame, or of the crop where they name one by crop_id"
            if shapes.n_refused
            else "crop_id, or video_id and frame_index, must be those of crops.parquet"
        )
        names = ", ".join(map(str, files))
        raise UsageError(f"no training crop has landmarks in {names}; {why}; or leave them out")
    return shapes


def _in_words(shapes: Shapes) -> str:
    n_crops = len(shapes.n_points)
    return (
        f"landmarks: {shapes.n_given} of {n_crops} training crops have 68 or 81 points, the other "
        f"{n_crops - shapes.n_given} go on with their five; refused, as they lie off the five "
        f"points of the crop that they name: {shapes.n_refused}"
    )


def _one_thread(worker: int) -> None:  # noqa: ARG001
    # pictures are small: OpenCV's threads would only take cores from the network
    cv2.setNumThreads(1)


@dataclass(frozen=True, slots=True)
class Collate:
    """Lays items out as a `TrainingBatch` wants them: view by view, item by item, face by face."""

    preprocess: Preprocess
    needs: BatchNeeds

    def __call__(self, items: Sequence[TrainingItem]) -> Given:
        """Return pixels, labels, masks and methods of a batch; None for what is not needed."""
        # views × items × faces, laid end to end
        images = np.stack([item.images for item in items], axis=1)
        pixels = self.preprocess.normalise(_end_to_end(images))
        labels = [label for item in items for label in item.labels] * self.needs.views
        masks = methods = None
        if self.needs.masks:
            stacked = np.stack([item.masks for item in items if item.masks is not None], axis=1)
            masks = torch.from_numpy(_end_to_end(stacked)[:, None])
        if self.needs.methods:
            told = [method for item in items for method in item.methods] * self.needs.views
            methods = torch.tensor(told, dtype=torch.int64)
        return torch.from_numpy(pixels), torch.tensor(labels, dtype=torch.float32), masks, methods


@dataclass(frozen=True, slots=True)
class CollateUnblended:
    """Lays pairs out that are blended where they are trained on."""

    needs: BatchNeeds

    def __call__(self, items: Sequence[TrainingItem]) -> Unblended:
        """Return genuine faces and their points; forged faces where not all are to be blended."""
        images = torch.from_numpy(np.concatenate([item.images for item in items]))
        points = np.stack([item.points for item in items if item.points is not None])
        forged = images[:, 1] if np.isnan(points).any() else None
        methods = None
        if self.needs.methods:
            methods = torch.tensor([method for item in items for method in item.methods])
        bits = torch.from_numpy(points).view(torch.int32)
        # a copy, so that the twin is not sent along
        return Unblended(images[:, 0].contiguous(), forged, bits, methods)


def _end_to_end(stacked: NDArray[T]) -> NDArray[T]:
    return stacked.reshape(-1, *stacked.shape[3:])
