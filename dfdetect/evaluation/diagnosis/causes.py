"""What may make two numbers differ: a change to one side that would make them agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from typing_extensions import Self

from dfdetect.evaluation.diagnosis.reading import Floats, Ints, Names, Side
from dfdetect.evaluation.published.numbers import PublishedNumber
from dfdetect.scoring.aggregate import sigmoid

OURS, THEIRS = "ours", "theirs"

LABELS = "labels"
POLARITY = "polarity"
KEYS = "video keys"
DUPLICATES = "duplicates"
COMPRESSION = "compression"
VIDEOS = "videos"
SKIPPED = "skipped"
FRAMES = "frames"
LEVEL = "level"
AGGREGATION = "aggregation"
SCALE = "scale"
THRESHOLD = "threshold"
METRIC = "metric"
CHECKPOINT = "checkpoint"
CAUSES = (
    LABELS, POLARITY, KEYS, DUPLICATES, COMPRESSION, VIDEOS, SKIPPED, FRAMES, LEVEL, AGGREGATION,
    SCALE, THRESHOLD, METRIC, CHECKPOINT,
)  # fmt: skip
"""The names of what `diagnose` can find."""

SEEN, STATED, TRIED = "seen", "stated", "tried"
"""How a difference is known: the files show it, the definitions say it, or it was only tried."""


@dataclass(frozen=True, slots=True)
class Case:
    """Two numbers to compare: ours, and theirs from their scores or as published."""

    ours: Side
    theirs: Side | None = None
    published: PublishedNumber | None = None

    def directions(self) -> Iterator[tuple[Side, Side | None]]:
        """Yield each side that can be changed, with the other one (None: only a number)."""
        yield self.ours, self.theirs
        if self.theirs is not None:
            yield self.theirs, self.ours

    def having(self, *sides: Side) -> Self:
        """Return the case with some sides replaced."""
        return dataclasses.replace(self, **{side.who: side for side in sides})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Change:
    """A way in which the sides may differ, and the case without that difference.

    `finding` says how they differ and `remedy` what was done about it, both in words; `evidence`
    is one of `SEEN`, `STATED` and `TRIED`. `of_numbers` marks changes that leave all scores as
    they are.
    """

    cause: str
    finding: str
    remedy: str
    case: Case = field(repr=False)
    evidence: str = TRIED
    of_numbers: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What tells a change from others, whatever scores it is made to."""
        return self.cause, self.remedy


def share(part: int, whole: int) -> str:
    """Return `3 of 7`, or `all 7`.

    Example:
        >>> share(3, 7), share(7, 7)
        ('3 of 7', 'all 7')
    """
    return f"all {whole}" if part == whole else f"{part} of {whole}"


def named(values: Iterable[str], most: int = 3) -> str:
    """Return some names and how many more there are.

    Example:
        >>> named("edcba")
        'a, b, c and 2 more'
    """
    ordered = sorted(set(values))
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + rest


def probability(logit: float) -> str:
    """Return a logit's probability in words."""
    return f"{float(sigmoid(np.float64(logit))):.3g}"


def places_of(a: Names, b: Names) -> tuple[Ints, Ints]:
    """Return where the names that both have are in each."""
    _, in_a, in_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    return in_a, in_b


def mean_logits(side: Side) -> Floats:
    """Return the mean logit of each video's scored rows, NaN where it has none."""
    scored = side.table.status == 0
    count = len(side.table.video_ids)
    sums = np.bincount(side.table.video[scored], side.table.logit[scored], minlength=count)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / side.n_rows)
