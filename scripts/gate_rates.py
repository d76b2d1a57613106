r"""Measure how often `predict` cannot tell: drawings, animals, profiles, small and blurred faces.

    python scripts/gate_rates.py out.json --photos faces/portraits --clips clips/genuine \
        --animals animals --statues statues --landmarks keypoints.csv --detector FILE

Every kind of picture goes through the whole chain of `dfdetect predict`, one picture or clip at a
time, and is counted by what comes out: inconclusive (`too_strange` of these because the face is
unlike all that the detector learned from), no face, signs found (flagged), or none (cleared). Drawn
faces are made here; photographs, which should be of genuine faces, are also turned into drawings,
blurred and made small. They and the clips as they are serve as the control. `--landmarks` names a
table of pictures with 68 points each, from which their real turn is estimated. What is not given or
cannot be read is counted and left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from drawn_faces import DRAWN, STYLES
from numpy.typing import NDArray

from dfdetect.detectors.checkpoint import load_detector
from dfdetect.errors import DfdetectError
from dfdetect.faces.finder import create_finder
from dfdetect.inference.pipeline import Analyzer
from dfdetect.provenance import written_whole
from dfdetect.types import Analysis, Band, Frame

Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image | None]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
CLIPS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi"})
# a generic head's nose tip, chin, eye corners and mouth corners, in millimetres, and which of the
# 68 points they are
HEAD = np.array(
    [[0, 0, 0], [0, 63.6, -12.5], [-43.3, -32.7, -26], [43.3, -32.7, -26], [-28.9, 28.9, -24.1],
     [28.9, 28.9, -24.1]]
)  # fmt: skip
OF_68 = (30, 8, 36, 45, 48, 54)
TURNS = ((0, 30), (30, 45), (45, 60), (60, 90))


@dataclass(slots=True)
class Rate:
    """What came out for one kind; `n` counts what was analysed, `skipped` what could not be."""

    kind: str
    source: str
    n: int = 0
    inconclusive: int = 0
    too_strange: int = 0
    no_face: int = 0
    flagged: int = 0
    cleared: int = 0
    skipped: int = 0

    def count(self, analysis: Analysis) -> None:
        """Count one analysis."""
        self.n += 1
        band = analysis.verdict.band
        if band is Band.NO_FACE:
            self.no_face += 1
        elif band is Band.INCONCLUSIVE:
            self.inconclusive += 1
            self.too_strange += dict(analysis.skipped)["face_too_strange"] > 0
        elif band is Band.NONE:
            self.cleared += 1
        else:
            self.flagged += 1

    def line(self) -> str:
        """Return the counts as printed."""
        return (
            f"{self.kind:28} n={self.n:4}  inconclusive {self.inconclusive:4} (strange "
            f"{self.too_strange:4})  no face {self.no_face:4}  flagged {self.flagged:4}  cleared "
            f"{self.cleared:4}  skipped {self.skipped}"
        )


class Meter:
    """Puts pictures and clips through the chain and counts what comes out."""

    def __init__(self, analyzer: Analyzer, seed: int, folder: Path) -> None:
        """Remember the chain; pictures are written to `folder` for it."""
        self._analyzer, self._seed, self._folder = analyzer, seed, folder
        self.rates: list[Rate] = []

    def files(self, kind: str, source: str, paths: Sequence[Path]) -> None:
        """Count files as they are."""
        with self._kind(kind, source) as rate:
            for path in paths:
                self._analyse(rate, path)

    def changed(self, kind: str, source: str, paths: Sequence[Path], change: Change) -> None:
        """Count pictures after a change; None in its place skips the picture."""
        with self._kind(kind, source) as rate:
            for number, path in enumerate(paths):
                picture = read(path)
                made = None if picture is None else change(picture, self._rng(kind, number))
                self._picture(rate, made)

    def made(
        self, kind: str, source: str, n: int, draw: Callable[[np.random.Generator], Image]
    ) -> None:
        """Count pictures that are made here."""
        with self._kind(kind, source) as rate:
            for number in range(n):
                self._picture(rate, draw(self._rng(kind, number)))

    def face_side(self, picture: Image) -> float | None:
        """Return the side of the largest face; None where none is found."""
        faces = self._analyzer.finder.find(Frame(0, 0.0, picture))
        return faces[0].box.side if faces else None

    def _picture(self, rate: Rate, picture: Image | None) -> None:
        if picture is None:
            rate.skipped += 1
            return
        path = self._folder / "picture.png"
        cv2.imwrite(str(path), picture[..., ::-1])
        self._analyse(rate, path)

    def _analyse(self, rate: Rate, path: Path) -> None:
        try:
            rate.count(self._analyzer.analyze(path))
        except DfdetectError:
            rate.skipped += 1

    def _kind(self, kind: str, source: str) -> _Kind:
        return _Kind(self, Rate(kind, source))

    def _rng(self, kind: str, number: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, number, *kind.encode()))


class _Kind:
    """Keeps a rate when its kind is through, if there was anything of it."""

    def __init__(self, meter: Meter, rate: Rate) -> None:
        self._meter, self._rate = meter, rate

    def __enter__(self) -> Rate:
        return self._rate

    def __exit__(self, *_: object) -> None:
        if self._rate.n or self._rate.skipped:
            self._meter.rates.append(self._rate)
            sys.stderr.write(self._rate.line() + "\n")


def read(path: Path) -> Image | None:
    """Return a picture as RGB; None where it cannot be read."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1], np.uint8)


def found(folders: Sequence[Path], endings: frozenset[str], n: int | None) -> list[Path]:
    """Return files of these kinds, sorted; `n` of each folder, spread over it."""
    chosen: list[Path] = []
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
        kept = len(paths) if n is None else min(n, len(paths))
        chosen += [paths[(2 * i + 1) * len(paths) // (2 * kept)] for i in range(kept)]
    return chosen


def blurred(meter: Meter, share: float, picture: Image, _: np.random.Generator) -> Image | None:
    """Blur by a share of the face's side."""
    side = meter.face_side(picture)
    return None if side is None else np.asarray(cv2.GaussianBlur(picture, (0, 0), share * side))


def _styled(style: Callable[[Image], Image], picture: Image, _: np.random.Generator) -> Image:
    return style(picture)


def small(meter: Meter, picture: Image, rng: np.random.Generator) -> Image | None:
    """Shrink until the face is 20 to 39 px large."""
    side = meter.face_side(picture)
    wanted = rng.uniform(20, 39)
    if side is None or side <= wanted:
        return None
    height, width = picture.shape[:2]
    size = (max(1, round(width * wanted / side)), max(1, round(height * wanted / side)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def coarse(picture: Image, _: np.random.Generator) -> Image:
    """Do what a messenger does: two thirds of the size, JPEG at quality 60."""
    height, width = picture.shape[:2]
    size = (width * 2 // 3, height * 2 // 3)
    smaller = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def turn(points: NDArray[np.float64], width: int, height: int) -> float:
    """Return how far a head of 68 points is turned to a side, in degrees, 0 to 90."""
    camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float64)
    _, rotation, _ = cv2.solvePnP(HEAD, points[list(OF_68)], camera, None)
    matrix, _ = cv2.Rodrigues(rotation)
    # where the head's own axis out of the face points, seen from above
    axis = np.asarray(matrix)[:, 2]
    return float(np.degrees(np.arctan2(abs(axis[0]), abs(axis[2]))))


def turned(table: Path) -> Iterator[tuple[Path, float]]:
    """Yield the pictures of a table of 68 points, each with its turn in degrees."""
    with table.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            path = table.parent / row["file"]
            picture = read(path)
            if picture is None:
                continue
            points = np.array([[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(68)])
            yield path, turn(points, picture.shape[1], picture.shape[0])


def photographs(meter: Meter, folders: Sequence[Path], n: int) -> None:
    """Count photographs as they are, and what was made of them."""
    paths = found(folders, PICTURES, n)
    source = f"{', '.join(folder.name for folder in folders)}: {len(paths)} photographs"
    meter.files("control: photographs", source, paths)
    meter.changed("control: coarse photographs", source, paths, coarse)
    for name, style in STYLES.items():
        meter.changed(f"drawn over: {name}", source, paths, partial(_styled, style))
    meter.changed("under 40 px", source, paths, partial(small, meter))
    for share in (0.02, 0.04):
        meter.changed(f"blur: {share} sides", source, paths, partial(blurred, meter, share))


def animals(meter: Meter, folders: Sequence[Path]) -> None:
    """Count animals, and scikit-image's cat where it is installed."""
    paths = found(folders, PICTURES, None)
    meter.files("animals", ", ".join(folder.name for folder in folders), paths)
    try:
        from skimage import data
    except ImportError:
        sys.stderr.write("scikit-image is not installed: its cat is left out\n")
        return
    cat = np.asarray(data.chelsea(), np.uint8)  # type: ignore[no-untyped-call]
    meter.made("animals: scikit-image", "scikit-image's cat", 1, lambda _: cat)


def measure(meter: Meter, options: argparse.Namespace) -> None:
    """Count every kind that something was given for."""
    for name, draw in DRAWN.items():
        meter.made(f"drawn: {name}", "drawn by scripts/drawn_faces.py", options.n, draw)
    if options.photos:
        photographs(meter, options.photos, options.n)
    animals(meter, options.animals)
    statues = found(options.statues, PICTURES, None)
    meter.files("statues and dolls", ", ".join(each.name for each in options.statues), statues)
    pictures = list(turned(options.landmarks)) if options.landmarks else []
    table = options.landmarks.name if options.landmarks else ""
    for low, high in TURNS:
        chosen = [path for path, degrees in pictures if low <= degrees < high]
        meter.files(f"turned {low} to {high} degrees", table, chosen)
    clips = found(options.clips, CLIPS, None)
    meter.files("control: clips", ", ".join(folder.name for folder in options.clips), clips)


def options_of(words: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    summary = str(__doc__).partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("out", type=Path, help="JSON file to write")
    for name, what in (
        ("photos", "folders of genuine portraits"),
        ("clips", "folders of genuine clips"),
        ("animals", "folders of pictures of animals"),
        ("statues", "folders of pictures of statues and dolls"),
    ):
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[], help=what)
    parser.add_argument("--landmarks", type=Path, help="CSV: file, x0, y0 … x67, y67")
    parser.add_argument("--detector", type=Path, help="weights; none: the bundled ones")
    parser.add_argument("--n", type=int, default=50, help="of each kind that is made, or folder")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print a line a kind and write the JSON."""
    options = options_of(words)
    detector = load_detector(options.detector)
    with tempfile.TemporaryDirectory(prefix="dfdetect-gates-") as folder:
        meter = Meter(Analyzer(detector, create_finder()), options.seed, Path(folder))
        measure(meter, options)
    record = {
        "command": shlex.join([Path(__file__).name, *(words or sys.argv[1:])]),
        "seed": options.seed,
        "weights_sha256": detector.weights_sha256,
        "strangeness_limit": detector.header.strangeness_limit,
        "kinds": [asdict(rate) for rate in meter.rates],
    }
    with written_whole(options.out) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(meter.rates)} kinds: {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
