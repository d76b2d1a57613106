"""The base class of every network that gives one logit a face, and what it is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dfdetect.detectors.base import Preprocess, Setting
from dfdetect.detectors.losses import LossTerm, binary_cross_entropy


@dataclass(frozen=True, slots=True)
class BatchNeeds:
    """What a method's training batches hold beyond faces and labels.

    `frames` above 1: the network judges clips of that many sampled frames of one track, in time
    order. `views` above 1: every face comes in so many independent augmentations. `masks`: where
    each picture is forged. `methods`: the forgery methods that are told apart, in order; with
    `grouped`, every group of a batch is a genuine face and one forgery of it by each method.
    """

    frames: int = 1
    views: int = 1
    masks: bool = False
    methods: tuple[str, ...] = ()
    grouped: bool = False


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

    `not_stored` names the arguments that matter only before training, such as a file of initial
    weights; a header may not hold them. `no_onnx` says why a network cannot be exported to ONNX,
    and is empty where it can.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset()
    no_onnx: ClassVar[str] = ""

    def __init__(self, preprocess: Preprocess) -> None:
        """Remember how crops are prepared for this network."""
        super().__init__()
        self.preprocess = preprocess
        self.name = ""
        self.kwargs: tuple[tuple[str, Setting], ...] = ()

    @property
    def needs(self) -> BatchNeeds:
        """What training batches must hold; pixels and labels unless a method says more."""
        return BatchNeeds()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S.

        A detector of clips takes B × T × 3 × S × S with T = `needs.frames`.
        """
        raise NotImplementedError

    def loss_terms(self, batch: TrainingBatch, smoothing: float = 0.0) -> tuple[LossTerm, ...]:
        """Return the terms of the method's loss on a batch, each logged by its name.

        Args:
            batch: What `needs` asks for.
            smoothing: How far binary targets are moved towards ½; see `binary_cross_entropy`.
        """
        value = binary_cross_entropy(self(batch.pixels), batch.labels, smoothing)
        return (LossTerm("bce", value),)
