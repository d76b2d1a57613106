"""What a training run can be told; `configs/train.yaml` holds the values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdetect.data.augment import AugmentSettings
from dfdetect.data.batches import Source
from dfdetect.errors import UsageError


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """A registered detector by `name`, and the `kwargs` it is made with."""

    name: str
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OptimSettings:
    """AdamW with a linear warm-up and a cosine down to zero.

    `ema_decay` is the decay of the averaged weights, which are the ones that are validated and
    saved; 0 keeps the last weights. `label_smoothing` moves both targets towards ½ by half of it.
    """

    lr: float
    weight_decay: float
    warmup_steps: int
    ema_decay: float
    label_smoothing: float
    clip_norm: float


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """The machinery: `steps` optimiser steps of `batch_size` faces, half of them genuine.

    `workers` processes prepare pictures, `threads` compute (0: torch's own choice). Every
    `save_every` steps the state for a resume is written; every `validate_every` the validation
    split is scored. `max_minutes` stops the run early, in a state that can be resumed: a run that
    was resumed ends as one that was never stopped, on the same machine with as many threads.
    """

    steps: int
    batch_size: int
    accumulate: int
    workers: int
    threads: int
    precision: str
    accelerator: str
    validate_every: int
    save_every: int
    max_minutes: float | None
    logger: str

    def __post_init__(self) -> None:
        """Refuse counts that no run can have."""
        for name in ("steps", "batch_size", "accumulate", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"trainer.{name}={getattr(self, name)} must be 1 or more")
        for name in ("workers", "threads"):
            if getattr(self, name) < 0:
                raise UsageError(f"trainer.{name}={getattr(self, name)} must be 0 or more")


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """How the validation split is used.

    At most `faces_per_video` faces of a video are scored for selection. The calibration is fitted
    to all faces of the val videos of `calibrate_on`, stores of clips that were cut out with the
    detector's own crop policy, so that it sees the pixels that `predict` will; where none is
    named, to the val videos of the stores that were trained on. It changes no weight, so a run
    may be given again with other stores in `calibrate_on`, which calibrates the kept weights anew.
    """

    faces_per_video: int
    calibrate_on: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Everything that decides what comes out of a training run."""

    detector: DetectorSettings
    crops: tuple[Path, ...]
    sources: tuple[Source, ...]
    augment: AugmentSettings
    optim: OptimSettings
    trainer: TrainerSettings
    validation: ValidationSettings
    seed: int
    run_dir: Path
