"""What an export can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dfdetect.errors import UsageError

if TYPE_CHECKING:
    from dfdetect.data.crops import CropStore

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2", "int8": ".onnx"}
"""The ending of each format's files."""


@dataclass(frozen=True, slots=True)
class Int8Settings:
    """How an int8 file is made, and what it may cost.

    `calibration_faces` crops of the val split, at most half of them, set the ranges; the others
    measure. Each number in `float_layers` is tried in turn, as how many layers from the input on
    stay float32, until no dataset's AUC by video falls by more than `max_auc_drop` and no logit
    moves by more than `max_logit_change`.
    """

    calibration_faces: int = 192
    float_layers: tuple[int, ...] = (0, 3, 12)
    max_auc_drop: float = 0.005
    max_logit_change: float = 1.5

    def __post_init__(self) -> None:
        """Refuse numbers that could measure nothing, or let everything through unseen."""
        if self.calibration_faces < 1:
            raise UsageError(
                f"int8.calibration_faces={self.calibration_faces} sets no range; give at least 1"
            )
        if not self.float_layers or min(self.float_layers) < 0:
            raise UsageError("int8.float_layers needs numbers of layers, 0 or more: [0,3,12]")
        if not (self.max_auc_drop >= 0 and self.max_logit_change >= 0):
            raise UsageError(
                "int8.max_auc_drop and int8.max_logit_change are sizes of changes: give 0 or more"
            )


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What `export_detector` is to make, and on what it is to be compared.

    Attributes:
        checkpoint: A trained `.safetensors` file.
        out: Where to write; it ends in .onnx, or in .pt2 for torch_export.
        format: A name in `FORMATS`.
        stores: Crop stores whose val split both answer to; none: made-up pictures, not for int8.
        per_video: At most so many crops of a video; None takes all.
        tolerance: Largest difference of logits, relative above 1, of onnx and torch_export.
        int8: How int8 is made, and what it may cost.
        n_bootstrap: Resamples for the intervals.
        seed: Of the resampling.
        command: What the record says was run.
    """

    checkpoint: Path
    out: Path
    format: str = "onnx"
    stores: tuple[CropStore, ...] = ()
    per_video: int | None = None
    tolerance: float = 1e-4
    int8: Int8Settings = field(default_factory=Int8Settings)
    n_bootstrap: int = 2000
    seed: int = 0
    command: str = "dfdetect export"

    def __post_init__(self) -> None:
        """Refuse an unknown format, a name of another one, and int8 without crops."""
        if self.format not in FORMATS:
            raise UsageError(f"unknown format {self.format!r}; choose one of {', '.join(FORMATS)}")
        require_ending(self.out, FORMATS[self.format])
        if self.format == "int8" and not self.stores:
            raise UsageError(
                "int8 is calibrated and measured on real crops; give a crop store with val "
                "videos: crops=[work/mine]"
            )


@dataclass(frozen=True, slots=True)
class MeasuredSettings:
    """A folder of `dfdetect evaluate` that a card states under a heading of its own.

    `about` says in a sentence what the measured weights were; it must be there where they are not
    those of the card, such as siblings trained without one kind of fakes.
    """

    folder: Path
    title: str
    about: str = ""

    def __post_init__(self) -> None:
        """Refuse a heading of nothing."""
        if not self.title.strip():
            raise UsageError(f"measured: {self.folder} has an empty title; say what was measured")


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """`dfdetect export`: a checkpoint in; a file in another format, its figures and its card out.

    `format`, `per_video`, `tolerance`, `int8`, `n_bootstrap` and `seed` are those of `ExportPlan`;
    `crops` are folders of crop stores. The card, as Markdown and JSON, states `results` (folders of
    `dfdetect evaluate`) and `measured` (the same with headings), `robustness` (a folder of
    `dfdetect benchmark robustness`), `ablation` (a CSV file of what was tried), `gates` (a JSON
    file of what became of pictures that cannot be judged) and the Markdown in `data` and `limits`.
    With `bundle`, `out` is a folder that receives what a release ships:
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
    measured: tuple[MeasuredSettings, ...]
    robustness: Path | None
    ablation: Path | None
    gates: Path | None
    data: Path | None
    limits: Path | None

    def __post_init__(self) -> None:
        """Refuse a release in a format that none is shipped in, or what would be left unread."""
        if self.bundle and (self.format != "onnx" or self.crops):
            raise UsageError(
                f"bundle=true ships ONNX and states results=[…]; leave out format={self.format} "
                "and crops"
            )


def require_ending(out: Path, ending: str) -> None:
    """Refuse a name that other programs would take for another format.

    Raises:
        UsageError: The name has another ending.
    """
    if out.suffix != ending:
        raise UsageError(f"{out} must end in {ending}, the ending of its format")
