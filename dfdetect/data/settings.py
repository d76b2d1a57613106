"""What making manifests and crop stores can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdetect.data.engines import EngineSettings
from dfdetect.data.splits import SplitRule
from dfdetect.errors import UsageError
from dfdetect.media import FrameSampler
from dfdetect.types import CropPolicy

INDEX_MODES = ("build", "verify", "describe")


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

    With `dry_run` only time and disk are estimated, from `dry_run_videos` videos. `crops_from` is a
    finished store of the same videos under other splits, whose crops are taken over (`resplit`);
    how to look and cut is then what it was there.
    """

    manifest: Path
    data_root: Path
    out: Path
    faces: FacesSettings
    sampling: FrameSampler
    engine: EngineSettings
    dry_run: bool
    dry_run_videos: int
    crops_from: Path | None = None
