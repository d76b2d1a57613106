"""What the validation split decides: which weights are kept, and what their logits are worth."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfdetect.data.batches import Faces, scoring_batches, split_faces
from dfdetect.data.crops import CropStore
from dfdetect.data.scoring_clips import Clips, clip_batches, split_clips
from dfdetect.data.splits import source_groups
from dfdetect.data.videos import Videos
from dfdetect.detectors.base import CheckpointHeader, LoadedDetector
from dfdetect.detectors.checkpoint import make_header
from dfdetect.detectors.network import Detector
from dfdetect.detectors.runtime_torch import TorchDetector
from dfdetect.detectors.score import score, sigmoid
from dfdetect.errors import UsageError
from dfdetect.scoring.aggregate import video_scores
from dfdetect.scoring.calibrate import fit_platt
from dfdetect.scoring.metrics import roc_auc
from dfdetect.training.ranks import Ranks
from dfdetect.types import FAKE, REAL, Calibration, FaceScore

UNSELECTABLE = (
    "no dataset has genuine and forged videos in its val split, so no checkpoint could be "
    "selected; index with a larger share: split.val=0.2"
)


@dataclass(frozen=True, slots=True)
class DatasetAuc:
    """The video AUC on one dataset's validation split."""

    dataset: str
    auc: float
    n_real: int
    n_fake: int


@dataclass(frozen=True, slots=True)
class VideoLogits:
    """One logit for each video, with its label and the group of people it belongs to."""

    video_ids: tuple[str, ...]
    logits: tuple[float, ...]
    labels: tuple[int, ...]
    datasets: tuple[str, ...]
    groups: tuple[str, ...]


def live_detector(network: Detector, device: str) -> LoadedDetector:
    """Return the network of a running training as `score` takes it; it is no file yet."""
    header: CheckpointHeader = make_header(network, trained=True)
    return TorchDetector(network, header, "in training", device)


def items_to_score(
    stores: Sequence[CropStore], split: str, network: Detector, per_video: int | None = None
) -> Faces | Clips:
    """Return what the network judges of a split: faces, or clips of consecutive ones.

    Args:
        stores: No video may be in two of them.
        split: Whose videos.
        network: A detector; `needs` says how many frames it judges at a time.
        per_video: At most so many faces of a video, spread over its length.

    Raises:
        UsageError: A video is in two stores.
    """
    frames = network.needs.frames
    if frames > 1:
        return split_clips(stores, split, frames, per_video)
    return split_faces(stores, split, per_video)


def score_videos(detector: LoadedDetector, faces: Faces | Clips, ranks: Ranks) -> VideoLogits:
    """Score faces, or clips, and aggregate them to one logit a video, over all of its tracks.

    Of several processes each scores its share, and all get the same result.
    """
    preprocess = detector.header.preprocess
    if isinstance(faces, Clips):
        batches = clip_batches(ranks.own(faces), preprocess)
    else:
        batches = scoring_batches(ranks.own(faces), preprocess)
    own = score(detector, batches)
    logits = ranks.together(np.array([one.logit for one in own], dtype=np.float32), len(faces))
    keys = [face.key for face in faces]
    scores = [
        FaceScore(**dataclasses.asdict(key), logit=logit, p_fake=sigmoid(logit))
        for key, logit in zip(keys, logits.tolist(), strict=True)
    ]
    rows = faces.videos.by_id
    videos = video_scores(scores, rule="all_faces", min_faces=1)
    ordered = [rows[video.video_id] for video in videos]
    groups = source_groups(Videos.of(ordered))
    return VideoLogits(
        tuple(video.video_id for video in videos),
        tuple(video.logit for video in videos),
        tuple(row.label for row in ordered),
        tuple(row.dataset for row in ordered),
        tuple(groups.names[code] for code in groups.codes),
    )


def aucs(videos: VideoLogits) -> tuple[DatasetAuc, ...]:
    """Return the AUC of each dataset that has both classes; datasets are never pooled.

    Raises:
        UsageError: No dataset has both, so nothing could be selected.
    """
    found = []
    datasets = np.array(videos.datasets)
    for dataset in sorted(set(videos.datasets)):
        here = datasets == dataset
        labels = np.array(videos.labels)[here]
        if 0 < labels.sum() < len(labels):
            auc = roc_auc(labels, np.array(videos.logits)[here])
            n_fake = int(labels.sum())
            found.append(DatasetAuc(dataset, auc, len(labels) - n_fake, n_fake))
    if not found:
        raise UsageError(UNSELECTABLE)
    return tuple(found)


def require_selectable(faces: Faces | Clips) -> None:
    """Refuse validation faces that could select nothing, before hours go into training.

    Raises:
        UsageError: No dataset has faces of both classes.
    """
    found = {(video.dataset, video.label) for video in faces.videos}
    if not any((dataset, FAKE) in found for dataset, label in found if label == REAL):
        raise UsageError(UNSELECTABLE)


def calibration(videos: VideoLogits) -> Calibration:
    """Fit the likelihood ratio to one logit a validation video.

    Raises:
        UsageError: A class has too few videos, or higher logits do not go with fakes.
    """
    names = ", ".join(sorted(set(videos.datasets)))
    try:
        return fit_platt(
            videos.logits,
            videos.labels,
            set_name=f"{names} (val split, one logit a video)",
            date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            groups=videos.groups,
            sets=videos.datasets,
        )
    except ValueError as error:
        raise UsageError(
            f"the val videos of {names} do not suffice to calibrate ({error}); index with a larger "
            "share: split.val=0.2"
        ) from error
