"""What the laboratory verbs can be told: typed settings, and the way from YAML to them.

The YAML files under `configs/` hold the values, each in exactly one place; the dataclasses of the
layers below hold the names and types. A key that no dataclass knows, or a value of another type,
is refused with a sentence. This is the only library file that imports omegaconf.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from dfdetect.errors import UsageError

T = TypeVar("T")

_PLACES: Mapping[str, tuple[str, str]] = {
    "index": ("dfdetect.data.settings", "IndexSettings"),
    "extract": ("dfdetect.data.settings", "ExtractSettings"),
    "train": ("dfdetect.training.settings", "FitSettings"),
    "evaluate": ("dfdetect.evaluation.settings", "EvaluateSettings"),
    "diagnose": ("dfdetect.evaluation.settings", "DiagnoseSettings"),
    "calibrate": ("dfdetect.evaluation.settings", "CalibrateSettings"),
    "strangeness": ("dfdetect.evaluation.strangeness.settings", "StrangenessSettings"),
    "benchmark": ("dfdetect.evaluation.benchmark.benchmark", "BenchmarkSettings"),
    "compare": ("dfdetect.evaluation.benchmark.compare", "CompareSettings"),
    "robustness": ("dfdetect.evaluation.robustness.settings", "RobustnessSettings"),
    "export": ("dfdetect.export.settings", "ExportSettings"),
}


class _Settings(Mapping[str, type]):
    """The settings of each verb, imported when they are asked for.

    So scores are measured where nothing that reads clips or runs networks is installed.
    """

    def __getitem__(self, verb: str) -> type:
        module, name = _PLACES[verb]
        found: type = getattr(import_module(module), name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


SETTINGS: Mapping[str, type] = _Settings()


@dataclass(frozen=True, slots=True)
class PathsSettings:
    """Folders that other values refer to; they steer the composition and reach no verb."""

    data_root: Path
    work: Path


def config_dir() -> Path:
    """Return the folder of YAML files: beside the checkout's package, or inside the wheel.

    Raises:
        FileNotFoundError: Neither is there; the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"no configs beside {package}; expected its YAML files there: reinstall dfdetect"
    )


def register_schemas(*verbs: str) -> None:
    """Give Hydra the schemas of some laboratory verbs, or of all, as `<verb>_schema`."""
    store = ConfigStore.instance()
    for verb in verbs or SETTINGS:
        settings = SETTINGS[verb]
        node = dataclasses.make_dataclass(
            f"{settings.__name__}Root",
            [("paths", schema(PathsSettings), dataclasses.field(default=MISSING))],
            bases=(schema(settings),),
        )
        store.store(name=f"{verb}_schema", node=node)


@cache
def schema(settings: type) -> type:
    """Return the OmegaConf schema of a settings dataclass: same names and types, no values.

    The settings classes are frozen, which OmegaConf would take for read-only, and may have
    defaults, which would hide a value that the YAML forgot; so the schema is derived. Members of
    lists keep their defaults: they are written by hand, on the command line too.
    """
    return _derived(settings, listed=False)


def _derived(settings: type, *, listed: bool) -> type:
    hints = typing.get_type_hints(settings)
    fields = [
        (
            field.name,
            _schema_type(hints[field.name]),
            dataclasses.field(
                default=field.default
                if listed and field.default is not dataclasses.MISSING
                else MISSING
            ),
        )
        for field in dataclasses.fields(settings)
    ]
    return dataclasses.make_dataclass(f"{settings.__name__}Schema", fields)


def _schema_type(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return schema(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        member = arguments[0]
        if dataclasses.is_dataclass(member) and isinstance(member, type):
            return list[_derived(member, listed=True)]  # type: ignore[misc]
        return list[_schema_type(member)]  # type: ignore[misc]
    if origin in (typing.Union, types.UnionType):
        # omegaconf has no other way to write a union that is put together here
        return typing.Union[tuple(map(_schema_type, arguments))]  # noqa: UP007
    if origin is not None and issubclass(origin, Mapping):
        return dict[str, Any]
    # a path prints as plain text in `--cfg job`; it becomes a Path with the settings
    return str if hint is Path else hint


def settings_from(config: DictConfig, kind: type[T]) -> T:
    """Return the typed, frozen settings that a composed config describes.

    Raises:
        UsageError: A value is missing or does not fit its type.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(plain, dict)  # noqa: S101 — a DictConfig is nothing else
        plain.pop("paths", None)
    except MissingMandatoryValue as error:
        key = error.full_key or str(error)
        raise UsageError(f"{key} has no value yet; give it on the command line: {key}=…") from None
    try:
        return _converter().structure(plain, kind)
    except cattrs.BaseValidationError as error:
        # the sentence of a settings class that refuses its values needs no introduction
        if refused := list(_refusals(error)):
            raise UsageError("; ".join(refused)) from None
        reasons = "; ".join(cattrs.transform_error(error))
        raise UsageError(f"the config does not fit {kind.__name__}: {reasons}") from None


def _refusals(error: BaseException) -> Iterator[str]:
    if isinstance(error, UsageError):
        yield str(error)
    for member in getattr(error, "exceptions", ()):
        yield from _refusals(member)


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Path, lambda value, _: Path(value).expanduser())
    return converter
