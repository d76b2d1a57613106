"""Scores → numbers and verdicts, on numpy alone; `metrics` is imported only where it is used."""

from __future__ import annotations

from dfdetect.scoring.aggregate import (
    AGGREGATES,
    VideoScore,
    aggregate_logits,
    track_scores,
    video_scores,
)
from dfdetect.scoring.calibrate import (
    band_of,
    fit_platt,
    fit_temperature,
    log_likelihood_ratio,
    log_lr_interval,
)
from dfdetect.scoring.verdict import QualityGates, TrackEvidence, decide, gather_evidence
from dfdetect.scoring.words import headline, person, sentence

__all__ = [
    "AGGREGATES",
    "QualityGates",
    "TrackEvidence",
    "VideoScore",
    "aggregate_logits",
    "band_of",
    "decide",
    "fit_platt",
    "fit_temperature",
    "gather_evidence",
    "headline",
    "log_likelihood_ratio",
    "log_lr_interval",
    "person",
    "sentence",
    "track_scores",
    "video_scores",
]
