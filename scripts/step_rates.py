"""How fast training gets its pictures and how fast it uses them; measured by `bench_train.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from yardstick import gpu_load, pin

from dfdetect.config import config_dir, register_schemas, settings_from
from dfdetect.data.crops import CropStore, extract_crops
from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.detectors import create_detector
from dfdetect.detectors.losses import total_loss
from dfdetect.detectors.network import Detector, TrainingBatch, channels_last
from dfdetect.media import FrameSampler
from dfdetect.training.device_pairs import DevicePairs, Unblended
from dfdetect.training.feed import Feed
from dfdetect.training.optim import make_optimizer
from dfdetect.training.ranks import Ranks
from dfdetect.training.settings import FitSettings
from dfdetect.types import CropPolicy

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

    `data`: the loader alone. `step`: forward, backward and optimiser alone, and before them, where
    it is batched, blending with all that follows. `together`: a loop of both, in which the step is
    awaited before the next batch is asked for; `wait`: the share of its time that went by until a
    batch came. `blend`: the batched part before the network alone. `busy`: the GPU in that loop, as
    nvidia-smi saw it.
    """
    pin(1 + plan.workers)
    torch.set_num_threads(1)
    settings = _settings(kind, plan)
    network = create_detector(settings.detector.name, **settings.detector.kwargs)
    network = channels_last(network).to(plan.device).train()
    store = CropStore.open(plan.crops)
    feed = Feed(settings, (store,), network.preprocess, network.needs, lambda: 0, Ranks())
    loader = feed.train_dataloader()
    prepare: Callable[[Any], TrainingBatch] = _Moving(plan.device)
    if kind == "batched SBI":
        prepare = _Blending(network, settings, plan.device)
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
                f"trainer.blend_on={'device' if kind == 'batched SBI' else 'loader'}",
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
    """What comes from the loader, on the device, blended and degraded there."""

    def __init__(self, network: Detector, settings: FitSettings, device: str) -> None:
        self._pairs = DevicePairs(network.preprocess, network.needs, settings.augment)
        self._generator = torch.Generator(device).manual_seed(0)
        self._device = device

    def __call__(self, given: Unblended) -> TrainingBatch:
        # pairs of one source that blends all: no forged faces come with them, and no methods
        genuine, points = given.genuine.to(self._device), given.points.to(self._device)
        batch = self._pairs(Unblended(genuine, None, points, None), self._generator)
        pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
        return replace(batch, pixels=pixels)
