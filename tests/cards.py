"""A card for tests that has every part a card can have; its numbers are made up."""

from __future__ import annotations

from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.evaluation.cards.card import (
    SIBLING,
    TRAINED,
    Ablation,
    AblationRow,
    Answers,
    BandLine,
    Card,
    ConditionBin,
    Curve,
    GateRow,
    Gates,
    Made,
    Measurement,
    Number,
    Operating,
    Point,
    Share,
)
from dfdetect.evaluation.cards.making import CardParts, make_card
from dfdetect.types import (
    Band,
    BandRate,
    Calibration,
    CropPolicy,
    OperatingPoint,
    SetRates,
)

MADE = Made("dfdetect evaluate out=x", 4, (("weights", "ab" * 32), ("crops", "cd" * 32)))


def rates(n_real: int, n_fake: int) -> tuple[BandRate, ...]:
    counts = ((Band.STRONG, 1, 40), (Band.MODERATE, 3, 55), (Band.WEAK, 9, 61), (Band.NONE, 70, 8))
    return tuple(BandRate(band, real, n_real, fake, n_fake) for band, real, fake in counts)


def calibration() -> Calibration:
    return Calibration(
        "platt", 1.625, -0.375, 0.0217, 46.1, 101, 89, "toy (val)", "2026-11-22", rates(101, 89),
        operating_points=(
            OperatingPoint(0.01, None, 101, 0, 89, 12),
            OperatingPoint(0.05, 1.213, 101, 4, 89, 57),
        ),
        sets=(SetRates("toy-b", 97, 83, rates(97, 83)),),
    )  # fmt: skip


def header(fitted: Calibration | None = None) -> CheckpointHeader:
    size = Preprocess(64, (0.5,) * 3, (0.5,) * 3, CropPolicy("square", 1.2, 64))
    facts = (("trained_on", "9 clips"),)
    return CheckpointHeader("meso4", (("dropout", 0.5),), size, fitted, facts, True)


def numbers() -> tuple[Number, ...]:
    return (
        Number("clips", "all", "held-out", "auc", "video", 0.823, 0.711, 0.912, 71, 53, 2),
        Number("clips", "all", "held-out", "eer", "video", 0.241, 0.151, 0.342, 71, 53, 2),
        Number("clips", "all", "held-out", "auc", "frame", 0.783, 0.691, 0.882, 2272, 1696, 5),
        Number("clips", "swap", "held-out", "auc", "video", 0.934, None, None, 71, 1, 0),
        Number("clips", "swap", "held-out", "cllr", "video", 0.617, 0.514, 0.718, 71, 1, 0),
    )


def conditions() -> tuple[ConditionBin, ...]:
    share, low = Share(3, 29, 0.0219, 0.2735), Share(7, 31, 0.0959, 0.411)
    told = ("clips", "face size", "the longer side")
    return (
        ConditionBin(*told, "below 64 px", 33, 37, 3, 4, None, None, None, None, None, 6),
        ConditionBin(*told, "64 px or more", 933, 937, 29, 31, 0.871, 0.772, 0.943, share, low, 6),
    )


def answers() -> Answers:
    bands = (
        BandLine(Band.STRONG, 0, 71, 31, 53, 33.7, 84.1, 5.27, 1343.0),
        BandLine(Band.INCONCLUSIVE, 17, 71, 13, 53, None, 1.03, 0.553, 1.91),
    )
    point = Operating(0.05, 1.213, Share(2, 71, 0.0034, 0.0981), Share(37, 53, 0.557, 0.817))
    return Answers("clips", bands, Share(30, 124, 0.169, 0.327), 0.0437, (point,))


def whole_card(files: tuple[tuple[str, str], ...] = (("default.onnx", "ef" * 32),)) -> Card:
    point = ("clips", "all", "held-out")
    curve = Curve(
        TRAINED, "ab" * 32, MADE,
        (
            Point(*point, "auc", "jpeg 5", 0.713, 0.601, 0.809, 118, 6),
            Point("clips", "all", "", "found_faces", "jpeg 5", 0.957, 0.921, 0.982, 124, 6),
            Point(*point, "auc", "clean", 0.827, 0.719, 0.917, 124, 0),
        ),
    )  # fmt: skip
    tried = (
        AblationRow("base", "nothing", "dfdetect train a=1", 0, 2500, "auc", "clips", 0.846, 0.664,
                    0.972, 111, 113, "12" * 32),
        AblationRow("lr 1", "rate | 1", "dfdetect train lr=1", 0, None, "auc", "clips", None, None,
                    None, None, None, ""),
    )  # fmt: skip
    parts = CardParts(
        limits="- It errs.\n- It mistook a clip of a shop window for a swap.",
        data="Faces under research terms. Never trained on: talking heads made as a whole.",
        measured=(
            Measurement("In domain", "", "test", TRAINED, "ab" * 32, MADE, numbers(), conditions(),
                        (answers(),)),
            Measurement("Left out", "A sibling without swaps.", "test", SIBLING, "98" * 32, MADE,
                        numbers()[:1], (), ()),
        ),
        robustness=curve,
        ablation=Ablation("76" * 32, tried),
        gates=Gates(
            TRAINED, "ab" * 32, Made("gate_rates.py x", 8, (("rates", "54" * 32),)),
            (GateRow("drawings", 121, 52, 43, 58, 4, 7, 19, "drawn.py, seed 0"),),
        ),
    )  # fmt: skip
    return make_card(header(calibration()), files, parts)
