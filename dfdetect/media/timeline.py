"""When each frame of a clip is shown, and which frames a sampling rule wants."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

# intervals may differ by one tick from rounding, and a join may leave an odd one
_REGULAR_SHARE = 0.99


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The presentation times of a clip's frames, in order.

    `ticks` are integers, ascending, one a frame; a tick lasts `tick_s` seconds and the last frame
    is shown for `last_ticks`. `timed` is False where the container gives no usable presentation
    times: decoded frames are then matched by counting. `cut_off` says that one more packet
    follows, of which the end is missing.
    """

    ticks: NDArray[np.int64]
    tick_s: Fraction
    last_ticks: int
    timed: bool = True
    cut_off: bool = False

    @classmethod
    def counted(cls, n_frames: int, fps: Fraction, cut_off: bool = False) -> Timeline:
        """Return a timeline of `n_frames` evenly spaced frames, for clips without a clock."""
        return cls(np.arange(n_frames, dtype=np.int64), 1 / fps, 1, timed=False, cut_off=cut_off)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.ticks)

    @property
    def span(self) -> int:
        """Ticks from the start of the first frame to the end of the last."""
        return int(self.ticks[-1] - self.ticks[0]) + self.last_ticks

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return float(self.span * self.tick_s)

    @property
    def fps(self) -> float | None:
        """Mean frames a second; None for a single frame."""
        if self.n_frames < 2:
            return None
        return float((self.n_frames - 1) / (int(self.ticks[-1] - self.ticks[0]) * self.tick_s))

    @property
    def variable(self) -> bool:
        """Whether over 1 % of the intervals differ from the median by more than a tick."""
        if self.n_frames < 3:
            return False
        intervals = np.diff(self.ticks)
        regular = np.abs(intervals - np.median(intervals)) <= 1
        return bool(regular.mean() < _REGULAR_SHARE)

    def time_s(self, position: int) -> float:
        """Return when the frame at `position` is shown, in seconds after the first frame."""
        beyond = max(0, position - self.n_frames + 1)
        tick = int(self.ticks[position - beyond]) + beyond * self.last_ticks
        return float((tick - int(self.ticks[0])) * self.tick_s)

    def position(self, tick: int) -> int:
        """Return the position of the frame that is shown at `tick`, at least 0."""
        return max(0, int(np.searchsorted(self.ticks, tick, side="right")) - 1)

    def even(self, count: int) -> NDArray[np.int64]:
        """Return the positions of `count` frames spread evenly over the whole duration.

        The wanted times are the centres of `count` equal intervals, so the last of them lies
        within the clip; the frame shown at that time is taken. Where one long frame covers
        several of them, the next frames stand in, so that the result always holds
        min(`count`, `n_frames`) different positions, ascending.

        Example:
            >>> Timeline.counted(10, Fraction(25)).even(5).tolist()
            [1, 3, 5, 7, 9]
        """
        if self.n_frames <= count:
            return np.arange(self.n_frames, dtype=np.int64)
        centres = [(2 * k + 1) * self.span // (2 * count) for k in range(count)]
        shown = np.searchsorted(self.ticks - self.ticks[0], centres, side="right") - 1
        # distinct: push each one past its predecessor, then leave room for those to come
        order = np.arange(count)
        ascending = np.maximum.accumulate(shown - order) + order
        return np.asarray(np.minimum(ascending, self.n_frames - count + order), dtype=np.int64)

    def every(self, fps: float) -> tuple[NDArray[np.int64], int]:
        """Return the positions shown at the times 0, 1/`fps`, 2/`fps` …, and how many times.

        A frame that is shown at several of these times is taken once.

        Example:
            >>> positions, n_times = Timeline.counted(10, Fraction(5)).every(2)
            >>> positions.tolist(), n_times
            ([0, 2, 5, 7], 4)
        """
        rate = Fraction(fps).limit_denominator(1_000_000) * self.tick_s
        starts = [int(tick) for tick in self.ticks - self.ticks[0]] + [self.span]
        # number of grid times before each frame's start: ceil(start · rate)
        before = [-(-start * rate.numerator // rate.denominator) for start in starts]
        kept = [i for i in range(self.n_frames) if before[i + 1] > before[i]]
        return np.asarray(kept, dtype=np.int64), before[-1]
