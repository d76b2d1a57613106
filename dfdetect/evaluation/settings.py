"""What measuring scores, and explaining a difference of two numbers, can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfdetect.errors import UsageError
from dfdetect.evaluation.protocols.protocol import Protocol
from dfdetect.evaluation.score_columns import ColumnMap

MOST_RESAMPLES = 1_000_000


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """`dfdetect evaluate`: a detector and crop stores, or somebody's scores, in; results out.

    `checkpoint` and `crops` are scored; or else `scores` is a file of scores that are there
    already, `manifest` the videos they are of, and `columns`, `polarity` and `labels` say how to
    read it (`imported_scores`). Videos of `protocol.split` are scored, all where it is null. `name`
    is what tables call the detector, `trained_on` lists what it learned from (`ffpp/original`,
    `ffpp/Deepfakes`) where its checkpoint does not say.
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
    out: Path
    n_bootstrap: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse two kinds of input at once, half of one, and none; and what nobody can do."""
        if bool(self.crops) == (self.scores is not None):
            raise UsageError(
                "give either crops=[FOLDER] to score them, or scores=FILE manifest=FILE to measure "
                "scores that are there already"
            )
        if (self.scores is None) != (self.manifest is None):
            raise UsageError("scores=FILE and manifest=FILE go together")
        if self.scores is not None and self.checkpoint is not None:
            raise UsageError("scores=FILE are there already; leave out checkpoint=")
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


def require_draws(n_bootstrap: int, seed: int) -> None:
    """Refuse what no resampling can be done with; 0 resamples leave out the intervals.

    Raises:
        UsageError: A number is negative, or so many resamples would take days.
    """
    if not 0 <= n_bootstrap <= MOST_RESAMPLES:
        raise UsageError(f"n_bootstrap={n_bootstrap} must be 0 to {MOST_RESAMPLES}")
    if seed < 0:
        raise UsageError(f"seed={seed} must be 0 or more")
