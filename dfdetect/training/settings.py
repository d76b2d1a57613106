"""What a training run can be told; `configs/train.yaml` holds the values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdetect.data.augment import AugmentSettings
from dfdetect.data.training_items import Source
from dfdetect.errors import UsageError

OPTIMIZERS = ("adamw", "adam", "sgd")
BLEND_ON = ("loader", "device")
SCHEDULE_NAMES = ("cosine", "poly", "stairs", "constant")


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """A registered detector by `name`, and the `kwargs` it is made with."""

    name: str
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OptimSettings:
    """An optimiser, how its rate moves, and what is done to weights and gradients on the way.

    `name` is adamw, adam or sgd (with `momentum` and `nesterov`); `decay_all` decays norms and
    biases as well. After `warmup_steps` of a linear rise the rate stays at `lr` for the share
    `hold` of the other steps, then falls by `schedule`: cosine, poly ((1 - t)^`power`, 1 for a
    straight line), stairs (`n_stairs` equal stairs, each `gamma` times the one before) or
    constant. `sam_rho` above 0 makes every step sharpness-aware, at twice the cost.

    `ema_decay` is the decay of the averaged weights, which are the ones that are validated and
    saved; 0 keeps the last weights. `label_smoothing` moves both targets towards ½ by half of it.
    """

    lr: float
    weight_decay: float
    warmup_steps: int
    ema_decay: float
    label_smoothing: float
    clip_norm: float
    name: str = "adamw"
    momentum: float = 0.9
    nesterov: bool = False
    decay_all: bool = False
    schedule: str = "cosine"
    hold: float = 0.0
    power: float = 1.0
    gamma: float = 0.5
    n_stairs: int = 1
    sam_rho: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no optimiser and no schedule can do."""
        for name, known in (("name", OPTIMIZERS), ("schedule", SCHEDULE_NAMES)):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"unknown optim.{name}={getattr(self, name)}; choose one of {', '.join(known)}"
                )
        if not 0 <= self.hold < 1:
            raise UsageError(f"optim.hold={self.hold} must lie in [0, 1)")
        if self.sam_rho < 0:
            raise UsageError(f"optim.sam_rho={self.sam_rho} must be 0 or more")


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """The machinery: `steps` optimiser steps of `batch_size` faces, half of them genuine.

    `workers` processes prepare pictures, `threads` compute (0: torch's own choice). Every
    `save_every` steps the state for a resume is written; every `validate_every` the validation
    split is scored. `max_minutes` stops the run early, in a state that can be resumed: a run that
    was resumed ends as one that was never stopped, on the same machine with as many threads.
    `patience` above 0 ends the run after so many validations without a better one.

    `overfit_items` above 0 draws the same few items at every step, to see whether a detector
    learns them by heart.

    `blend_on` is where genuine faces are blended into forged ones: in the `loader`, each as its
    source's `blend` says, or self-blends on the training `device`, a whole batch at once; what the
    two do differently stands in `dfdetect.training.device_pairs`.

    `devices` on each of `num_nodes` train together by Lightning's `strategy`, each on its share of
    every batch; statistics of batch norms are each one's own unless `sync_batchnorm`.
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
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    sync_batchnorm: bool = False
    patience: int = 0
    overfit_items: int = 0
    blend_on: str = "loader"

    def __post_init__(self) -> None:
        """Refuse counts that no run can have, and places where nothing is blended."""
        if self.blend_on not in BLEND_ON:
            raise UsageError(
                f"unknown trainer.blend_on={self.blend_on}; choose one of {', '.join(BLEND_ON)}"
            )
        if self.overfit_items and self.blend_on != "loader":
            raise UsageError(
                "trainer.overfit_items wants the same pairs at every step, which are blended anew "
                "on a device; set trainer.blend_on=loader"
            )
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "validate_every",
            "save_every",
            "devices",
            "num_nodes",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"trainer.{name}={getattr(self, name)} must be 1 or more")
        for name in ("workers", "threads", "patience", "overfit_items"):
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

    Selection goes by the split `val`. Another `split` needs `oracle`, which the weights and every
    table made with them then say.
    """

    faces_per_video: int
    calibrate_on: tuple[Path, ...]
    split: str = "val"
    oracle: bool = False

    def __post_init__(self) -> None:
        """Refuse to select on what is to be measured."""
        if self.split != "val" and not self.oracle:
            raise UsageError(
                f"validation.split={self.split} would select weights on what they are measured on; "
                "use val, or say validation.oracle=true, which then stands in every table's title"
            )


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Everything that decides what comes out of a training run.

    `landmarks` are files of 68 or 81 points of the crops (`dfdetect.data.landmarks`), by which
    faces are blended and cut out; those that the files do not say anything of have their five.
    `leave_out` names fakes that neither training nor selection may see, as dataset/method
    (`ffpp/FaceSwap`): measured on them, a detector shows what it makes of an unknown method.
    `start_from` is a checkpoint of the same detector whose weights the run begins with, instead of
    random or initial ones; what it learned from counts as learned from here, too.
    """

    detector: DetectorSettings
    crops: tuple[Path, ...]
    sources: tuple[Source, ...]
    augment: AugmentSettings
    optim: OptimSettings
    trainer: TrainerSettings
    validation: ValidationSettings
    seed: int
    run_dir: Path
    landmarks: tuple[Path, ...] = ()
    leave_out: tuple[str, ...] = ()
    start_from: Path | None = None

    def __post_init__(self) -> None:
        """Refuse landmarks that the batched blend would leave unread."""
        if self.landmarks and self.trainer.blend_on != "loader":
            raise UsageError(
                f"trainer.blend_on={self.trainer.blend_on} blends by five points only; set "
                "trainer.blend_on=loader to blend by landmarks=[…]"
            )
