"""The contract of a detector as a check that anybody can run on theirs."""

from __future__ import annotations

import copy
import inspect
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dfdetect.detectors.base import Setting
from dfdetect.detectors.catalog import DETECTORS, create_detector
from dfdetect.detectors.checkpoint import load_checkpoint, make_header, save_checkpoint
from dfdetect.detectors.losses import LossTerm, total_loss
from dfdetect.detectors.network import Detector, TrainingBatch
from dfdetect.errors import ContractError

TOLERANCE = 1e-5
LEARNED = 0.05
"""How near its floor a loss must come before a batch counts as learned by heart."""


def check_detector(name: str, **kwargs: Setting) -> None:
    """Hold a registered detector against the contract that the rest of dfdetect relies on.

    It gives one finite float32 logit a crop; gradients reach every trainable parameter; in
    evaluation a crop's logit does not depend on its batch (to 1e-5, relative above 1); weights and
    header survive saving and loading bit for bit, and equal weights give equal files. Its
    constructor computes nothing from weights, so that loading can outline it without memory.
    For a detector of clips all of this holds of clips.

    Args:
        name: A name in `DETECTORS`.
        kwargs: Arguments of its constructor; it must do without any. Where none are given, the
            network of default size is only outlined, and that of its `check_kwargs` checked.

    Raises:
        ContractError: The first of these that does not hold, in one sentence.
        UsageError: There is no such detector, or it cannot be made so.

    Example:
        >>> check_detector("meso4")
    """
    _check_outline(name, kwargs)
    # the same weights every time: what holds must not hold by luck
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create_detector(name, **(kwargs or DETECTORS.get(name).check_kwargs))
        _check_network(name, network)


def _check_network(name: str, network: Detector) -> None:
    _require(name, bool(inspect.getdoc(type(network))), "its class has no docstring")
    size = network.preprocess.size
    shape = (3, *_clip(network), size, size, 3)
    crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels = torch.from_numpy(network.preprocess.normalise(crops))
    _check_gradients(name, network, pixels)
    network.eval()
    _check_batches(name, network, pixels)
    _check_round_trip(name, network, pixels)


def overfit_detector(
    name: str, steps: int = 100, learning_rate: float = 1e-3, **kwargs: Setting
) -> tuple[float, ...]:
    """Teach a registered detector one small batch by heart, as only a sound method can.

    The batch is noise, with all that `needs` asks for; Adam goes down the sum of the detector's own
    loss terms. What is looked at is the term that teaches the verdict: `bce` where there is one,
    else the first. It must come within `LEARNED` of the detector's `loss_floor`, and then, in
    evaluation, with the batch's own statistics in its batch norms, every logit must have its face's
    sign. Nothing random is left: weights and dropout come from a seed, the caller's stays as it is.

    Args:
        name: A name in `DETECTORS`.
        steps: At most so many; it ends once the loss is where it should be.
        learning_rate: Adam's.
        kwargs: Arguments of its constructor, on top of its `check_kwargs`.

    Returns:
        The verdict's loss before each step, and at the end.

    Raises:
        ContractError: The loss did not come down, or logits in evaluation say something else.
        UsageError: There is no such detector, or it cannot be made so.

    Example:
        >>> losses = overfit_detector("meso4")
        >>> losses[-1] < LEARNED
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create_detector(name, **{**DETECTORS.get(name).check_kwargs, **kwargs})
        batch = _training_batch(network)
        losses = _descent(network, batch, steps, learning_rate)
        goal = network.loss_floor + LEARNED
        _require(
            name,
            losses[-1] < goal,
            f"{steps} steps on one batch take its loss from {losses[0]:.3f} to {losses[-1]:.3f} "
            f"only, not below {goal:.3f}",
        )
        _settle_statistics(network, batch.pixels)
        with torch.inference_mode():
            right = (network(batch.pixels) > 0) == (batch.labels > 0)
    n_wrong = int((~right).sum())
    _require(name, n_wrong == 0, f"it learned a batch, but judges {n_wrong} of its faces wrong")
    return losses


def _descent(
    network: Detector, batch: TrainingBatch, steps: int, learning_rate: float
) -> tuple[float, ...]:
    learning = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=learning_rate)
    # half of the way that is allowed: dropout makes single steps look better than they are
    goal = network.loss_floor + LEARNED / 2
    network.train()
    losses: list[float] = []
    for step in range(steps + 1):
        terms = network.loss_terms(batch)
        losses.append(float(_verdict(terms).value.detach()))
        if step == steps or max(losses[-2:]) < goal:
            break
        optimizer.zero_grad()
        torch.autograd.backward(total_loss(terms))
        optimizer.step()
    return tuple(losses)


def _verdict(terms: tuple[LossTerm, ...]) -> LossTerm:
    return next((term for term in terms if term.name == "bce"), terms[0])


def _settle_statistics(network: Detector, pixels: Tensor) -> None:
    """Leave a network in evaluation, its batch norms with the statistics of these pixels alone."""
    network.eval()
    for norm in _norms(network):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        network(pixels)
    network.eval()


def _norms(network: Detector) -> list[nn.modules.batchnorm._BatchNorm]:
    norms = nn.modules.batchnorm._BatchNorm
    return [each for each in network.modules() if isinstance(each, norms)]


def _require(name: str, holds: bool, complaint: str) -> None:
    if not holds:
        raise ContractError(f"detector {name!r} breaks the contract: {complaint}")


def _check_outline(name: str, kwargs: dict[str, Setting]) -> None:
    try:
        with torch.device("meta"):
            create_detector(name, **kwargs)
    except (RuntimeError, NotImplementedError) as error:
        _require(name, False, f"it cannot be outlined on the device meta, as loading does: {error}")


def _check_gradients(name: str, network: Detector, pixels: Tensor) -> None:
    # statistics of these pixels alone: with others a deep untrained network answers with zeros, or
    # so wildly that rounding decides its logits
    norms = _norms(network)
    for norm in norms:
        norm.momentum = None
    logits = network.train()(pixels)
    _require(name, logits.shape == (len(pixels),), f"logits are {tuple(logits.shape)}, not (B,)")
    for norm in norms:
        norm.momentum = 0.0
    loss = total_loss(network.loss_terms(_training_batch(network)))
    torch.autograd.backward(loss)
    unreached = [
        key
        for key, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    _require(name, not unreached, f"no gradient reaches {', '.join(unreached[:3])}")


def _training_batch(network: Detector, seed: int = 0) -> TrainingBatch:
    """Return a batch of noise with all that the method's training needs."""
    needs, size = network.needs, network.preprocess.size
    generator = torch.Generator().manual_seed(seed)
    n_methods = len(needs.methods)
    # two groups, or two pairs of a genuine and a forged face
    kinds = range(1 + n_methods) if needs.grouped else (0, 1)
    methods = torch.tensor([*kinds, *kinds] * needs.views)
    shape = (len(methods), *_clip(network), 3, size, size)
    labels = (methods != 0).float()
    # forged in the middle, with a soft edge
    ramp = (2 - torch.linspace(-2, 2, size).abs()).clamp(max=1)
    masks = labels[:, None, None, None] * ramp[:, None] * ramp
    return TrainingBatch(
        torch.randn(shape, generator=generator),
        labels,
        masks if needs.masks else None,
        methods if n_methods else None,
    )


def _clip(network: Detector) -> tuple[int, ...]:
    return (network.needs.frames,) if network.needs.frames > 1 else ()


def _check_batches(name: str, network: Detector, pixels: Tensor) -> None:
    together, distance = _batch_distance(network, pixels)
    _require(name, together.dtype == torch.float32, f"logits are {together.dtype}")
    _require(name, bool(together.isfinite().all()), "logits are not finite")
    if distance > TOLERANCE:
        # an untrained network may amplify rounding, which double precision takes away
        _, distance = _batch_distance(copy.deepcopy(network).double(), pixels.double())
    _require(
        name, distance <= TOLERANCE, f"a crop's logit depends on its batch (by {distance:.1e})"
    )


def _batch_distance(network: Detector, pixels: Tensor) -> tuple[Tensor, float]:
    with torch.inference_mode():
        together = network(pixels)
        alone = torch.cat([network(each[None]) for each in pixels])
    return together, float(((together - alone).abs() / alone.abs().clamp(min=1)).max())


def _check_round_trip(name: str, network: Detector, pixels: Tensor) -> None:
    # the state is random; the claim of training holds inside this temporary folder only
    header = make_header(network, trained=True, provenance={"trained_on": "nothing: a check"})
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "once.safetensors"), Path(folder, "twice.safetensors")
        once, twice = (save_checkpoint(path, network, header) for path in paths)
        loaded = load_checkpoint(paths[0])
    _require(name, once == twice, "equal weights give different files")
    _require(name, loaded.header == header, "its header changes when saved and loaded")
    state = loaded.network.state_dict()
    same = all(torch.equal(state[key], value) for key, value in network.stored_state().items())
    _require(name, same, "its weights change when saved and loaded")
    with torch.inference_mode():
        equal = torch.equal(network(pixels), loaded.network(pixels))
    _require(name, equal, "its logits change when saved and loaded (state outside state_dict?)")
