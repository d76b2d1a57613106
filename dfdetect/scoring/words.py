"""What a user reads: the bands in words, every reason, and error rates in natural frequencies.

Reasons are clauses without a capital or a full stop, so that they can follow "Inconclusive
because" or stand in a list (`sentence`). Nothing here says that a clip is fake, and no share of
clips is given without the number it was counted on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfdetect.types import Band, BandRate, Calibration, Verdict

BAND_WORDS: dict[Band, str] = {
    Band.STRONG: "Strong signs of face manipulation",
    Band.MODERATE: "Moderate signs of face manipulation",
    Band.WEAK: "Weak signs of face manipulation",
    Band.NONE: "No signs found (this is not proof of authenticity)",
    Band.INCONCLUSIVE: "Inconclusive",
    Band.NO_FACE: "No face found, so nothing was judged",
}
NO_FACE_REASON = "no face was found in any sampled frame"
NEAR_THRESHOLD = (
    "the score lies near the threshold: such a score comes about as often from authentic clips as "
    "from manipulated ones"
)
FRAMES_DISAGREE = (
    "the frames disagree: at least a quarter of the faces says clearly the opposite of the rest"
)
PRIORS = (0.01, 0.1, 0.5)
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Faults:
    """How many faces of a track are too small, too blurred, or turned away."""

    n_small: int = 0
    n_blurred: int = 0
    n_profile: int = 0


@dataclass(frozen=True, slots=True)
class Frequency:
    """A measured share as "`about` of `of`", with its interval [`low`, `high`] rounded outwards.

    It was counted as `count` of `n` clips.
    """

    of: int
    about: int
    low: int
    high: int
    count: int
    n: int


@dataclass(frozen=True, slots=True)
class Posterior:
    """P(manipulated | flagged) where a share `prior` of the clips one meets is manipulated."""

    prior: float
    probability: float


def headline(verdict: Verdict) -> str:
    """Return the verdict in words, as it stands first in a report.

    Example:
        >>> headline(Verdict(Band.INCONCLUSIVE, None, ("the frames disagree",)))
        'Inconclusive because the frames disagree'
    """
    phrase = BAND_WORDS[verdict.band]
    if verdict.band is Band.INCONCLUSIVE and verdict.reasons:
        return f"{phrase} because {verdict.reasons[0]}"
    return phrase


def sentence(reason: str) -> str:
    """Return a reason as a sentence of its own.

    Example:
        >>> sentence("the frames disagree")
        'The frames disagree.'
    """
    return f"{reason[:1].upper()}{reason[1:]}."


def person(track_id: int) -> str:
    """Return what a track is called: a letter, never a name.

    Example:
        >>> person(0), person(25), person(26)
        ('person A', 'person Z', 'person AA')
    """
    letters = ""
    rest = track_id + 1
    while rest:
        rest, digit = divmod(rest - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return f"person {letters}"


def too_few_usable(n_usable: int, n_seen: int, needed: int, faults: Faults) -> str:
    """Say that a track is unsound, and what its unusable faces lacked.

    Example:
        >>> too_few_usable(3, 9, 8, Faults(n_small=6))
        'only 3 of 9 faces can be used and 8 are needed; 6 are too small'
        >>> too_few_usable(3, 3, 8, Faults())
        'only 3 faces were found and 8 are needed'
    """
    needs = f"{needed} {'is' if needed == 1 else 'are'} needed"
    if n_usable == n_seen:
        return f"only {_faces(n_seen)} {'was' if n_seen == 1 else 'were'} found and {needs}"
    causes = (
        (faults.n_small, "too small"),
        (faults.n_blurred, "too blurred"),
        (faults.n_profile, "seen too much from the side"),
    )
    named = ", ".join(f"{n} {'is' if n == 1 else 'are'} {what}" for n, what in causes if n)
    start = "none" if n_usable == 0 else f"only {n_usable}"
    return f"{start} of {_faces(n_seen)} can be used and {needs}; {named}"


def too_strange(n_faces: int) -> str:
    """Say that a track's faces are unlike any that the detector knows.

    Example:
        >>> too_strange(1)[:51]
        'this face is unlike the photographed faces that the'
    """
    subject = "this face is" if n_faces == 1 else f"most of the {n_faces:,} faces are"
    which, whose = ("it", "its") if n_faces == 1 else ("they", "their")
    return (
        f"{subject} unlike the photographed faces that the detector learned from: {which} may be "
        f"drawn, filtered, masked or not human, so {whose} score means nothing"
    )


def few_pictures(n_frames: int, is_capped: bool) -> str:
    """Say that nothing could confirm a track, because so few pictures were looked at.

    `is_capped` tells that strong signs were called moderate for it.

    Example:
        >>> few_pictures(1, is_capped=False)
        'only a single picture was looked at, so no other can confirm or contradict it'
    """
    text = (
        "only a single picture was looked at, so no other can confirm or contradict it"
        if n_frames == 1
        else f"only {n_frames} pictures were looked at, too few to confirm each other"
    )
    return _capped(text, is_capped)


def brief(n_seen: int, span_s: float, is_capped: bool) -> str:
    """Say that nothing could confirm a track, because its frames are nearly one picture.

    `is_capped` tells that strong signs were called moderate for it.

    Example:
        >>> brief(9, 1.2, is_capped=False)
        'the face was seen in 9 frames over 1.2 seconds, too close together to confirm each other'
    """
    text = (
        f"the face was seen in {_count(n_seen, 'frame')} over {span_s:.1f} seconds, too close "
        "together to confirm each other"
    )
    return _capped(text, is_capped)


def _capped(text: str, is_capped: bool) -> str:
    return f"{text}; the signs are therefore called moderate, not strong" if is_capped else text


def bounded(log_lr: float, calibration: Calibration) -> str:
    """Say that the likelihood ratio is held at what the calibration set supports."""
    ratio = math.exp(abs(log_lr))
    times = f"{ratio:.1f}".removesuffix(".0") if ratio < 10 else f"{ratio:,.0f}"
    kind = "manipulated" if log_lr > 0 else "authentic"
    return (
        f"such a score counts as {times} times likelier from {kind} clips, and as no more than "
        f"that, since the {calibration.n_real} authentic and {calibration.n_fake} manipulated "
        "clips that it was calibrated on support no stronger claim"
    )


def signs_in(track_id: int, n_usable: int) -> str:
    """Say who shows the signs and on how many faces that rests."""
    return f"the signs are in the face of {person(track_id)}, judged on {_faces(n_usable)}"


def all_clear(n_sound: int) -> str:
    """Say how many persons were judged and found without signs."""
    if n_sound == 1:
        return "one person was judged and shows no signs"
    return f"{n_sound} persons were judged and none shows signs"


def passed_over(n_unjudged: int) -> tuple[str, ...]:
    """Say how many further faces were not judged; nothing where there are none."""
    if not n_unjudged:
        return ()
    further = "1 further person" if n_unjudged == 1 else f"{n_unjudged} further persons"
    return (f"{further} could not be judged",)


def prominent_unjudged(track_ids: Sequence[int]) -> str:
    """Say that no signs were found, but that somebody prominent could not be judged."""
    names = " and ".join(person(track_id) for track_id in track_ids)
    return f"{names} could not be judged, although nobody else shows signs"


def tracks_disagree(track_id: int, band: Band, n_sound: int) -> str:
    """Say that one person's signs are what chance brings among so many persons."""
    return (
        f"the tracks disagree: {person(track_id)} shows {band.value} signs, but among {n_sound} "
        "persons one such score is to be expected by chance"
    )


def frequency(count: int, n: int, level: float = LEVEL) -> Frequency:
    """Return a measured share in natural frequencies: of 100, or of as many as make it readable.

    Rarer than 1 in 100 is told of 1,000, or of 10,000, where so many were measured.

    Raises:
        ValueError: Nothing was measured, or the count lies outside 0…n.

    Example:
        >>> frequency(26, 500)
        Frequency(of=100, about=5, low=3, high=8, count=26, n=500)
    """
    low, high = clopper_pearson(count, n, level)
    of = 100
    while count and count / n * of < 1 and of * 10 <= n and of < 10_000:
        of *= 10
    about = math.floor(count / n * of + 0.5)
    return Frequency(of, about, math.floor(low * of), math.ceil(high * of), count, n)


def flagged_frequency(rate: BandRate) -> str:
    """Say how often authentic clips reach this band: the false alarms, before anything else.

    Example:
        >>> flagged_frequency(BandRate(Band.WEAK, 26, 500, 400, 500))
        'Of 100 authentic clips like the 500 it was measured on, about 5 would be flagged this \
strongly (between 3 and 8)'
    """
    return _told(frequency(rate.real_flagged, rate.n_real), "authentic", "flagged this strongly")


def missed_frequency(rate: BandRate) -> str:
    """Say how often manipulated clips show no signs; `rate` is that of `Band.NONE`."""
    if rate.band is not Band.NONE:
        raise ValueError(f"misses are counted by the rate of {Band.NONE}, not of {rate.band}")
    return _told(
        frequency(rate.fake_flagged, rate.n_fake), "manipulated", "called free of signs, too"
    )


def rate_of(calibration: Calibration, band: Band) -> BandRate | None:
    """Return the measured rate of a band, or None where the calibration has none."""
    return next((rate for rate in calibration.rates if rate.band is band), None)


def posterior(prior: float, likelihood_ratio: float) -> float:
    """Return P(manipulated | evidence) by Bayes' rule: LR · π / (LR · π + 1 − π).

    For a flag the LR is TPR / FPR.

    Example:
        >>> [round(posterior(prior, 0.90 / 0.05), 2) for prior in (0.01, 0.1, 0.5)]
        [0.15, 0.67, 0.95]
    """
    return likelihood_ratio * prior / (likelihood_ratio * prior + 1 - prior)


def posterior_table(rate: BandRate, priors: Sequence[float] = PRIORS) -> tuple[Posterior, ...]:
    """Return what being flagged this strongly means where manipulation is rare, and where common.

    Half a clip is added to each count of the measured rates (Jeffreys), so that no false alarm
    among n clips does not read as certainty.
    """
    hits = (rate.fake_flagged + 0.5) / (rate.n_fake + 1)
    alarms = (rate.real_flagged + 0.5) / (rate.n_real + 1)
    return tuple(Posterior(prior, posterior(prior, hits / alarms)) for prior in priors)


def clopper_pearson(count: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a share, `count` of `n` (Clopper & Pearson, Biometrika 1934).

    The ends are the shares under which so many, or so few, would be seen with probability
    (1 − level) / 2. Found by bisection, to 1e-12.

    Raises:
        ValueError: `n` is not positive, or the count lies outside 0…n.

    Example:
        >>> low, high = clopper_pearson(0, 100)
        >>> low, round(high, 4)
        (0.0, 0.0362)
    """
    if n < 1 or not 0 <= count <= n:
        raise ValueError(f"a share needs 0 ≤ count ≤ n and n ≥ 1, got {count} of {n}")
    tail = (1 - level) / 2
    high = 1.0 if count == n else _share_with_tail(count, n, tail)
    # at least `count` hits are at most n − count misses
    low = 0.0 if count == 0 else 1 - _share_with_tail(n - count, n, tail)
    return low, high


def _share_with_tail(count: int, n: int, tail: float) -> float:
    """Return p at which P(at most `count` of `n`) = tail."""
    k = np.arange(count + 1)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    log_choose = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        p = (low + high) / 2
        terms = log_choose + k * math.log(p) + (n - k) * math.log1p(-p)
        if float(np.sum(np.exp(terms))) > tail:
            low = p
        else:
            high = p
    return (low + high) / 2


def _told(found: Frequency, kind: str, fate: str) -> str:
    return (
        f"Of {found.of:,} {kind} clips like the {found.n:,} it was measured on, about "
        f"{found.about:,} would be {fate} (between {found.low:,} and {found.high:,})"
    )


def _faces(count: int) -> str:
    return _count(count, "face")


def _count(count: int, thing: str) -> str:
    return f"1 {thing}" if count == 1 else f"{count:,} {thing}s"
