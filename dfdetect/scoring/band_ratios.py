"""What bands are worth by the counts that were measured: likelihood ratios, and shares of clips.

A band's measured likelihood ratio (LR) is how much larger a share of fakes than of genuine clips
got exactly this band. All intervals are of counts of clips, which are taken to be independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from dfdetect.scoring.words import clopper_pearson
from dfdetect.types import Band, BandRate

EXACT_BANDS = (Band.STRONG, Band.MODERATE, Band.WEAK, Band.INCONCLUSIVE, Band.NONE)
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class BandRatio:
    """How many clips got exactly one band, and the likelihood ratio that follows.

    `real_found` of `n_real` genuine clips and `fake_found` of `n_fake` fakes. `ratio` and its
    interval `low` to `high` are None where a class has no clips at all.
    """

    band: Band
    real_found: int
    n_real: int
    fake_found: int
    n_fake: int
    ratio: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `n` clips, with an exact 95 % interval; both ends are None where n is 0."""

    count: int
    n: int
    low: float | None
    high: float | None

    @classmethod
    def of(cls, count: int, n: int) -> Share:
        """Return the share with its interval (Clopper & Pearson, Biometrika 1934).

        Example:
            >>> Share.of(0, 0)
            Share(count=0, n=0, low=None, high=None)
        """
        return cls(count, n, *(clopper_pearson(count, n, LEVEL) if n else (None, None)))


@dataclass(frozen=True, slots=True)
class Decisions:
    """How often clips got no answer, and how often an answer was right.

    `inconclusive` is of all clips. `right` is of those with an answer: fakes with weak signs or
    more and genuine clips without signs; it depends on how many fakes are among the clips.
    """

    inconclusive: Share
    right: Share


def measured_ratio(
    real_found: int, n_real: int, fake_found: int, n_fake: int, level: float = LEVEL
) -> tuple[float, float, float]:
    """Return the likelihood ratio that counts show, and the lower and upper end of its interval.

    LR = ((f + ½) / (n_f + 1)) / ((r + ½) / (n_r + 1)): half a clip is added to each of the four
    counts, so that no share is 0 or 1. The interval is that of log LR, normal, with variance
    1/(f + ½) − 1/(n_f + 1) + 1/(r + ½) − 1/(n_r + 1) (the log method: Katz, Baptista, Azen & Pike,
    Biometrics 34 (1978) 469-474; Simel, Samsa & Matchar, J. Clin. Epidemiol. 44 (1991) 763-770).

    Raises:
        ValueError: A class has no clips, or more were found than there are.

    Example:
        >>> [round(value, 2) for value in measured_ratio(1, 100, 40, 100)]
        [27.0, 5.42, 134.56]
    """
    if not (0 <= real_found <= n_real and 0 <= fake_found <= n_fake and n_real and n_fake):
        raise ValueError(
            f"{real_found} of {n_real} and {fake_found} of {n_fake} clips have no likelihood ratio"
        )
    of_real, of_fake = (real_found + 0.5, n_real + 1), (fake_found + 0.5, n_fake + 1)
    middle = math.log(of_fake[0] / of_fake[1]) - math.log(of_real[0] / of_real[1])
    variance = sum(1 / found - 1 / n for found, n in (of_real, of_fake))
    half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(variance)
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def band_ratios(rates: Sequence[BandRate]) -> tuple[BandRatio, ...]:
    """Return each exact band's counts and measured likelihood ratio, strongest first.

    Args:
        rates: Counts of clips that reached a band or a stronger one, as `Calibration.rates` and
            `SetRates.rates` hold them; none give none.

    Raises:
        ValueError: A band is missing or there twice, or the counts contradict each other.

    Example:
        >>> bands, reals, fakes = EXACT_BANDS[:3] + EXACT_BANDS[-1:], (0, 1, 2, 6), (5, 7, 8, 1)
        >>> rates = [BandRate(b, r, 10, f, 10) for b, r, f in zip(bands, reals, fakes)]
        >>> [(one.real_found, one.fake_found) for one in band_ratios(rates)]
        [(0, 5), (1, 2), (1, 1), (2, 1), (6, 1)]
    """
    if not rates:
        return ()
    n_real, n_fake = rates[0].n_real, rates[0].n_fake
    real = _exact([(rate.band, rate.real_flagged, rate.n_real) for rate in rates])
    fake = _exact([(rate.band, rate.fake_flagged, rate.n_fake) for rate in rates])
    found = []
    for band in EXACT_BANDS:
        told: tuple[float | None, float | None, float | None] = (None, None, None)
        if n_real and n_fake:
            told = measured_ratio(real[band], n_real, fake[band], n_fake)
        found.append(BandRatio(band, real[band], n_real, fake[band], n_fake, *told))
    return tuple(found)


def decisions(rates: Sequence[BandRate]) -> Decisions:
    """Return the share of clips without an answer, and of right ones among the answers.

    Intervals are those of Clopper & Pearson (Biometrika 1934).

    Args:
        rates: As for `band_ratios`, at least one.

    Raises:
        ValueError: As for `band_ratios`, or there are no rates.
    """
    ratios = {one.band: one for one in band_ratios(rates)}
    if not ratios:
        raise ValueError("without counts of bands no share of answers can be told")
    n = rates[0].n_real + rates[0].n_fake
    open_ = ratios[Band.INCONCLUSIVE]
    n_open = open_.real_found + open_.fake_found
    flagged = (Band.STRONG, Band.MODERATE, Band.WEAK)
    right = ratios[Band.NONE].real_found + sum(ratios[band].fake_found for band in flagged)
    return Decisions(Share.of(n_open, n), Share.of(right, n - n_open))


def _exact(counts: Sequence[tuple[Band, int, int]]) -> dict[Band, int]:
    """Return how many of one class got exactly each band."""
    reached = {band: count for band, count, _ in counts}
    sizes = {n for _, _, n in counts}
    ladder = (Band.STRONG, Band.MODERATE, Band.WEAK)
    if len(reached) != len(counts) or reached.keys() != {*ladder, Band.NONE} or len(sizes) != 1:
        raise ValueError(
            "counts of bands must be of strong, moderate, weak and none, each once and of the same "
            "clips"
        )
    below, exact = 0, {Band.NONE: reached[Band.NONE]}
    for band in ladder:
        exact[band], below = reached[band] - below, reached[band]
    exact[Band.INCONCLUSIVE] = sizes.pop() - below - reached[Band.NONE]
    if min(exact.values()) < 0:
        raise ValueError("counts of bands contradict each other: a band holds fewer than no clips")
    return exact
