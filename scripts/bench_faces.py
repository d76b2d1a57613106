"""Measure the ONNX finder and the tracker against full-resolution facenet on real clips.

    python scripts/bench_faces.py CLIPS            # a folder that holds clips, or single clips
    python scripts/bench_faces.py CLIPS --every 4  # the reference on every fourth frame only

Each clip gives 32 frames. Clips of several people are made by tiling clips side by side at
different scales, cuts by switching between clips. Printed are, for whole-frame searches and for
the tracker, the recall of the reference's faces (p ≥ 0.95, side ≥ 60 px), the mean IoU, faces
that the reference does not have, and CPU milliseconds a frame; then the likenesses that the
tracker's rules rest on.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from dfdetect.faces.agreement import Agreement, compare
from dfdetect.faces.appearance import FaceLook, FrameLook
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.faces.track import FaceTracker
from dfdetect.media import FrameSampler, probe
from dfdetect.types import Face, Frame, Image

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")
FRAMES = 32
AS_FILMED = "as filmed"


@dataclass(frozen=True, slots=True)
class Clip:
    """Sampled frames and what they are to show."""

    name: str
    group: str
    frames: tuple[Frame, ...]


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    n_frames: int = 0
    cpu_s: float = 0.0
    agreement: Agreement = field(default_factory=Agreement)

    def line(self) -> str:
        """Return the line as printed."""
        seen = self.agreement
        recall = f"{seen.recall:.4f}" if seen.n_wanted else "     –"
        iou = f"{seen.mean_iou:.3f}" if seen.ious else "    –"
        return (
            f"{self.name:<28}{self.n_frames:>7}{seen.n_wanted:>7}{recall:>9}{iou:>8}"
            f"{seen.n_extra:>7}{1000 * self.cpu_s / max(1, self.n_frames):>9.1f}"
        )


def fitted(image: Image, width: int, height: int) -> Image:
    """Return the picture in a cell of that size, as large as it can be without distortion."""
    factor = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    cell = np.zeros((height, width, 3), np.uint8)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    cell[: size[1], : size[0]] = cv2.resize(image, size, interpolation=how)
    return cell


def tiled(clips: Sequence[Clip], name: str) -> Clip:
    """Show up to five clips side by side: one large, two middling, two small."""
    cells = ((0, 0, 800, 480), (800, 0, 480, 360), (800, 360, 480, 360), (0, 480, 400, 240),
             (400, 480, 400, 240))  # fmt: skip
    frames = []
    for rank, frame in enumerate(clips[0].frames):
        canvas = np.full((720, 1280, 3), 30, np.uint8)
        for clip, (x, y, width, height) in zip(clips, cells, strict=False):
            picture = clip.frames[rank % len(clip.frames)].image
            canvas[y : y + height, x : x + width] = fitted(picture, width, height)
        frames.append(replace(frame, image=canvas))
    return Clip(name, "several people", tuple(frames))


def switched(clips: Sequence[Clip], name: str) -> Clip:
    """Show clips in turn, each for an equal part of 32 frames."""
    share = max(1, FRAMES // len(clips))
    images = [fitted(frame.image, 960, 540) for clip in clips for frame in clip.frames[:share]]
    return Clip(name, "cuts", tuple(Frame(i, i / 2, image) for i, image in enumerate(images)))


def faceless(clips: Iterable[Clip]) -> Clip:
    """Show the lowest quarter of frames: clothes, tables and captions."""
    images = [clip.frames[i % len(clip.frames)].image for i, clip in enumerate(clips)]
    parts = [fitted(image[-(image.shape[0] // 4) :], 960, 240) for image in images]
    frames = tuple(Frame(i, i / 2, part) for i, part in enumerate(parts))
    return Clip("lowest quarters", "faceless", frames)


def clips_of(paths: Sequence[Path]) -> Iterator[Clip]:
    """Yield the clips as filmed, then those made of them, holding few in memory at a time."""

    def read(some: Sequence[Path]) -> list[Clip]:
        sampler = FrameSampler(count=FRAMES)
        return [Clip(path.stem, AS_FILMED, tuple(sampler.sample(probe(path)))) for path in some]

    for path in paths:
        yield from read([path])
    for start in range(0, len(paths) - 4, 5):
        yield tiled(read(paths[start : start + 5]), f"tiles {start}")
    for start in range(0, len(paths) - 3, 8):
        yield switched(read(paths[start : start + 4]), f"cuts {start}")
    yield faceless(clip for path in paths[:FRAMES] for clip in read([path]))


def measure(
    clip: Clip, reference: FaceFinder, finder: FaceFinder, every: int, rows: dict[str, Row]
) -> FaceTracker:
    """Add one clip to the rows of its group and return its tracker."""
    tracker = FaceTracker(finder)
    for rank, frame in enumerate(clip.frames):
        start = time.process_time()
        whole = finder.find(frame)
        middle = time.process_time()
        tracked = tuple(face for _, face in tracker.update(frame))
        end = time.process_time()
        spent = {"whole frames": middle - start, "tracker": end - middle}
        answers: dict[str, tuple[Face, ...]] = {"whole frames": whole, "tracker": tracked}
        wanted: tuple[Face, ...] | None = None
        if rank % every == 0:
            start = time.process_time()
            wanted = reference.find(frame)
            add(rows, f"{clip.group}: reference", time.process_time() - start)
        for name, faces in answers.items():
            row = add(rows, f"{clip.group}: {name}", spent[name])
            if wanted is not None:
                row.agreement += compare(wanted, faces)
    return tracker


def add(rows: dict[str, Row], name: str, cpu_s: float) -> Row:
    """Count one frame in a row."""
    row = rows.setdefault(name, Row(name))
    row.n_frames += 1
    row.cpu_s += cpu_s
    return row


@dataclass(slots=True)
class Likenesses:
    """How alike neighbours and strangers look to the tracker."""

    neighbours: list[float] = field(default_factory=list)
    scenes: list[float] = field(default_factory=list)
    people: list[tuple[str, FaceLook]] = field(default_factory=list)

    def add(self, clip: Clip, tracker: FaceTracker) -> None:
        """Look at one clip's frames and faces."""
        images = {frame.index: frame.image for frame in clip.frames}
        frames = [FrameLook.of(frame.image) for frame in clip.frames]
        self.scenes += [a.likeness(b) for a, b in itertools.pairwise(frames)]
        tracks = [
            [FaceLook.of(images[face.frame_index], face.box) for face in track.faces]
            for track in tracker.tracks
        ]
        for faces in tracks:
            self.neighbours += [a.likeness(b) for a, b in itertools.pairwise(faces)]
        if tracks:
            self.people.append((clip.name, max(tracks, key=len)[0]))

    def lines(self) -> Iterator[str]:
        """Yield quantiles; clips that share a number in their name may show one person."""
        strangers = [
            a.likeness(b)
            for (m, a), (n, b) in itertools.combinations(self.people, 2)
            if not set(m.split("_")) & set(n.split("_"))
        ]
        named = {"one track": self.neighbours, "strangers": strangers, "frames": self.scenes}
        for name, values in named.items():
            if values:
                quantiles = np.quantile(values, [0.01, 0.02, 0.5, 0.95, 0.99])
                text = "  ".join(f"{value:.2f}" for value in quantiles)
                yield f"likeness, {name:<10} n={len(values):<6} 1, 2, 50, 95, 99 %: {text}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare our face finder with the reference.")
    parser.add_argument("clips", type=Path, nargs="+", help="clips, or folders that hold clips")
    parser.add_argument("--every", type=int, default=1, help="reference on every n-th frame")
    args = parser.parse_args()
    paths = [
        path
        for given in args.clips
        for path in (sorted(given.rglob("*")) if given.is_dir() else [given])
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]
    reference, finder = create_finder("facenet"), create_finder("onnx")
    rows: dict[str, Row] = {}
    likenesses = Likenesses()
    for clip in clips_of(paths):
        tracker = measure(clip, reference, finder, args.every, rows)
        if clip.group == AS_FILMED:
            likenesses.add(clip, tracker)
        print(
            f"{clip.name}: tracks {[len(track.faces) for track in tracker.tracks]},"
            f" {tracker.n_full_searches} whole frames and {tracker.n_region_searches} regions",
            flush=True,
        )
    print(f"\n{'':<28}{'frames':>7}{'faces':>7}{'recall':>9}{'IoU':>8}{'extra':>7}{'CPU ms':>9}")
    for row in rows.values():
        print(row.line())
    for line in likenesses.lines():
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
