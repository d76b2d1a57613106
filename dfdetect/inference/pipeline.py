"""One clip through the whole chain: frames → faces → scores → a verdict.

The chain streams. One full frame is alive at a time; of each frame only the small face crops
stay, until their batch is scored, and one small still a person.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from dfdetect.detectors.base import CheckpointHeader, LoadedDetector
from dfdetect.detectors.checkpoint import load_detector
from dfdetect.detectors.score import CropBatch, CropKey, score
from dfdetect.errors import UnreadableVideo, UntrustedCheckpoint, UsageError
from dfdetect.evidence.hashes import hash_clip
from dfdetect.faces.crop import crop_face
from dfdetect.faces.finder import FaceFinder, create_finder
from dfdetect.faces.track import FaceTracker
from dfdetect.inference.stills import make_still
from dfdetect.inference.timeline import find_spans
from dfdetect.inference.wording import file_name
from dfdetect.media import DecodeLimits, FrameSampler, FrameStream, probe
from dfdetect.provenance import environment
from dfdetect.scoring.verdict import QualityGates, TrackEvidence, decide, gather_evidence
from dfdetect.types import (
    Analysis,
    Calibration,
    ClipHashes,
    CropPolicy,
    DetectorCard,
    Face,
    FaceScore,
    Frame,
    Image,
    SamplingSummary,
    ScoredFace,
    Still,
    Timing,
    TrackAnalysis,
    VideoInfo,
)

Progress = Callable[[int, int], None]

BATCH_FACES = 4  # larger ones are no faster on a processor, and cost memory
LIMITS = DecodeLimits()


@dataclass(frozen=True, slots=True)
class Analyzer:
    """A detector and everything around it, ready for any number of clips.

    `gates` take the limit of strangeness from the detector's header, unless they state one.
    `finder_name` is what the report calls the finder; without one, its class is named.

    Raises:
        UsageError: The detector judges clips, not single faces.

    Example:
        >>> from dfdetect.detectors.checkpoint import load_detector
        >>> analyzer = Analyzer(load_detector(), create_finder())  # doctest: +SKIP
        >>> analyzer.analyze(Path("clip.mp4")).verdict.band  # doctest: +SKIP
        <Band.NONE: 'none'>
    """

    detector: LoadedDetector
    finder: FaceFinder
    sampler: FrameSampler = field(default_factory=partial(FrameSampler, allow_neighbours=True))
    gates: QualityGates = field(default_factory=QualityGates)
    finder_name: str = ""

    def __post_init__(self) -> None:
        header = self.detector.header
        if self.gates.max_strangeness is None:
            gates = dataclasses.replace(self.gates, max_strangeness=header.strangeness_limit)
            object.__setattr__(self, "gates", gates)  # the dataclass is frozen
        # sampled frames lie seconds apart, which no detector of clips was trained on
        if header.frames > 1:
            raise UsageError(
                f"detector {header.detector!r} judges clips of {header.frames} consecutive frames, "
                "which `dfdetect predict` does not collect yet; name the weights of a detector of "
                "single faces, or measure this one with `dfdetect evaluate`"
            )

    def analyze(self, path: Path, progress: Progress | None = None) -> Analysis:
        """Examine one clip: a video, a picture, or a folder of pictures.

        Args:
            path: The clip; it is opened for reading only.
            progress: Called with (frames done, frames wanted), first before any frame is read.

        Returns:
            The analysis; equal for equal clips, weights and versions, but for its `timing`.

        Raises:
            UnreadableVideo: The clip cannot be decoded, breaks a limit, or changed meanwhile.
            UntrustedCheckpoint: The detector has no calibration, so its scores have no meaning.
        """
        calibration = _calibration(self.detector)
        watch = _Stopwatch()
        video = probe(path, self.sampler.limits)
        before = _stamp(path)
        total = _frames_wanted(self.sampler, video)
        report_progress = progress or _ignore
        report_progress(0, total)
        with watch.stage("hash"):
            hashes = hash_clip(path, video.images if path.is_dir() else ())
        collector = _Collector(
            tracker=FaceTracker(self.finder),
            policy=self.detector.header.preprocess.crop,
            video_id=file_name(path.name),
            seed=hashes.sha256,
            watch=watch,
        )
        stream = self.sampler.sample(video)
        with watch.stage("score"):  # less what the stages within it take
            scores = score(
                self.detector,
                collector.batches(stream, lambda done: report_progress(done, max(done, total))),
            )
        if not collector.sampled:
            raise UnreadableVideo(
                f"{path.name!r} holds no frame that can be decoded; expected at least one, "
                "fetch the clip again from its source"
            )
        if _stamp(path) != before:
            raise UnreadableVideo(
                f"{path.name!r} changed while it was read; wait until it is complete and run "
                "the same command again"
            )
        report_progress(total, total)
        return self._conclude(video, hashes, stream.summary, collector, scores, calibration)

    def _conclude(
        self,
        video: VideoInfo,
        hashes: ClipHashes,
        sampling: SamplingSummary,
        collector: _Collector,
        scores: tuple[FaceScore, ...],
        calibration: Calibration,
    ) -> Analysis:
        n_frames = len(collector.sampled)
        people = collector.scored_faces(scores)
        evidence = {
            track_id: gather_evidence(faces, n_frames, calibration, self.gates)
            for track_id, faces in people.items()
        }
        verdict = decide(tuple(evidence.values()), calibration, self.gates)
        tracks = tuple(
            TrackAnalysis(
                track_id=track_id,
                faces=faces,
                usable=tuple(
                    not evidence[track_id].n_strange and self._is_usable(scored.face)
                    for scored in faces
                ),
                followed=2 * len(faces) >= min(self.gates.min_faces, n_frames),
                spans=find_spans(collector.sampled, faces),
                score=evidence[track_id].score,
                strangeness=evidence[track_id].strangeness,
                still=collector.stills[track_id],
            )
            for track_id, faces in people.items()
        )
        return Analysis(
            video=video,
            hashes=hashes,
            sampling=sampling,
            sampled=tuple(collector.sampled),
            tracks=tracks,
            verdict=verdict,
            detector=_card(self.detector, calibration),
            skipped=_skipped(sampling, collector, tuple(evidence.values())),
            settings=self._settings(),
            environment=_environment(),
            timing=collector.watch.timing(),
        )

    def _is_usable(self, face: Face) -> bool:
        return face.quality is not None and self.gates.is_usable(face.quality)

    def _settings(self) -> tuple[tuple[str, str], ...]:
        sampling = dataclasses.asdict(self.sampler)
        limits = sampling.pop("limits")
        groups = {
            "sampling": sampling,
            "limits": limits,
            "gates": dataclasses.asdict(self.gates),
            "crop": dataclasses.asdict(self.detector.header.preprocess.crop),
        }
        pairs = [
            (f"{group}.{key}", str(value))
            for group, values in groups.items()
            for key, value in values.items()
        ]
        return tuple(sorted([*pairs, ("finder", self.finder_name or type(self.finder).__name__)]))


def analyze(
    path: Path | str,
    *,
    detector: LoadedDetector | Path | str | None = None,
    finder: FaceFinder | str | None = None,
    frames: int = 32,
    limits: DecodeLimits = LIMITS,
    progress: Progress | None = None,
) -> Analysis:
    """Examine one clip and return all that was found; nothing is written.

    Args:
        path: A video, a picture, or a folder of pictures.
        detector: A loaded detector, or a file of weights; None for the bundled one, which runs
            on ONNX Runtime and never imports torch.
        finder: A face finder or its name; None for the bundled one.
        frames: Frames to look at, spread evenly over the whole clip.
        limits: What is refused before decoding.
        progress: Called with (frames done, frames wanted).

    Raises:
        UnreadableVideo: The clip cannot be decoded or breaks a limit.
        UntrustedCheckpoint: The detector's weights are incomplete, altered or uncalibrated.

    Example:
        >>> analyze("clip.mp4").verdict.band  # doctest: +SKIP
        <Band.NONE: 'none'>
    """
    loaded = load_detector(detector) if isinstance(detector, Path | str | None) else detector
    name = (finder or "onnx") if isinstance(finder, str | None) else ""
    found = create_finder(name) if isinstance(finder, str | None) else finder
    sampler = FrameSampler(count=frames, allow_neighbours=True, limits=limits)
    return Analyzer(loaded, found, sampler, finder_name=name).analyze(Path(path), progress)


class _Stopwatch:
    """Wall seconds a stage; a stage within another is not counted twice."""

    def __init__(self) -> None:
        self.started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._mark = self._start

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self._seconds[name] = self._seconds.get(name, 0.0) + now - self._mark
        self._mark = now

    def timing(self) -> Timing:
        total = ("total", time.perf_counter() - self._start)
        return Timing(self.started_at, (*sorted(self._seconds.items()), total))


@dataclass(slots=True)
class _Collector:
    """What is kept while frames pass by."""

    tracker: FaceTracker
    policy: CropPolicy
    video_id: str
    seed: str
    watch: _Stopwatch
    sampled: list[tuple[int, float]] = field(default_factory=list)
    n_without_face: int = 0
    faces: dict[int, list[Face]] = field(default_factory=dict)
    stills: dict[int, Still] = field(default_factory=dict)
    _largest: dict[int, float] = field(default_factory=dict)

    def batches(self, stream: FrameStream, done: Callable[[int], None]) -> Iterator[CropBatch]:
        keys: list[CropKey] = []
        crops: list[Image] = []
        frames = iter(stream)
        while (frame := self._next(frames)) is not None:
            for track_id, face in self._take(frame):
                keys.append(CropKey(self.video_id, track_id, frame.index, frame.time_s))
                crops.append(crop_face(frame.image, face, self.policy))
                if len(keys) == BATCH_FACES:
                    yield CropBatch(tuple(keys), np.stack(crops))
                    keys, crops = [], []
            del frame  # or it would live on while the next one is decoded
            done(len(self.sampled))
        if keys:
            yield CropBatch(tuple(keys), np.stack(crops))

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        with self.watch.stage("decode"):
            return next(frames, None)

    def _take(self, frame: Frame) -> tuple[tuple[int, Face], ...]:
        with self.watch.stage("faces"):
            found = self.tracker.update(frame)
            self.sampled.append((frame.index, frame.time_s))
            self.n_without_face += not found
            for track_id, face in found:
                self.faces.setdefault(track_id, []).append(face)
                if face.box.side > self._largest.get(track_id, 0.0):
                    self._largest[track_id] = face.box.side
                    others = [other for number, other in found if number != track_id]
                    self.stills[track_id] = make_still(frame, face, others, self.seed)
        return found

    def scored_faces(self, scores: tuple[FaceScore, ...]) -> dict[int, tuple[ScoredFace, ...]]:
        answers = {(each.track_id, each.frame_index): each for each in scores}
        return {
            track_id: tuple(
                ScoredFace(face, answers[track_id, face.frame_index])
                for face in self.faces[track_id]
            )
            for track_id in sorted(self.faces)
        }


def _calibration(detector: LoadedDetector) -> Calibration:
    header: CheckpointHeader = detector.header
    if header.calibration is None:
        raise UntrustedCheckpoint(
            f"detector {header.detector!r} (weights {detector.weights_sha256[:12]}) has no "
            "calibration, so its scores mean nothing yet; train it with `dfdetect train`, which "
            "calibrates on the validation split"
        )
    return header.calibration


def _card(detector: LoadedDetector, calibration: Calibration) -> DetectorCard:
    header = detector.header
    return DetectorCard(
        name=header.detector,
        kwargs=tuple(sorted((key, str(value)) for key, value in header.kwargs)),
        crop=header.preprocess.crop,
        weights_sha256=detector.weights_sha256,
        provenance=tuple(sorted(header.provenance)),
        calibration=calibration,
    )


def _skipped(
    sampling: SamplingSummary, collector: _Collector, evidence: tuple[TrackEvidence, ...]
) -> tuple[tuple[str, int], ...]:
    counts = {
        "frame_not_read": max(0, sampling.n_wanted - sampling.n_read),
        "packet_not_decoded": sampling.n_decode_errors,
        "frame_without_face": collector.n_without_face,
        "face_too_small": sum(track.faults.n_small for track in evidence),
        "face_too_blurred": sum(track.faults.n_blurred for track in evidence),
        "face_turned_away": sum(track.faults.n_profile for track in evidence),
        "face_too_strange": sum(track.n_strange for track in evidence),
        "face_not_usable": sum(track.n_seen - track.n_usable for track in evidence),
    }
    return tuple(sorted(counts.items()))


def _environment() -> tuple[tuple[str, str], ...]:
    found = environment()
    named = {
        "dfdetect": found.dfdetect,
        "python": found.python,
        "system": found.system,
        "machine": found.machine,
    }
    return tuple(sorted((named | dict(found.packages)).items()))


def _frames_wanted(sampler: FrameSampler, video: VideoInfo) -> int:
    if sampler.rule == "even":
        return min(sampler.count, video.n_frames or sampler.count)
    if sampler.rule == "fps":
        return max(1, round(video.duration_s * sampler.fps))
    return video.n_frames or max(1, round(video.duration_s * video.fps))


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _ignore(_done: int, _total: int) -> None:
    return
