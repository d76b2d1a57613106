"""What fitting strangeness can be told; reading it runs no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfdetect.data.augment_settings import AugmentSettings
from dfdetect.errors import UsageError
from dfdetect.evaluation.settings import require_new_weights, require_once


@dataclass(frozen=True, slots=True)
class StrangenessSettings:
    """`dfdetect strangeness`: a checkpoint in, the same weights that tell strangeness out.

    The train split of `crops` says what is familiar: each crop as it is and in `views` random
    treatments of `augment`, which should be those that the detector learned from; `per_video` and
    `per_dataset` bound the crops of a video and of a dataset, null takes all. The val split sets
    the limit: of each dataset at most `share` of the genuine tracks have more, as they are, and at
    most as many of them treated.
    """

    checkpoint: Path
    crops: tuple[Path, ...]
    out: Path
    share: float
    views: int
    per_video: int | None
    per_dataset: int | None
    augment: AugmentSettings
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted."""
        require_new_weights(self.checkpoint, self.out)
        if not self.crops:
            raise UsageError("give the crops that the detector learned from: crops=[FOLDER,FOLDER]")
        require_once(self.crops)
        self._refuse_numbers()

    def _refuse_numbers(self) -> None:
        if not 0 < self.share < 1:
            raise UsageError(f"share={self.share} must lie between 0 and 1: 0.015 is 1.5 %")
        if self.views < 0 or self.seed < 0:
            raise UsageError(f"views={self.views} and seed={self.seed} must be 0 or more")
        for key, most in (("per_video", self.per_video), ("per_dataset", self.per_dataset)):
            if most is not None and most < 1:
                raise UsageError(f"{key}={most} leaves nothing; give 1 or more, or null")
        if self.augment.cutout > 0:
            raise UsageError("strangeness is fitted on whole faces; set augment.cutout=0")
