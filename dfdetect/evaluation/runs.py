"""One detector's scores on some videos, with all that measuring and comparing them needs.

Scores come from our detectors (`scored.score_stores`), from a folder that `dfdetect evaluate`
wrote, or from anybody's file (`imported_scores`); from here on nothing asks which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dfdetect.data.videos import Videos
from dfdetect.detectors.base import CheckpointHeader
from dfdetect.provenance import canonical_json
from dfdetect.scoring.score_table import ScoreTable
from dfdetect.types import Calibration

SEEN, HELD_OUT, MIXED, UNKNOWN = "seen", "held-out", "mixed", "unknown"
FRAME, CLIP, VIDEO = "frame", "clip", "video"


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """What a detector learned from: pairs of dataset and method, `original` for genuine videos.

    Blends made of genuine faces are no method of a dataset: a detector of blends alone has seen
    genuine videos only.
    """

    parts: tuple[tuple[str, str], ...]

    def exposure(self, dataset: str, method: str) -> str:
        """Return whether fakes of a method of a dataset were trained on: `seen` or `held-out`.

        A method is told by its dataset and name; the same method in another dataset is held out.

        Example:
            >>> learned = TrainedOn((("ffpp", "original"), ("ffpp", "Deepfakes")))
            >>> learned.exposure("ffpp", "FaceSwap")
            'held-out'
        """
        return SEEN if (dataset, method) in self.parts else HELD_OUT


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A detector's scores on the videos of one split.

    Attributes:
        name: What tables call it.
        scores: All rows of these videos, scored or skipped; every video has at least one.
        videos: The manifest's rows of the same videos, sorted by id as `scores.video_ids` are.
        unit: What a row is of: `frame`, `clip`, or `video` where others gave one score a video.
        trained_on: What it learned from; None where nobody says.
        calibration: What turns its logits into likelihood ratios; None where it has none.
        threshold: The logit above which it says fake, chosen on validation data; None without.
        oracle: Why titles must say that it was selected on what it is measured on, or ''.
        parents: Pairs of a role (weights, crops, manifest, scores) and a SHA-256.
        frames: Frames a row is of, more than one for detectors of clips.
        split_rule: How its manifest was split (`SplitRule.strategy`), '' where nobody says.
        ranked_only: Only the order of its scores means something; they are no logits.
        network: Which network gave them, as `network_facts` has it; () where nobody says.
        notes: What a reader of its numbers must know, in sentences.
    """

    name: str
    scores: ScoreTable = field(repr=False)
    videos: Videos = field(repr=False)
    unit: str = "frame"
    trained_on: TrainedOn | None = None
    calibration: Calibration | None = None
    threshold: float | None = None
    oracle: str = ""
    parents: tuple[tuple[str, str], ...] = ()
    frames: int = 1
    split_rule: str = ""
    ranked_only: bool = False
    notes: tuple[str, ...] = ()
    network: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse scores and videos that are not of the same videos in the same order."""
        if self.videos.column("video_id").to_pylist() != list(self.scores.video_ids):
            raise ValueError(f"the scores of {self.name} and their manifest name other videos")

    def aggregate_under(self, wanted: str | None) -> str:
        """Return how faces become a track: as wanted, else as the calibration was fitted."""
        return wanted or (self.calibration.aggregate if self.calibration else "mean_logit")


def network_facts(header: CheckpointHeader) -> tuple[tuple[str, str], ...]:
    """Return what weights are of, apart from their values: sorted pairs of a name and JSON.

    Weights with the same facts are siblings: their logits came about in the same way.

    Example:
        >>> from dfdetect.detectors.base import Preprocess
        >>> from dfdetect.types import CropPolicy
        >>> half = Preprocess(64, (0.5,) * 3, (0.5,) * 3, CropPolicy(size=64))
        >>> header = CheckpointHeader("meso4", (("dropout", 0.5),), half, None, (), True)
        >>> network_facts(header)[:2]
        (('detector', '"meso4"'), ('frames', '1'))
    """
    told = {
        "detector": header.detector,
        "frames": header.frames,
        "kwargs": dict(header.kwargs),
        "preprocess": dataclasses.asdict(header.preprocess),
    }
    return tuple(sorted(_leaves(told)))


def _leaves(told: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, str]]:
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{key}{name}.")
        else:
            yield f"{key}{name}", canonical_json(value)
