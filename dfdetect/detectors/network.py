"""The base class of every network that gives one logit a face."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dfdetect.detectors.base import Preprocess, Setting


class Detector(nn.Module):
    """A network whose `forward` maps pixels to one logit a face, above 0 for fake.

    A subclass takes scalars (or tuples of scalars) as keyword arguments with defaults, calls
    `super().__init__(preprocess)`, and states in its docstring's first line what it is.
    `name` and `kwargs` are set by `create_detector`; they are what a checkpoint's header stores.

    `not_stored` names the arguments that matter only before training, such as a file of initial
    weights; a header may not hold them.
    """

    not_stored: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, preprocess: Preprocess) -> None:
        """Remember how crops are prepared for this network."""
        super().__init__()
        self.preprocess = preprocess
        self.name = ""
        self.kwargs: tuple[tuple[str, Setting], ...] = ()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) for normalised pixels, float B × 3 × S × S."""
        raise NotImplementedError
