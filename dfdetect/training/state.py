"""What a run needs to go on where it stopped: tensors and numbers in safetensors, no pickle.

The best weights so far are not part of it: `best.safetensors` itself says what it reached and when,
so the two can never disagree, whenever a run was killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dfdetect.detectors.checkpoint import read_header
from dfdetect.errors import ContractError
from dfdetect.provenance import written_whole
from dfdetect.training.module import DetectorModule
from dfdetect.training.record import BEST
from dfdetect.training.record import STATE as FILE

KEY = "dfdetect.resume"
# the fact in a checkpoint's provenance that selection goes by
SELECTED_BY = "val_mean_auc"


@dataclass(frozen=True, slots=True)
class Best:
    """The highest mean validation AUC so far and the step that reached it; 0 for none yet."""

    auc: float = -1.0
    step: int = 0


def read_best(folder: Path) -> Best:
    """Return what the kept weights of a run reached.

    Raises:
        ContractError: The file does not say so.
    """
    path = folder / BEST
    if not path.is_file():
        return Best()
    facts = dict(read_header(path).provenance)
    try:
        return Best(float(facts[SELECTED_BY]), int(facts["step"]))
    except (KeyError, ValueError) as error:
        raise ContractError(
            f"{path} does not say what it reached on val ({error}); choose another run_dir"
        ) from None


def save_state(folder: Path, module: DetectorModule) -> None:
    """Write step, weights, average and optimiser state of a run, whole or not at all."""
    tensors = {f"network.{key}": value for key, value in module.network.state_dict().items()}
    if module.average is not None:
        average = module.average.state_dict()
        tensors |= {f"average.{key}": value for key, value in average.items()}
    tensors |= _optimizer_tensors(module)
    # safetensors refuses tensors that share memory, as a copy of the state might
    whole = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with written_whole(folder / FILE) as part:
        safetensors.torch.save_file(whole, part, {KEY: json.dumps({"step": module.step})})


def saved_step(folder: Path) -> int:
    """Return the step that a run can go on from, 0 where it saved nothing.

    Raises:
        ContractError: The file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as stream:
            return int(json.loads(stream.metadata()[KEY])["step"])
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise _damaged(path, error) from error


def load_state(folder: Path, module: DetectorModule) -> None:
    """Restore a run's step, weights, average and optimiser state, where it saved them.

    Raises:
        ContractError: The file is damaged or belongs to another network.
    """
    path = folder / FILE
    if not path.is_file():
        return
    step = saved_step(folder)
    try:
        tensors = safetensors.torch.load_file(path)
        module.network.load_state_dict(_below(tensors, "network."))
        if module.average is not None:
            module.average.load_state_dict(_below(tensors, "average."))
        _restore_optimizer(module, _below(tensors, "optimizer."))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise _damaged(path, error) from error
    module.step = step


def _damaged(path: Path, error: Exception) -> ContractError:
    return ContractError(
        f"{path} is no state of this run ({str(error).partition(chr(10))[0]}); delete it to "
        "start again, or choose another run_dir"
    )


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _optimizer_tensors(module: DetectorModule) -> dict[str, Tensor]:
    state = _optimizer(module).state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, slots in state.items()
        for name, value in slots.items()
    }


def _restore_optimizer(module: DetectorModule, tensors: Mapping[str, Tensor]) -> None:
    optimizer = _optimizer(module)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _optimizer(module: DetectorModule) -> torch.optim.Optimizer:
    optimizer = module.optimizers()
    if isinstance(optimizer, list):
        raise TypeError("a detector is trained by one optimiser")
    return optimizer.optimizer if hasattr(optimizer, "optimizer") else optimizer  # type: ignore[return-value]
