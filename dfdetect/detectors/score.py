"""The one inference loop: batches of face crops, or clips of them → one score each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dfdetect.detectors.base import LoadedDetector, StrangenessDetector
from dfdetect.errors import ContractError, UntrustedCheckpoint
from dfdetect.types import FaceScore


@dataclass(frozen=True, slots=True)
class CropKey:
    """Where a crop comes from: the person `track_id` of a video, at a frame and time (seconds)."""

    video_id: str
    track_id: int
    frame_index: int
    time_s: float


@dataclass(frozen=True, slots=True)
class CropBatch:
    """Face crops that are judged together: `images` is RGB uint8, B × S × S × 3, one a key.

    For a detector of clips it is B × T × S × S × 3, in time order, and a clip's key is that of
    its middle crop, see `clip_key`.
    """

    keys: tuple[CropKey, ...]
    images: NDArray[np.uint8] = field(repr=False, compare=False)


def clip_key(keys: Sequence[CropKey]) -> CropKey:
    """Return the key of a clip of T crops: that of crop T // 2, counted from 0, its middle.

    Example:
        >>> clip_key([CropKey("a.mp4", 0, number, number / 25) for number in range(4)]).frame_index
        2
    """
    return keys[len(keys) // 2]


def score(detector: LoadedDetector, batches: Iterable[CropBatch]) -> tuple[FaceScore, ...]:
    """Return one score a crop, or a clip where the detector judges clips, in the batches' order.

    Raises:
        ContractError: A batch does not fit the detector: other type, size or number of keys.
        UntrustedCheckpoint: The detector answered with something that is not a finite number.
    """
    scores: list[FaceScore] = []
    for batch in batches:
        if not batch.keys and not len(batch.images):
            continue
        _check_batch(detector, batch)
        logits, strangeness = _judged(detector, batch)
        _require_numbers("logit", logits, detector, batch)
        told: list[float | None] = [None] * len(batch.keys)
        if strangeness is not None:
            _require_numbers("strangeness", strangeness, detector, batch)
            told = strangeness.tolist()
        scores.extend(
            FaceScore(
                key.video_id, key.track_id, key.frame_index, key.time_s, logit, sigmoid(logit), own
            )
            for key, logit, own in zip(batch.keys, logits.tolist(), told, strict=True)
        )
    return tuple(scores)


def _judged(
    detector: LoadedDetector, batch: CropBatch
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    if isinstance(detector, StrangenessDetector):
        return detector.judge(batch.images)
    return detector.logits(batch.images), None


def _require_numbers(
    what: str, answers: NDArray[np.float32], detector: LoadedDetector, batch: CropBatch
) -> None:
    if answers.shape != (len(batch.keys),) or not np.isfinite(answers).all():
        raise UntrustedCheckpoint(
            f"detector {detector.header.detector!r} (weights {detector.weights_sha256[:12]}) did "
            f"not give one finite {what} a crop for {batch.keys[0].video_id!r}; use other weights"
        )


def sigmoid(logit: float) -> float:
    """Return 1 / (1 + e^-logit) without overflow at either end.

    Example:
        >>> sigmoid(0.0), sigmoid(-1000.0), sigmoid(1000.0)
        (0.5, 0.0, 1.0)
    """
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    power = math.exp(logit)
    return power / (1.0 + power)


def _check_batch(detector: LoadedDetector, batch: CropBatch) -> None:
    size, frames = detector.header.preprocess.size, detector.header.frames
    clip = (frames,) if frames > 1 else ()
    expected = (len(batch.keys), *clip, size, size, 3)
    if batch.images.dtype != np.uint8 or batch.images.shape != expected:
        raise ContractError(
            f"detector {detector.header.detector!r} expects uint8 crops of shape {expected}, not "
            f"{batch.images.dtype} {batch.images.shape}; extract them with the crop policy of its "
            f"weights (size {size}, scale {detector.header.preprocess.crop.scale})"
        )
