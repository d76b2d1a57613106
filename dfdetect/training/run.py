"""One training run, from settings to a selected, calibrated checkpoint."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar

from dfdetect.data.batches import require_distinct
from dfdetect.data.crops import CropStore
from dfdetect.data.splits import require_no_leak
from dfdetect.data.videos import Videos
from dfdetect.detectors import create_detector
from dfdetect.detectors.checkpoint import load_checkpoint, make_header, save_checkpoint
from dfdetect.errors import UsageError
from dfdetect.training.curves import open_logger
from dfdetect.training.feed import Feed, require_policy
from dfdetect.training.keeper import Keeper
from dfdetect.training.module import DetectorModule
from dfdetect.training.ranks import Ranks
from dfdetect.training.record import (
    BEST,
    blend_facts,
    landmark_parents,
    lesson_facts,
    parents_of,
    require_same_run,
    run_hash,
    write_record,
)
from dfdetect.training.settings import FitSettings
from dfdetect.training.start import inherited, start_parents, take_weights
from dfdetect.training.state import saved_step
from dfdetect.training.validation import (
    calibration,
    items_to_score,
    live_detector,
    score_videos,
)
from dfdetect.types import FAKE

# set by what starts several processes: torchrun, SLURM
LAUNCHED = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS")


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a run left.

    `finished` is False where `max_minutes` ended it before its last step. `not_calibrated` says
    why the checkpoint has no calibration, and is empty where it has one; without one its scores
    can be measured, but `predict` refuses it.
    """

    checkpoint: Path
    best_auc: float
    best_step: int
    n_steps: int
    finished: bool
    not_calibrated: str


def fit(
    settings: FitSettings,
    command: str = "dfdetect.fit",
    tell: Callable[[str], None] | None = None,
) -> FitResult:
    """Train a detector, or go on with a run that was interrupted.

    The weights with the highest mean video AUC over the datasets' val splits are kept as
    `best.safetensors`, with a calibration fitted to val; `last.safetensors` holds the newest. A
    run that `max_minutes` ends before its first validation is validated once, so that it leaves
    weights; they do not count when it is resumed, which ends as if it had never been stopped.

    Args:
        settings: Everything that decides what comes out.
        command: What the records say was run.
        tell: Takes a line about the data, before training starts.

    Raises:
        UsageError: The settings cannot be met, or `run_dir` holds a run with other settings.
        ContractError: A crop store or the state to resume from is damaged, or splits leak.
    """
    stores, clips = _stores(settings)
    for group in (stores, clips):
        require_distinct(group)
    # people to calibrate on that training saw would make the detector look surer than it is
    require_no_leak(Videos.joined([store.videos for store in (*stores, *clips)]))
    marks = landmark_parents(settings.landmarks)
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    lightning.seed_everything(settings.seed, verbose=False)
    network = create_detector(settings.detector.name, **settings.detector.kwargs)
    start = take_weights(network, settings.start_from) if settings.start_from else None
    require_policy((*stores, *clips), network.name, network.preprocess)
    parents = parents_of(stores) + marks + start_parents(start)
    digest = run_hash(settings, parents)
    require_same_run(settings, digest)
    module = DetectorModule(network, settings)
    keeper = Keeper(module, stores, settings)
    trainer = _trainer(settings, keeper)
    device = str(trainer.strategy.root_device)
    ranks = keeper.ranks = Ranks(trainer.global_rank, trainer.world_size, device)
    feed = Feed(settings, stores, network.preprocess, network.needs, lambda: module.step, ranks)
    if ranks.is_first:
        write_record(settings, digest, parents, parents_of(clips), command)
        if tell is not None and feed.about_landmarks:
            tell(feed.about_landmarks)
    _run(trainer, module, feed)
    if keeper.best.step == 0:
        keeper.validate(device if ranks.n > 1 else "cpu")
    facts = {"command": command} | lesson_facts(stores, settings.sources)
    facts = inherited(facts | blend_facts(feed.blended_as, marks), start)
    not_calibrated = _calibrate(settings, clips or stores, facts) if ranks.is_first else ""
    ranks.wait()
    return FitResult(
        settings.run_dir / BEST,
        keeper.best.auc,
        keeper.best.step,
        module.step,
        keeper.has_finished,
        not_calibrated,
    )


def _stores(settings: FitSettings) -> tuple[tuple[CropStore, ...], tuple[CropStore, ...]]:
    """Open the stores to train on and to calibrate on.

    What is left out is there for nothing: neither training, selection nor calibration sees it.
    """
    stores, clips = (
        tuple(CropStore.open(folder) for folder in folders)
        for folders in (settings.crops, settings.validation.calibrate_on)
    )
    if not settings.leave_out:
        return stores, clips
    known = {
        f"{row.dataset}/{row.method}" for store in stores for row in store.videos.where(label=FAKE)
    }
    for part in settings.leave_out:
        if part not in known:
            raise UsageError(
                f"leave_out names {part!r}, which the crops do not have; choose of "
                f"{', '.join(sorted(known)) or 'no forgeries at all'}"
            )
        names = part.split("/", 1)
        stores, clips = (tuple(store.without(*names) for store in some) for some in (stores, clips))
    return stores, clips


def _trainer(settings: FitSettings, keeper: Keeper) -> lightning.Trainer:
    told = settings.trainer
    if told.devices * told.num_nodes > 1 and not any(name in os.environ for name in LAUNCHED):
        raise UsageError(
            f"trainer.devices={told.devices} trainer.num_nodes={told.num_nodes} needs as many "
            f"processes; start them: torchrun --nproc-per-node {told.devices} -m dfdetect train …"
        )
    # hardware lists and advertisements; warnings and errors still come through
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning's own use of a torch function that will change; nobody here can act on it
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    # the curves of a run that is resumed are kept, see `open_logger`
    warnings.filterwarnings("ignore", message=r"Experiment logs directory .* is not empty")
    # a run that is resumed has little left to draw, a finished one nothing
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller")
    warnings.filterwarnings("ignore", message=r"Total length of .* across ranks is zero")
    logger = open_logger(told.logger, settings.run_dir, saved_step(settings.run_dir))
    try:
        return lightning.Trainer(
            accelerator=told.accelerator,
            devices=told.devices,
            num_nodes=told.num_nodes,
            strategy=told.strategy,
            sync_batchnorm=told.sync_batchnorm,
            use_distributed_sampler=False,
            precision=told.precision,  # type: ignore[arg-type]
            max_epochs=1,
            limit_val_batches=0,
            logger=logger or False,
            log_every_n_steps=10,
            callbacks=[keeper, RichProgressBar()],
            # our own safetensors are the only checkpoints; Lightning's are pickles
            enable_checkpointing=False,
            enable_model_summary=False,
            deterministic=True,
        )
    except (ValueError, MisconfigurationException) as error:
        raise UsageError(
            f"Lightning refuses trainer.accelerator={told.accelerator}, "
            f"trainer.precision={told.precision}, trainer.strategy={told.strategy}: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error


def _run(trainer: lightning.Trainer, module: DetectorModule, feed: Feed) -> None:
    try:
        trainer.fit(module, feed)
    except SystemExit:
        # Lightning ends the process on Ctrl-C and goes deaf to it; the caller decides here
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None


def _calibrate(
    settings: FitSettings, clips: tuple[CropStore, ...], about: Mapping[str, str]
) -> str:
    """Fit the calibration to the kept weights and store it; return why that cannot be, or ''."""
    path = settings.run_dir / BEST
    trained = load_checkpoint(path)
    fitted, problem = None, ""
    try:
        faces = items_to_score(clips, "val", trained.network)
        fitted = calibration(score_videos(live_detector(trained.network, "cpu"), faces, Ranks()))
    except UsageError as error:
        # hours of training must not be lost to a validation split that is too small
        problem = str(error)
    facts = {**dict(trained.header.provenance), **about}
    header = make_header(trained.network, trained=True, calibration=fitted, provenance=facts)
    save_checkpoint(path, trained.network, header, half=True)
    return problem
