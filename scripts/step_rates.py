"""How fast training gets its pictures and how fast it uses them; measured by `bench_train.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from yardstick import gpu_load, pin

from dfdetect.config import config_dir, register_schemas, settings_from
from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.loading import CropDataset
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.detectors import create_detector
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import Detector, TrainingBatch, channels_last
from dfdetect.media import FrameSampler
from dfdetect.training.batch_blend import blend_batch
from dfdetect.training.feed import Feed
from dfdetect.training.optim import make_optimizer
from dfdetect.training.ranks import Ranks
from dfdetect.training.settings import FitSettings
from dfdetect.types import REAL, CropPolicy

# how much of a run is left out: workers start, caches fill, cuDNN chooses
WARM_UP = 2
SHARES = {"fakes": 0, "per-sample SBI": 1, "batched SBI": 1}
KINDS = tuple(SHARES)

Step = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained on what: `steps` batches of `batch` faces are timed."""

    crops: Path
    detector: str
    batch: int
    steps: int
    workers: int
    device: str


def generated_store(folder: Path) -> Path:
    """Write generated clips and cut their faces out as for training; return the crop store."""
    dataset = create_dataset("synthetic", n_identities=5, n_frames=16)
    manifest = build_manifest(dataset, folder / "clips", SplitRule("official"))
    out = folder / "crops"
    policy = CropPolicy("square", 1.6, 256)
    extract_crops(manifest, folder / "clips", out, policy, FrameSampler(count=16))
    return out


def step_rates(kind: str, plan: Plan) -> dict[str, float]:
    """Measure one kind of training; faces a second on the wall, shares in per cent.

    `data`: the loader alone. `step`: blending where it is batched, forward, backward and optimiser,
    alone. `together`: a loop of both, in which the step is awaited before the next batch is asked
    for; `wait`: the share of its time that went by until a batch came. `blend`: the batched
    blending alone. `busy`: the GPU in that loop, as nvidia-smi saw it.
    """
    pin(1 + plan.workers)
    torch.set_num_threads(1)
    settings = _settings(kind, plan)
    network = create_detector(settings.detector.name, **settings.detector.kwargs)
    network = channels_last(network).to(plan.device).train()
    store = CropStore.open(plan.crops)
    if kind == "batched SBI":
        loader = _genuine(store, plan)
        prepare: Callable[[Any], TrainingBatch] = _Blending(store, network, plan.device)
    else:
        feed = Feed(settings, (store,), network.preprocess, network.needs, lambda: 0, Ranks())
        loader = feed.train_dataloader()
        prepare = _Moving(plan.device)
    step = _stepping(network, settings, prepare, plan.device)
    given = next(iter(loader))
    found = {"data": _timed(_none, loader, plan)[0], "step": _timed(step, repeat(given), plan)[0]}
    with gpu_load(plan.device) as loads:
        found["together"], found["wait"] = _timed(step, loader, plan)
    if loads:
        found["busy"] = float(np.median(loads))
    if kind == "batched SBI":
        found["blend"] = _timed(_awaited(prepare, plan.device), repeat(given), plan)[0]
    return found


def _settings(kind: str, plan: Plan) -> FitSettings:
    (dataset,) = {video.dataset for video in CropStore.open(plan.crops).videos}
    source = f"{{dataset: {dataset}, weight: 1, blend_share: {SHARES[kind]}}}"
    n_steps = plan.steps + WARM_UP
    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        told = compose(
            "train",
            [
                f"detector={plan.detector}",
                f"crops=['{plan.crops.resolve()}']",
                f"sources=[{source}]",
                "run_dir=unused",
                f"trainer.steps={n_steps}",
                f"trainer.batch_size={plan.batch}",
                f"trainer.workers={plan.workers}",
            ],
        )
    return settings_from(told, FitSettings)


def _stepping(
    network: Detector, settings: FitSettings, prepare: Callable[[Any], TrainingBatch], device: str
) -> Step:
    optimizer = make_optimizer(network, settings.optim)

    def step(given: Any) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(total_loss(network.loss_terms(prepare(given))))
        optimizer.step()

    return _awaited(step, device)


def _awaited(work: Callable[[Any], object], device: str) -> Step:
    def awaited(given: Any) -> None:
        work(given)
        if device != "cpu":
            torch.cuda.synchronize()

    return awaited


def _none(given: Any) -> None:
    """Use nothing."""


def _timed(step: Step, batches: Iterable[Any], plan: Plan) -> tuple[float, float]:
    """Return faces a second and the share of the time, in per cent, until batches came."""
    waited, start = 0.0, 0.0
    coming: Iterator[Any] = iter(batches)
    for number in range(plan.steps + WARM_UP):
        asked = time.perf_counter()
        if number == WARM_UP:
            waited, start = 0.0, asked
        given = next(coming)
        waited += time.perf_counter() - asked
        step(given)
    seconds = time.perf_counter() - start
    return plan.steps * plan.batch / seconds, 100 * waited / seconds


class _Moving:
    """What comes from the loader, on the device."""

    def __init__(self, device: str) -> None:
        self._device = device

    def __call__(self, given: Sequence[Tensor | None]) -> TrainingBatch:
        moved = [None if one is None else one.to(self._device) for one in given]
        pixels, labels, masks, methods = moved
        assert pixels is not None  # noqa: S101 — the loader always gives them
        assert labels is not None  # noqa: S101
        return TrainingBatch(
            pixels.contiguous(memory_format=torch.channels_last), labels, masks, methods
        )


class _Blending:
    """Genuine crops as they are stored, blended and cut to the detector's size on the device.

    Nothing else is done to them: the other augmentations have no batched version.
    """

    def __init__(self, store: CropStore, network: Detector, device: str) -> None:
        self._preprocess, self._device = network.preprocess, device
        self._share = self._preprocess.crop.scale / store.policy.scale
        self._generator = torch.Generator(device).manual_seed(0)
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None]
            for values in (self._preprocess.mean, self._preprocess.std)
        )

    def __call__(self, given: tuple[Tensor, Tensor]) -> TrainingBatch:
        images, landmarks = (one.to(self._device) for one in given)
        blend = blend_batch(images.permute(0, 3, 1, 2), landmarks, self._generator)
        pixels = torch.cat([blend.real, blend.fake]).to(torch.float32)
        side = pixels.shape[-1]
        inner = round(side * min(1.0, self._share))
        first = (side - inner) // 2
        pixels = pixels[..., first : first + inner, first : first + inner]
        size = (self._preprocess.size,) * 2
        pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        pixels = (pixels / 255 - self._mean) / self._std
        labels = torch.arange(2, device=self._device).repeat_interleave(len(images)).float()
        return TrainingBatch(pixels.contiguous(memory_format=torch.channels_last), labels)


class _Genuine(Dataset[tuple[Tensor, Tensor]]):
    """Genuine training crops and their landmarks, `n` of them drawn with a seed."""

    def __init__(self, store: CropStore, n: int) -> None:
        self._crops = CropDataset([store], "train")
        genuine = np.flatnonzero(self._crops.labels == REAL)
        self._positions = np.random.default_rng(0).choice(genuine, n)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        position = int(self._positions[number])
        points = torch.from_numpy(self._crops.columns.landmarks[position].reshape(5, 2))
        return torch.from_numpy(self._crops.image(position)), points


def _genuine(store: CropStore, plan: Plan) -> DataLoader[Any]:
    n_pairs = plan.batch // 2
    return DataLoader(
        _Genuine(store, n_pairs * (plan.steps + WARM_UP)),
        batch_size=n_pairs,
        num_workers=plan.workers,
        multiprocessing_context="forkserver" if plan.workers else None,
    )
