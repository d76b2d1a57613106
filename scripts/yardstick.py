"""What the benchmarks share: fresh, pinned processes and the loop that people usually write."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "NUMEXPR_NUM_THREADS",
)

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: what it printed, its CPU seconds and its peak memory in MB."""

    output: str
    cpu_s: float
    peak_mb: float


def run_fresh(script: str, arguments: Sequence[str], one_thread: bool = True) -> Finished:
    """Run a script of this folder in a process of its own and wait for it.

    Raises:
        SystemExit: It failed.
    """
    process = subprocess.Popen(
        [sys.executable, script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | (dict.fromkeys(THREAD_SETTINGS, "1") if one_thread else {}),
    )
    assert process.stdout is not None  # noqa: S101 (it was asked for above)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed with exit code {process.returncode}")
    return Finished(output, usage.ru_utime + usage.ru_stime, megabytes(usage.ru_maxrss))


def megabytes(maxrss: int) -> float:
    """Return a peak memory as the system states it in MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return maxrss / unit


def pin(n_cores: int = 1) -> None:
    """Keep this process and those it will start on so many cores, where the system lets it."""
    # FFmpeg counts the cores that it may use, so this limits its threads, too
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n_cores:])


@contextmanager
def gpu_load(device: str) -> Iterator[list[float]]:
    """Ask nvidia-smi a few times a second how busy the GPU is, in per cent; never of a CPU."""
    loads: list[float] = []
    done = threading.Event()

    def watch() -> None:
        asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not done.wait(0.3):
            answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            loads.extend(float(line) for line in answer.splitlines()[:1] if line.strip().isdigit())

    watcher = threading.Thread(target=watch)
    if device != "cpu":
        watcher.start()
    try:
        yield loads
    finally:
        done.set()
        if device != "cpu":
            watcher.join()


def naive_finder() -> Any:
    """Return facenet-pytorch's MTCNN as a first script makes it, with one thread."""
    # seconds of imports, which the other variants must not pay
    import cv2
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return MTCNN(keep_all=True)


def naive_faces(
    clip: Path, finder: Any, wanted: Container[int]
) -> Iterator[tuple[int, Image, list[Box]]]:
    """Yield the wanted frames with their boxes, as a first script would find them.

    OpenCV decodes and converts every frame of the clip, and `naive_finder` looks at one whole
    frame at a time, at full resolution.
    """
    import cv2

    capture, index = cv2.VideoCapture(str(clip)), -1
    while True:
        is_read, picture = capture.read()
        if not is_read:
            break
        index += 1
        if index not in wanted:
            continue
        image = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        boxes, _ = finder.detect(image)
        found = [] if boxes is None else [tuple(map(float, box)) for box in boxes]
        yield index, image, [(x0, y0, x1, y1) for x0, y0, x1, y1 in found]
    capture.release()
