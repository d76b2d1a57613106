"""What the laboratory verbs can be told: typed settings, and the way from YAML to them.

The YAML files under `configs/` hold the values, each in exactly one place; the dataclasses here
and in the layers below hold the names and types. A key that no dataclass knows, or a value of
another type, is refused with a sentence. This is the only library file that imports omegaconf.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.v import format_exception
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from dfdetect.data.engines import EngineSettings
from dfdetect.data.splits import SplitRule
from dfdetect.errors import UsageError
from dfdetect.evaluation.benchmark.benchmark import BenchmarkSettings
from dfdetect.evaluation.benchmark.compare import CompareSettings
from dfdetect.evaluation.protocols.protocol import Protocol
from dfdetect.evaluation.robustness.settings import RobustnessSettings
from dfdetect.evaluation.score_columns import ColumnMap
from dfdetect.export import Int8Settings
from dfdetect.media import FrameSampler
from dfdetect.training.settings import FitSettings
from dfdetect.types import CropPolicy

T = TypeVar("T")

INDEX_MODES = ("build", "verify", "describe")


@dataclass(frozen=True, slots=True)
class PathsSettings:
    """Folders that other values refer to; they steer the composition and reach no verb."""

    data_root: Path
    work: Path


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """A registered dataset adapter by `name`, and the `options` it is made with."""

    name: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """`dfdetect index`: a folder of videos in, a manifest out.

    `mode` is `build`, `verify` (look for faults, against another copy's manifest or a checksum file
    as `reference` if one is given, and write no manifest) or `describe` (say what is known about
    the dataset). Related videos of the manifests in `against` must not be in another split.
    """

    mode: str
    dataset: DatasetSettings
    split: SplitRule
    data_root: Path
    out: Path
    reference: Path | None
    against: tuple[Path, ...]

    def __post_init__(self) -> None:
        """Refuse an unknown mode, and a reference that would be left unread."""
        if self.mode not in INDEX_MODES:
            raise UsageError(f"unknown mode {self.mode!r}; choose one of {', '.join(INDEX_MODES)}")
        if self.reference is not None and self.mode != "verify":
            raise UsageError(f"mode={self.mode} reads no reference; give mode=verify with it")


@dataclass(frozen=True, slots=True)
class FacesSettings:
    """Which finder looks for faces, whose faces are kept and how they are cut out.

    `landmarks` matters to pictures that were cropped before: whether to look for the five points.
    Faces smaller than `min_side_px` get a row but no picture. With `reuse_boxes` forgeries take
    over the faces of the originals that they were made from.
    """

    finder: str | None
    keep: str
    landmarks: bool
    min_side_px: float
    reuse_boxes: bool
    crop: CropPolicy


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """`dfdetect extract`: a manifest in, a crop store out.

    With `dry_run` only time and disk are estimated, from `dry_run_videos` videos.
    """

    manifest: Path
    data_root: Path
    out: Path
    faces: FacesSettings
    sampling: FrameSampler
    engine: EngineSettings
    dry_run: bool
    dry_run_videos: int


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """`dfdetect evaluate`: a detector and crop stores, or somebody's scores, in; results out.

    `checkpoint` and `crops` are scored; or else `scores` is a file of scores that are there
    already, `manifest` the videos they are of, and `columns`, `polarity` and `labels` say how to
    read it (`imported_scores`). `name` is what tables call the detector, `trained_on` lists what
    it learned from (`ffpp/original`, `ffpp/Deepfakes`) where its checkpoint does not say.
    """

    checkpoint: Path | None
    crops: tuple[Path, ...]
    scores: Path | None
    manifest: Path | None
    columns: ColumnMap
    polarity: str
    labels: str
    name: str | None
    trained_on: tuple[str, ...]
    split: str | None
    protocol: Protocol
    out: Path
    n_bootstrap: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse two kinds of input at once, half of one, and none."""
        if bool(self.crops) == (self.scores is not None):
            raise UsageError(
                "give either crops=[FOLDER] to score them, or scores=FILE manifest=FILE to measure "
                "scores that are there already"
            )
        if (self.scores is None) != (self.manifest is None):
            raise UsageError("scores=FILE and manifest=FILE go together")
        for part in self.trained_on:
            if part.count("/") != 1:
                raise UsageError(
                    f"trained_on={part} is not DATASET/METHOD, such as ffpp/Deepfakes or "
                    "ffpp/original"
                )


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """How a number is read from scores, as in `dfdetect.evaluation.diagnosis.reading.Reading`."""

    metric: str
    unit: str
    aggregate: str
    video_rule: str
    min_faces: int


@dataclass(frozen=True, slots=True)
class DiagnoseSettings:
    """`dfdetect evaluate diagnose`: two results folders, or one and a published number.

    `runs` are folders of `dfdetect evaluate`; `published` is a name of the registry, such as
    `deepfakebench-table2/xception/celebdf_v2`. `reading` says how our number is read.
    """

    runs: tuple[Path, ...]
    published: str | None
    dataset: str | None
    method: str | None
    reading: ReadingSettings
    out: Path | None
    n_bootstrap: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse anything but two sides."""
        if len(self.runs) + (self.published is not None) != 2 or not self.runs:
            raise UsageError(
                "a diagnosis needs two sides: dfdetect evaluate diagnose OURS THEIRS, or "
                "dfdetect evaluate diagnose OURS published=TABLE/DETECTOR/COLUMN"
            )


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """`dfdetect export`: a checkpoint in; a file in another format, its figures and its card out.

    `format`, `per_video`, `tolerance`, `int8`, `n_bootstrap` and `seed` are those of `ExportPlan`;
    `crops` are folders of crop stores. The card states `results` (folders of `dfdetect evaluate`)
    and the text in `limits`. With `bundle`, `out` is a folder that receives what a release ships:
    checkpoint, ONNX twin, hashes and the card.
    """

    checkpoint: Path
    out: Path
    format: str
    crops: tuple[Path, ...]
    per_video: int | None
    tolerance: float
    int8: Int8Settings
    n_bootstrap: int
    seed: int
    bundle: bool
    results: tuple[Path, ...]
    limits: Path | None

    def __post_init__(self) -> None:
        """Refuse a release in a format that none is shipped in, or what would be left unread."""
        if self.bundle and (self.format != "onnx" or self.crops):
            raise UsageError(
                f"bundle=true ships ONNX and states results=[…]; leave out format={self.format} "
                "and crops"
            )


SETTINGS: Mapping[str, type] = {
    "index": IndexSettings,
    "extract": ExtractSettings,
    "train": FitSettings,
    "evaluate": EvaluateSettings,
    "diagnose": DiagnoseSettings,
    "benchmark": BenchmarkSettings,
    "compare": CompareSettings,
    "robustness": RobustnessSettings,
    "export": ExportSettings,
}


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


def register_schemas() -> None:
    """Give Hydra the schema of every laboratory verb, as `<verb>_schema`."""
    store = ConfigStore.instance()
    for verb, settings in SETTINGS.items():
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
        reasons = "; ".join(cattrs.transform_error(error, format_exception=_in_words))
        raise UsageError(f"the config does not fit {kind.__name__}: {reasons}") from None


def _in_words(error: BaseException, kind: type | None) -> str:
    # the sentence of a settings class that refuses its values needs no introduction
    return str(error) if isinstance(error, UsageError) else format_exception(error, kind)


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Path, lambda value, _: Path(value).expanduser())
    return converter
