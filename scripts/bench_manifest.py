"""What a manifest of a million videos costs: seconds and peak memory of each step.

    python scripts/bench_manifest.py --rows 1000000

The rows are generated (no videos): 100,000 people, one forgery for every genuine video, one file in
a thousand an exact copy of another. Every step runs in this one process; memory is the peak so far.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from dfdetect.data.manifest import Manifest
from dfdetect.data.splits import SplitRule, assign_splits, leak_check
from dfdetect.data.videos import ManifestRow, Videos

T = TypeVar("T")

ROWS_A_PERSON = 10


def generated(n_rows: int) -> Iterator[ManifestRow]:
    """Yield videos of made-up people, sorted by id."""
    for number in range(n_rows):
        is_fake = number % 2
        person = number // ROWS_A_PERSON
        # one video in a thousand is an exact copy of the same person's first
        copied = number if number % 1000 else person * ROWS_A_PERSON
        yield ManifestRow(
            video_id=f"made/{number:08d}",
            dataset="made",
            method=f"method{number % 7}" if is_fake else "original",
            label=is_fake,
            split=None,
            source_ids=(f"person{person}", f"scene{number // 3 % 50_000 + person * 100_000}"),
            compression="c23",
            path=f"videos/{number:08d}.mp4",
            sha256=hashlib.sha256(str(copied).encode()).hexdigest(),
            fps=25.0,
            n_frames=250,
            width=640,
            height=480,
            duration_s=10.0,
            original_id=f"made/{number - 1:08d}" if is_fake else None,
        )


def timed(what: str, step: Callable[[], T]) -> T:
    """Run a step, print its seconds and the peak memory of the process, return its result."""
    started = time.perf_counter()
    result = step()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:<42}{seconds:8.2f} s{peak:9.0f} MiB", flush=True)
    return result


def draw(videos: Videos, n_draws: int, seed: int) -> int:
    """Draw as many genuine as forged videos by position and return how many came out."""
    labels = np.asarray(videos.column("label"))
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(labels == label), n_draws // 2) for label in (0, 1)]
    return len(videos.take(np.concatenate(chosen)))


def main() -> int:
    """Run every step and print its cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    timed("imports", lambda: None)
    videos = timed(
        f"{arguments.rows:,} rows into columns", lambda: Videos.of(generated(arguments.rows))
    )
    videos = timed(
        "split by hash of related videos", lambda: assign_splits(videos, SplitRule("hash", seed=1))
    )
    leaks = timed("leak check, clean", lambda: leak_check(videos))
    if leaks:
        raise SystemExit(f"a split by groups leaks: {leaks[0]}")
    torn = np.asarray(videos.column("split").to_pylist(), dtype=object)
    torn[::100_000] = np.where(torn[::100_000] == "test", "train", "test")
    planted = videos.with_column("split", torn.tolist())
    leaks = timed("leak check, planted leaks with chains", lambda: leak_check(planted))
    print(f"{'':4}{len(leaks)} leaks, the first: {' → '.join(leaks[0].chain)}")
    manifest = Manifest(videos, "0" * 64)
    timed("hash of the content", manifest.content_hash)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.parquet"
        timed("write Parquet", lambda: manifest.write(path))
        print(f"{'':4}{path.stat().st_size / 2**20:.0f} MiB on disk")
        read = timed("read Parquet and check it", lambda: Manifest.read(path))
    if read.rows != videos:
        raise SystemExit("what was read is not what was written")
    timed(
        "index by id and look 10,000 up",
        lambda: [
            videos.by_id[f"made/{n:08d}"]
            for n in range(0, arguments.rows, arguments.rows // 10_000)
        ],
    )
    test = timed(
        "filter: test fakes of one method", lambda: videos.where(split="test", method="method3")
    )
    print(f"{'':4}{len(test):,} rows")
    timed("count by split, method and label", manifest.counts)
    timed("draw 100,000 balanced rows", lambda: draw(videos, 100_000, seed=0))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
