"""What `extract` costs and finds beside the loop that people usually write.

python scripts/bench_extract.py [CLIP OR FOLDER …] [--clips N] [--repeats N] [--check]

Without arguments the research clips in ../shared/data/clips are taken, the first N of each size.
Every variant runs in a fresh process with one thread a worker, turn by turn with the others;
seconds count after the imports, and the least of --repeats runs is stated. All take the same 32
frames of a clip:

  naive   OpenCV decodes and converts every frame, facenet-pytorch's MTCNN looks at one whole frame
          at a time at full resolution; every face is cut out and written as PNG
  local   dfdetect's extract_crops with faces=all and engine=local, one process on one core; beside
          it two processes on two cores, with every clip three times under other names
  reuse   the same on FaceForensics++ originals and their forgeries, reuse_boxes off and on, where
          the given folder has the official layout

Faces are held against full-resolution facenet on the very frames (p ≥ 0.95, side ≥ 60 px), those
of a clip of several people included, which is made by tiling clips. Every stored crop is held
against the one that a plain decode of the whole clip gives. Peak memory is that of the worker, for
a clip and for the same clip six times over. With --check a missed target makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from extract_jobs import Job
from yardstick import run_fresh

from dfdetect.data.datasets import create_dataset
from dfdetect.data.manifest import Manifest, build_manifest
from dfdetect.data.splits import SplitRule
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.faces.agreement import Agreement
from dfdetect.media import probe

RESEARCH_CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"
JOBS = str(Path(__file__).with_name("extract_jobs.py"))
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")
LARGE, SMALL = "1080p and more", "less than 1080p"
LEAST_RATIO = {LARGE: 6.0, SMALL: 3.0}
MIN_RECALL, MIN_MEAN_IOU, MAX_GROWTH = 0.99, 0.88, 1.10
TIMES_LONGER = 6
N_COPIES = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What a variant took after its imports, and made; memory is that of one worker."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    n_videos: int
    n_crops: int
    n_reused: int = 0
    n_searched: int = 0

    def line(self, name: str, beside: Cost) -> str:
        """Return a line of the table, with the gain over another variant."""
        videos, crops = 60 * self.n_videos / self.wall_s, self.n_crops / self.wall_s
        return (
            f"  {name:<24}{videos:11.1f}{crops:10.1f}{self.wall_s:9.2f}{self.cpu_s:9.2f}"
            f"{beside.wall_s / self.wall_s:8.2f}{beside.cpu_s / self.cpu_s:8.2f}{self.peak_mb:9.0f}"
        )


HEAD = (
    f"  {'':24}{'videos/min':>11}{'crops/s':>10}{'wall s':>9}{'CPU s':>9}{'× wall':>8}{'× CPU':>8}"
    f"{'peak MB':>9}"
)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How stored crops and faces compare with a plain decode and with facenet."""

    agreement: Agreement
    n_crops: int
    n_exact: int


Gate = tuple[str, bool]


def main(argv: Sequence[str]) -> int:
    """Print the tables and return 1 when --check finds a target missed."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    given = arguments.clips or [RESEARCH_CLIPS]
    if missing := [str(path) for path in given if not path.exists()]:
        parser.error(f"{missing[0]} is not there; give clips, or folders that hold clips")
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}; least of {arguments.repeats} runs, turn by turn"
    )
    with tempfile.TemporaryDirectory() as scratch:
        gates = _bench(given, arguments.n, arguments.repeats, Path(scratch))
    for gate, held in gates:
        print(f"{'held' if held else 'MISSED':8}{gate}")
    return int(arguments.check and not all(held for _, held in gates))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, help="clips, or folders that hold clips")
    parser.add_argument("--clips", dest="n", type=int, default=4, help="of each size (default: 4)")
    parser.add_argument("--repeats", type=int, default=2, help="runs a variant (default: 2)")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser


def _bench(given: Sequence[Path], n_clips: int, repeats: int, scratch: Path) -> list[Gate]:
    gates: list[Gate] = []
    seen: list[Likeness] = []
    groups = _grouped(given, n_clips)
    for name, rows in groups.items():
        manifest = _written(rows, scratch / f"{name}.parquet")
        costs, store = _compared(manifest, scratch, repeats)
        print(f"\n{name}: {len(rows)} clips, faces=all\n{HEAD}")
        for variant, cost in costs.items():
            print(cost.line(variant, costs["naive"]))
        seen.append(_likeness(store, name))
        ratio = costs["naive"].cpu_s / costs["local, 1 process"].cpu_s
        least = LEAST_RATIO[name]
        gates.append((f"{name}: naive ÷ local {ratio:.2f} ≥ {least:g} (CPU)", ratio >= least))
    everything = [row for rows in groups.values() for row in rows]
    seen.append(_several_people(_written(everything, scratch / "all.parquet"), scratch))
    _processes(everything, scratch, repeats)
    _reuse(given, n_clips, repeats, scratch)
    gates += _face_gates(seen)
    gates.append(_memory_gate(max(everything, key=lambda row: row.width), scratch))
    return gates


def _grouped(given: Sequence[Path], n_clips: int) -> dict[str, list[ManifestRow]]:
    """Return the first clips of each size."""
    groups: dict[str, list[ManifestRow]] = defaultdict(list)
    for path in _clips(given):
        row = _row(path)
        name = LARGE if min(row.width, row.height) >= 1080 else SMALL
        if len(groups[name]) < n_clips:
            groups[name].append(row)
    return dict(groups)


def _clips(given: Sequence[Path]) -> Iterator[Path]:
    for path in given:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (each for each in found if each.suffix.lower() in VIDEO_SUFFIXES)


def _row(path: Path) -> ManifestRow:
    info, whole = probe(path), path.resolve()
    name = whole.relative_to(whole.anchor).as_posix()
    return ManifestRow(
        video_id=f"bench/{name}",
        dataset="bench",
        method="original",
        label=0,
        split=None,
        source_ids=(name,),
        compression="unknown",
        path=name,
        sha256="0" * 64,
        fps=info.fps,
        n_frames=info.n_frames,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
    )


def _written(rows: Sequence[ManifestRow], path: Path) -> Path:
    ordered = sorted(rows, key=lambda row: row.video_id)
    Manifest(Videos.of(ordered), "0" * 64).write(path)
    return path


def _run(job: Job) -> Any:
    return json.loads(run_fresh(JOBS, [json.dumps(asdict(job))]).output)


def _least(jobs: dict[str, Callable[[int], Job]], repeats: int) -> dict[str, Cost]:
    """Run variants turn by turn, so that a busy moment does not hit one only."""
    costs: dict[str, Cost] = {}
    for turn in range(repeats):
        for name, job in jobs.items():
            cost = Cost(**_run(job(turn)))
            best = costs.get(name, cost)
            costs[name] = Cost(
                min(cost.wall_s, best.wall_s), min(cost.cpu_s, best.cpu_s),
                max(cost.peak_mb, best.peak_mb), cost.n_videos, cost.n_crops, cost.n_reused,
                cost.n_searched,
            )  # fmt: skip
    return costs


def _compared(manifest: Path, scratch: Path, repeats: int) -> tuple[dict[str, Cost], Path]:
    stem = str(scratch / manifest.stem)
    jobs = {
        "naive": lambda turn: Job("naive", str(manifest), "/", f"{stem}-naive-{turn}"),
        "local, 1 process": _local_job(manifest, stem),
    }
    return _least(jobs, repeats), Path(f"{stem}-1-0")


def _processes(rows: Sequence[ManifestRow], scratch: Path, repeats: int) -> None:
    # a few clips would show little but how long processes take to start
    copies = [replace(row, video_id=f"{row.video_id}/{n}") for row in rows for n in range(N_COPIES)]
    manifest = _written(copies, scratch / "copies.parquet")
    stem = str(scratch / "copies")
    jobs = {f"local, {n} process(es)": _local_job(manifest, stem, n) for n in (1, 2)}
    costs = _least(jobs, repeats)
    print(f"\nprocesses: {len(copies)} clips, faces=all\n{HEAD}")
    for name, cost in costs.items():
        print(cost.line(name, costs["local, 1 process(es)"]))


def _local_job(
    manifest: Path, stem: str, workers: int = 1, root: str = "/", **options: Any
) -> Callable[[int], Job]:
    return lambda turn: Job(
        "local", str(manifest), root, f"{stem}-{workers}-{turn}", workers=workers, **options
    )


def _reuse(given: Sequence[Path], n_clips: int, repeats: int, scratch: Path) -> None:
    layouts = [path for path in given for path in (path, path / "FaceForensics++")]
    root = next((path for path in layouts if (path / "original_sequences").is_dir()), None)
    if root is None:
        print("\nno folder in FaceForensics++'s layout, so reuse_boxes was not measured")
        return
    everything = build_manifest(create_dataset("ffpp"), root, SplitRule("all:train"))
    forgeries = [row for row in everything.rows if row.original_id is not None]
    sources = sorted({str(row.original_id) for row in forgeries})[:n_clips]
    chosen = [everything.rows.by_id[name] for name in sources]
    chosen += [row for row in forgeries if row.original_id in sources]
    manifest = _written(chosen, scratch / "reuse.parquet")

    jobs = {
        f"reuse_boxes={str(reuse).lower()}": _local_job(
            manifest, str(scratch / f"reuse-{reuse}"), root=str(root.resolve()), faces="largest",
            reuse_boxes=reuse,
        )
        for reuse in (False, True)
    }  # fmt: skip
    costs = _least(jobs, repeats)
    print(
        f"\nreuse of boxes: {len(sources)} originals, {len(chosen) - len(sources)} forgeries, "
        f"faces=largest, 1 process\n{HEAD}"
    )
    for name, cost in costs.items():
        print(cost.line(name, costs["reuse_boxes=false"]))
    last = costs["reuse_boxes=true"]
    print(
        f"  {last.n_reused} rows took their box over; {last.n_searched} forgeries were searched "
        "all the same, for they do not line up with their original"
    )


def _several_people(manifest: Path, scratch: Path) -> Likeness:
    path = scratch / "several.mp4"
    _run(Job("tile", str(manifest), "/", str(path)))
    several = _written([_row(path)], scratch / "several.parquet")
    _run(Job("local", str(several), "/", str(scratch / "several")))
    return _likeness(scratch / "several", "several people")


def _likeness(store: Path, name: str) -> Likeness:
    facts = _run(Job("compare", root="/", out=str(store)))
    plain = facts["agreement"]
    seen = Agreement(**{**plain, "ious": tuple(plain["ious"])})
    likeness = Likeness(seen, facts["n_crops"], facts["n_exact"])
    print(
        f"  {name}: {len(seen.ious)} of {seen.n_wanted} faces of facenet found (recall "
        f"{seen.recall:.4f}, mean IoU {seen.mean_iou:.3f}), {seen.n_extra} of {seen.n_found} "
        f"faces are not facenet's; {likeness.n_exact} of {likeness.n_crops} crops are exact"
    )
    return likeness


def _face_gates(seen: Sequence[Likeness]) -> list[Gate]:
    everyone = sum((each.agreement for each in seen), Agreement())
    n_exact, n_crops = sum(each.n_exact for each in seen), sum(each.n_crops for each in seen)
    return [
        (f"recall {everyone.recall:.4f} ≥ {MIN_RECALL}", everyone.recall >= MIN_RECALL),
        (f"mean IoU {everyone.mean_iou:.3f} ≥ {MIN_MEAN_IOU}", everyone.mean_iou >= MIN_MEAN_IOU),
        (f"{n_exact} of {n_crops} crops are of the exact frame", n_exact == n_crops > 0),
    ]


def _memory_gate(row: ManifestRow, scratch: Path) -> Gate:
    clip = Path("/", row.path)
    long = _repeated(clip, scratch / "long.mp4")
    peaks: list[float] = []
    for path in (clip, long):
        manifest = _written([_row(path)], scratch / f"memory-{len(peaks)}.parquet")
        job = Job("local", str(manifest), "/", str(scratch / f"memory-{len(peaks)}"))
        peaks.append(Cost(**_run(job)).peak_mb)
    print(
        f"\npeak memory of a worker: {peaks[0]:.0f} MB for {probe(clip).duration_s:.0f} s of "
        f"{row.width} × {row.height}, {peaks[1]:.0f} MB for {probe(long).duration_s:.0f} s"
    )
    growth = peaks[1] / peaks[0]
    return f"memory over clip length {growth:.3f} ≤ {MAX_GROWTH}", growth <= MAX_GROWTH


def _repeated(clip: Path, path: Path) -> Path:
    """Write the same coded pictures several times over, without coding them again."""
    import av

    with av.open(str(path), "w") as output:
        written, start = None, 0
        for _ in range(TIMES_LONGER):
            end = start
            with av.open(str(clip)) as source:
                stream = source.streams.video[0]
                written = written or output.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + start, packet.dts + start
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.stream = written
                    output.mux(packet)
            start = end
    return path


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
