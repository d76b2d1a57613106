"""A card as a page: headings, prose and tables, which Markdown and a terminal show alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dfdetect.evaluation.cards.card import (
    SHIPPED,
    SIBLING,
    Card,
    Made,
    Measurement,
    Number,
)
from dfdetect.evaluation.cards.page_calibration import answer_lines, calibration_lines
from dfdetect.evaluation.cards.page_trials import (
    ablation_lines,
    condition_lines,
    curve_lines,
    gate_lines,
)
from dfdetect.evaluation.cards.words import METRIC_WORDS, Block, Heading, Table, Text, ranged

HELD_OUT, SEEN = "held-out", "seen"
_UNITS = {"video": "clips", "frame": "faces", "clip": "runs of frames"}
_SHORT = 16


def page(card: Card) -> Iterator[Block]:
    """Yield the blocks of a card's page, in reading order."""
    kwargs = ", ".join(f"{name}={value}" for name, value in card.kwargs)
    clips = f", {card.frames} of a track at a time" if card.frames > 1 else ""
    yield Heading(1, card.title)
    yield Text(
        f"`{card.detector}` ({kwargs}); {card.crop} face crops, {card.crop_scale:g} × the face "
        f"box, {card.crop_px} px{clips}. Written by `dfdetect export`; do not edit."
    )
    yield from _glance(card)
    yield Heading(2, "Limits")
    yield Text(card.limits)
    yield from _data(card)
    yield Heading(2, "Training")
    rows = tuple((name.replace("_", " "), value) for name, value in card.training)
    yield Table(("what", "value"), rows)
    if card.compared:
        yield Heading(2, "Compared with its checkpoint")
        yield Text("\n".join(card.compared))
    if any(one.whose != SIBLING for one in card.measured):
        yield Text(
            "Weights are chosen on val splits. `measured` above and the tables below say which "
            "split each figure is of; test splits show people whom neither training nor selection "
            "saw (DFDC names no people: there, whose source videos)."
        )
    for measurement in card.measured:
        yield from _measured(measurement)
    if card.calibration is not None:
        yield from calibration_lines(card.calibration)
    if card.robustness is not None:
        curve = card.robustness
        whose = _whose(curve.whose, curve.weights_sha256)
        yield from curve_lines(curve, whose, made_words(curve.made))
    if card.gates is not None:
        gates = card.gates
        whose = _whose(gates.whose, gates.weights_sha256)
        yield from gate_lines(gates, whose, made_words(gates.made))
    if card.ablation is not None:
        yield from ablation_lines(card.ablation)
    yield Heading(2, "Files")
    yield Table(("file", "SHA-256"), card.files)


def made_words(made: Made) -> str:
    """Return the command, the seed and the hashes of what some numbers were made from."""
    hashes = ", ".join(f"{role} `{digest[:_SHORT]}`" for role, digest in made.parents)
    how = (
        f"`{made.command}`, seed {made.seed}" if made.command else "By a command that is not stated"
    )
    return f"{how}; made from {hashes or 'nothing that has a hash'}."


def _glance(card: Card) -> Iterator[Block]:
    rows = []
    for measurement in card.measured:
        mine = "these" if measurement.whose != SIBLING else _few(measurement.weights_sha256)
        for number in measurement.numbers:
            if (number.metric, number.unit) == ("auc", "video"):
                counts = f"{number.n_real} + {number.n_fake}"
                told = (measurement.title, _fakes(number), ranged(number))
                rows.append((*told, *_beside(measurement.numbers, number), counts, mine))
    if rows:
        yield Heading(2, "At a glance")
        yield Table(
            ("measured on", "fakes", "AUC by clip", "EER by clip", "AUC by face",
             "clips, genuine + fake", "weights"),
            tuple(rows),
        )  # fmt: skip


def _beside(numbers: Sequence[Number], auc: Number) -> tuple[str, str]:
    """Return the EER by video and the AUC by face of the same fakes."""
    found = {
        (one.metric, one.unit): ranged(one)
        for one in numbers
        if (one.dataset, one.method) == (auc.dataset, auc.method)
    }
    by_face = found.get(("auc", "frame"), found.get(("auc", "clip"), "–"))
    return found.get(("eer", "video"), "–"), by_face


def _data(card: Card) -> Iterator[Block]:
    exposed: dict[str, dict[str, None]] = {HELD_OUT: {}, SEEN: {}}
    for measurement in card.measured:
        if measurement.whose == SIBLING:
            continue
        for number in measurement.numbers:
            if number.method != "all" and number.exposure in exposed:
                exposed[number.exposure][f"{number.dataset}/{number.method}"] = None
    if not (card.data or exposed[HELD_OUT] or exposed[SEEN]):
        return
    yield Heading(2, "Data and terms")
    if card.data:
        yield Text(card.data)
    told = [
        f"Of the fakes measured below with these weights, {words}: {', '.join(exposed[kind])}."
        for kind, words in ((HELD_OUT, "never trained on"), (SEEN, "trained on"))
        if exposed[kind]
    ]
    if told:
        yield Text(" ".join(told))


def _measured(measurement: Measurement) -> Iterator[Block]:
    yield Heading(2, measurement.title)
    if measurement.about:
        yield Text(measurement.about)
    yield Text(
        f"{_whose(measurement.whose, measurement.weights_sha256)} The {measurement.split} split. "
        f"{made_words(measurement.made)} 95 % intervals by bootstrap over videos."
    )
    groups: dict[tuple[str, str, str], dict[str, Number]] = {}
    for number in measurement.numbers:
        key = (_fakes(number), number.dataset, number.unit)
        groups.setdefault(key, {})[number.metric] = number
    for metrics in (("auc", "eer"), ("ap", "cllr")):
        rows = []
        for (fakes, _, unit), found in groups.items():
            if not any(metric in found for metric in metrics):
                continue
            values = tuple(ranged(found[each]) if each in found else "–" for each in metrics)
            first = next(iter(found.values()))
            counts = (first.n_real, first.n_fake, first.n_skipped)
            rows.append((fakes, _UNITS.get(unit, unit), *values, *map(str, counts)))
        if rows:
            names = tuple(METRIC_WORDS.get(each, each) for each in metrics)
            header = ("fakes", "counted by", *names, "genuine", "fake", "skipped")
            yield Table(header, tuple(rows))
    for answers in measurement.answers:
        yield from answer_lines(answers)
    yield from condition_lines(measurement.conditions)


def _few(digest: str) -> str:
    several = digest.count(", ") + 1
    return digest[:8] if several == 1 else f"{several} siblings"


def _fakes(number: Number) -> str:
    known = f", {number.exposure}" if number.exposure not in ("", "unknown") else ""
    return f"{number.dataset}, {number.method}{known}"


def _whose(whose: str, digest: str) -> str:
    if not digest:
        return "Of which weights is not stated."
    named = ", ".join(f"`{one[:_SHORT]}`" for one in digest.split(", "))
    if whose == SIBLING:
        return f"Other weights than these: {named}."
    if whose == SHIPPED:
        return f"The weights of this card: {named}."
    return f"The checkpoint that these weights were made from: {named}."
