"""Calibrated scores and the quality of what was seen → a verdict band, with its reasons.

The rules, in order:

1. A face is usable if it is large, sharp and frontal enough (`QualityGates`); a track is sound if
   enough of its faces are usable. Unsound tracks get no likelihood ratio (LR): whatever their
   score, they neither raise nor clear a clip. A track whose faces are mostly too strange, that is
   unlike all that the detector learned from, has no usable face: what a detector says of drawings,
   dolls and animals means nothing.
2. A sound track's band is that of its LR (`calibrate.BAND_LIMITS`). It is inconclusive where the
   LR is near 1, or where a quarter of its faces says clearly the opposite.
3. One picture, or a sighting too brief for its frames to be different looks, has nothing to
   confirm it: at most moderate signs.
4. The clip's band is that of its most suspicious sound track. With several persons one high score
   is likelier by chance, so the mean of their LRs (the LR of "one of them, no matter which, is
   manipulated") must still reach the limit of weak signs; otherwise the tracks disagree.
5. No signs are reported only if every sound track is clear and no prominent person went unjudged;
   a face that is small beside the judged ones, or was seen in passing, is named but does not
   make the clip inconclusive: nearly every street scene has one.

Raising a face's score never lowers a band in the order none < inconclusive < weak < moderate <
strong, and the order of tracks and faces does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfdetect.scoring import words
from dfdetect.scoring.aggregate import track_scores
from dfdetect.scoring.calibrate import (
    BAND_LIMITS,
    band_of,
    is_bounded,
    log_likelihood_ratio,
    log_lr_interval,
)
from dfdetect.types import (
    Band,
    Calibration,
    FaceQuality,
    ScoredFace,
    TrackScore,
    TrackVerdict,
    Verdict,
)

_RANK = {
    Band.NONE: 0,
    Band.INCONCLUSIVE: 1,
    Band.WEAK: 2,
    Band.MODERATE: 3,
    Band.STRONG: 4,
}


@dataclass(frozen=True, slots=True)
class QualityGates:
    """What a face, and a track of faces, must be like to be judged.

    `min_faces`: usable faces a track needs, or one a frame where fewer frames exist; 8 of 32 is
    a quarter of the clip, below which one bad moment decides.
    `min_side_px`: across less than 64 px, one re-encoding wipes out what detectors look for.
    `min_sharpness`: 10 is what a blur of sigma 0.02 sides leaves; below it lie 1 in 25 faces of
    DFDC and none of FaceForensics++ c23, while a sharp face of 66 px has 30 and more.
    `max_yaw`: 0.8 puts the nose nearly below an eye, about 45° from the front: half of the face is
    gone. Of 150 frames of YouTube Faces, 7 of the 11 turned further than that lie beyond it, and 1
    of the 139 others (0.9: 4 and none).
    `min_span_s`: frames of a shorter sighting are nearly one picture.
    `prominent`: share of the largest judged face's side from which an unjudged face counts.
    `max_strangeness`: what the median face of a track may have; it belongs to the detector's
    weights (the limit in their header), and None judges faces however strange.
    """

    min_faces: int = 8
    min_side_px: float = 64.0
    min_sharpness: float = 10.0
    max_yaw: float = 0.8
    min_span_s: float = 2.0
    prominent: float = 0.5
    max_strangeness: float | None = None

    def is_usable(self, quality: FaceQuality) -> bool:
        """Return whether a face is large, sharp and frontal enough to be judged."""
        return not (self._small(quality) or self._blurred(quality) or self._profile(quality))

    def is_strange(self, strangeness: Sequence[float | None]) -> bool:
        """Return whether the faces of a track are mostly unlike what the detector learned from.

        Faces of which nothing is known are left out.
        """
        median = median_strangeness(strangeness)
        if median is None or self.max_strangeness is None:
            return False
        return median > self.max_strangeness

    def _small(self, quality: FaceQuality) -> bool:
        return quality.side_px < self.min_side_px

    def _blurred(self, quality: FaceQuality) -> bool:
        return quality.sharpness < self.min_sharpness

    def _profile(self, quality: FaceQuality) -> bool:
        return abs(quality.yaw) > self.max_yaw

    def faults(self, qualities: Sequence[FaceQuality]) -> words.Faults:
        """Count the faces that are too small, too blurred, and turned away; one may be all."""
        return words.Faults(
            n_small=sum(self._small(quality) for quality in qualities),
            n_blurred=sum(self._blurred(quality) for quality in qualities),
            n_profile=sum(self._profile(quality) for quality in qualities),
        )


@dataclass(frozen=True, slots=True)
class TrackEvidence:
    """What a verdict on one person rests on.

    `score` is over the usable faces, None where there are none; `n_seen` counts all faces of the
    track, `n_frames` the frames sampled from the clip, `faults` what made faces unusable. The
    medians are over all faces. `logit_low` and `logit_high` are the quartiles of the usable
    faces' logits (0 where there are none): how far the frames agree. `strangeness` is the median
    of the faces that are large, sharp and frontal enough, None where nothing is known of them;
    `n_strange` of these were not used because most of them are too strange.
    """

    track_id: int
    score: TrackScore | None
    n_seen: int
    n_frames: int
    span_s: float
    median_side_px: float
    median_sharpness: float
    faults: words.Faults
    logit_low: float
    logit_high: float
    strangeness: float | None = None
    n_strange: int = 0

    @property
    def n_usable(self) -> int:
        """The number of faces the score rests on."""
        return self.score.n_faces if self.score else 0


def gather_evidence(
    faces: Sequence[ScoredFace],
    n_frames: int,
    calibration: Calibration,
    gates: QualityGates = QualityGates(),
) -> TrackEvidence:
    """Summarise one track: its scored faces, all of one person, in any order.

    Args:
        faces: At least one; each face carries its `quality`.
        n_frames: Frames that were sampled from the clip.
        calibration: Of the detector; it names how faces become a track's score.
        gates: Which faces are usable.

    Raises:
        ValueError: There are no faces, they are of several tracks, or one has no quality.
    """
    if len({scored.score.track_id for scored in faces}) != 1:
        raise ValueError("evidence is of one track: give the faces of one, and at least one face")
    qualities = [_quality(scored) for scored in faces]
    clear = [
        scored.score
        for scored, quality in zip(faces, qualities, strict=True)
        if gates.is_usable(quality)
    ]
    strangeness = [score.strangeness for score in clear]
    usable = [] if gates.is_strange(strangeness) else clear
    logits = [score.logit for score in usable] or [0.0]
    times = [scored.face.time_s for scored in faces]
    low, high = np.percentile(logits, [25, 75])
    return TrackEvidence(
        track_id=faces[0].score.track_id,
        score=track_scores(usable, calibration.aggregate)[0] if usable else None,
        n_seen=len(faces),
        n_frames=n_frames,
        span_s=max(times) - min(times),
        median_side_px=float(np.median([quality.side_px for quality in qualities])),
        median_sharpness=float(np.median([quality.sharpness for quality in qualities])),
        faults=gates.faults(qualities),
        logit_low=float(low),
        logit_high=float(high),
        strangeness=median_strangeness(strangeness),
        n_strange=len(clear) - len(usable),
    )


def median_strangeness(strangeness: Sequence[float | None]) -> float | None:
    """Return the median of what is known, None where nothing is.

    Example:
        >>> median_strangeness([1.0, None, 4.0, 2.0]), median_strangeness([None])
        (2.0, None)
    """
    known = [each for each in strangeness if each is not None]
    return float(np.median(known)) if known else None


def decide(
    tracks: Sequence[TrackEvidence],
    calibration: Calibration,
    gates: QualityGates = QualityGates(),
) -> Verdict:
    """Return the verdict on a clip, by the rules at the head of this module.

    Args:
        tracks: One a person, in any order; none gives `Band.NO_FACE`.
        calibration: Of the detector that scored them.
        gates: The same as for `gather_evidence`.

    Raises:
        ValueError: Two tracks have one id, or a score is not finite.
    """
    ordered = sorted(tracks, key=lambda track: track.track_id)
    if len({track.track_id for track in ordered}) != len(ordered):
        raise ValueError("two tracks have one id; give each person's evidence once")
    if not ordered:
        return Verdict(Band.NO_FACE, None, (words.NO_FACE_REASON,))
    judged = tuple(_judge(track, calibration, gates) for track in ordered)
    pairs = tuple(zip(ordered, judged, strict=True))
    sound = [pair for pair in pairs if pair[1].likelihood_ratio is not None]
    if not sound:
        largest = max(pairs, key=lambda pair: (pair[0].n_usable, pair[0].median_side_px))[1]
        return Verdict(Band.INCONCLUSIVE, None, _named(largest, len(pairs)), judged)
    top = max(sound, key=lambda pair: (_RANK[pair[1].band], _ratio(pair[1]), -pair[0].track_id))
    band, reasons = _clip(top, sound, pairs, gates)
    return Verdict(band, top[0].track_id, reasons, judged)


_Pair = tuple[TrackEvidence, TrackVerdict]


def _clip(
    top: _Pair, sound: Sequence[_Pair], pairs: Sequence[_Pair], gates: QualityGates
) -> tuple[Band, tuple[str, ...]]:
    evidence, verdict = top
    unjudged = [pair[0] for pair in pairs if pair[1].likelihood_ratio is None]
    if verdict.band is Band.NONE:
        side = max(pair[0].median_side_px for pair in sound)
        prominent = [track for track in unjudged if _is_prominent(track, side, gates)]
        if prominent:
            ids = [track.track_id for track in prominent]
            return Band.INCONCLUSIVE, (words.prominent_unjudged(ids),)
        about = (words.all_clear(len(sound)), *verdict.reasons)
        return Band.NONE, (*about, *words.passed_over(len(unjudged)))
    if verdict.band is Band.INCONCLUSIVE:
        return Band.INCONCLUSIVE, _named(verdict, len(pairs))
    mean_ratio = math.fsum(_ratio(pair[1]) for pair in sound) / len(sound)
    if mean_ratio < BAND_LIMITS[-1][1]:
        reason = words.tracks_disagree(verdict.track_id, verdict.band, len(sound))
        return Band.INCONCLUSIVE, (reason,)
    where = words.signs_in(verdict.track_id, evidence.n_usable)
    return verdict.band, (where, *verdict.reasons, *words.passed_over(len(unjudged)))


def _judge(track: TrackEvidence, calibration: Calibration, gates: QualityGates) -> TrackVerdict:
    needed = _needed(track, gates)
    if track.n_strange:
        reason = words.too_strange(track.n_strange)
        return TrackVerdict(track.track_id, Band.INCONCLUSIVE, None, None, None, (reason,))
    if track.score is None or track.n_usable < needed:
        reason = words.too_few_usable(track.n_usable, track.n_seen, needed, track.faults)
        return TrackVerdict(track.track_id, Band.INCONCLUSIVE, None, None, None, (reason,))
    log_lr = log_likelihood_ratio(calibration, track.score.logit)
    band, reasons = _track_band(track, log_lr, calibration, gates)
    if is_bounded(calibration, track.score.logit):
        reasons = (*reasons, words.bounded(log_lr, calibration))
    interval = log_lr_interval(calibration, track.score.logit)
    low, high = (None, None) if interval is None else map(math.exp, interval)
    return TrackVerdict(track.track_id, band, math.exp(log_lr), low, high, reasons)


def _track_band(
    track: TrackEvidence, log_lr: float, calibration: Calibration, gates: QualityGates
) -> tuple[Band, tuple[str, ...]]:
    band = band_of(log_lr)
    # each quartile is held against the band it could contradict, so that a higher score of any
    # one face can only move the track up
    doubt = track.logit_high if band is Band.NONE else track.logit_low
    opposite = band_of(log_likelihood_ratio(calibration, doubt))
    if band is Band.INCONCLUSIVE:
        return band, (words.NEAR_THRESHOLD,)
    if (band is Band.NONE and _RANK[opposite] >= _RANK[Band.WEAK]) or (
        band is not Band.NONE and opposite is Band.NONE
    ):
        return Band.INCONCLUSIVE, (words.FRAMES_DISAGREE,)
    is_capped = band is Band.STRONG
    if track.n_frames < gates.min_faces:
        note = words.few_pictures(track.n_frames, is_capped)
    elif track.span_s < gates.min_span_s:
        note = words.brief(track.n_seen, track.span_s, is_capped)
    else:
        return band, ()
    return (Band.MODERATE if is_capped else band), (note,)


def _needed(track: TrackEvidence, gates: QualityGates) -> int:
    return max(1, min(gates.min_faces, track.n_frames))


def _is_prominent(track: TrackEvidence, side: float, gates: QualityGates) -> bool:
    is_large = track.median_side_px >= gates.prominent * side
    return is_large and 2 * track.n_seen >= _needed(track, gates)


def _named(verdict: TrackVerdict, n_tracks: int) -> tuple[str, ...]:
    if n_tracks == 1:
        return verdict.reasons
    return tuple(f"{reason} ({words.person(verdict.track_id)})" for reason in verdict.reasons)


def _ratio(verdict: TrackVerdict) -> float:
    return verdict.likelihood_ratio or 0.0


def _quality(scored: ScoredFace) -> FaceQuality:
    if scored.face.quality is None:
        raise ValueError("a face has no quality; measure it (faces.crop.face_quality) first")
    return scored.face.quality
