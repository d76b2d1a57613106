"""The nouns that pass between stages: frozen dataclasses over numpy arrays, nothing else.

Conventions hold everywhere: label 1 = fake; `p_fake` in [0, 1], higher = more fake; images are
RGB uint8, height × width × 3; boxes are xyxy in source pixels; time is in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
Point: TypeAlias = tuple[float, float]

REAL = 0
FAKE = 1


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the container says of a clip, before any frame is judged.

    `width` and `height` are those of the upright picture, after `rotation` (degrees clockwise,
    0, 90, 180 or 270) is applied. `n_frames` is the container's claim and None where it makes
    none. `tags` are the container's and the video stream's metadata, sorted by key.
    `images` lists the files of a clip made of pictures, in order; it is empty for a video.
    """

    path: Path
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    fps: float
    duration_s: float
    n_frames: int | None
    rotation: int = 0
    variable_frame_rate: bool = False
    has_audio: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    images: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """One upright picture of a clip: `index` counts presented frames from 0."""

    index: int
    time_s: float
    image: Image = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SamplingSummary:
    """What sampling asked of a clip and what it got; nothing is dropped uncounted.

    `n_wanted` frames of the clip answer to what was asked for: fewer than `n_requested` where the
    clip has fewer. `n_neighbours` frames were taken from a position next to the wanted one
    (`predict` skips frames that no other frame refers to); `n_decode_errors` packets could not be
    decoded.
    `notes` say in words what else a reader should know, such as a header that claims more than
    the file holds.
    """

    rule: str
    n_requested: int
    n_wanted: int
    n_read: int
    n_neighbours: int = 0
    n_decode_errors: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face's bounding box, xyxy in source pixels; it may reach beyond the picture.

    Example:
        >>> FaceBox(10, 20, 50, 80).side
        60
    """

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y1 - self.y0

    @property
    def side(self) -> float:
        """The longer side in pixels."""
        return max(self.width, self.height)

    @property
    def centre(self) -> Point:
        """Centre (x, y) in source pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def area(self) -> float:
        """Area in square pixels, never negative."""
        return max(0.0, self.width) * max(0.0, self.height)

    def iou(self, other: FaceBox) -> float:
        """Intersection over union with another box, in [0, 1].

        Example:
            >>> FaceBox(0, 0, 2, 2).iou(FaceBox(1, 0, 3, 2))
            0.3333333333333333
        """
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        shared = max(0.0, width) * max(0.0, height)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """How usable a face is for judging.

    `side_px` is the longer side of the box in source pixels; `inter_eye_px` the distance between
    the eyes; `sharpness` the variance of the Laplacian of the luma of the face resized to a fixed
    size (higher = sharper); `yaw` a pose proxy in [-1, 1] from the five points (0 = frontal,
    ±1 = profile); `confidence` the finder's probability that this is a face.
    """

    side_px: float
    inter_eye_px: float
    sharpness: float
    yaw: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one frame.

    `landmarks` are five points in source pixels: the eye on the picture's left, the eye on its
    right, the nose tip, the mouth corner on the left, the mouth corner on the right.
    """

    frame_index: int
    time_s: float
    box: FaceBox
    landmarks: tuple[Point, ...]
    confidence: float
    quality: FaceQuality | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """One person over time: faces in the order of their frames, at most one a frame.

    `track_id` counts from 0 in order of first appearance (ties: from the picture's left).
    """

    track_id: int
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class CropPolicy:
    """How a face is cut out: `square` takes the box's longer side × `scale`, unaligned.

    `aligned` maps the five points onto a template at the same scale; `whole` takes a picture that
    was cropped before. Sizes are in pixels, the result is `size` × `size`.
    """

    name: str = "square"
    scale: float = 1.3
    size: int = 224


@dataclass(frozen=True, slots=True)
class FaceScore:
    """A detector's answer for one face: `logit` > 0 leans to fake, `p_fake` is its sigmoid.

    `strangeness` says how unlike the face is to those that the detector learned from, about 1 for
    a face like them; None where the weights do not tell it.
    """

    video_id: str
    track_id: int
    frame_index: int
    time_s: float
    logit: float
    p_fake: float
    strangeness: float | None = None


@dataclass(frozen=True, slots=True)
class TrackScore:
    """The answer for one person over time: `logit` is aggregated over `n_faces` usable faces."""

    track_id: int
    n_faces: int
    logit: float
    p_fake: float


class Band(str, Enum):
    """What a verdict says, from strongest to weakest, and the two ways of saying nothing."""

    STRONG = "strong"
    MODERATE = "moderate"
    WEAK = "weak"
    NONE = "none"
    INCONCLUSIVE = "inconclusive"
    NO_FACE = "no_face"


@dataclass(frozen=True, slots=True)
class BandRate:
    """How often clips of the calibration set reached this band or a stronger one.

    Counts are of clips: `real_flagged` of `n_real` authentic ones, `fake_flagged` of `n_fake`.
    For `Band.NONE` they are the clips in which no signs were found.
    """

    band: Band
    real_flagged: int
    n_real: int
    fake_flagged: int
    n_fake: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold on a clip's logit; a clip is flagged where its logit lies strictly above it.

    At most a share `false_alarm` of genuine clips like those of the calibration set are flagged,
    on average over such sets. `logit` is None where the set is too small to support that. The
    counts, of clips, are those measured on clips that did not set the threshold.

    Raises:
        ValueError: The numbers contradict each other.
    """

    false_alarm: float
    logit: float | None
    n_real: int
    real_flagged: int
    n_fake: int
    fake_flagged: int

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm < 1:
            raise ValueError(f"a false-alarm share must lie in (0, 1), not {self.false_alarm}")
        if not (0 <= self.real_flagged <= self.n_real and 0 <= self.fake_flagged <= self.n_fake):
            raise ValueError("an operating point flags more clips than it has, or fewer than none")


@dataclass(frozen=True, slots=True)
class SetRates:
    """The same counts of bands for one dataset among those that a calibration was fitted to."""

    name: str
    n_real: int
    n_fake: int
    rates: tuple[BandRate, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a track's logit into a likelihood ratio, and the error rates that were measured.

    log LR = `slope` · logit + `intercept`, fitted with both classes weighted alike, so that an LR
    above 1 favours manipulation; it is clipped to [`lr_min`, `lr_max`], the most extreme values
    that a calibration set of this size supports. `temperature` scaling is the case intercept 0.
    `covariance` is (var slope, cov slope-intercept, var intercept) of the fit, None where it was
    not estimated. `aggregate` names how faces became the logit (`scoring.aggregate`): another
    rule gives logits of another spread, for which this calibration does not hold. `sets` repeats
    `rates` by dataset. Calibrations from before there were `operating_points` and `sets` have none.
    """

    method: str
    slope: float
    intercept: float
    lr_min: float
    lr_max: float
    n_real: int
    n_fake: int
    set_name: str
    date: str
    rates: tuple[BandRate, ...] = ()
    covariance: tuple[float, float, float] | None = None
    aggregate: str = "mean_logit"
    operating_points: tuple[OperatingPoint, ...] = ()
    sets: tuple[SetRates, ...] = ()


@dataclass(frozen=True, slots=True)
class TrackVerdict:
    """The verdict on one person, with the reasons in plain words."""

    track_id: int
    band: Band
    likelihood_ratio: float | None
    lr_low: float | None
    lr_high: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a clip: that of its most suspicious sound track, named by `track_id`."""

    band: Band
    track_id: int | None
    reasons: tuple[str, ...]
    tracks: tuple[TrackVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class ClipHashes:
    """The fingerprints of a clip's bytes: hex digits, and the size in bytes.

    For a folder of pictures the hashes are those of the listing `sha256sum` prints for them.
    """

    sha256: str
    md5: str
    size_bytes: int
    n_files: int = 1


@dataclass(frozen=True, slots=True)
class DetectorCard:
    """What a report says of the detector it used: enough to find the same weights again.

    `kwargs` and `provenance` (what it was trained on, by which command, on how much) are sorted
    pairs of words; `weights_sha256` is the hash of the weights' file.
    """

    name: str
    kwargs: tuple[tuple[str, str], ...]
    crop: CropPolicy
    weights_sha256: str
    provenance: tuple[tuple[str, str], ...]
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class ScoredFace:
    """One sampled face of a track with the detector's answer."""

    face: Face
    score: FaceScore


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds, in which every sampled frame shows the same person."""

    start_s: float
    end_s: float
    n_faces: int


@dataclass(frozen=True, slots=True)
class Still:
    """One small picture of a track: `box` and all of `others` are in its own pixels.

    `obscured` hides every face beyond recovery and is what reports show. `clear` is the same
    picture as filmed; it lives in memory only and is written nowhere unless a person asks.
    """

    frame_index: int
    time_s: float
    box: FaceBox
    others: tuple[FaceBox, ...]
    obscured: Image = field(repr=False, compare=False)
    clear: Image = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class TrackAnalysis:
    """All that was found about one person over time.

    `usable` says of each face whether it was good enough to be judged; `score` is over those
    faces, None where there are none. `followed` is False for a face seen in passing: in too few
    frames to count as one of the clip's people, and often no face at all. `strangeness` is the
    median of the faces that are large, sharp and frontal enough; None where nothing is known.
    """

    track_id: int
    faces: tuple[ScoredFace, ...]
    usable: tuple[bool, ...]
    followed: bool
    spans: tuple[Span, ...]
    score: TrackScore | None
    still: Still
    strangeness: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """When an analysis began (UTC, ISO 8601) and the wall seconds of each stage, in order."""

    started_at: str
    stages: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """One clip, examined; everything but `timing` is the same whenever it is run again.

    `sampled` are the frames looked at, as (index, seconds); `skipped` counts by reason what was
    not judged; `settings` and `environment` are sorted pairs that repeat the run.
    """

    video: VideoInfo
    hashes: ClipHashes
    sampling: SamplingSummary
    sampled: tuple[tuple[int, float], ...]
    tracks: tuple[TrackAnalysis, ...]
    verdict: Verdict
    detector: DetectorCard
    skipped: tuple[tuple[str, int], ...]
    settings: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    timing: Timing
