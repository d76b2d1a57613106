"""The rules of several protocols beside each other, so that a reader sees why columns differ."""

from __future__ import annotations

from collections.abc import Sequence

from dfdetect.evaluation.benchmark.tables import Cell, Column, Table
from dfdetect.evaluation.protocols.footnotes import HEADLINE_EERS
from dfdetect.evaluation.protocols.protocol import Protocol
from dfdetect.evaluation.protocols.quirks import QUIRKS


def protocol_rules_table(protocols: Sequence[Protocol]) -> Table:
    """Return a column a protocol and a row a rule; rules on which all agree stand last."""
    told = [_rules(one) for one in protocols]
    names = sorted(told[0], key=lambda name: len({rules[name] for rules in told}) == 1)
    columns = (Column("rule"), *(Column(one.name) for one in protocols))
    body = tuple((Cell(name), *(Cell(rules[name]) for rules in told)) for name in names)
    return Table("How each protocol counts", columns, body)


def _rules(protocol: Protocol) -> dict[str, str]:
    followed = protocol.quirks.active()
    habits = ", ".join(fact.number for fact in QUIRKS if fact.switch in followed)
    frames = protocol.frames_per_video
    tracks = f"its highest track of {protocol.min_faces} faces or more"
    return {
        "which videos": "all of the run" if protocol.split is None else f"split {protocol.split}",
        "whose splits": "the dataset's own" if protocol.official_splits else "any",
        "weights selected on the test set": (
            "taken, told in every title" if protocol.oracle else "refused"
        ),
        "frames of a video": "all that are stored" if frames is None else f"{frames} at most",
        "from faces to a score": protocol.aggregate or "as calibrated, else mean_logit",
        "score of a video": "all its faces" if protocol.video_rule == "all_faces" else tracks,
        "videos without a score": protocol.coverage,
        "share of videos that needs a score": f"{100 * protocol.min_coverage:g} %",
        "figure that stands for it": (
            f"AUC by {protocol.headline_unit}; EER {HEADLINE_EERS[protocol.headline_eer]}"
        ),
        "habits of DeepfakeBench": habits or "none",
    }
