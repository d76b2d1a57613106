"""The card of a detector as typed values: every number with its command, seed, counts and hashes.

Nothing here reads results or networks, so that showing a card is quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfdetect.scoring.band_ratios import BandRatio, Decisions, Share
from dfdetect.types import Band

__all__ = [
    "SHIPPED",
    "SIBLING",
    "TRAINED",
    "Ablation",
    "AblationRow",
    "Answers",
    "BandLine",
    "BandRatio",
    "Calibrated",
    "Card",
    "ConditionBin",
    "Curve",
    "Decisions",
    "GateRow",
    "Gates",
    "Made",
    "Measurement",
    "Number",
    "Operating",
    "SetShares",
    "Share",
]

SHIPPED, TRAINED, SIBLING = "shipped", "trained", "sibling"
"""Whose numbers: of the file itself; of the checkpoint it was made from; of other weights."""


@dataclass(frozen=True, slots=True)
class Made:
    """How numbers came about: the command, its seed, and SHA-256 by role of all that went in."""

    command: str
    seed: int | None
    parents: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Number:
    """One measured number; the interval is at 95 % and None where there is none.

    `unit` says what `n_real`, `n_fake` and `n_skipped` count: `frame` (a face), `clip` (of a
    detector that judges several frames at a time) or `video`. `exposure` says whether such fakes
    were trained on.
    """

    dataset: str
    method: str
    exposure: str
    metric: str
    unit: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n_real: int
    n_fake: int
    n_skipped: int


@dataclass(frozen=True, slots=True)
class ConditionBin:
    """The errors among the faces of a dataset that lie in one bin of a measurable condition.

    `what` says what was measured, `bin` names the edges. Faces and the videos they are of are
    counted; the AUC is by face and None where a class has too few videos, and so is a share.
    `real_flagged` is of genuine videos that reach weak signs by these faces alone, `fake_missed`
    of fakes that do not. `n_unknown` faces could not be measured.
    """

    dataset: str
    condition: str
    what: str
    bin: str
    n_real: int
    n_fake: int
    n_real_videos: int
    n_fake_videos: int
    auc: float | None
    ci_low: float | None
    ci_high: float | None
    real_flagged: Share | None
    fake_missed: Share | None
    n_unknown: int


@dataclass(frozen=True, slots=True)
class BandLine:
    """The clips of a measurement that got exactly one band.

    `expected` is the likelihood ratio that their counts should show if those they were told hold,
    None where no clip got the band; `measured` is what the counts show, with its 95 % interval.
    """

    band: Band
    real_found: int
    n_real: int
    fake_found: int
    n_fake: int
    expected: float | None
    measured: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Operating:
    """A threshold on a clip's logit for a share of false alarms; None where it is unsupported."""

    false_alarm: float
    logit: float | None
    real_flagged: Share
    fake_flagged: Share


@dataclass(frozen=True, slots=True)
class Answers:
    """What the calibration says of a measured dataset's clips, by their scores, without gates.

    `calibration_error` is the expected calibration error of LR / (1 + LR), both classes weighed
    alike; `operating` are the thresholds that the calibration set, counted here.
    """

    dataset: str
    bands: tuple[BandLine, ...]
    inconclusive: Share
    calibration_error: float
    operating: tuple[Operating, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One evaluation.

    `about` says in a sentence what the weights were; `whose` is `SHIPPED`, `TRAINED` or `SIBLING`
    and `weights_sha256` names them. `split` is whose videos were measured.
    """

    title: str
    about: str
    split: str
    whose: str
    weights_sha256: str
    made: Made
    numbers: tuple[Number, ...]
    conditions: tuple[ConditionBin, ...]
    answers: tuple[Answers, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One number under one condition that clips were put under before faces were looked for.

    `n_videos` were measured, `n_skipped` had no usable face.
    """

    dataset: str
    method: str
    exposure: str
    metric: str
    condition: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n_videos: int
    n_skipped: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A robustness run of one detector, worst family first."""

    whose: str
    weights_sha256: str
    made: Made
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class AblationRow:
    """One thing that was tried; numbers may be absent where it failed. `weights` is a hash."""

    name: str
    changed: str
    command: str
    seed: int | None
    step: int | None
    metric: str
    dataset: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n_real: int | None
    n_fake: int | None
    weights: str


@dataclass(frozen=True, slots=True)
class Ablation:
    """All that was tried, failures too, and the SHA-256 of the table that says so."""

    sha256: str
    rows: tuple[AblationRow, ...]


@dataclass(frozen=True, slots=True)
class GateRow:
    """What became of `n` pictures or clips of one kind that cannot be judged.

    Each ended in one of: `inconclusive` (`too_strange` of these because the face is unlike all that
    the detector learned from), `no_face`, `flagged` (weak signs or more), `cleared` (no signs
    found). `skipped` could not be put through.
    """

    kind: str
    n: int
    inconclusive: int
    too_strange: int
    no_face: int
    flagged: int
    cleared: int
    skipped: int
    source: str

    @property
    def held_back(self) -> int:
        """How many got no verdict on signs, as they should."""
        return self.inconclusive + self.no_face


@dataclass(frozen=True, slots=True)
class Gates:
    """The rates of the gates; `made` has the SHA-256 of the file that states them too."""

    whose: str
    weights_sha256: str
    made: Made
    rows: tuple[GateRow, ...]


@dataclass(frozen=True, slots=True)
class SetShares:
    """The bands of one of the datasets that calibrated."""

    name: str
    bands: tuple[BandRatio, ...]
    decisions: Decisions | None


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What turns logits into likelihood ratios, and how often each answer was given, right or not.

    `whole` is of all calibration clips, `sets` repeats it by dataset.
    """

    method: str
    slope: float
    intercept: float
    lr_min: float
    lr_max: float
    date: str
    aggregate: str
    n_real: int
    n_fake: int
    whole: SetShares
    sets: tuple[SetShares, ...]
    operating: tuple[Operating, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """All that a reader must know of a detector before relying on it.

    `limits` and `data` (what it learned from, under which terms, what it was never trained on) are
    Markdown by hand; `compared` are lines of Markdown on how far an exported file is from its
    checkpoint. `files` are pairs of name and SHA-256.
    """

    title: str
    detector: str
    kwargs: tuple[tuple[str, str], ...]
    crop: str
    crop_scale: float
    crop_px: int
    frames: int
    limits: str
    data: str
    training: tuple[tuple[str, str], ...]
    compared: tuple[str, ...]
    measured: tuple[Measurement, ...]
    calibration: Calibrated | None
    robustness: Curve | None
    ablation: Ablation | None
    gates: Gates | None
    files: tuple[tuple[str, str], ...]
