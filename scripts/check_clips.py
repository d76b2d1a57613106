"""The verdict on every clip of a manifest, by name, and how often each band was reached.

python scripts/check_clips.py MANIFEST DATA_ROOT OUT.csv [--detector FILE] [--split test]

Goes through the real `predict` chain: 32 frames, tracks, gates, calibrated bands. The table that is
written has one line a clip, so that no clip hides in a rate; what is printed counts bands by label
and split, with exact 95 % intervals. Clips of the train split were learned from: their lines show
what a user of these clips would see, and measure nothing. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dfdetect import load_detector
from dfdetect.cli.terminal import note, progress_bar, say
from dfdetect.data.manifest import Manifest
from dfdetect.data.videos import ManifestRow
from dfdetect.detectors.base import LoadedDetector
from dfdetect.errors import DfdetectError, UnreadableVideo
from dfdetect.inference.pipeline import analyze
from dfdetect.scoring.words import clopper_pearson
from dfdetect.types import FAKE, Band

FIELDS = ("video_id", "split", "label", "band", "likelihood_ratio", "n_faces", "reason", "weights")
UNREADABLE = "unreadable"
KINDS = {0: "genuine", FAKE: "manipulated"}


def main(argv: Sequence[str]) -> int:
    """Judge every clip, write the table and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("data_root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--split", help="only clips of this split")
    told = parser.parse_args(argv)
    detector = load_detector(told.detector)
    rows = [row for row in Manifest.read(told.manifest).rows if told.split in (None, row.split)]
    done = _done(told.out, detector.weights_sha256)
    told.out.parent.mkdir(parents=True, exist_ok=True)
    with told.out.open("a", newline="", encoding="utf-8") as stream, progress_bar("Judging") as bar:
        table = csv.DictWriter(stream, FIELDS)
        if not stream.tell():
            table.writeheader()
        for number, row in enumerate(rows):
            bar(number, len(rows))
            if row.video_id not in done:
                done[row.video_id] = _judged(row, told.data_root, detector)
                table.writerow(done[row.video_id])
                stream.flush()
        bar(len(rows), len(rows))
    _say_counts([done[row.video_id] for row in rows])
    return 0


def _done(out: Path, weights: str) -> dict[str, dict[str, str]]:
    if not out.is_file():
        return {}
    with out.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    if others := {line["weights"] for line in lines} - {weights}:
        raise SystemExit(
            f"{out} holds verdicts by other weights ({min(others)[:12]}); give another OUT.csv"
        )
    return {line["video_id"]: line for line in lines}


def _judged(row: ManifestRow, data_root: Path, detector: LoadedDetector) -> dict[str, str]:
    line = {
        "video_id": row.video_id,
        "split": row.split or "",
        "label": KINDS[row.label],
        "likelihood_ratio": "",
        "n_faces": "0",
        "weights": detector.weights_sha256,
    }
    try:
        found = analyze(data_root / row.path, detector=detector)
    except UnreadableVideo as error:
        return line | {"band": UNREADABLE, "reason": str(error)}
    verdict = found.verdict
    top = next((each for each in verdict.tracks if each.track_id == verdict.track_id), None)
    if top is not None and top.likelihood_ratio is not None:
        line["likelihood_ratio"] = f"{top.likelihood_ratio:.4g}"
    n_faces = sum(sum(track.usable) for track in found.tracks)
    reason = "; ".join(verdict.reasons)
    return line | {"band": verdict.band.value, "n_faces": str(n_faces), "reason": reason}


def _say_counts(lines: Sequence[dict[str, str]]) -> None:
    bands = (*(band.value for band in Band), UNREADABLE)
    for split, label in sorted({(line["split"], line["label"]) for line in lines}):
        of = [line for line in lines if (line["split"], line["label"]) == (split, label)]
        counts = Counter(line["band"] for line in of)
        say(f"{split}, {label}: {len(of)} clips")
        for band in bands:
            if counts[band]:
                low, high = clopper_pearson(counts[band], len(of))
                say(f"  {band:14}{counts[band]:4}  ({low:.2f} - {high:.2f})")
    for line in lines:
        if line["label"] == KINDS[0] and line["band"] == Band.STRONG.value:
            say(f"strong signs in a genuine clip: {line['video_id']}")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DfdetectError as error:
        note(f"check_clips: {error}")
        sys.exit(2)
