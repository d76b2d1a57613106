"""What a card's page says of conditions, robustness, gates and of all that was tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dfdetect.evaluation.cards.card import Ablation, ConditionBin, Curve, Gates, Point
from dfdetect.evaluation.cards.words import (
    METRIC_WORDS,
    NONE,
    Block,
    Heading,
    Table,
    Text,
    counted,
    ends,
    ranged,
)
from dfdetect.evaluation.conditions import FEWEST
from dfdetect.scoring.band_ratios import Share
from dfdetect.scoring.words import clopper_pearson

TOO_FEW = "too few"
FOUND, AUC, CLEAN = "found_faces", "auc", "clean"


def condition_lines(bins: Sequence[ConditionBin]) -> Iterator[Block]:
    """Yield the errors by measurable conditions of one measurement, a table a dataset."""
    if not bins:
        return
    yield Heading(3, "Errors by measurable conditions")
    yield Text(
        "Bins were fixed before any result. AUC by face with a 95 % interval by bootstrap over "
        "videos. `flagged` are genuine clips that reach weak signs by their faces in this bin "
        "alone, `missed` fakes that do not, with exact 95 % intervals. `too few`: fewer than "
        f"{FEWEST} clips of a class; a dash: no calibration."
    )
    for dataset in dict.fromkeys(one.dataset for one in bins):
        mine = [one for one in bins if one.dataset == dataset]
        rows = tuple(
            (
                f"{one.condition}: {one.bin}",
                f"{one.n_real} + {one.n_fake}",
                f"{one.n_real_videos} + {one.n_fake_videos}",
                TOO_FEW if one.auc is None else f"{one.auc:.3f}{ends(one.ci_low, one.ci_high)}",
                _counted(one.real_flagged, one.n_real_videos),
                _counted(one.fake_missed, one.n_fake_videos),
            )
            for one in mine
        )
        header = (dataset, "faces, genuine + fake", "clips", "AUC by face", "flagged", "missed")
        yield Table(header, rows)
        told = {one.condition: (one.what, one.n_unknown) for one in mine}
        yield Text(
            "\n".join(
                f"- {name}: {what}; not measurable for {n} faces."
                for name, (what, n) in told.items()
            )
        )


def _counted(share: Share | None, n: int) -> str:
    return TOO_FEW if share is None and n < FEWEST else counted(share)


def curve_lines(curve: Curve, whose: str, made: str) -> Iterator[Block]:
    """Yield the section on robustness."""
    yield Heading(2, "Robustness")
    yield Text(
        f"{whose} {made} Clips were degraded before any face was looked for. By clip, 95 % "
        "intervals by bootstrap over videos; `change` is against the clean clips; `faces found` "
        "is the share of the frames looked at that show a usable face."
    )
    found = {(one.dataset, one.condition): one for one in curve.points if one.metric == FOUND}
    scored = [one for one in curve.points if one.metric != FOUND]
    groups = dict.fromkeys((one.dataset, one.method, one.exposure) for one in scored)
    for dataset, method, exposure in groups:
        mine = [
            one
            for one in scored
            if (one.dataset, one.method, one.exposure) == (dataset, method, exposure)
        ]
        metrics = tuple(dict.fromkeys(one.metric for one in mine))
        names = tuple(METRIC_WORDS.get(each, each) for each in metrics)
        known = f", {exposure}" if exposure not in ("", "unknown") else ""
        header = (
            f"{dataset}, {method}{known}", *names, "change", "clips", "skipped", "faces found",
        )  # fmt: skip
        conditions = dict.fromkeys(one.condition for one in mine)
        yield Table(
            header,
            tuple(
                _curve_row(name, metrics, mine, found.get((dataset, name))) for name in conditions
            ),
        )


def _curve_row(
    condition: str, metrics: Sequence[str], mine: Sequence[Point], found: Point | None
) -> tuple[str, ...]:
    here = {one.metric: one for one in mine if one.condition == condition}
    clean = next((one for one in mine if (one.metric, one.condition) == (AUC, CLEAN)), None)
    change = NONE
    if clean is not None and AUC in here:
        change = f"{here[AUC].value - clean.value:+.3f}"
    first = next(iter(here.values()))
    faces = NONE if found is None else f"{ranged(found)}, {found.n_videos} clips"
    values = (ranged(here[each]) if each in here else NONE for each in metrics)
    return (condition, *values, change, str(first.n_videos), str(first.n_skipped), faces)


def gate_lines(gates: Gates, whose: str, made: str) -> Iterator[Block]:
    """Yield the section on what cannot be judged."""
    yield Heading(2, "What cannot be judged")
    yield Text(
        f"{whose} {made} Pictures and clips that the detector should not judge, with controls that "
        "it should, and what became of them; `held back` (inconclusive or no face) with an exact "
        "95 % interval. `strange`: inconclusive because the face is unlike all that was trained on."
    )
    yield Table(
        ("kind", "n", "held back", "inconclusive", "strange", "no face", "flagged", "cleared",
         "skipped"),
        tuple(
            (
                row.kind, str(row.n), counted(_exact(row.held_back, row.n)), str(row.inconclusive),
                str(row.too_strange), str(row.no_face), str(row.flagged), str(row.cleared),
                str(row.skipped),
            )
            for row in gates.rows
        ),
    )  # fmt: skip
    yield Text("\n".join(f"- {row.kind}: {row.source}" for row in gates.rows))


def ablation_lines(ablation: Ablation) -> Iterator[Block]:
    """Yield the section on all that was tried."""
    yield Heading(2, "What was tried")
    yield Text(
        "Failures stay in the table; the choice follows val only. From the table "
        f"`{ablation.sha256[:16]}`."
    )
    rows = tuple(
        (
            row.name, row.changed, f"{row.metric}, {row.dataset}", ranged(row),
            f"{_known(row.n_real)} + {_known(row.n_fake)}", _known(row.seed), _known(row.step),
            row.weights[:8],
        )
        for row in ablation.rows
    )  # fmt: skip
    header = (
        "name", "what changed", "metric", "value", "genuine + fake", "seed", "step", "weights",
    )  # fmt: skip
    yield Table(header, rows)
    commands = dict.fromkeys((row.name, row.command) for row in ablation.rows if row.command)
    if commands:
        yield Text("\n".join(f"- {name}: `{command}`" for name, command in commands))


def _exact(count: int, n: int) -> Share:
    return Share(count, n, *(clopper_pearson(count, n) if n else (None, None)))


def _known(number: int | None) -> str:
    return NONE if number is None else str(number)
