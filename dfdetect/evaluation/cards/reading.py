"""What other verbs wrote into folders → the parts of a card."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.cards.answers import answers_of
from dfdetect.evaluation.cards.card import (
    SHIPPED,
    SIBLING,
    TRAINED,
    Ablation,
    AblationRow,
    ConditionBin,
    Curve,
    GateRow,
    Gates,
    Made,
    Measurement,
    Number,
    Point,
    Share,
)
from dfdetect.evaluation.conditions.bins import ConditionRow
from dfdetect.evaluation.conditions.files import CONDITIONS_FILE, read_conditions
from dfdetect.evaluation.pooled import WEIGHTS_OF
from dfdetect.evaluation.results import ResultRow, read_results
from dfdetect.evaluation.robustness.curves import read_curves
from dfdetect.evaluation.run_files import read_run
from dfdetect.provenance import sha256_file
from dfdetect.scoring.words import clopper_pearson

# no ECE: that of results is of the sigmoid before calibration, which nobody is shown
METRICS = ("auc", "eer", "ap", "cllr")
CURVE_METRICS = ("auc", "cllr", "found_faces")
UNITS = ("frame", "clip", "video")
UNKNOWN_WEIGHTS = ""

ABLATION_COLUMNS = (
    *("name", "what changed", "command", "seed", "step", "metric", "dataset", "value"),
    *("ci_low", "ci_high", "n_real", "n_fake", "weights"),
)
GATE_KEYS = ("kind", "n", "inconclusive", "no_face", "flagged", "cleared", "source")
GATE_EXTRAS = ("too_strange", "skipped")


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights that a card is of: SHA-256 of its files, and of the checkpoint they are from."""

    files: tuple[str, ...]
    checkpoint: str

    def whose(self, digest: str) -> str:
        """Return whether a measurement of weights of this SHA-256 is of these."""
        if digest in self.files:
            return SHIPPED
        return TRAINED if digest == self.checkpoint else SIBLING


def read_measurement(
    folder: Path, weights: Weights, title: str | None = None, about: str = ""
) -> Measurement:
    """Read what `dfdetect evaluate out=FOLDER` wrote, errors by condition too where it has them.

    Args:
        folder: Of results.
        weights: Those that the card is of.
        title: The heading; None: the names of the datasets.
        about: What the measured weights were, in a sentence.

    Raises:
        ContractError: A file is missing or of another contract.
        UsageError: Other weights were measured than the card is of, and `about` is empty.
    """
    rows, header = read_results(folder / "results.parquet")
    made = _made(folder, f"dfdetect evaluate out={folder}")
    settings = header.fact("settings", {})
    try:
        split = str(settings["split"])
    except (KeyError, TypeError) as error:
        raise ContractError(
            f"{folder / 'results.parquet'} does not say which split it is of; measure again with "
            f"`dfdetect evaluate out={folder}`"
        ) from error
    several = [digest for role, digest in made.parents if role.startswith(WEIGHTS_OF)]
    digest = dict(made.parents).get("weights", ", ".join(several) or UNKNOWN_WEIGHTS)
    whose = weights.whose(digest)
    if whose == SIBLING and title is not None and not about.strip():
        raise UsageError(
            f"{folder} measured other weights ({digest[:12] or 'unnamed'}) than the card is of; "
            "say what they are: measured=[{folder: …, title: …, about: …}]"
        )
    datasets = ", ".join(dict.fromkeys(row.dataset for row in rows))
    conditions: tuple[ConditionBin, ...] = ()
    if (folder / CONDITIONS_FILE).exists():
        bins, told = read_conditions(folder)
        if not set(told.parents) <= set(made.parents):
            raise ContractError(
                f"{folder / CONDITIONS_FILE} is of other scores than the results beside it; "
                f"measure again with `dfdetect evaluate conditions=true out={folder}`"
            )
        what = told.fact("what", {})
        conditions = tuple(_bin(row, str(what.get(row.condition, ""))) for row in bins)
    return Measurement(
        title=title or f"Measured on {datasets}",
        about=about.strip(),
        split=split,
        whose=whose,
        weights_sha256=digest,
        made=made,
        numbers=tuple(_number(row) for row in rows if row.metric in METRICS and row.unit in UNITS),
        conditions=conditions,
        answers=tuple(answers_of(read_run(folder), settings)),
    )


def headline(measurements: Sequence[Measurement]) -> tuple[tuple[str, str], ...]:
    """Return facts for a checkpoint's header: the AUC by video of each dataset, with interval.

    Only measurements of these very weights count; of two of one dataset the first.
    """
    facts: dict[str, str] = {}
    for measurement in measurements:
        if measurement.whose == SIBLING:
            continue
        for number in overall(measurement):
            told = (
                f"{measurement.split} split, AUC by video {number.value:.3f}{interval(number)}, "
                f"{number.n_real} genuine and {number.n_fake} manipulated"
            )
            facts.setdefault(f"measured_{number.dataset}", told)
    return tuple(facts.items())


def overall(measurement: Measurement) -> tuple[Number, ...]:
    """Return the AUC by video of each dataset, of all its methods where there are several."""
    found: dict[str, Number] = {}
    for number in measurement.numbers:
        if (number.metric, number.unit) == ("auc", "video") and (
            number.dataset not in found or number.method == "all"
        ):
            found[number.dataset] = number
    return tuple(found.values())


def interval(number: Number) -> str:
    """Return ` (low – high)`, or '' where there is no interval."""
    if number.ci_low is None or number.ci_high is None:
        return ""
    return f" ({number.ci_low:.3f} – {number.ci_high:.3f})"


def read_curve(folder: Path, weights: Weights) -> Curve:
    """Read what `dfdetect benchmark robustness out=FOLDER` wrote, of the weights or the only ones.

    Raises:
        ContractError: A file is missing or of another contract.
        UsageError: Several detectors were measured, and none of them is the card's.
    """
    points = read_curves(folder)
    made = _made(folder, f"dfdetect benchmark robustness out={folder}")
    names = dict.fromkeys(point.detector for point in points)
    digests = {name: dict(made.parents).get(f"weights {name}", UNKNOWN_WEIGHTS) for name in names}
    own = [name for name, digest in digests.items() if weights.whose(digest) != SIBLING]
    chosen = own or list(names)
    if len(chosen) != 1:
        raise UsageError(
            f"{folder} measured {', '.join(names) or 'nothing'}; the card needs one detector, that "
            f"of its own weights ({weights.checkpoint[:12]})"
        )
    (name,) = chosen
    return Curve(
        whose=weights.whose(digests[name]),
        weights_sha256=digests[name],
        made=made,
        points=tuple(
            Point(
                point.dataset, point.method, point.exposure, point.metric, point.condition,
                point.value, point.ci_low, point.ci_high, point.n_videos, point.n_skipped,
            )
            for point in points
            if point.detector == name and point.metric in CURVE_METRICS
        ),
    )  # fmt: skip


def read_ablation(path: Path) -> Ablation:
    """Read a CSV file of what was tried, with the columns `ABLATION_COLUMNS`; numbers may be empty.

    Raises:
        ContractError: The file is missing, has other columns, or a cell holds no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != ABLATION_COLUMNS:
                raise ValueError(f"its columns are {', '.join(reader.fieldnames or ()) or 'none'}")
            rows = tuple(_tried(cells) for cells in reader)
    except (OSError, ValueError, csv.Error) as error:
        raise ContractError(
            f"{path} is no table of what was tried ({error}); expected a CSV file with the columns "
            f"{', '.join(ABLATION_COLUMNS)}"
        ) from error
    return Ablation(sha256_file(path), rows)


def read_gates(path: Path, weights: Weights) -> Gates:
    """Read the JSON of what became of pictures that cannot be judged.

    It is an object with `kinds`, and the `command`, `seed` and `weights_sha256` that they are of;
    or the list of kinds alone. Each kind has `GATE_KEYS` and perhaps `GATE_EXTRAS`.

    Raises:
        ContractError: The file is missing or holds something else.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        told: Mapping[str, Any] = {"kinds": plain} if isinstance(plain, list) else plain
        rows = tuple(_gate(each) for each in told["kinds"])
        seed = told.get("seed")
        command, digest = str(told.get("command", "")), str(told.get("weights_sha256", ""))
        made = Made(command, None if seed is None else int(seed), (("rates", sha256_file(path)),))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ContractError(
            f"{path} states no rates of gates ({type(error).__name__}: {error}); expected a JSON "
            f"list of kinds with {', '.join(GATE_KEYS)}"
        ) from error
    return Gates(weights.whose(digest), digest, made, rows)


def _made(folder: Path, repair: str) -> Made:
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        parents = tuple((str(role), str(digest)) for role, digest in record["parents"])
        seed = record["seed"]
        return Made(str(record["command"]), None if seed is None else int(seed), parents)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(
            f"{path} does not say how the results were made ({type(error).__name__}); measure "
            f"again with `{repair}`"
        ) from error


def _number(row: ResultRow) -> Number:
    return Number(
        row.dataset, row.method, row.exposure, row.metric, row.unit, row.value, row.ci_low,
        row.ci_high, row.n_real, row.n_fake, row.n_skipped,
    )  # fmt: skip


def _bin(row: ConditionRow, what: str) -> ConditionBin:
    return ConditionBin(
        row.dataset, row.condition, what, row.bin, row.n_real, row.n_fake, row.n_real_videos,
        row.n_fake_videos, row.auc, row.ci_low, row.ci_high,
        share(row.real_flagged, row.n_real_videos), share(row.fake_missed, row.n_fake_videos),
        row.n_unknown,
    )  # fmt: skip


def share(count: int | None, n: int) -> Share | None:
    """Return a share with its exact interval; None where nothing was counted."""
    if count is None or not n:
        return None
    return Share(count, n, *clopper_pearson(count, n))


def _tried(cells: Mapping[str, str | None]) -> AblationRow:
    if None in cells or None in cells.values():
        raise ValueError("a row has more or fewer cells than columns")
    told = {key: (value or "").strip() for key, value in cells.items()}

    def number(key: str) -> float | None:
        return float(told[key]) if told[key] else None

    def whole(key: str) -> int | None:
        return int(told[key]) if told[key] else None

    return AblationRow(
        told["name"], told["what changed"], told["command"], whole("seed"), whole("step"),
        told["metric"], told["dataset"], number("value"), number("ci_low"), number("ci_high"),
        whole("n_real"), whole("n_fake"), told["weights"],
    )  # fmt: skip


def _gate(plain: Mapping[str, Any]) -> GateRow:
    if not set(GATE_KEYS) <= set(plain) <= {*GATE_KEYS, *GATE_EXTRAS}:
        raise ValueError(f"a kind has {', '.join(map(str, plain))}")
    counts = {key: plain.get(key, 0) for key in (*GATE_KEYS[1:6], *GATE_EXTRAS)}
    if any(type(count) is not int or count < 0 for count in counts.values()):
        raise ValueError(f"{plain['kind']}: a count is no whole number")
    if sum(counts[key] for key in GATE_KEYS[2:6]) != counts["n"]:
        raise ValueError(f"{plain['kind']}: the outcomes are not as many as n={counts['n']}")
    return GateRow(kind=str(plain["kind"]), source=str(plain["source"]), **counts)
