"""Times, ratios and file names as an editor reads them; odd characters never hide.

The words of verdicts, reasons and error rates are those of `dfdetect.scoring.words`.
"""

from __future__ import annotations

import math


def clock(time_s: float, fine: bool = False) -> str:
    """Return a time as minutes and seconds, cut to the second (or tenth) like a player shows it.

    Example:
        >>> clock(41.9), clock(3725.0), clock(1.25, fine=True)
        ('0:41', '1:02:05', '0:01.2')
    """
    tenths = math.floor(time_s * 10 + 1e-6)
    minutes, seconds = divmod(tenths // 10, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"{text}.{tenths % 10}" if fine else text


def file_name(name: str) -> str:
    r"""Return a file's name as text that UTF-8 can hold; bytes that are no text become escapes.

    Example:
        >>> file_name("a\udcff.mp4")
        'a\\udcff.mp4'
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def times_more_likely(ratio: float) -> str:
    """Return a likelihood ratio of at least 1 in round words.

    Example:
        >>> times_more_likely(11.7), times_more_likely(1.34), times_more_likely(348.0)
        ('12', '1.3', '350')
    """
    if ratio < 10:
        return f"{ratio:.1f}".removesuffix(".0")
    digits = max(0, math.floor(math.log10(ratio)) - 1)
    return f"{round(ratio / 10**digits) * 10**digits:,.0f}"


def likelihood_words(ratio: float, low: float | None, high: float | None) -> str:
    """Return a likelihood ratio, with its 95% interval where there is one, as a clause.

    Where the calibration set's bound cuts off the whole interval, what is left of it is one
    number, which would read as certainty; the bound is named instead.

    Example:
        >>> likelihood_words(12.0, 5.5, 26.0)
        '12 times likelier from a manipulated face (95% interval: 5.5 to 26 times)'
        >>> likelihood_words(0.5, 0.25, 2.0)  # doctest: +NORMALIZE_WHITESPACE
        '2 times likelier from an authentic face (95% interval: from 4 times likelier from an
         authentic face to 2 times likelier from a manipulated face)'
    """
    if low is None or high is None:
        return _leaning(ratio)
    if low == high:
        return f"{_leaning(ratio)}, the most that its calibration set supports"
    if (low >= 1) == (high >= 1):
        ends = sorted(max(end, 1 / end) for end in (low, high))
        interval = " to ".join(times_more_likely(end) for end in ends) + " times"
    else:
        interval = f"from {_leaning(low)} to {_leaning(high)}"
    return f"{_leaning(ratio)} (95% interval: {interval})"


def _leaning(ratio: float) -> str:
    kind = "a manipulated" if ratio >= 1 else "an authentic"
    return f"{times_more_likely(max(ratio, 1 / ratio))} times likelier from {kind} face"
