"""The laboratory verb `export`: a checkpoint in; other formats, their figures and the card out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dfdetect.cli.terminal import progress_bar, say, say_lines
from dfdetect.errors import UsageError
from dfdetect.export.settings import ExportSettings
from dfdetect.provenance import sha256_file

if TYPE_CHECKING:
    from dfdetect.evaluation.cards.card import Measurement
    from dfdetect.evaluation.cards.making import CardParts
    from dfdetect.evaluation.cards.reading import Weights

# for the card of a detector whose user has written nothing
_LIMITS = (
    "Nobody has written down the limits of this detector. It knows what it was trained on, see "
    "below, and errs; how often on other people, cameras, platforms and methods, only measuring "
    "there can tell. It is never the only ground for publishing, accusing or acquitting."
)


def export(settings: ExportSettings, command: str) -> None:
    """Write a checkpoint in another format, or all that is bundled, and say how they agree."""
    if settings.bundle:
        _bundle(settings)
        return
    from dfdetect.data.crops import CropStore
    from dfdetect.detectors.checkpoint import read_header
    from dfdetect.evaluation.cards.files import write_card
    from dfdetect.evaluation.cards.making import make_card
    from dfdetect.evaluation.cards.markdown import write_markdown
    from dfdetect.evaluation.cards.reading import Weights
    from dfdetect.export import ExportPlan
    from dfdetect.export.program import read_program_header
    from dfdetect.export.run import export_detector

    checkpoint = sha256_file(_there(settings.checkpoint, "checkpoint"))
    # all of it is read before any work, which a mistyped folder would waste
    parts = _parts(settings, Weights((), checkpoint), _LIMITS)
    plan = ExportPlan(
        checkpoint=settings.checkpoint,
        out=settings.out,
        format=settings.format,
        stores=tuple(CropStore.open(folder) for folder in settings.crops),
        per_video=settings.per_video,
        tolerance=settings.tolerance,
        int8=settings.int8,
        n_bootstrap=settings.n_bootstrap,
        seed=settings.seed,
        command=command,
    )
    with progress_bar(f"Comparing {settings.out.name}") as progress:
        record = export_detector(plan, progress)
    read = read_program_header if settings.format == "torch_export" else read_header
    card = make_card(
        read(settings.out),
        [(one.name, one.sha256) for one in (record.files[0], record.files[-1])],
        parts,
        title=f"{settings.out.name}: {record.detector} as {settings.format}",
        compared=record.summary(),
    )
    write_card(settings.out.with_name(f"{settings.out.name}.card.json"), card)
    write_markdown(settings.out.with_name(f"{settings.out.name}.card.md"), card)
    say_lines(record.headline())
    say(
        f"file: {settings.out}; beside it its figures (.parity.json, .parity.md) and its card "
        "(.card.json, .card.md)"
    )


def _bundle(settings: ExportSettings) -> None:
    from dfdetect.detectors.checkpoint import WEIGHTS_DIR, read_header
    from dfdetect.evaluation.cards.files import write_card
    from dfdetect.evaluation.cards.making import make_card
    from dfdetect.evaluation.cards.markdown import write_markdown
    from dfdetect.evaluation.cards.reading import Weights, headline
    from dfdetect.export import bundle
    from dfdetect.export.released import released_hashes

    weights = settings.out / "default.safetensors"
    checkpoint = sha256_file(_there(settings.checkpoint, "checkpoint"))
    limits = (settings.limits or WEIGHTS_DIR / "limits.md").read_text(encoding="utf-8")
    earlier = released_hashes(settings.checkpoint, settings.out)
    parts = _parts(settings, Weights(earlier, checkpoint), limits)
    report = bundle(
        settings.checkpoint,
        settings.out,
        tolerance=settings.tolerance,
        facts=headline(parts.measured),
    )
    hashes = [(path.name, sha256_file(path)) for path in (weights, report.path)]
    card = make_card(read_header(weights), hashes, parts)
    write_card(settings.out / "default.json", card)
    write_markdown(settings.out / "default.md", card)
    say(f"logits agree within {report.max_difference:.1e}: {report.path}")


def _parts(settings: ExportSettings, weights: Weights, limits: str) -> CardParts:
    """Read what the card is to state."""
    from dfdetect.evaluation.cards.making import CardParts
    from dfdetect.evaluation.cards.reading import read_ablation, read_curve, read_gates

    if settings.limits is not None:
        limits = _text(settings.limits, "limits")
    return CardParts(
        limits=limits,
        data="" if settings.data is None else _text(settings.data, "data"),
        measured=tuple(_measured(settings, weights)),
        robustness=None
        if settings.robustness is None
        else read_curve(settings.robustness, weights),
        ablation=None if settings.ablation is None else read_ablation(settings.ablation),
        gates=None if settings.gates is None else read_gates(settings.gates, weights),
    )


def _measured(settings: ExportSettings, weights: Weights) -> Sequence[Measurement]:
    from dfdetect.evaluation.cards.reading import read_measurement

    plain = [read_measurement(folder, weights) for folder in settings.results]
    titled = [
        read_measurement(one.folder, weights, one.title, one.about) for one in settings.measured
    ]
    return [*plain, *titled]


def _text(path: Path, key: str) -> str:
    return _there(path, key).read_text(encoding="utf-8")


def _there(path: Path, key: str) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} is no file; name one that is there with {key}=FILE")
    return path
