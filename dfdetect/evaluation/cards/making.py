"""A detector's header, and what was measured → its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dfdetect.detectors.base import CheckpointHeader
from dfdetect.evaluation.cards.card import (
    Ablation,
    Calibrated,
    Card,
    Curve,
    Gates,
    Measurement,
    Operating,
    SetShares,
)
from dfdetect.scoring.band_ratios import Share, band_ratios, decisions
from dfdetect.scoring.words import clopper_pearson
from dfdetect.types import BandRate, Calibration, OperatingPoint


@dataclass(frozen=True, slots=True)
class CardParts:
    """What a card states beside the header's facts, each as `cards.reading` reads it."""

    limits: str
    data: str = ""
    measured: tuple[Measurement, ...] = ()
    robustness: Curve | None = None
    ablation: Ablation | None = None
    gates: Gates | None = None


def make_card(
    header: CheckpointHeader,
    files: Sequence[tuple[str, str]],
    parts: CardParts,
    *,
    title: str = "The bundled detector",
    compared: Sequence[str] = (),
) -> Card:
    """Return the card of a detector.

    Args:
        header: Of the trained checkpoint, with its calibration.
        files: Pairs of file name and SHA-256.
        parts: What was measured on data that training and selection never saw, and written by hand.
        title: What the card is of.
        compared: For an exported file: how far it is from its checkpoint, as lines of Markdown.
    """
    crop, fitted = header.preprocess.crop, header.calibration
    return Card(
        title=title,
        detector=header.detector,
        kwargs=tuple((name, str(value)) for name, value in header.kwargs),
        crop=crop.name,
        crop_scale=float(crop.scale),
        crop_px=crop.size,
        frames=header.frames,
        limits=parts.limits.strip(),
        data=parts.data.strip(),
        training=header.provenance,
        compared=tuple(compared),
        measured=parts.measured,
        calibration=None if fitted is None else calibrated(fitted),
        robustness=parts.robustness,
        ablation=parts.ablation,
        gates=parts.gates,
        files=tuple(files),
    )


def calibrated(calibration: Calibration) -> Calibrated:
    """Return what a card states of a calibration: its curve, its bands, its operating points."""
    return Calibrated(
        method=calibration.method,
        slope=float(calibration.slope),
        intercept=float(calibration.intercept),
        lr_min=float(calibration.lr_min),
        lr_max=float(calibration.lr_max),
        date=calibration.date,
        aggregate=calibration.aggregate,
        n_real=calibration.n_real,
        n_fake=calibration.n_fake,
        whole=_shares(calibration.set_name, calibration.rates),
        sets=tuple(_shares(one.name, one.rates) for one in calibration.sets),
        operating=tuple(map(_operating, calibration.operating_points)),
    )


def _shares(name: str, rates: Sequence[BandRate]) -> SetShares:
    return SetShares(name, band_ratios(rates), decisions(rates) if rates else None)


def _operating(point: OperatingPoint) -> Operating:
    return Operating(
        point.false_alarm,
        point.logit,
        _share(point.real_flagged, point.n_real),
        _share(point.fake_flagged, point.n_fake),
    )


def _share(count: int, n: int) -> Share:
    return Share(count, n, *(clopper_pearson(count, n) if n else (None, None)))
