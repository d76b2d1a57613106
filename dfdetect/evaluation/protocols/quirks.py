"""What the field's main benchmark does otherwise than its paper says, as switches on numbers.

DeepfakeBench (Yan et al., NeurIPS 2023) is where most published figures come from. Eighteen of its
habits are known; those that act on scores are switches here, off by default, and what each does to
a run is computed from the run. All is written from descriptions in words, none from its code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from dfdetect.data.videos import Videos
from dfdetect.errors import UsageError
from dfdetect.evaluation.results import ResultRow
from dfdetect.evaluation.runs import FRAME
from dfdetect.scoring.score_table import ScoreTable
from dfdetect.types import REAL

FACELESS = ("no_face", "too_small", "untouched", "short_track")
"""Statuses of frames that the benchmark's preprocessing drops before any list names them."""

BY_FRAME = frozenset(
    {
        "first_frames",
        "unreadable_is_first_item",
        "folder_name_is_video",
        "lost_batch",
        "genuine_first",
    }
)
"""The switches that act on scores by frame, and on no others."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """Which habits are followed; all are off by default.

    Attributes:
        first_frames: Q1. Of a video with more stored frames than are asked for, the first count,
            not evenly spread ones.
        unreadable_is_first_item: Q2. A frame that cannot be read counts as another copy of the
            first item of the list, with that item's score and label, under its own video's name.
        folder_name_is_video: Q3. A video is all items of a test set whose folders have one name,
            whatever folder those lie in; its label is int(mean of the labels of its items).
        best_test_results: Q4. A number is the mean of so many best test results of one training
            run, the paper takes 3; 0 takes none. It needs a scored run for each checkpoint:
            `selected_on_test`.
        lost_batch: Q8. The batch size where the last, incomplete batch is lost, 0 where none is.
            Names are not lost, so predictions stand under the names of other items. The source
            says no more than that; here the k-th prediction stands under the name as many places
            further down the list as items were lost.
        lost_batch_in: Datasets that this befalls.
        overlapping_splits: Q10. Genuine videos of DFD, UADFV and DeeperForensics count whatever
            their split is; val of Celeb-DF is its test split, and its train holds all of it.
        genuine_first: Q17. `acc_real` and `acc_fake` are told as if the list began with all
            genuine items.
        clips_are_videos: The figures by clip of a detector of clips are told as those by video.
        list_seed: What shuffles the list of a test set, of which Q2, Q8 and Q17 depend; None
            leaves it in the order of video, track and frame.
    """

    first_frames: bool = False
    unreadable_is_first_item: bool = False
    folder_name_is_video: bool = False
    best_test_results: int = 0
    lost_batch: int = 0
    lost_batch_in: tuple[str, ...] = ("dfd",)
    overlapping_splits: bool = False
    genuine_first: bool = False
    clips_are_videos: bool = False
    list_seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse counts below zero."""
        for name in ("best_test_results", "lost_batch"):
            if getattr(self, name) < 0:
                raise UsageError(f"quirks.{name}={getattr(self, name)} must be 0 or more")

    @property
    def acts_on_items(self) -> bool:
        """Whether scores by video cannot be found from the rows of each video alone."""
        return bool(self.unreadable_is_first_item or self.folder_name_is_video or self.lost_batch)

    def active(self) -> tuple[str, ...]:
        """Return the names of the switches that are on."""
        aside = ("lost_batch_in", "list_seed")
        return tuple(
            field.name for field in fields(self)
            if field.name not in aside and getattr(self, field.name)
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuirkFact:
    """One of the eighteen habits.

    Attributes:
        number: As the list of them counts, `Q1` to `Q18`.
        sentence: What the benchmark does.
        switch: The field of `Quirks` that follows it, '' where no switch on scores can.
        treatment: What dfdetect does, and where.
    """

    number: str
    sentence: str
    switch: str
    treatment: str


QUIRKS = (
    QuirkFact(
        "Q1", "asked for fewer frames than are stored, it takes the first ones", "first_frames",
        "protocol strict spreads them evenly",
    ),
    QuirkFact(
        "Q2", "a picture that cannot be read is replaced by the first item of the list",
        "unreadable_is_first_item", "protocol strict counts it as skipped",
    ),
    QuirkFact(
        "Q3", "a video is known by the name of its folder alone, which FF++'s methods share",
        "folder_name_is_video", "video ids are unique in a manifest",
    ),
    QuirkFact(
        "Q4", "checkpoints are chosen on each test set, twice an epoch, and val is not used",
        "best_test_results", "validation.split is val unless validation.oracle says otherwise",
    ),
    QuirkFact(
        "Q5", "it trains for one epoch more than it is told", "",
        "trainer.steps is exact",
    ),
    QuirkFact(
        "Q6", "the learning rate is scheduled once, after training, and `linear` is no schedule",
        "", "optim.schedule moves it at every step; configs/optim/adam.yaml keeps it constant",
    ),
    QuirkFact(
        "Q7", "numpy's random numbers are not seeded", "",
        "every training item is drawn from the run's seed and its own position",
    ),
    QuirkFact(
        "Q8", "in training, the loader of DFD loses its last batch, and names and predictions "
        "no longer match", "lost_batch", "every item of a split is scored",
    ),
    QuirkFact(
        "Q9", "paths outside its database begin with a Windows backslash", "",
        "paths in a manifest are relative and POSIX",
    ),
    QuirkFact(
        "Q10", "splits overlap: Celeb-DF's val is its test and its train holds it, genuine videos "
        "of DFD, UADFV and DeeperForensics are in every split, and DFDC's val is overwritten row "
        "by row (the last is not followed)", "overlapping_splits",
        "a manifest with related videos in two splits is refused",
    ),
    QuirkFact(
        "Q11", "RECCE's reconstruction and metric losses are computed and not added", "",
        "detector recce trains on them; its kwargs reconstruction_weight=0 and metric_weight=0 "
        "do not",
    ),
    QuirkFact(
        "Q12", "CORE pulls different pictures together where two views of one are meant", "",
        "detector core is trained on two views of one face",
    ),
    QuirkFact(
        "Q13", "EfficientNet-B4's pretrained first layer is replaced by an untrained one without "
        "its padding", "", "detector efficientnet_b4 keeps it; padding=deepfakebench does not",
    ),
    QuirkFact(
        "Q14", "Meso4's layers share batch norms in pairs", "",
        "detector meso4 has one a layer, into which shared ones are read",
    ),
    QuirkFact(
        "Q15", "SBI has three classes, 256 px, Adam and aligned crops", "",
        "experiment ffpp_sbi_b4 follows the paper: one logit, 380 px, SAM",
    ),
    QuirkFact(
        "Q16", "Face X-ray's pixel-wise loss is a squared error that counts 1000 times", "",
        "detector face_xray takes the cross-entropy 100 times (xray_weight)",
    ),
    QuirkFact(
        "Q17", "accuracies by class are told as if genuine items came first in a shuffled list",
        "genuine_first", "accuracies go by each item's own label",
    ),
    QuirkFact(
        "Q18", "LSDA's encoder of genuine faces is neither pretrained nor frozen", "",
        "detector lsda freezes the file in real_encoder, or a network that stands in for it",
    ),
)  # fmt: skip
"""All eighteen, in order; what no switch follows lies in networks and their training."""


@dataclass(frozen=True, slots=True)
class QuirkNumber:
    """A number that only the benchmark reports, of one method (or all) of a test set."""

    dataset: str
    method: str
    metric: str
    value: float


def chosen_frames(table: ScoreTable, count: int, *, first: bool) -> NDArray[np.bool_]:
    """Return which rows belong to the chosen frames of each video; rows of no frame stay.

    Evenly spread are the integers of `count` points from the first to the last frame. With `first`
    (Q1) it is the first `count` of the stored frames, those that show a face.
    """
    faceless = [code for code, name in enumerate(table.statuses) if name in FACELESS]
    candidates = (table.frame_index >= 0) & ~(first & np.isin(table.status, faceless))
    rows = np.flatnonzero(candidates)
    if not rows.size:
        return ~candidates
    n_frames = int(table.frame_index.max()) + 1
    frames, of_row = np.unique(
        table.video[rows] * n_frames + table.frame_index[rows], return_inverse=True
    )
    _, starts, counts = np.unique(frames // n_frames, return_index=True, return_counts=True)
    rank = np.arange(frames.size) - np.repeat(starts, counts)
    if first:
        wanted = rank < count
    else:
        steps = np.arange(count)[None, :] * (counts - 1)[:, None] // max(count - 1, 1)
        wanted = np.zeros(frames.size, dtype=bool)
        wanted[(starts[:, None] + steps).ravel()] = True
        wanted |= np.repeat(counts <= count, counts)
    kept = ~(table.frame_index >= 0)
    kept[rows] = wanted[of_row]
    return kept


def counting_videos(videos: Videos, split: str, *, overlapping: bool) -> NDArray[np.bool_]:
    """Return which videos count for a split; with `overlapping` (Q10), as the benchmark has it."""
    split_of = videos.column("split").to_pylist()
    own = np.array([each == split for each in split_of], dtype=bool)
    if not overlapping:
        return own
    dataset = videos.column("dataset").to_pylist()
    real = videos.column("label").to_numpy() == REAL
    everywhere = [name in ("dfd", "uadfv", "deeperforensics") for name in dataset]
    # what else counts in Celeb-DF
    further = {"val": ("test",), "train": ("val", "test")}.get(split, ())
    of_celeb = [
        name.startswith("celebdf_") and each in further
        for name, each in zip(dataset, split_of, strict=True)
    ]
    return np.asarray(own | np.array(of_celeb, bool) | (np.array(everywhere, bool) & real))


def selected_on_test(
    checkpoints: Sequence[Sequence[ResultRow]],
    detector: str,
    top: int = 3,
    metric: str = "auc",
    unit: str = FRAME,
) -> tuple[ResultRow, ...]:
    """Return the means over the checkpoints that did best on each test set itself (Q4).

    Source: the benchmark's author, in its issue 91. It is an oracle: whoever has no labels of the
    test set cannot do it. Numbers have no interval, which selection makes meaningless.

    Args:
        checkpoints: The results of one scored run for each checkpoint of one training run.
        detector: What the rows call it.
        top: How many are averaged; all of them, where there are fewer.
        metric: What they are ranked by, the higher the better, for every method of a test set.
        unit: The unit of that metric.

    Raises:
        UsageError: There is no checkpoint, or none to average.
    """
    if not checkpoints or top < 1:
        raise UsageError("selection on the test set needs a scored run for every checkpoint")
    values: dict[tuple[str, str, str], list[tuple[float, int]]] = defaultdict(list)
    for number, rows in enumerate(checkpoints):
        for row in rows:
            if (row.metric, row.unit) == (metric, unit):
                values[row.dataset, row.method, row.condition].append((row.value, -number))
    chosen = {
        part: {-number for _, number in sorted(found)[-top:]} for part, found in values.items()
    }
    grouped: dict[tuple[str, ...], list[ResultRow]] = defaultdict(list)
    for number, rows in enumerate(checkpoints):
        for row in rows:
            if number in chosen.get((row.dataset, row.method, row.condition), ()):
                key = (row.dataset, row.method, row.condition, row.metric, row.unit)
                grouped[key].append(row)
    return tuple(
        replace(
            rows[0], detector=detector, ci_low=None, ci_high=None,
            value=float(np.mean([row.value for row in rows])),
        )
        for rows in grouped.values()
    )  # fmt: skip
