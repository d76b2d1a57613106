"""What measuring scores, and explaining a difference of two numbers, can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfdetect.data.videos import SPLITS
from dfdetect.errors import UsageError
from dfdetect.evaluation.protocols.protocol import Protocol
from dfdetect.evaluation.score_columns import ColumnMap
from dfdetect.scoring.aggregate import AGGREGATES

MOST_RESAMPLES = 1_000_000


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """`dfdetect evaluate`: a detector and crop stores, or somebody's scores, in; results out.

    `checkpoint` and `crops` are scored; or else `scores` is a file of scores that are there
    already, `manifest` the videos they are of, and `columns`, `polarity` and `labels` say how to
    read it (`imported_scores`). Videos of `protocol.split` are scored, all where it is null. `name`
    is what tables call the detector, `trained_on` lists what it learned from (`ffpp/original`,
    `ffpp/Deepfakes`) where its checkpoint does not say. With `conditions` the errors by face size,
    sharpness, turn, brightness and compression are measured too; compression only where
    `data_root` is the folder that the crops' manifests are relative to. Or else `runs` are folders
    of earlier evaluations, of weights that were each trained without some of the people: their
    scores are measured together (`pooled`).
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
    protocol: Protocol
    conditions: bool
    data_root: Path | None
    out: Path
    n_bootstrap: int
    seed: int
    runs: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Refuse two kinds of input at once, half of one, and none; and what nobody can do."""
        if self.runs and (self.crops or self.scores is not None or self.checkpoint is not None):
            raise UsageError("runs=[FOLDER,FOLDER] are scored already; leave out what would score")
        if not self.runs and bool(self.crops) == (self.scores is not None):
            raise UsageError(
                "give either crops=[FOLDER] to score them, or scores=FILE manifest=FILE to measure "
                "scores that are there already, or runs=[FOLDER,FOLDER] to pool earlier evaluations"
            )
        if (self.scores is None) != (self.manifest is None):
            raise UsageError("scores=FILE and manifest=FILE go together")
        if self.scores is not None and self.checkpoint is not None:
            raise UsageError("scores=FILE are there already; leave out checkpoint=")
        if self.conditions and not self.crops:
            raise UsageError(
                "conditions=true measures pictures; give the crops that were scored: crops=[FOLDER]"
            )
        if self.data_root is not None and not self.conditions:
            raise UsageError("data_root= tells the compression of clips; add conditions=true")
        if self.name is not None and not self.name.strip():
            raise UsageError("name= is empty; leave it out, or say what tables call the detector")
        for part in self.trained_on:
            if part.count("/") != 1:
                raise UsageError(
                    f"trained_on={part} is not DATASET/METHOD, such as ffpp/Deepfakes or "
                    "ffpp/original"
                )
        require_draws(self.n_bootstrap, self.seed)


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """Which number is read from scores, as in `dfdetect.evaluation.diagnosis.reading.Reading`.

    `dataset` and `method` say whose; None: the published number's, or the only dataset there is
    and all of its fakes.
    """

    dataset: str | None
    method: str | None
    metric: str
    unit: str
    aggregate: str
    video_rule: str
    min_faces: int

    def __post_init__(self) -> None:
        """Refuse tracks of no faces."""
        if self.min_faces < 1:
            raise UsageError(f"reading.min_faces={self.min_faces} must be 1 or more")


@dataclass(frozen=True, slots=True)
class DiagnoseSettings:
    """`dfdetect evaluate diagnose`: two results folders, or one and a published number.

    `runs` are folders of `dfdetect evaluate`; `published` is a name of the registry, such as
    `deepfakebench-table2/xception/celebdf_v2`. `reading` says which number of ours is meant.
    """

    runs: tuple[Path, ...]
    published: str | None
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
        require_draws(self.n_bootstrap, self.seed)


@dataclass(frozen=True, slots=True)
class CalibrateSettings:
    """`dfdetect calibrate`: a checkpoint and scored runs of its siblings in, the same, calibrated.

    `scores` are folders of `dfdetect evaluate`, whose detectors are of the checkpoint's network
    and were not trained on the videos of `splits`, which calibrate. `aggregate` says how faces
    become a track's logit; a video's is that of its highest track. With `balance` each dataset
    shares its class's half of the weight alike, otherwise each video does.
    """

    checkpoint: Path
    scores: tuple[Path, ...]
    splits: tuple[str, ...]
    aggregate: str
    balance: bool
    out: Path
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be calibrated, or not honestly."""
        require_new_weights(self.checkpoint, self.out)
        if not self.scores:
            raise UsageError("give the scores to calibrate on: scores=[FOLDER,FOLDER]")
        require_once(self.scores)
        if not self.splits or not set(self.splits) <= set(SPLITS[1:]):
            raise UsageError(
                f"splits=[{','.join(self.splits)}] must name some of {', '.join(SPLITS[1:])}: "
                "whoever was trained on calibrates nothing"
            )
        AGGREGATES.get(self.aggregate)
        require_draws(0, self.seed)


def require_draws(n_bootstrap: int, seed: int) -> None:
    """Refuse what no resampling can be done with; 0 resamples leave out the intervals.

    Raises:
        UsageError: A number is negative, or so many resamples would take days.
    """
    if not 0 <= n_bootstrap <= MOST_RESAMPLES:
        raise UsageError(f"n_bootstrap={n_bootstrap} must be 0 to {MOST_RESAMPLES}")
    if seed < 0:
        raise UsageError(f"seed={seed} must be 0 or more")


def require_new_weights(checkpoint: Path, out: Path) -> None:
    """Refuse to read or write weights in another format, or over those that are read.

    Raises:
        UsageError: The sentence names the file.
    """
    for key, path in (("checkpoint", checkpoint), ("out", out)):
        if path.suffix != ".safetensors":
            raise UsageError(
                f"{key}={path} must end in .safetensors; make ONNX of it afterwards: "
                "dfdetect export"
            )
    if out.resolve() == checkpoint.resolve():
        raise UsageError(f"out={out} is the checkpoint itself; name another file")


def require_once(folders: Sequence[Path]) -> None:
    """Refuse a folder that is named twice.

    Raises:
        UsageError: One is.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError(f"a folder is given twice: {', '.join(map(str, folders))}")
