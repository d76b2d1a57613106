"""Make an exported file, compare it with what it was made from, and only then write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dfdetect.detectors.base import CheckpointHeader, LoadedDetector
from dfdetect.detectors.checkpoint import Checkpoint, load_checkpoint, load_detector
from dfdetect.detectors.onnx_file import seal
from dfdetect.errors import ContractError
from dfdetect.export.crops import SPLIT, Items, item_batches, parted, split_items, store_hashes
from dfdetect.export.parity import Parity, Progress, Subject, made_up_parity, real_parity
from dfdetect.export.program import MadeProgram
from dfdetect.export.quantised import Quantiser
from dfdetect.export.record import Attempt, ExportRecord, NamedFile, worded
from dfdetect.export.settings import ExportPlan, Int8Settings
from dfdetect.export.twin import (
    child_header,
    onnx_twin,
    open_sealed,
    probe_difference,
    probes,
    require_close,
    with_facts,
    without_strangeness,
)
from dfdetect.provenance import environment, package_version, written_whole


def export_detector(plan: ExportPlan, progress: Progress | None = None) -> ExportRecord:
    """Export a detector, compare it with its checkpoint and write file and record.

    The record lies beside the file, as `<name>.parity.json` and `.md`. An int8 file is compared
    with the float32 twin on the same runtime, the others with the checkpoint on torch.

    Args:
        plan: What to make of what.
        progress: Called with the number of crops (or clips) compared and of all.

    Raises:
        UsageError: A file, store or package is missing, or the val split has no usable crop.
        UntrustedCheckpoint: The checkpoint cannot be trusted.
        ContractError: What was made answers differently from its checkpoint, or int8 costs more
            accuracy than is allowed; nothing is written.
    """
    trained = load_checkpoint(plan.checkpoint)
    if plan.format != "onnx":
        # a program is for use outside dfdetect, and rounding moves what int8 would tell
        trained = without_strangeness(trained)
    made = (_int8 if plan.format == "int8" else _equal)(plan, trained, progress)
    with written_whole(plan.out) as part:
        part.write_bytes(made.content)
    made.record.write(plan.out)
    return made.record


@dataclass(frozen=True, slots=True)
class _Made:
    content: bytes
    record: ExportRecord


def _equal(plan: ExportPlan, trained: Checkpoint, progress: Progress | None) -> _Made:
    """Make a file that must answer like its checkpoint."""
    items = split_items(plan.stores, trained.header, plan.per_video) if plan.stores else None
    reference = load_detector(plan.checkpoint)
    made: LoadedDetector
    if plan.format == "onnx":
        what, content = "ONNX twin", onnx_twin(trained)
        made = open_sealed(content, plan.out)
    else:
        what, made = "exported program", MadeProgram(trained, child_header(trained))
        content = made.content
    difference = probe_difference(reference, made, probes(trained.header))
    require_close(difference, plan.tolerance, plan.checkpoint, what)
    parity = _compare(plan, items, reference, made, progress)
    require_close(parity.max_relative, plan.tolerance, plan.checkpoint, what)
    record = _record(
        plan,
        trained,
        compared=f"The checkpoint on torch (before) and its {what} (after)",
        files=(NamedFile(plan.format, plan.out.name, len(content), made.weights_sha256),),
        parity=parity,
        allowed=(("max_relative_logit_change", plan.tolerance),),
    )
    return _Made(content, record)


def _int8(plan: ExportPlan, trained: Checkpoint, progress: Progress | None) -> _Made:
    """Make the first int8 model that costs no more than is allowed."""
    header = trained.header
    items = split_items(plan.stores, header, plan.per_video)
    calibrating, measuring = parted(items, plan.int8.calibration_faces, header.frames)
    twin_bytes = onnx_twin(trained)
    twin = open_sealed(twin_bytes, plan.out)
    difference = probe_difference(load_detector(plan.checkpoint), twin, probes(header))
    require_close(difference, plan.tolerance, plan.checkpoint, "ONNX twin")
    batches = [batch.images for batch in item_batches(calibrating, header)]
    attempts: list[Attempt] = []
    for number, model in Quantiser(twin_bytes, header, batches).models(plan.int8.float_layers):
        facts = _int8_facts(plan, number, len(calibrating))
        content = seal(model, with_facts(child_header(trained), facts))
        made = open_sealed(content, plan.out)
        parity = _compare(plan, measuring, twin, made, progress)
        attempts.append(Attempt(number, parity, _too_much(parity, plan.int8)))
        if not attempts[-1].refused:
            break
    else:
        raise _refusal(plan, attempts)
    record = _record(
        plan,
        trained,
        compared="The float32 ONNX twin (before) and its int8 model (after), on ONNX Runtime both",
        files=(
            NamedFile("float32 twin", "not kept", len(twin_bytes), twin.weights_sha256),
            NamedFile("int8", plan.out.name, len(content), made.weights_sha256),
        ),
        parity=parity,
        allowed=(
            ("max_auc_drop", plan.int8.max_auc_drop),
            ("max_logit_change", plan.int8.max_logit_change),
        ),
        attempts=attempts,
        n_calibrated=len(calibrating),
    )
    return _Made(content, record)


def _compare(
    plan: ExportPlan,
    items: Items | None,
    before: LoadedDetector,
    after: LoadedDetector,
    progress: Progress | None,
) -> Parity:
    header: CheckpointHeader = before.header
    if items is None:
        return made_up_parity(before, after, probes(header))
    rows = items.videos.by_id
    unit = "crops" if header.frames == 1 else f"clips of {header.frames} crops"
    n_items = len(items)
    return real_parity(
        before,
        after,
        item_batches(items, header),
        {name: Subject(row.dataset, row.label) for name, row in rows.items()},
        f"real {unit} of the {SPLIT} split",
        n_bootstrap=plan.n_bootstrap,
        seed=plan.seed,
        progress=None if progress is None else lambda done: progress(done, n_items),
    )


def _int8_facts(
    plan: ExportPlan, float_layers: int, n_calibrated: int
) -> tuple[tuple[str, str], ...]:
    names = ", ".join(store.folder.name for store in plan.stores)
    told = (
        f"int8, static, by ONNX Runtime {package_version('onnxruntime')}: {float_layers} layers "
        f"left in float32, ranges of {n_calibrated} items of {SPLIT} ({names})"
    )
    return (("quantised", told),)


def _too_much(parity: Parity, settings: Int8Settings) -> str:
    """Say what an int8 model costs beyond what is allowed; "" where it holds."""
    worst = parity.worst_drop
    if worst is None:
        return f"no dataset has genuine and forged videos in {SPLIT}, so no AUC can be measured"
    if worst.drop.value > settings.max_auc_drop:
        return (
            f"the AUC by video on {worst.dataset} goes from {worded(worst.before)} to "
            f"{worded(worst.after)}, n={worst.n_real}+{worst.n_fake}, a drop of "
            f"{worst.drop.value:.4f}, allowed {settings.max_auc_drop:g}"
        )
    if not parity.max_difference <= settings.max_logit_change:
        return (
            f"a logit moves by {parity.max_difference:.2f}, allowed {settings.max_logit_change:g}"
        )
    return ""


def _refusal(plan: ExportPlan, attempts: Sequence[Attempt]) -> ContractError:
    tried = "; ".join(f"{one.float_layers} layers in float32: {one.refused}" for one in attempts)
    return ContractError(
        f"int8 of {plan.checkpoint} does not hold ({tried or 'it has too few layers for it'}); "
        "nothing was written: choose format=onnx, or keep more layers in float32 with "
        "int8.float_layers"
    )


def _record(
    plan: ExportPlan,
    trained: Checkpoint,
    *,
    compared: str,
    files: tuple[NamedFile, ...],
    parity: Parity,
    allowed: tuple[tuple[str, float], ...],
    attempts: Sequence[Attempt] = (),
    n_calibrated: int = 0,
) -> ExportRecord:
    size = plan.checkpoint.stat().st_size
    checkpoint = NamedFile("checkpoint", plan.checkpoint.name, size, trained.sha256)
    return ExportRecord(
        format=plan.format,
        detector=trained.header.detector,
        compared=compared,
        files=(checkpoint, *files),
        parity=parity,
        allowed=allowed,
        attempts=tuple(attempts),
        n_calibrated=n_calibrated,
        parents=store_hashes(plan.stores),
        seed=plan.seed,
        n_bootstrap=plan.n_bootstrap,
        command=plan.command,
        environment=environment(),
    )
