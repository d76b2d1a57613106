"""What a card's page says of the calibration: its curve, its answers, its operating points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dfdetect.evaluation.cards.card import Answers, BandLine, Calibrated, Operating, SetShares
from dfdetect.evaluation.cards.words import NONE, Block, Heading, Table, Text, counted
from dfdetect.scoring.band_ratios import BandRatio
from dfdetect.types import Band

BANDS = {
    Band.STRONG: "strong signs",
    Band.MODERATE: "moderate signs",
    Band.WEAK: "weak signs",
    Band.INCONCLUSIVE: "inconclusive",
    Band.NONE: "no signs found",
}


def calibration_lines(fitted: Calibrated) -> Iterator[Block]:
    """Yield the section on the calibration."""
    yield Heading(2, "Calibration")
    yield Text(
        f"{fitted.method} on {fitted.whole.name}: {fitted.n_real} authentic and {fitted.n_fake} "
        f"manipulated videos, {fitted.date}. log LR = {fitted.slope:.3f} · logit + "
        f"{fitted.intercept:.3f}, held between {fitted.lr_min:.3g} and {fitted.lr_max:.3g}, the "
        f"most that so few videos support; a clip's logit is the {fitted.aggregate} of its faces. "
        "How often each finding was reached there, each video judged by a calibration fitted "
        "without its people, and the likelihood ratio (LR) that these counts show, with its 95 % "
        "interval:"
    )
    yield from _bands(fitted.whole)
    for one in fitted.sets:
        if one.bands:
            yield Text(f"The same, of the videos of {one.name} alone:")
            yield from _bands(one)
    if fitted.operating:
        yield Heading(3, "Operating points")
        yield Text(
            "Thresholds on a clip's logit for a share of false alarms by clip, and how many clips "
            "were flagged among those that did not set the threshold, with exact 95 % intervals."
        )
        yield _operating(fitted.operating)


def answer_lines(answers: Answers) -> Iterator[Block]:
    """Yield what the calibration says of one measured dataset, and whether it holds there."""
    yield Heading(3, f"Answers on {answers.dataset}")
    yield Text(
        "By the clips' scores alone, before any gate. `LR stated` is what the counts should show "
        "if the likelihood ratios that these clips were told hold; it should lie within the "
        f"interval of `LR measured`. Inconclusive: {counted(answers.inconclusive)} clips; expected "
        f"calibration error {answers.calibration_error:.3f} (both classes weighed alike)."
    )
    header = ("finding", "authentic clips", "manipulated clips", "LR stated", "LR measured")
    yield Table(header, tuple(map(_checked, answers.bands)))
    if answers.operating:
        yield _operating(answers.operating)


def _checked(line: BandLine) -> tuple[str, ...]:
    return (
        BANDS.get(line.band, line.band.value),
        f"{line.real_found} of {line.n_real}",
        f"{line.fake_found} of {line.n_fake}",
        NONE if line.expected is None else f"{line.expected:.3g}",
        f"{line.measured:.3g} ({line.low:.3g} – {line.high:.3g})",
    )


def _operating(points: Sequence[Operating]) -> Table:
    rows = tuple(
        (
            f"{point.false_alarm:g}",
            "more clips needed" if point.logit is None else f"{point.logit:.3f}",
            counted(point.real_flagged),
            counted(point.fake_flagged),
        )
        for point in points
    )
    return Table(("false alarms", "logit above", "authentic flagged", "manipulated flagged"), rows)


def _bands(one: SetShares) -> Iterator[Block]:
    if one.bands:
        header = ("finding", "authentic videos", "manipulated videos", "LR measured")
        yield Table(header, tuple(map(_band, one.bands)))
    if one.decisions is not None:
        yield Text(
            f"Inconclusive: {counted(one.decisions.inconclusive)} videos; right among the others: "
            f"{counted(one.decisions.right)} (exact 95 % intervals)."
        )


def _band(band: BandRatio) -> tuple[str, ...]:
    ratio = NONE
    if band.ratio is not None and band.low is not None and band.high is not None:
        ratio = f"{band.ratio:.3g} ({band.low:.3g} – {band.high:.3g})"
    return (
        BANDS.get(band.band, band.band.value),
        f"{band.real_found} of {band.n_real}",
        f"{band.fake_found} of {band.n_fake}",
        ratio,
    )
