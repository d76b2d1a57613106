"""What measuring scores costs: the strict table of 100,000 videos, and intervals of one metric.

python scripts/bench_evaluate.py [--videos 100000] [--check]

The scores are generated (no videos): half of the videos genuine, the others by five methods, 32
faces each of one or two people, one video in a hundred without any. They are written as a folder of
`dfdetect evaluate`. Then, in fresh processes on one core with one thread:

  table      reads the folder and writes the strict table: every metric by frame, track and video,
             all methods together and each alone, with intervals from 2,000 resamples of videos
  bootstrap  the interval of the AUC of 15,000 scores from 10,000 resamples, where every score is
             drawn alone, and where clusters of 32 are drawn

Gates are on CPU seconds (user + system, imports included), which a busy machine hardly changes.
With --check a missed gate makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from yardstick import pin, run_fresh

from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.evaluation.evaluate import evaluate_run
from dfdetect.evaluation.protocols.protocol import STRICT
from dfdetect.evaluation.run_files import read_run, write_run
from dfdetect.evaluation.runs import ScoredRun, TrainedOn
from dfdetect.scoring.metrics import bootstrap_ci, roc_auc
from dfdetect.scoring.score_table import ScoreTable
from dfdetect.types import Calibration

METHODS, FACES = 5, 32
N_SCORES, N_RESAMPLES, CLUSTER = 15_000, 10_000, 32
MAX_TABLE_S, MAX_TABLE_MB, MAX_BOOTSTRAP_S = 60.0, 4096.0, 2.0


def main(argv: Sequence[str]) -> int:
    """Time each process, print its cost, and return 1 when --check finds a gate missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--process", choices=sorted(PROCESSES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.process:
        pin()
        PROCESSES[arguments.process](arguments.folder, arguments.videos)
        return 0
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for process in ("make", "table", "bootstrap"):
            words = ("--process", process, "--folder", folder, "--videos", str(arguments.videos))
            started = time.perf_counter()
            finished = run_fresh(__file__, words)
            whole_s = time.perf_counter() - started
            print(
                f"{process:<10}{whole_s:8.2f} s in all ({finished.cpu_s:.2f} s of CPU), "
                f"{finished.peak_mb:.0f} MB at most"
            )
            print(finished.output, end="", flush=True)
            if process == "table":
                missed |= finished.cpu_s > MAX_TABLE_S or finished.peak_mb > MAX_TABLE_MB
            if process == "bootstrap":
                seconds = json.loads(finished.output.splitlines()[-1])
                missed |= max(seconds.values()) > MAX_BOOTSTRAP_S
    if missed:
        print(
            f"A gate is missed: {MAX_TABLE_S:.0f} s and {MAX_TABLE_MB:.0f} MB for the table, "
            f"{MAX_BOOTSTRAP_S:.0f} s for the bootstrap"
        )
    return int(arguments.check and missed)


def make(folder: Path, n_videos: int) -> None:
    """Write the made-up scores and videos."""
    rng = np.random.default_rng(0)
    videos = Videos.of(_made_videos(n_videos))
    labels = videos.column("label").to_numpy()
    video = np.repeat(np.arange(n_videos), FACES)
    of_video = rng.normal(np.where(labels == 1, 1.0, -1.0), 1.2)
    logit = of_video[video] + rng.normal(0, 1.0, video.size)
    frame = np.tile(np.arange(FACES), n_videos)
    # in every tenth video a second person has the last third of the faces
    track = ((video % 10 == 0) & (frame >= 2 * FACES // 3)).astype(np.int64)
    is_lost = (video % 100 == 50) | (rng.random(video.size) < 0.02)
    ids = tuple(videos.column("video_id").to_pylist())
    scores = ScoreTable.coded(
        ids, video, track, 8 * frame, frame * 0.32, np.where(is_lost, np.nan, logit),
        is_lost.astype(np.int64), ("ok", "no_face"),
    )  # fmt: skip
    run = ScoredRun(
        name="made",
        scores=scores,
        videos=videos,
        trained_on=TrainedOn((("made", "original"), ("made", "method0"))),
        calibration=Calibration("platt", 1.2, -0.1, 1e-3, 1e3, 500, 500, "val", "2026-01-01"),
        threshold=0.1,
    )
    write_run(run, folder)


def table(folder: Path, n_videos: int) -> None:  # noqa: ARG001 (processes are started alike)
    """Measure the folder by the strict protocol and write the tables beside it."""
    started = time.perf_counter()
    run = read_run(folder)
    print(f"    read {len(run.scores):,} rows {time.perf_counter() - started:.2f} s")
    started = time.perf_counter()
    result = evaluate_run(run, "test", protocol=STRICT, out=folder / "table")
    print(f"    {len(result.rows)} numbers {time.perf_counter() - started:.2f} s")


def bootstrap(folder: Path, n_videos: int) -> None:  # noqa: ARG001
    """Time the interval of an AUC, with every score alone and with clusters."""
    labels = np.repeat([0, 1], N_SCORES // 2)
    scores = np.random.default_rng(0).normal(labels, 1.0)
    clusters = np.arange(N_SCORES) % (N_SCORES // 2) // CLUSTER + N_SCORES * labels
    seconds = {}
    for name, groups in (("alone", None), (f"clusters of {CLUSTER}", clusters)):
        started = time.process_time()
        bootstrap_ci(roc_auc, labels, scores, groups, n=N_RESAMPLES)
        seconds[name] = round(time.process_time() - started, 3)
    print(json.dumps(seconds))


PROCESSES = {"make": make, "table": table, "bootstrap": bootstrap}


def _made_videos(n_videos: int) -> Iterator[ManifestRow]:
    for number in range(n_videos):
        is_fake = number % 2
        yield ManifestRow(
            video_id=f"made/{number:08d}",
            dataset="made",
            method=f"method{number // 2 % METHODS}" if is_fake else "original",
            label=is_fake,
            split="test",
            source_ids=(f"person{number}",),
            compression="c23",
            path=f"videos/{number:08d}.mp4",
            sha256="0" * 64,
            fps=25.0,
            n_frames=250,
            width=640,
            height=480,
            duration_s=10.0,
        )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
