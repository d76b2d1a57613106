"""Weights that a run begins with: those of another run, whose lessons it inherits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dfdetect.detectors.base import TRAINED_PARTS, CheckpointHeader
from dfdetect.detectors.checkpoint import Checkpoint, load_checkpoint, make_header
from dfdetect.detectors.network import Detector
from dfdetect.errors import UsageError
from dfdetect.training.record import Parents

TRAINED_ON, BLENDS, BEFORE = "trained_on", "blends", "trained_before"


def take_weights(network: Detector, path: Path) -> Checkpoint:
    """Load the weights of a checkpoint into a network, all but parts that only training uses.

    Args:
        network: Changed in place.
        path: A `.safetensors` file of the same detector, made with the same arguments but for the
            `size` of its pictures: a network that sees any size may begin small and go on large
            (Touvron et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019).

    Raises:
        UsageError: There is no such file, or it is of another detector.
        UntrustedCheckpoint: The file is incomplete, altered or untrained.
    """
    checkpoint = load_checkpoint(path)
    checkpoint.network.strangeness = None  # it is of the weights as they were
    there, here = _kind(checkpoint.header), _kind(make_header(network, trained=False))
    if there != here:
        what = ", ".join(name for name in here if there[name] != here[name])
        raise UsageError(
            f"start_from={path} holds weights of another {what}; train with the detector settings "
            "that those weights were trained with (`dfdetect models --detector FILE` lists them)"
        )
    try:
        network.load_state_dict(network.state_dict() | checkpoint.network.stored_state())
    except RuntimeError:
        raise UsageError(
            f"start_from={path} holds weights for pictures of {checkpoint.header.preprocess.size} "
            f"px that do not fit a {network.name} of {network.preprocess.size} px; give "
            f"detector.kwargs.size={checkpoint.header.preprocess.size}"
        ) from None
    return checkpoint


def _kind(header: CheckpointHeader) -> dict[str, object]:
    """Return what makes two headers those of one network, whatever the size of its pictures."""
    told = header.preprocess
    return {
        "detector": header.detector,
        "kwargs": {name: value for name, value in header.kwargs if name != "size"},
        "normalisation": (told.mean, told.std),
        "crop policy": (told.crop.name, told.crop.scale),
        "number of frames": header.frames,
    }


def start_parents(start: Checkpoint | None) -> Parents:
    """Return the weights that a run begins with as its parent; none where it begins anew."""
    return () if start is None else (("start_from", start.sha256),)


def inherited(facts: Mapping[str, str], start: Checkpoint | None) -> dict[str, str]:
    """Return the facts of a run's weights with what the weights it began with had learned from.

    The parts that programs read are joined, so that nothing seen earlier counts as unseen; in
    words they stand under `trained_before`.
    """
    if start is None:
        return dict(facts)
    before = dict(start.header.provenance)
    parts = [*json.loads(before.get(TRAINED_PARTS, "[]")), *json.loads(facts[TRAINED_PARTS])]
    joined = [list(part) for part in sorted({tuple(part) for part in parts})]
    told = [f"weights {start.sha256[:12]}: {before.get(TRAINED_ON, 'they do not say on what')}"]
    told += [f"blends {before[BLENDS]}"] if BLENDS in before else []
    told += [before[BEFORE]] if BEFORE in before else []
    return {**facts, TRAINED_PARTS: json.dumps(joined), BEFORE: "; ".join(told)}
