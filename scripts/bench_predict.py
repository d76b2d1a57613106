"""What `predict` costs beside decoding alone and beside the pipeline people usually write.

python scripts/bench_predict.py CLIP [CLIP …] [--detector FILE] [--check]

Each variant runs in a fresh process, pinned to one core with one thread, and is charged in CPU
seconds (user + system), the least of --repeats runs:

  decode  PyAV decodes every frame of the clip and keeps none
  ours    dfdetect.analyze with an ONNX detector: 32 frames, tracks, verdict, no report
  naive   OpenCV decodes and converts every frame; on each of 32 frames facenet-pytorch's MTCNN
          at full resolution, then the same network in eager torch

In the same run facenet's boxes (p ≥ 0.95, side ≥ 60 px) on the 32 frames that `ours` looked at
are held against the boxes that `ours` found. The gate on memory is of one more run of `ours` on all
cores. With --check a missed gate makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yardstick import THREAD_SETTINGS, Box, naive_faces, naive_finder, pin, run_fresh

FRAMES = 32
SURE, LARGE_PX, SAME_IOU = 0.95, 60, 0.5
MAX_OVER_DECODE, MIN_UNDER_NAIVE_HD, MIN_UNDER_NAIVE = 2.0, 6.0, 2.5
MIN_RECALL, MIN_MEAN_IOU, MAX_PEAK_MB = 0.99, 0.88, 500


@dataclass(frozen=True, slots=True)
class Cost:
    """One variant: CPU seconds without and with its imports, and the peak memory in MB."""

    work_s: float
    whole_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of facenet's sure, large boxes were found, and how well the boxes fit."""

    n_reference: int
    n_found: int
    mean_iou: float

    @property
    def recall(self) -> float:
        """Share of the reference's boxes that were found; 1 where it has none."""
        return self.n_found / self.n_reference if self.n_reference else 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """What `ours` saw: the clip's size, and the boxes of each frame it looked at."""

    width: int
    height: int
    duration_s: float
    frames: tuple[tuple[int, tuple[Box, ...]], ...]


def main(argv: Sequence[str]) -> int:
    """Measure every clip, print one table each, and return 1 when --check finds a gate missed."""
    arguments = _parser().parse_args(argv)
    if arguments.variant:
        VARIANTS[arguments.variant](arguments.clips[0], arguments.detector, arguments.notes)
        return 0
    print(_conditions(arguments))
    missed = 0
    for clip in arguments.clips:
        missed += _bench(clip, arguments)
    if arguments.check:
        print(f"{missed} gates missed" if missed else "all gates held")
    return 1 if arguments.check and missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--detector", type=Path, help="an .onnx detector; default: the bundled one")
    parser.add_argument("--repeats", type=int, default=2, help="runs a variant (default: 2)")
    parser.add_argument("--check", action="store_true", help="exit 1 when a gate is missed")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--notes", type=Path, help=argparse.SUPPRESS)
    return parser


def _conditions(arguments: argparse.Namespace) -> str:
    pinned = "pinned to one core" if hasattr(os, "sched_setaffinity") else "not pinned"
    return (
        f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores; each "
        f"variant: own process, {pinned}, one thread ({', '.join(THREAD_SETTINGS)} = 1), least CPU "
        f"seconds of {arguments.repeats} runs"
    )


def _bench(clip: Path, arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        notes = Path(scratch) / "found.json"
        costs: dict[str, Cost] = {}
        # turn by turn, so that a busy moment of the machine does not hit one variant only
        for _ in range(arguments.repeats):
            for variant in ("decode", "ours", "naive"):
                cost = _run(variant, clip, arguments.detector, notes)
                costs[variant] = min(cost, costs.get(variant, cost), key=lambda each: each.work_s)
        # as users run it, on all cores: every decoding thread holds frames of its own
        free_mb = _run("memory", clip, arguments.detector, notes).peak_mb
        _run("agree", clip, arguments.detector, notes)
        found = _read_found(json.loads(notes.read_text())["found"])
        agreement = Agreement(**json.loads(notes.read_text())["agreement"])
    gates = _gates(found, costs, agreement, max(free_mb, costs["ours"].peak_mb))
    print(_table(clip, found, costs, agreement, gates))
    if arguments.json:
        figures = {name: asdict(cost) for name, cost in costs.items()}
        line = {"clip": clip.name, **figures, "agreement": asdict(agreement)}
        with arguments.json.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
    return sum(not held for _, held in gates)


def _run(variant: str, clip: Path, detector: Path | None, notes: Path) -> Cost:
    command = [str(clip), "--variant", variant, "--notes", str(notes)]
    command += ["--detector", str(detector)] if detector else []
    run = run_fresh(__file__, command, one_thread=variant != "memory")
    work_s = json.loads(run.output.splitlines()[-1]) if variant != "agree" else 0.0
    return Cost(work_s, run.cpu_s, run.peak_mb)


def _gates(
    found: Found, costs: dict[str, Cost], agreement: Agreement, peak_mb: float
) -> list[tuple[str, bool]]:
    ours, naive = costs["ours"], costs["naive"]
    over_decode = ours.work_s / costs["decode"].work_s
    under_naive = naive.work_s / ours.work_s
    is_hd = min(found.width, found.height) >= 1080
    least = MIN_UNDER_NAIVE_HD if is_hd else MIN_UNDER_NAIVE
    gates = [
        (f"naive ÷ ours {under_naive:.2f} ≥ {least:g}", under_naive >= least),
        (f"recall {agreement.recall:.4f} ≥ {MIN_RECALL}", agreement.recall >= MIN_RECALL),
        (
            f"mean IoU {agreement.mean_iou:.3f} ≥ {MIN_MEAN_IOU}",
            agreement.mean_iou >= MIN_MEAN_IOU or not agreement.n_found,
        ),
        (f"peak {peak_mb:.0f} MB on all cores ≤ {MAX_PEAK_MB}", peak_mb <= MAX_PEAK_MB),
    ]
    if is_hd:
        held = over_decode <= MAX_OVER_DECODE
        gates.insert(0, (f"ours ÷ decode {over_decode:.2f} ≤ {MAX_OVER_DECODE:g}", held))
    return gates


def _table(
    clip: Path,
    found: Found,
    costs: dict[str, Cost],
    agreement: Agreement,
    gates: list[tuple[str, bool]],
) -> str:
    decode, ours = costs["decode"], costs["ours"]
    lines = [
        "",
        f"{clip.name}: {found.width} × {found.height}, {found.duration_s:.1f} s",
        f"{'':8}{'CPU s':>10}{'÷ decode':>10}{'÷ ours':>10}   {'with imports':>12}"
        f"{'÷ decode':>10}{'÷ ours':>10}{'peak MB':>10}",
    ]
    for name, cost in costs.items():
        lines.append(
            f"{name:8}{cost.work_s:10.2f}{cost.work_s / decode.work_s:10.2f}"
            f"{cost.work_s / ours.work_s:10.2f}   {cost.whole_s:12.2f}"
            f"{cost.whole_s / decode.whole_s:10.2f}{cost.whole_s / ours.whole_s:10.2f}"
            f"{cost.peak_mb:10.0f}"
        )
    lines.append(
        f"faces: {agreement.n_found} of {agreement.n_reference} boxes of facenet (p ≥ {SURE}, side "
        f"≥ {LARGE_PX} px) found at IoU ≥ {SAME_IOU}; mean IoU {agreement.mean_iou:.3f}"
    )
    lines += [f"{'held' if held else 'MISSED':8}{gate}" for gate, held in gates]
    return "\n".join(lines)


def _timed(work: Callable[[], Any]) -> Any:
    """Do the work, print the CPU seconds it took, and return its result."""
    start = time.process_time()
    result = work()
    print(json.dumps(time.process_time() - start))
    return result


def _decode(clip: Path, _detector: Path | None, _notes: Path) -> None:
    pin()
    import av

    def work() -> None:
        with av.open(str(clip)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for _ in container.decode(video=0):
                pass

    _timed(work)


def _pinned_ours(clip: Path, detector: Path | None, notes: Path) -> None:
    pin()
    _ours(clip, detector, notes)


def _ours(clip: Path, detector: Path | None, notes: Path) -> None:
    from dfdetect.inference import analyze

    analysis = _timed(lambda: analyze(clip, detector=detector, finder="onnx", frames=FRAMES))
    boxes: dict[int, list[Box]] = {index: [] for index, _ in analysis.sampled}
    for track in analysis.tracks:
        for scored in track.faces:
            box = scored.face.box
            boxes[scored.face.frame_index].append((box.x0, box.y0, box.x1, box.y1))
    video = analysis.video
    frames = tuple((index, tuple(found)) for index, found in boxes.items())
    found = Found(video.width, video.height, video.duration_s, frames)
    notes.write_text(json.dumps({"found": asdict(found)}))


def _naive(clip: Path, detector: Path | None, _notes: Path) -> None:
    pin()
    import cv2
    import numpy as np
    import torch

    from dfdetect.detectors.catalog import create_detector
    from dfdetect.detectors.checkpoint import bundled_detector, load_checkpoint, read_header
    from dfdetect.faces.crop import square_crop
    from dfdetect.types import FaceBox

    def network() -> tuple[Any, Any]:
        path = detector or bundled_detector()
        twin = path.with_suffix(".safetensors")
        if twin.is_file():
            checkpoint = load_checkpoint(twin)
            return checkpoint.network, checkpoint.header.preprocess
        # the same network with other weights takes the same time
        header = read_header(path)
        made = create_detector(header.detector, **dict(header.kwargs))
        return made.eval(), header.preprocess

    finder = naive_finder()

    def work() -> list[float]:
        net, preprocess = network()
        count = int(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(np.linspace(0, count - 1, FRAMES).round().astype(int).tolist())
        logits: list[float] = []
        for _, image, boxes in naive_faces(clip, finder, wanted):
            crops = [
                square_crop(image, FaceBox(*box), preprocess.crop.scale, preprocess.size)
                for box in boxes
            ]
            if crops:
                with torch.no_grad():
                    pixels = torch.from_numpy(preprocess.normalise(np.stack(crops)))
                    logits += net(pixels).tolist()
        return logits

    _timed(work)


def _agree(clip: Path, _detector: Path | None, notes: Path) -> None:
    pin()
    from facenet_pytorch import MTCNN

    from dfdetect.media import FrameSampler, probe
    from dfdetect.types import FaceBox

    found = _read_found(json.loads(notes.read_text())["found"])
    ours = {index: [FaceBox(*box) for box in boxes] for index, boxes in found.frames}
    finder = MTCNN(keep_all=True)
    n_reference = 0
    overlaps: list[float] = []
    for frame in FrameSampler(count=FRAMES, allow_neighbours=True).sample(probe(clip)):
        boxes, confidences = finder.detect(frame.image)
        for box, confidence in zip(boxes if boxes is not None else (), confidences, strict=False):
            reference = FaceBox(*map(float, box))
            if confidence < SURE or reference.side < LARGE_PX:
                continue
            n_reference += 1
            best = max((reference.iou(each) for each in ours[frame.index]), default=0.0)
            overlaps += [best] if best >= SAME_IOU else []
    mean_iou = sum(overlaps) / len(overlaps) if overlaps else 0.0
    agreement = Agreement(n_reference, len(overlaps), mean_iou)
    notes.write_text(json.dumps({"found": asdict(found), "agreement": asdict(agreement)}))


def _read_found(plain: dict[str, Any]) -> Found:
    frames = tuple((index, tuple(map(tuple, boxes))) for index, boxes in plain["frames"])
    return Found(plain["width"], plain["height"], plain["duration_s"], frames)


VARIANTS: dict[str, Callable[[Path, Path | None, Path], None]] = {
    "decode": _decode,
    "ours": _pinned_ours,
    "memory": _ours,
    "naive": _naive,
    "agree": _agree,
}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
