"""Which detectors there are, and the way from a name to a network."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from dfdetect.detectors.base import Setting
from dfdetect.errors import UsageError
from dfdetect.registry import Registry

if TYPE_CHECKING:
    from dfdetect.detectors.network import Detector

T = TypeVar("T")

# a new detector is one module here, one configs/detector/NAME.yaml and one line in this list
MODULES = (
    "dfdetect.detectors.backbone",
    "dfdetect.detectors.capsule",
    "dfdetect.detectors.classifiers",
    "dfdetect.detectors.core",
    "dfdetect.detectors.effort",
    "dfdetect.detectors.f3net",
    "dfdetect.detectors.face_xray",
    "dfdetect.detectors.ftcn",
    "dfdetect.detectors.lsda",
    "dfdetect.detectors.mesonet",
    "dfdetect.detectors.r2plus1d",
    "dfdetect.detectors.recce",
    "dfdetect.detectors.spsl",
    "dfdetect.detectors.srm",
    "dfdetect.detectors.tall",
    "dfdetect.detectors.ucf",
    "dfdetect.detectors.vit",
    "dfdetect.detectors.xception",
)


class DetectorRegistry(Registry[T]):
    """A registry that imports the modules of `MODULES` when it is first asked a question.

    They import torch, which whoever runs an ONNX detector should not wait for. Registering
    imports nothing, so a package outside dfdetect adds its own detectors by being imported.
    """

    def get(self, name: str) -> T:
        """Return the entry called `name`; see `Registry.get`."""
        _import_detectors()
        return super().get(name)

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        _import_detectors()
        return super().names()

    def __contains__(self, name: object) -> bool:
        _import_detectors()
        return super().__contains__(name)

    def __len__(self) -> int:
        return len(self.names())


DETECTORS: DetectorRegistry[type[Detector]] = DetectorRegistry("detector")


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """One registered detector at its default settings: `size` in pixels, parameters counted."""

    name: str
    summary: str
    n_parameters: int
    size: int


def create_detector(name: str, **kwargs: Setting) -> Detector:
    """Return a new network by name, with random or initial weights, in training mode.

    Its state is untrained: it can be trained and saved, never loaded for a verdict before.

    Args:
        name: A name in `DETECTORS`.
        kwargs: Arguments of that detector's constructor.

    Raises:
        UsageError: There is no such detector, or it takes no such argument or value.
    """
    made = DETECTORS.get(name)
    # YAML and command lines give lists
    settings = {
        key: tuple(value) if isinstance(value, list) else value for key, value in kwargs.items()
    }
    _check_kwargs(name, made, settings)
    try:
        detector = typing.cast("Callable[..., Detector]", made)(**settings)
    except ValueError as error:
        raise UsageError(f"detector {name!r} cannot be made: {error}") from None
    detector.name = name
    # defaults too, so that a stored network stays what it is when a default changes
    bound = inspect.signature(made).bind(**settings)
    bound.apply_defaults()
    stored = (item for item in bound.arguments.items() if item[0] not in made.not_stored)
    detector.kwargs = tuple(sorted(stored))
    return detector


def list_detectors() -> tuple[DetectorInfo, ...]:
    """Return all registered detectors at their default settings, sorted by name.

    Networks are built without memory for their weights, so this costs imports and little else.
    """
    # only here: predict never lists detectors, and must not wait for torch
    import torch

    found = []
    for name in DETECTORS:
        with torch.device("meta"):
            detector = create_detector(name)
        summary = (inspect.getdoc(type(detector)) or "").partition("\n")[0].rstrip(".")
        count = sum(parameter.numel() for parameter in detector.parameters())
        found.append(DetectorInfo(name, summary, count, detector.preprocess.size))
    return tuple(found)


def _import_detectors() -> None:
    for module in MODULES:
        import_module(module)


def _check_kwargs(name: str, made: type[Detector], kwargs: dict[str, Setting]) -> None:
    """Hold arguments against the constructor's own signature: names, then annotated types."""
    signature = inspect.signature(made)
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        known = ", ".join(map(str, signature.parameters.values()))
        raise UsageError(f"detector {name!r}: {error}; it takes {known}") from None
    # typing reads the annotations of __init__ where it is defined
    hints = typing.get_type_hints(made.__init__)
    for key, value in kwargs.items():
        if not _fits(value, hints.get(key, Any)):
            raise UsageError(
                f"detector {name!r}: {key} = {value!r} is no {signature.parameters[key].annotation}"
            )


def _fits(value: Setting, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, choice) for choice in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(wanted) == len(value) and all(map(_fits, value, wanted))
    return type(value) is hint or (hint is float and type(value) is int)
