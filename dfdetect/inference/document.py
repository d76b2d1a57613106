"""The report as data: what `report.json` holds, apart from the times and hashes of other files.

The same clip, version and weights give the same document, byte for byte: keys are sorted,
numbers rounded to fixed digits, and neither a folder nor a user's name enters it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dfdetect.detectors.checkpoint import bundled_detector
from dfdetect.errors import DfdetectError
from dfdetect.faces.finder import FINDERS
from dfdetect.inference.wording import file_name
from dfdetect.media import FrameSampler
from dfdetect.provenance import sha256_file, sha256_value
from dfdetect.scoring import words
from dfdetect.types import (
    Analysis,
    BandRate,
    Calibration,
    FaceBox,
    FaceQuality,
    ScoredFace,
    TrackAnalysis,
    TrackVerdict,
    VideoInfo,
)
from dfdetect.visible import visible

SCHEMA = "dfdetect.report"
SCHEMA_VERSION = 1
HTML_NAME, JSON_NAME = "report.html", "report.json"

SCOPE = (
    "The detector looks for swapped or re-animated faces in visible faces of the sampled frames. "
    "It does not examine audio, captions, context, or fully generated scenes."
)
# what encoders write about themselves; anything else may say where and with what it was filmed
PRINTED_TAGS = frozenset({"encoder", "major_brand", "minor_version", "compatible_brands"})

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None


def build_document(analysis: Analysis, *, reveal: bool) -> dict[str, Json]:
    """Return the report as data, complete but for `time` and its own hash.

    Args:
        analysis: What was found.
        reveal: Whether the stills in the report show faces as filmed.
    """
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "tool": _tool(analysis),
        "input": _input(analysis),
        "policy": {"network": "unused", "reveal": reveal},
        "settings": dict(analysis.settings),
        "sampling": _sampling(analysis),
        "skipped": dict(analysis.skipped),
        "tracks": [_track(analysis, track) for track in analysis.tracks],
        "verdict": _verdict(analysis),
        "calibration": _calibration(analysis.detector.calibration),
        "artefacts": [
            {"path": HTML_NAME, "obscured": not reveal or not analysis.tracks},
            {"path": JSON_NAME, "obscured": True},
        ],
        "reproduce": reproduce_command(analysis, reveal=reveal),
    }


def content_hash(document: Mapping[str, Json]) -> str:
    """Return the SHA-256 of a document's content: all of it but `time` and the hash itself."""
    rest = {key: value for key, value in document.items() if key not in {"time", "content_sha256"}}
    return sha256_value(rest)


def reproduce_command(analysis: Analysis, *, reveal: bool) -> str:
    """Return the command that repeats the analysis, ready for a shell beside the clip.

    Where the weights are not those of this installation, `WEIGHTS` stands for their file.
    """
    name, settings = analysis.video.path.name, dict(analysis.settings)
    plain = name if not name.startswith("-") else f"./{name}"
    parts = ["dfdetect predict", _quoted(plain)]
    if settings["sampling.count"] != str(FrameSampler().count):
        parts.append(f"--frames {settings['sampling.count']}")
    if settings["finder"] in FINDERS and settings["finder"] != "onnx":
        parts.append(f"--finder {settings['finder']}")
    if not is_bundled(analysis.detector.weights_sha256):
        parts.append("--detector WEIGHTS")
    if reveal:
        parts.append("--reveal")
    return " ".join(parts)


def is_bundled(weights_sha256: str) -> bool:
    """Return whether weights are those that come with this installation."""
    try:
        return sha256_file(bundled_detector()) == weights_sha256
    except DfdetectError:
        return False  # an installation without weights of its own


def printed_tags(video: VideoInfo) -> tuple[tuple[str, str], ...]:
    """Return the container's tags that name software only."""
    return tuple((key, value) for key, value in video.tags if key.lower() in PRINTED_TAGS)


def withheld_tags(video: VideoInfo) -> tuple[str, ...]:
    """Return the names of tags whose values are not printed: they may name place or device."""
    return tuple(sorted({key for key, _ in video.tags if key.lower() not in PRINTED_TAGS}))


def verdict_of(analysis: Analysis, track: TrackAnalysis) -> TrackVerdict:
    """Return the verdict on one person of an analysis.

    Raises:
        KeyError: The analysis has no verdict on that person.
    """
    found = {each.track_id: each for each in analysis.verdict.tracks}
    return found[track.track_id]


def _tool(analysis: Analysis) -> dict[str, Json]:
    card = analysis.detector
    environment = dict(analysis.environment)
    return {
        "name": "dfdetect",
        "version": environment["dfdetect"],
        "environment": environment,
        "weights": {
            "detector": card.name,
            "kwargs": dict(card.kwargs),
            "sha256": card.weights_sha256,
            "provenance": dict(card.provenance),
        },
    }


def _input(analysis: Analysis) -> dict[str, Json]:
    video, hashes = analysis.video, analysis.hashes
    return {
        "name": file_name(video.path.name),
        "sha256": hashes.sha256,
        "md5": hashes.md5,
        "bytes": hashes.size_bytes,
        "n_files": hashes.n_files,
        "container": video.container,
        "codec": video.codec,
        "pixel_format": video.pixel_format,
        "width": video.width,
        "height": video.height,
        "rotation": video.rotation,
        "fps": round(video.fps, 3),
        "duration_s": round(video.duration_s, 3),
        "n_frames": video.n_frames,
        "variable_frame_rate": video.variable_frame_rate,
        "has_audio": video.has_audio,
        "tags": {file_name(key): file_name(value) for key, value in printed_tags(video)},
        "withheld_tags": [file_name(key) for key in withheld_tags(video)],
    }


def _sampling(analysis: Analysis) -> dict[str, Json]:
    sampling = analysis.sampling
    seen = {scored.face.frame_index for track in analysis.tracks for scored in track.faces}
    return {
        "rule": sampling.rule,
        "frames_requested": sampling.n_requested,
        "frames_read": sampling.n_read,
        "frames_from_neighbours": sampling.n_neighbours,
        "decode_errors": sampling.n_decode_errors,
        "frames_with_face": len(seen),
        "frames": [
            {"frame_index": index, "time_s": round(time_s, 3)} for index, time_s in analysis.sampled
        ],
    }


def _track(analysis: Analysis, track: TrackAnalysis) -> dict[str, Json]:
    verdict = verdict_of(analysis, track)
    return {
        "id": track.track_id,
        "label": words.person(track.track_id),
        "spans": [
            {
                "start_s": round(span.start_s, 3),
                "end_s": round(span.end_s, 3),
                "n_faces": span.n_faces,
            }
            for span in track.spans
        ],
        "n_faces": len(track.faces),
        "n_usable": sum(track.usable),
        "followed": track.followed,
        "logit": _rounded(track.score.logit if track.score else None, 4),
        "p_fake": _rounded(track.score.p_fake if track.score else None, 4),
        "lr": _ratio(verdict.likelihood_ratio),
        "lr_low": _ratio(verdict.lr_low),
        "lr_high": _ratio(verdict.lr_high),
        "strangeness": _rounded(track.strangeness, 3),
        "band": verdict.band.value,
        "reasons": list(verdict.reasons),
        "faces": [
            _face(scored, usable) for scored, usable in zip(track.faces, track.usable, strict=True)
        ],
    }


def _face(scored: ScoredFace, usable: bool) -> dict[str, Json]:
    face, score = scored.face, scored.score
    return {
        "frame_index": face.frame_index,
        "time_s": round(face.time_s, 3),
        "box": _box(face.box),
        "logit": round(score.logit, 4),
        "p_fake": round(score.p_fake, 4),
        "strangeness": _rounded(score.strangeness, 3),
        "usable": usable,
        "quality": _quality(face.quality),
    }


def _quality(quality: FaceQuality | None) -> Json:
    if quality is None:
        return None
    return {
        "side_px": round(quality.side_px, 1),
        "inter_eye_px": round(quality.inter_eye_px, 1),
        "sharpness": round(quality.sharpness, 1),
        "yaw": round(quality.yaw, 3),
        "confidence": round(quality.confidence, 4),
    }


def _verdict(analysis: Analysis) -> dict[str, Json]:
    verdict = analysis.verdict
    return {
        "band": verdict.band.value,
        "headline": words.headline(verdict),
        "track_id": verdict.track_id,
        "reasons": list(verdict.reasons),
        "scope_note": SCOPE,
    }


def _calibration(calibration: Calibration) -> dict[str, Json]:
    return {
        "set": calibration.set_name,
        "date": calibration.date,
        "method": calibration.method,
        "aggregate": calibration.aggregate,
        "n_real": calibration.n_real,
        "n_fake": calibration.n_fake,
        "slope": round(calibration.slope, 6),
        "intercept": round(calibration.intercept, 6),
        "lr_min": _ratio(calibration.lr_min),
        "lr_max": _ratio(calibration.lr_max),
        "rates": _rates(calibration.rates),
        "operating_points": [
            {
                "false_alarm": point.false_alarm,
                "logit": _rounded(point.logit, 4),
                "n_real": point.n_real,
                "real_flagged": point.real_flagged,
                "n_fake": point.n_fake,
                "fake_flagged": point.fake_flagged,
            }
            for point in calibration.operating_points
        ],
        "sets": [
            {
                "name": one.name,
                "n_real": one.n_real,
                "n_fake": one.n_fake,
                "rates": _rates(one.rates),
            }
            for one in calibration.sets
        ],
    }


def _rates(rates: Sequence[BandRate]) -> list[Json]:
    return [
        {
            "band": rate.band.value,
            "real_flagged": rate.real_flagged,
            "n_real": rate.n_real,
            "fake_flagged": rate.fake_flagged,
            "n_fake": rate.n_fake,
        }
        for rate in rates
    ]


def _box(box: FaceBox) -> list[Json]:
    return [round(value, 1) for value in (box.x0, box.y0, box.x1, box.y1)]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _ratio(value: float | None) -> float | None:
    # ratios live on a logarithmic scale: five digits, wherever the point stands
    return None if value is None else float(f"{value:.5g}")


def _quoted(name: str) -> str:
    if visible(name) == name:
        return shlex.quote(name)
    # $'…' names odd bytes instead of printing them; bash, zsh and ksh read it
    escaped = "".join(
        letter if letter.isalnum() or letter in " ._-/" else _escape(letter) for letter in name
    )
    return f"$'{escaped}'"


def _escape(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))
