"""Why two numbers differ, in sentences: what `diagnose` returns."""

from __future__ import annotations

from dataclasses import dataclass

from dfdetect.evaluation.benchmark import tables
from dfdetect.scoring.metrics import Interval

SAME = "the same"
WITHIN = "nothing to explain"
EXPLAINED = "explained"
PARTLY = "partly explained"
WEIGHTS = "other weights"
UNEXPLAINED = "unexplained"


def signed(value: float) -> str:
    """Return a difference of two numbers with its sign.

    Example:
        >>> signed(0.01), signed(-0.3364), signed(-1e-9)
        ('+0.0100', '−0.3364', '0.0000')
    """
    return tables.signed(value, 4)


@dataclass(frozen=True, slots=True)
class Cause:
    """One difference that explains something, largest first in a diagnosis.

    Attributes:
        name: What kind of difference, one of `causes.CAUSES`.
        sentence: How the two differ, and what is left when they do not, with numbers.
        before: Our number minus theirs before it was removed.
        after: The same afterwards.
        explained: The share of the whole gap that it closes, negative where it widens it; None
            where there was no gap, and of weights, which nothing can undo.
        is_exact: Whether scores and number (or the published digits) agree afterwards.
        evidence: How it is known, `seen` in the files, `stated` by the definitions, or `tried`.
    """

    name: str
    sentence: str
    before: float
    after: float
    explained: float | None
    is_exact: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why our number is not theirs.

    Attributes:
        what: What was measured, in words.
        ours: Our number.
        theirs: Theirs, from their scores or as published.
        interval: The 95 % interval of ours; None where a class has a single video.
        verdict: `SAME`, `WITHIN` (the gap lies inside our interval or the published tolerance),
            `EXPLAINED`, `PARTLY`, `WEIGHTS` (the very scores differ, as those of other weights do,
            and counting them otherwise changes nothing) or `UNEXPLAINED`.
        conclusion: The verdict as a sentence.
        causes: What explains the gap, at most two that add up, and what is left to weights.
        others: What would explain it as well, with less evidence.
        remainder: Our number minus theirs after all causes that were removed.
        notes: What else a reader should know.
    """

    what: str
    ours: float
    theirs: float
    interval: Interval | None
    verdict: str
    conclusion: str
    causes: tuple[Cause, ...] = ()
    others: tuple[Cause, ...] = ()
    remainder: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """Our number minus theirs."""
        return self.ours - self.theirs

    def lines(self) -> tuple[str, ...]:
        """Return the diagnosis for a terminal, a sentence or two a line."""
        numbered = [f"{n}. {one.name}: {one.sentence}" for n, one in enumerate(self.causes, 1)]
        others = [f"or {one.name}: {one.sentence}" for one in self.others]
        return (self._headline(), self.conclusion, *numbered, *others, *self.notes)

    def markdown(self) -> str:
        """Return the diagnosis as a page."""
        parts = ["# Diagnosis", "", self._headline(), "", self.conclusion, ""]
        if self.causes:
            parts += [
                "| | cause | ours − theirs before | after | share of the gap | known because |",
                "|---|---|---|---|---|---|",
                *(
                    f"| {n} | {one.name} | {signed(one.before)} | {signed(one.after)} | "
                    f"{'–' if one.explained is None else f'{one.explained:.0%}'} | {one.evidence} |"
                    for n, one in enumerate(self.causes, 1)
                ),
                "",
                *(f"{n}. {one.sentence}" for n, one in enumerate(self.causes, 1)),
                "",
            ]
        for title, lines in (
            ("As well possible", [f"{one.name}: {one.sentence}" for one in self.others]),
            ("Notes", list(self.notes)),
        ):
            if lines:
                parts += [f"## {title}", "", *(f"- {line}" for line in lines), ""]
        return "\n".join(line.replace("\n", " ") for line in parts)

    def _headline(self) -> str:
        spread = (
            f" (95 % interval {self.interval.low:.4f} to {self.interval.high:.4f})"
            if self.interval
            else ""
        )
        return (
            f"{self.what}: ours {self.ours:.4f}{spread}, theirs {self.theirs:.4f}, "
            f"ours − theirs {signed(self.gap)}."
        )
