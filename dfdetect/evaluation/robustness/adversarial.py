"""How far a network's answers move under an attack that knows it: FGSM and PGD on its crops.

A smoke test of the worst case and no measure of what happens in life: the attacker holds the
weights and changes the crops themselves, after the face was cut out. Imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dfdetect.data.crops import CropStore
from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.detectors.checkpoint import load_checkpoint
from dfdetect.detectors.network import Detector
from dfdetect.errors import UsageError
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.evaluation.scored import score_stores
from dfdetect.types import FAKE, REAL

TOWARDS_FAKE, TOWARDS_REAL = 1, -1


@dataclass(frozen=True, slots=True)
class Attack:
    """An L∞ attack by signed gradients.

    No value of a crop moves by more than `epsilon` of 255. One step is FGSM (Goodfellow et al.,
    "Explaining and Harnessing Adversarial Examples", ICLR 2015); more are PGD from the crop itself
    (Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018), each
    of 2.5 · epsilon / steps as there.

    Raises:
        UsageError: A number makes no sense.
    """

    epsilon: int = 2
    steps: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.epsilon <= 255:
            raise UsageError(f"epsilon {self.epsilon} is none of 1 to 255 grey levels")
        if self.steps < 1:
            raise UsageError(f"an attack of {self.steps} steps does nothing; give 1 or more")

    @property
    def condition(self) -> str:
        """What results call it, such as `fgsm 2/255` or `pgd-10 2/255`."""
        name = "fgsm" if self.steps == 1 else f"pgd-{self.steps}"
        return f"{name} {self.epsilon}/255"

    @property
    def step_size(self) -> float:
        """How far a step goes, in grey levels."""
        return float(self.epsilon) if self.steps == 1 else 2.5 * self.epsilon / self.steps


def attacked(
    network: Detector,
    preprocess: Preprocess,
    crops: NDArray[np.uint8],
    attack: Attack,
    direction: int,
) -> NDArray[np.uint8]:
    """Return crops changed so that the network's logit rises (`direction` 1) or falls (-1).

    For a single logit the sign of its gradient is that of the cross-entropy's, up to the label's.

    Args:
        network: In evaluation mode; its own gradients stay as they are.
        preprocess: How crops become the network's input.
        crops: RGB uint8, B × S × S × 3, or clips B × T × S × S × 3.
        attack: How far and in how many steps.
        direction: `TOWARDS_FAKE` or `TOWARDS_REAL`.

    Returns:
        As many uint8 crops, whole grey levels apart by at most `attack.epsilon`.
    """
    start = torch.from_numpy(crops.astype(np.float32))
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    moved = start.clone()
    for _ in range(attack.steps):
        moved.requires_grad_(True)
        pixels = ((moved / 255 - mean) / std).movedim(-1, -3)
        (gradient,) = torch.autograd.grad(network(pixels).sum(), moved)
        with torch.no_grad():
            step = moved + direction * attack.step_size * gradient.sign()
            step = torch.minimum(
                torch.maximum(step, start - attack.epsilon), start + attack.epsilon
            )
            moved = step.clamp(0, 255)
    # epsilon is whole, so that rounding does not leave its bounds
    rounded: NDArray[np.uint8] = moved.detach().round().numpy().astype(np.uint8)
    return rounded


class AttackedDetector:
    """A `LoadedDetector` whose crops are attacked in one direction before it judges them."""

    def __init__(
        self,
        network: Detector,
        header: CheckpointHeader,
        weights_sha256: str,
        attack: Attack,
        direction: int,
    ) -> None:
        """Attack this network in evaluation mode, on the CPU."""
        self.header = header
        self.weights_sha256 = weights_sha256
        self._network = network.eval()
        self._attack, self._direction = attack, direction

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one logit an attacked crop, or clip; see `LoadedDetector.logits`."""
        preprocess = self.header.preprocess
        moved = attacked(self._network, preprocess, crops, self._attack, self._direction)
        with torch.inference_mode():
            pixels = torch.from_numpy(preprocess.normalise(moved))
            answer: NDArray[np.float32] = self._network(pixels).float().numpy()
        return answer


def adversarial_run(
    checkpoint: Path,
    stores: CropStore | Sequence[CropStore],
    attack: Attack,
    split: str = "test",
    batch_size: int = 16,
) -> ScoredRun:
    """Score a split whose genuine faces are pushed towards fake and whose fakes towards genuine.

    Args:
        checkpoint: A `.safetensors` file; an exported network gives no gradients.
        stores: Crops that fit its preprocessing.
        attack: How far and in how many steps; `attack.condition` is what to call the condition.
        split: Which videos are scored.
        batch_size: Crops attacked together.

    Raises:
        UsageError: The file is no `.safetensors`, or the split has no usable crop.
    """
    if checkpoint.suffix != ".safetensors":
        raise UsageError(
            f"{checkpoint} gives no gradients to attack with; name the .safetensors it came from"
        )
    loaded = load_checkpoint(checkpoint)
    runs = {
        label: score_stores(
            stores,
            AttackedDetector(loaded.network, loaded.header, loaded.sha256, attack, direction),
            split,
            batch_size=batch_size,
        )
        for label, direction in ((REAL, TOWARDS_FAKE), (FAKE, TOWARDS_REAL))
    }
    run = runs[REAL]
    labels = run.videos.column("label").to_numpy()
    # both runs hold the same rows in the same order; each video's come from the run against it
    is_fake = labels[run.scores.video] == FAKE
    logit = np.where(is_fake, runs[FAKE].scores.logit, run.scores.logit)
    return replace(run, scores=replace(run.scores, logit=logit))
