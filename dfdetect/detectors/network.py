"""The base class of every network that gives one logit a face, and what it is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from dfdetect.detectors.base import BatchNeeds as BatchNeeds
from dfdetect.detectors.base import Preprocess, Setting
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy
from dfdetect.detectors.strangeness import Strangeness

Network = TypeVar("Network", bound=nn.Module)

PICTURES = 4
"""Dimensions of a batch of pictures; a batch of clips has one more."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Faces with what is known of them; half are genuine unless the method needs groups.

    Attributes:
        pixels: Normalised as the detector's `Preprocess` says, B × 3 × S × S, or B × T × 3 × S × S
            for clips. Several views lie end to end: the first view of all faces, then the second.
            Groups lie one after the other, each genuine first and then the methods in order.
        labels: B, float, 1 for fake.
        masks: B × 1 × S × S in [0, 1], 1 where forged; None unless needed.
        methods: B, integers: 0 genuine, 1 + i the i-th needed method, -1 any other forgery; None
            unless needed.
    """

    pixels: Tensor
    labels: Tensor
    masks: Tensor | None = None
    methods: Tensor | None = None


class Detector(nn.Module):
    """A network whose `forward` maps pixels to one logit a face, above 0 for fake.

    A subclass takes scalars (or tuples of scalars) as keyword arguments with defaults, calls
    `super().__init__(preprocess)`, and states in its docstring's first line what it is, and after
    that how faithful it is, see `dfdetect.detectors.fidelity`. `name` and `kwargs` are set by
    `create_detector`; they are what a checkpoint's header stores.

    `not_stored` names the arguments that matter to training alone, such as a file of initial
    weights; a header may not hold them. `training_only` names the submodules that only
    `loss_terms` uses, such as teachers: files of weights leave them out, and a loaded network has
    None in their places; a run's resumable state holds them. `no_onnx` says why a network cannot
    be exported to ONNX, and is empty where it can. `check_kwargs` are constructor arguments of a
    lighter network of the same kind, for checks that would take minutes with the default one.
    `loss_floor` is the least that the loss of the verdict can be, 0 unless the method says more.

    `strangeness`, where it has been fitted, says how unlike a face is to what was learned from; it
    is None in a fresh network, and whatever trains the network further makes it void.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset()
    training_only: ClassVar[frozenset[str]] = frozenset()
    no_onnx: ClassVar[str] = ""
    check_kwargs: ClassVar[Mapping[str, Setting]] = MappingProxyType({})
    loss_floor: ClassVar[float] = 0.0

    def __init__(self, preprocess: Preprocess) -> None:
        """Remember how crops are prepared for this network."""
        super().__init__()
        self.preprocess = preprocess
        self.name = ""
        self.kwargs: tuple[tuple[str, Setting], ...] = ()
        self.strangeness: Strangeness | None = None

    @property
    def needs(self) -> BatchNeeds:
        """What training batches must hold; pixels and labels unless a method says more."""
        return BatchNeeds()

    def stored_state(self) -> dict[str, Tensor]:
        """Return the part of `state_dict()` that files of weights hold: all that `forward` uses."""
        return {
            key: tensor
            for key, tensor in self.state_dict().items()
            if key.partition(".")[0] not in self.training_only
        }

    def drop_training_parts(self) -> None:
        """Let go of the submodules in `training_only`; after that `loss_terms` may fail."""
        for name in self.training_only:
            setattr(self, name, None)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S.

        A detector of clips takes B × T × 3 × S × S with T = `needs.frames`.
        """
        raise NotImplementedError

    @property
    def n_traits(self) -> int:
        """How many numbers `observe` gives of a face; 0 where it has no strangeness."""
        return 0

    def observe(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does and the traits that strangeness is told by, B × `n_traits`."""
        raise NotImplementedError

    def logits_and_strangeness(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B,) and strangeness (B,) in one pass; `strangeness` must be there."""
        assert self.strangeness is not None  # noqa: S101 — callers ask for it only where it is
        logits, traits = self.observe(pixels)
        return logits, self.strangeness(traits)

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the terms of the method's loss on a batch, each logged by its name.

        Args:
            batch: What `needs` asks for.
            smoothing: How far binary targets are moved towards ½; see `binary_cross_entropy`.
        """
        value = binary_cross_entropy(self(batch.pixels), batch.labels, smoothing)
        return (LossTerm("bce", value),)


def channels_last(network: Network) -> Network:
    """Lay the weights of a network's 2-D convolutions out as they run fastest, in place.

    Those of 3-D convolutions stay as they are: torch has another layout for them, which gains
    nothing here.
    """
    for tensor in chain(network.parameters(), network.buffers()):
        if tensor.ndim == PICTURES:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return network
