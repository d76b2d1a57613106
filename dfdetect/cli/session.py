"""Clips → reports, one after another: naming, progress, three plain lines and the exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dfdetect.cli.terminal import (
    EXIT_FAULT,
    note,
    printable,
    progress_bar,
    report_error,
    say,
)
from dfdetect.errors import UsageError

if TYPE_CHECKING:
    from dfdetect.inference import Analyzer, ReportFiles
    from dfdetect.types import Analysis

EXIT_ANALYSED, EXIT_USAGE = 0, 2
EXIT_INCONCLUSIVE, EXIT_NO_FACE, EXIT_UNREADABLE = 3, 4, 5
# from best to worst: of several clips, the worst one's code is the command's
_SEVERITY = (
    EXIT_ANALYSED,
    EXIT_INCONCLUSIVE,
    EXIT_NO_FACE,
    EXIT_UNREADABLE,
    EXIT_USAGE,
    EXIT_FAULT,
)
_SCOPE = "Only visible faces are judged, not sound, captions or context."
_MOST_STEM = 40


@dataclass(slots=True)
class Session:
    """One run of the command over any number of clips.

    `out` holds one folder a clip, named after the clip and its SHA-256, so that no clip's report
    replaces another's.
    """

    analyzer: Analyzer
    out: Path
    reveal: bool = False
    as_json: bool = False
    debug: bool = False
    _written: dict[Path, Path] = field(default_factory=dict)

    def examine(self, clip: Path, folder: Path | None = None) -> int:
        """Analyse one clip, write its report, say what was found; return the exit code.

        A clip that cannot be analysed is answered with one sentence on stderr, so that the next
        one gets its turn.

        Args:
            clip: A video, a picture or a folder of pictures.
            folder: Where its report goes; by default a folder of its own under `out`.
        """
        try:
            with progress_bar(f"Reading {clip.name}") as progress:
                analysis = self.analyzer.analyze(clip, progress)
            files = self._write(analysis, clip, folder)
        except Exception as error:  # whatever one clip does, the others are still analysed
            return report_error(error, debug=self.debug)
        if self.as_json:
            # the file's own bytes: they are ASCII, so no terminal setting can change them
            sys.stdout.write(files.json.read_text("ascii"))
            note(f"Report: {files.html}")
        else:
            for line in summary(analysis):
                say(line)
            say(f"Report: {files.html}")
        return exit_code(analysis)

    def _write(self, analysis: Analysis, clip: Path, folder: Path | None) -> ReportFiles:
        # imported by now: the analyzer is part of the same package
        from dfdetect.inference import write_report

        folder = folder or self._folder_for(clip, analysis.hashes.sha256)
        try:
            return write_report(analysis, folder, reveal=self.reveal)
        except OSError as error:
            raise UsageError(
                f"the report cannot be written to {folder} ({error.strerror or error}); name "
                "another folder with --out"
            ) from error

    def _folder_for(self, clip: Path, sha256: str) -> Path:
        """Return a folder that no other clip of this run has; equal copies are told apart."""
        name = f"{safe_stem(clip)}-{sha256[:8]}"
        source = clip.absolute()
        folder, count = self.out / name, 1
        while self._written.setdefault(folder, source) != source:
            count += 1
            folder = self.out / f"{name}-{count}"
        return folder


def named(text: str) -> Path:
    """Return the clip that a word of the command line names, with a name of its own.

    Raises:
        UsageError: The word is empty, which would otherwise mean the current folder.

    Example:
        >>> named("films/clip.mp4").as_posix(), named(".").name != ""
        ('films/clip.mp4', True)
    """
    if not text:
        raise UsageError("a clip's name is empty; name a video, a picture or a folder of pictures")
    path = Path(text)
    return Path(os.path.abspath(path)) if path.name in ("", "..") else path  # noqa: PTH100 (resolve would follow links and change the name)


def safe_stem(clip: Path) -> str:
    r"""Return a clip's name without its ending, as a folder may be called anywhere.

    Example:
        >>> safe_stem(Path("a/.my <b>clip\n.tar.mp4")), safe_stem(Path("…"))
        ('my_b_clip_n.tar', 'clip')
    """
    kept = re.sub(r"[^\w.-]+", "_", printable(clip.stem).replace("\\", "_"))
    return kept.strip("._-")[:_MOST_STEM] or "clip"


def worst(codes: Iterable[int]) -> int:
    """Return the worst of the clips' exit codes: 1, 2, 5, 4, 3, then 0.

    Example:
        >>> worst([0, 5, 3])
        5
    """
    return max(codes, key=_SEVERITY.index, default=EXIT_ANALYSED)


def exit_code(analysis: Analysis) -> int:
    """Return 0 for a clip with a verdict, 3 where it is inconclusive, 4 where no face was found."""
    # numpy comes with the types; by now it is loaded
    from dfdetect.types import Band

    codes = {Band.INCONCLUSIVE: EXIT_INCONCLUSIVE, Band.NO_FACE: EXIT_NO_FACE}
    return codes.get(analysis.verdict.band, EXIT_ANALYSED)


def summary(analysis: Analysis) -> tuple[str, str, str]:
    """Return three plain lines: the verdict; why, and of whom; what was examined."""
    # as above
    from dfdetect.inference.page import shows_one_picture
    from dfdetect.inference.wording import clock, file_name
    from dfdetect.scoring import words
    from dfdetect.types import Band

    verdict, video = analysis.verdict, analysis.video
    name = file_name(video.path.name)
    # an inconclusive headline names its first reason itself
    told = 1 if verdict.band is Band.INCONCLUSIVE else 0
    reasons = [words.sentence(reason) for reason in verdict.reasons[told:]]
    n_frames, n_people = len(analysis.sampled), sum(track.followed for track in analysis.tracks)
    seen = {scored.face.frame_index for track in analysis.tracks for scored in track.faces}
    people = {0: "nobody", 1: "1 person"}.get(n_people, f"{n_people} persons")
    thing = "picture" if video.images or shows_one_picture(analysis) else "frame"
    looked = f"1 {thing}" if n_frames == 1 else f"{n_frames} {thing}s"
    # pictures carry no clock
    if thing == "frame":
        looked += f" out of {clock(video.duration_s, fine=video.duration_s < 1)}"
    return (
        f"{name}: {words.headline(verdict)}.",
        " ".join(["Why:", *reasons, _SCOPE] if reasons else ["Scope:", _SCOPE]),
        f"Examined: {looked}; {people} followed, a face in {len(seen)} of {n_frames}; with "
        f"detector {analysis.detector.name} ({analysis.detector.weights_sha256[:12]}).",
    )
