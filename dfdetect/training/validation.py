"""What the validation split decides: which weights are kept, and what their logits are worth."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass

import numpy as np

from dfdetect.data.batches import Faces, scoring_batches
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


def score_videos(detector: LoadedDetector, faces: Faces, ranks: Ranks) -> VideoLogits:
    """Score faces and aggregate them to one logit a video, whatever the number of its tracks.

    Of several processes each scores its share, and all get the same result.
    """
    own = score(detector, scoring_batches(ranks.own(faces), detector.header.preprocess))
    logits = ranks.together(np.array([one.logit for one in own], dtype=np.float32), len(faces))
    scores = [
        FaceScore(**dataclasses.asdict(face.key), logit=logit, p_fake=sigmoid(logit))
        for face, logit in zip(faces, logits.tolist(), strict=True)
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


def require_selectable(faces: Faces) -> None:
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
        )
    except ValueError as error:
        raise UsageError(
            f"the val videos of {names} do not suffice to calibrate ({error}); index with a larger "
            "share: split.val=0.2"
        ) from error
