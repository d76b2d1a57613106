"""The work that bench_extract.py measures, each piece of it in a process of its own.

python scripts/extract_jobs.py JSON, which prints JSON; see `Job`.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from yardstick import megabytes, naive_faces, naive_finder, pin

from dfdetect.data.crops import CropRow, CropStore, ExtractSummary, extract_crops
from dfdetect.data.engines import LocalEngine
from dfdetect.data.manifest import Manifest
from dfdetect.faces.agreement import Agreement, compare
from dfdetect.faces.crop import crop_face, square_crop
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.media import FrameSampler, probe
from dfdetect.types import CropPolicy, Face, FaceBox, Frame, Image

POLICY = CropPolicy("square", 1.3, 256)
SAMPLER = FrameSampler(count=32)


@dataclass(frozen=True, slots=True)
class Job:
    """What one variant is to do, as a line of JSON to its process."""

    variant: str
    manifest: str = ""
    root: str = ""
    out: str = ""
    faces: str = "all"
    reuse_boxes: bool = False
    workers: int = 1


def _local(job: Job) -> dict[str, Any]:
    pin(job.workers)
    manifest = Manifest.read(Path(job.manifest))
    settings: dict[str, Any] = {"faces": job.faces, "reuse_boxes": job.reuse_boxes}

    def work() -> ExtractSummary:
        return extract_crops(
            manifest, Path(job.root), Path(job.out), POLICY, SAMPLER,
            engine=LocalEngine(job.workers), **settings,
        )  # fmt: skip

    summary, spent = _timed(work)
    return {
        **spent,
        "n_videos": summary.n_videos,
        "n_crops": dict(summary.n_by_status).get("ok", 0),
        "n_reused": summary.n_reused,
        "n_searched": summary.n_searched,
    }


def _naive(job: Job) -> dict[str, Any]:
    pin()
    import cv2

    videos, out = Manifest.read(Path(job.manifest)).rows, Path(job.out)
    # the frames that extract_crops takes; finding out which is not part of the work
    wanted = [{frame.index for frame in SAMPLER.sample(probe(Path("/", v.path)))} for v in videos]
    out.mkdir()
    naive_finder()

    def work() -> int:
        finder, n_crops = naive_finder(), 0
        for video, indices in zip(videos, wanted, strict=True):
            for _, image, boxes in naive_faces(Path("/", video.path), finder, indices):
                for box in boxes:
                    crop = square_crop(image, FaceBox(*box), POLICY.scale, POLICY.size)
                    cv2.imwrite(str(out / f"{n_crops}.png"), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
                    n_crops += 1
        return n_crops

    n_crops, spent = _timed(work)
    return {**spent, "n_videos": len(videos), "n_crops": n_crops}


def _timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Do the work; count its seconds, those of its processes included, and the largest's memory."""
    wall_s, cpu_s = time.perf_counter(), _cpu_s()
    result = work()
    wall_s = time.perf_counter() - wall_s
    # what a process used is known when it has ended
    for child in multiprocessing.active_children():
        child.join()
    spent = {"wall_s": wall_s, "cpu_s": _cpu_s() - cpu_s}
    of_children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return result, {**spent, "peak_mb": megabytes(of_children) if of_children else _own_peak_mb()}


def _own_peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands the peak of the process that started this one down in getrusage
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    return megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _cpu_s() -> float:
    of_all = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in of_all)


def _compare(job: Job) -> dict[str, Any]:
    pin()
    store, reference = CropStore.open(Path(job.out)), create_finder("facenet")
    rows: dict[str, dict[int, list[CropRow]]] = defaultdict(lambda: defaultdict(list))
    for crop in store.crops:
        rows[crop.video_id][crop.frame_index].append(crop)
    agreement, n_crops, n_exact = Agreement(), 0, 0
    for video_id, by_frame in rows.items():
        path = Path(job.root, store.videos.by_id[video_id].path)
        for index, image in enumerate(_every_frame(path)):
            crops = [crop for crop in by_frame.get(index, ()) if crop.box is not None]
            n_crops += len(crops)
            n_exact += sum(_is_exact(store, crop, image) for crop in crops)
            if index in by_frame:
                agreement += _agreement(Frame(index, 0.0, image), crops, reference)
    return {"agreement": asdict(agreement), "n_crops": n_crops, "n_exact": n_exact}


def _every_frame(path: Path) -> Iterator[Image]:
    """Decode a clip front to back, without the sampler."""
    import av

    from dfdetect.media.video import RgbConverter

    upright = RgbConverter()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield upright(frame)


def _is_exact(store: CropStore, crop: CropRow, image: Image) -> bool:
    return np.array_equal(store.image(crop), crop_face(image, _face(crop), POLICY))


def _agreement(frame: Frame, crops: Sequence[CropRow], reference: FaceFinder) -> Agreement:
    return compare(reference.find(frame), [_face(crop) for crop in crops])


def _face(crop: CropRow) -> Face:
    if crop.box is None:
        raise ValueError(f"{crop.crop_id} has no box")
    return Face(crop.frame_index, crop.time_s, crop.box, crop.points, crop.confidence or 0.0)


def _tile(job: Job) -> dict[str, Any]:
    """Write a clip of several people."""
    from bench_faces import Clip, tiled

    from dfdetect.data.datasets.synthetic import write_clip

    read = [
        Clip(row.video_id, "", tuple(SAMPLER.sample(probe(Path(job.root, row.path)))))
        for row in Manifest.read(Path(job.manifest)).rows[:5]
    ]
    write_clip(Path(job.out), [frame.image for frame in tiled(read, "several").frames], 10)
    return {}


VARIANTS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "local": _local,
    "naive": _naive,
    "compare": _compare,
    "tile": _tile,
}

if __name__ == "__main__":
    todo = Job(**json.loads(sys.argv[1]))
    print(json.dumps(VARIANTS[todo.variant](todo)))
