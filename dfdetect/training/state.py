"""What a run needs to go on where it stopped: tensors and numbers in safetensors, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dfdetect.errors import ContractError
from dfdetect.provenance import written_whole
from dfdetect.training.module import DetectorModule

FILE = "resume.safetensors"
KEY = "dfdetect.resume"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: `step` steps done, the best validation AUC so far and its step."""

    step: int = 0
    best_auc: float = -1.0
    best_step: int = 0


def save_state(folder: Path, module: DetectorModule, progress: Progress) -> None:
    """Write weights, average and optimiser state of a run, whole or not at all."""
    tensors = {f"network.{key}": value for key, value in module.network.state_dict().items()}
    if module.average is not None:
        average = module.average.state_dict()
        tensors |= {f"average.{key}": value for key, value in average.items()}
    tensors |= _optimizer_tensors(module)
    # safetensors refuses tensors that share memory, as a copy of the state might
    whole = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with written_whole(folder / FILE) as part:
        safetensors.torch.save_file(whole, part, {KEY: json.dumps(asdict(progress))})


def load_state(folder: Path, module: DetectorModule) -> Progress:
    """Restore a run's weights, average and optimiser state; return how far it had come.

    Raises:
        ContractError: The file is damaged or belongs to another network.
    """
    path = folder / FILE
    if not path.is_file():
        return Progress()
    try:
        with safe_open(path, framework="pt") as stream:
            progress = Progress(**json.loads(stream.metadata()[KEY]))
        tensors = safetensors.torch.load_file(path)
        module.network.load_state_dict(_below(tensors, "network."))
        if module.average is not None:
            module.average.load_state_dict(_below(tensors, "average."))
        _restore_optimizer(module, _below(tensors, "optimizer."))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ContractError(
            f"{path} is no state of this run ({str(error).partition(chr(10))[0]}); delete it to "
            "start again, or choose another run_dir"
        ) from error
    module.step = progress.step
    return progress


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
