"""What a robustness run can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dfdetect.data.engines import EngineSettings
from dfdetect.errors import UsageError
from dfdetect.evaluation.settings import require_draws
from dfdetect.media import FrameSampler


@dataclass(frozen=True, slots=True)
class RobustnessPlan:
    """What is the same under every condition.

    Attributes:
        split: Which of the manifest's videos.
        sampler: Which frames are looked at.
        window_s: The first so many seconds of each clip, the clean ones too; None: whole clips.
        per_method: At most so many videos of each dataset and method, drawn by `seed`; None: all.
        finder: Looks for faces, as for `extract_crops`; None: pictures were cropped before.
        faces: Whose faces are kept: `largest`, `all` or `tracks`.
        batch_videos: How many laundered clips there are at a time.
        keep_clips: Leave the laundered clips where they are.
        seed: Of all that is random in the degradations.

    Raises:
        UsageError: A number makes no sense, or faces are to be chosen by masks, which do not lie
            over laundered clips.
    """

    split: str = "test"
    sampler: FrameSampler = field(default_factory=FrameSampler)
    window_s: float | None = None
    per_method: int | None = None
    finder: str | None = "onnx"
    faces: str = "largest"
    batch_videos: int = 16
    keep_clips: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.faces == "mask":
            raise UsageError(
                "masks do not lie over laundered clips; give faces=largest, all or tracks"
            )
        if self.window_s is not None and not self.window_s > 0:
            raise UsageError(f"window_s={self.window_s} leaves nothing; give more than 0")
        if self.batch_videos < 1 or (self.per_method is not None and self.per_method < 1):
            raise UsageError("batch_videos and per_method must be at least 1")


@dataclass(frozen=True, slots=True)
class RobustnessSettings:
    """`dfdetect benchmark robustness`: a manifest and checkpoints in, runs, results, curves out.

    `conditions` are words as for `Condition.parse`: `all`, `degradations`, `profiles`, `jpeg`,
    `jpeg 3`, `messenger` or the path of a profile's YAML; clean clips are measured in any case.
    `names` are what tables call the checkpoints, one each; empty: the detectors' own. `work`
    is where crops and scores are kept for going on after a kill.
    """

    manifest: Path
    data_root: Path
    checkpoints: tuple[Path, ...]
    names: tuple[str, ...]
    conditions: tuple[str, ...]
    plan: RobustnessPlan
    engine: EngineSettings
    work: Path
    out: Path
    n_bootstrap: int

    def __post_init__(self) -> None:
        """Refuse what cannot be resampled."""
        require_draws(self.n_bootstrap, self.plan.seed)
