"""Which videos of a detector share one set of axes: a test set's fakes of one exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dfdetect.evaluation.parts import Part, parts_of
from dfdetect.evaluation.protocols.protocol import ProtocolView
from dfdetect.evaluation.results import ALL
from dfdetect.evaluation.runs import UNKNOWN, ScoredRun
from dfdetect.scoring.metrics import roc_auc
from dfdetect.types import FAKE, REAL


@dataclass(frozen=True, slots=True)
class Panel:
    """The videos of one detector that one set of axes shows, K of them with a score."""

    dataset: str
    exposure: str
    methods: tuple[str, ...]
    detector: str
    labels: NDArray[np.int64] = field(repr=False)
    logits: NDArray[np.float64] = field(repr=False)
    ranked_only: bool = False

    @property
    def auc(self) -> float:
        """The AUC by video, which orders the lines."""
        return roc_auc(self.labels, self.logits)

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of genuine and of fake videos."""
        n_fake = int(self.labels.sum())
        return self.labels.size - n_fake, n_fake


def panels_of(run: ScoredRun, views: Sequence[ProtocolView]) -> list[Panel]:
    """Return what can be drawn of a run: for each test set, its fakes of one exposure."""
    panels = []
    for view in views:
        # with fakes joined by method each has a view of its own, but all of them one together
        if view.methods not in ((), (ALL,)):
            continue
        by_video = [unit for unit in view.units if unit.unit == "video"]
        if not by_video:
            continue
        logits = np.full(len(view.videos), np.nan)
        logits[by_video[0].video] = by_video[0].logit
        labels = view.videos.column("label").to_numpy().astype(np.int64)
        scored = np.isfinite(logits)
        for (dataset, exposure), parts in _by_exposure(view).items():
            members = np.logical_or.reduce([part.members for part in parts]) & scored
            found = labels[members]
            if not {REAL, FAKE} <= set(found.tolist()):
                continue
            methods = tuple(sorted(part.method for part in parts))
            panels.append(Panel(dataset, exposure, methods, run.name, found, logits[members],
                                run.ranked_only))  # fmt: skip
    return panels


def _by_exposure(view: ProtocolView) -> dict[tuple[str, str], list[Part]]:
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts_of(view.videos):
        if part.method != ALL:
            known = view.trained_on
            exposure = UNKNOWN if known is None else known.exposure(part.stem, part.method)
            groups.setdefault((part.dataset, exposure), []).append(part)
    return groups
