"""Face scores → track scores → one score a video; the benchmark and `predict` share it.

A detector answers per face. Faces of one person over time are independent looks at one question,
so their logits are averaged by default (log-odds add up, where probabilities saturate). A video
is then as suspicious as its most suspicious track that was seen often enough: one swapped person
among several makes a video manipulated. `all_faces` averages over everybody instead, as most
published tables do, and is there for comparison with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdetect.errors import UsageError
from dfdetect.registry import Registry
from dfdetect.types import FaceScore, TrackScore

Logits = NDArray[np.float64]

AGGREGATES: Registry[Callable[[Logits], Any]] = Registry("aggregate")
"""Functions of (…, N) logits that reduce the last axis: one track, or many of one length."""
VIDEO_RULES = ("highest_track", "all_faces")
MIN_FACES = 8


@dataclass(frozen=True, slots=True)
class VideoScore:
    """The answer for one video: `logit` > 0 leans to fake, `p_fake` is its sigmoid.

    `track_id` names the track that decided, and is None where all faces decided together.
    `n_faces` counts the faces behind `logit`, `n_tracks` all tracks of the video. `is_sound` is
    False where no track had enough faces and the longest ones had to do.
    """

    video_id: str
    track_id: int | None
    n_faces: int
    n_tracks: int
    logit: float
    p_fake: float
    is_sound: bool


def sigmoid(logits: Logits) -> Logits:
    """Return 1 / (1 + exp(-x)) of every element, without overflow.

    Example:
        >>> sigmoid(np.array([0.0, -1000.0, 1000.0])).tolist()
        [0.5, 0.0, 1.0]
    """
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


@AGGREGATES.register("mean_logit")
def mean_logit(logits: Logits) -> Any:
    """Mean of the logits: the default, every face weighs alike."""
    return np.mean(logits, axis=-1)


@AGGREGATES.register("median_logit")
def median_logit(logits: Logits) -> Any:
    """Median of the logits: up to half of the faces may be wild."""
    return np.median(logits, axis=-1)


@AGGREGATES.register("mean_p")
def mean_p(logits: Logits) -> Any:
    """Logit of the mean probability, as DeepfakeBench averages frames (Yan et al., 2023)."""
    tiny = np.finfo(np.float64).tiny
    fake = np.maximum(np.mean(sigmoid(logits), axis=-1), tiny)
    real = np.maximum(np.mean(sigmoid(-logits), axis=-1), tiny)
    return np.log(fake) - np.log(real)


@AGGREGATES.register("max")
def highest(logits: Logits) -> Any:
    """The highest logit: finds brief forgeries, and every false alarm of a single face."""
    return np.max(logits, axis=-1)


@AGGREGATES.register("top_third")
def top_third(logits: Logits) -> Any:
    """Mean of the highest third of the logits (rounded up): between mean and maximum."""
    count = -(-logits.shape[-1] // 3)
    return np.mean(np.sort(logits, axis=-1)[..., -count:], axis=-1)


def aggregate_logits(logits: Sequence[float] | Logits, method: str = "mean_logit") -> float:
    """Return one logit for the logits of several faces.

    Args:
        logits: At least one finite logit, positive = leans to fake.
        method: A name in `AGGREGATES`.

    Raises:
        ValueError: There is no logit, or one is not finite.
        UsageError: No aggregate has that name.

    Example:
        >>> aggregate_logits([1.0, 3.0]), aggregate_logits([1.0, 3.0], "max")
        (2.0, 3.0)
    """
    values = np.sort(np.asarray(logits, dtype=np.float64))
    if not values.size:
        raise ValueError("no faces: the score of nothing is undefined")
    if not np.isfinite(values).all():
        raise ValueError("a face's logit is not finite; the detector's weights or input are broken")
    return float(AGGREGATES.get(method)(values))


def track_scores(scores: Sequence[FaceScore], method: str = "mean_logit") -> tuple[TrackScore, ...]:
    """Return one score for each track of one video, sorted by `track_id`.

    The order of `scores` does not matter.

    Raises:
        ValueError: The faces are of several videos, or a logit is not finite.
        UsageError: No aggregate has that name.

    Example:
        >>> faces = [FaceScore("v", 0, i, i / 10, x, 0.5) for i, x in enumerate((1.0, 2.0))]
        >>> track_scores(faces)[0].logit
        1.5
    """
    if len({score.video_id for score in scores}) > 1:
        raise ValueError("the faces are of several videos; give one video's faces at a time")
    ordered = sorted(scores, key=lambda score: score.track_id)
    return tuple(
        _track_score(track_id, [score.logit for score in faces], method)
        for track_id, faces in groupby(ordered, key=lambda score: score.track_id)
    )


def video_scores(
    scores: Sequence[FaceScore],
    method: str = "mean_logit",
    rule: str = "highest_track",
    min_faces: int = MIN_FACES,
) -> tuple[VideoScore, ...]:
    """Return one score for each video, sorted by `video_id`.

    Args:
        scores: Faces of any number of videos, in any order.
        method: How faces become a track (or a video): a name in `AGGREGATES`.
        rule: `highest_track`: the highest track with at least `min_faces` faces; where a video
            has none, the highest of its longest tracks, and `is_sound` is False. `all_faces`: all
            faces of the video together, whoever they belong to.
        min_faces: Faces a track needs.

    Raises:
        ValueError: A logit is not finite.
        UsageError: No aggregate or rule has that name.
    """
    if rule not in VIDEO_RULES:
        raise UsageError(f"unknown video rule {rule!r}; known: {', '.join(VIDEO_RULES)}")
    ordered = sorted(scores, key=lambda score: score.video_id)
    return tuple(
        _video_score(video_id, tuple(faces), method, rule, min_faces)
        for video_id, faces in groupby(ordered, key=lambda score: score.video_id)
    )


def _track_score(track_id: int, logits: Sequence[float], method: str) -> TrackScore:
    logit = aggregate_logits(logits, method)
    return TrackScore(track_id, len(logits), logit, _probability(logit))


def _video_score(
    video_id: str, faces: tuple[FaceScore, ...], method: str, rule: str, min_faces: int
) -> VideoScore:
    tracks = track_scores(faces, method)
    longest = max(track.n_faces for track in tracks)
    is_sound = longest >= min_faces
    if rule == "all_faces":
        logit = aggregate_logits([face.logit for face in faces], method)
        p_fake = _probability(logit)
        return VideoScore(video_id, None, len(faces), len(tracks), logit, p_fake, is_sound)
    enough = [track for track in tracks if track.n_faces >= min(min_faces, longest)]
    top = max(enough, key=lambda track: (track.logit, -track.track_id))
    return VideoScore(
        video_id, top.track_id, top.n_faces, len(tracks), top.logit, top.p_fake, is_sound
    )


def _probability(logit: float) -> float:
    return float(sigmoid(np.float64(logit)))
