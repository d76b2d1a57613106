"""Faces unlike all that a detector learned from: no verdict on them, whatever their score."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from dfdetect.scoring.verdict import QualityGates, TrackEvidence, decide, gather_evidence
from dfdetect.types import (
    Band,
    Calibration,
    Face,
    FaceBox,
    FaceQuality,
    FaceScore,
    ScoredFace,
    Verdict,
)

CALIBRATION = Calibration("platt", 1.0, 0.0, 1e-3, 1e3, 500, 500, "val", "2026-01-01")
GATES = QualityGates(max_strangeness=2.5)
ORDER = [Band.NONE, Band.INCONCLUSIVE, Band.WEAK, Band.MODERATE, Band.STRONG]
GOOD = FaceQuality(side_px=200.0, inter_eye_px=80.0, sharpness=500.0, yaw=0.0, confidence=0.99)
BAD = dataclasses.replace(GOOD, side_px=20.0)
KNOWN, STRANGE = 1.0, 4.0


def scored(
    track: int,
    frame: int,
    logit: float,
    strangeness: float | None = KNOWN,
    quality: FaceQuality = GOOD,
) -> ScoredFace:
    face = Face(frame, frame * 0.5, FaceBox(0, 0, 200, 200), (), 0.99, quality)
    p_fake = float(expit(logit))
    return ScoredFace(face, FaceScore("v", track, frame, frame * 0.5, logit, p_fake, strangeness))


def track(
    number: int, strangeness: list[float | None], logit: float = 6.0, n_frames: int = 32
) -> TrackEvidence:
    faces = [scored(number, frame, logit, each) for frame, each in enumerate(strangeness)]
    return gather_evidence(faces, n_frames, CALIBRATION, GATES)


def judge(*tracks: TrackEvidence, gates: QualityGates = GATES) -> Verdict:
    return decide(tracks, CALIBRATION, gates)


@pytest.mark.parametrize("logit", [-6.0, 0.0, 6.0])
def test_a_strange_face_is_neither_flagged_nor_cleared(logit: float) -> None:
    evidence = track(0, [STRANGE] * 16, logit)
    found = judge(evidence)
    assert found.band is Band.INCONCLUSIVE
    assert found.tracks[0].likelihood_ratio is None
    assert found.reasons == (
        "most of the 16 faces are unlike the photographed faces that the detector learned from: "
        "they may be drawn, filtered, masked or not human, so their score means nothing",
    )
    assert (evidence.n_strange, evidence.n_usable, evidence.score) == (16, 0, None)
    assert evidence.strangeness == STRANGE


def test_a_single_strange_picture() -> None:
    found = judge(track(0, [STRANGE], n_frames=1))
    assert found.reasons[0].startswith("this face is unlike the photographed faces")


def test_a_few_strange_faces_change_nothing() -> None:
    mostly = track(0, [STRANGE] * 7 + [KNOWN] * 9)
    assert mostly.n_strange == 0
    assert mostly.n_usable == 16
    assert judge(mostly) == judge(track(0, [KNOWN] * 16))


def test_the_limit_itself_is_not_strange() -> None:
    assert judge(track(0, [2.5] * 16)).band is Band.STRONG
    assert judge(track(0, [math.nextafter(2.5, 3)] * 16)).band is Band.INCONCLUSIVE


def test_without_a_limit_or_a_measure_all_is_as_before() -> None:
    faces = [scored(0, frame, 6.0, STRANGE) for frame in range(16)]
    free = QualityGates()
    assert judge(gather_evidence(faces, 32, CALIBRATION, free), gates=free).band is Band.STRONG
    assert judge(track(0, [None] * 16)).band is Band.STRONG


def test_faces_of_bad_quality_do_not_make_a_track_strange() -> None:
    faces = [scored(0, frame, 6.0, STRANGE, BAD) for frame in range(16)]
    faces += [scored(0, frame, 6.0, KNOWN) for frame in range(16, 26)]
    evidence = gather_evidence(faces, 32, CALIBRATION, GATES)
    assert (evidence.strangeness, evidence.n_strange) == (KNOWN, 0)
    assert judge(evidence).band is Band.STRONG
    small = [scored(0, frame, 6.0, STRANGE, BAD) for frame in range(16)]
    reason = judge(gather_evidence(small, 32, CALIBRATION, GATES)).reasons[0]
    assert "too small" in reason


def test_a_drawing_beside_a_face_is_named() -> None:
    found = judge(track(0, [KNOWN] * 16, -6.0), track(1, [STRANGE] * 16))
    assert found.band is Band.INCONCLUSIVE
    assert found.reasons == ("person B could not be judged, although nobody else shows signs",)
    flagged = judge(track(0, [KNOWN] * 16, 6.0), track(1, [STRANGE] * 16))
    assert flagged.band is Band.STRONG
    assert "1 further person could not be judged" in flagged.reasons


levels = st.one_of(st.none(), st.floats(0, 5))
faces_of = st.lists(st.tuples(st.floats(-8, 8), levels), min_size=1, max_size=12)


@st.composite
def clips(draw: st.DrawFn) -> list[list[ScoredFace]]:
    qualities = st.sampled_from([GOOD, GOOD, BAD])
    return [
        [
            scored(number, frame, logit, level, draw(qualities))
            for frame, (logit, level) in enumerate(draw(faces_of))
        ]
        for number in range(draw(st.integers(1, 3)))
    ]


def verdict_on(tracks: list[list[ScoredFace]], gates: QualityGates = GATES) -> Verdict:
    evidence = [gather_evidence(faces, 10, CALIBRATION, gates) for faces in tracks]
    return decide(evidence, CALIBRATION, gates)


@given(clips(), st.integers(0, 2), st.integers(0, 11), st.floats(0, 16))
def test_a_higher_score_never_lowers_the_band(clip, which, where, step) -> None:
    which %= len(clip)
    where %= len(clip[which])
    old = clip[which][where]
    logit = old.score.logit + step
    raised = [list(faces) for faces in clip]
    raised[which][where] = dataclasses.replace(
        old, score=dataclasses.replace(old.score, logit=logit, p_fake=float(expit(logit)))
    )
    assert ORDER.index(verdict_on(raised).band) >= ORDER.index(verdict_on(clip).band)


@given(clips(), st.floats(0, 5))
def test_a_stricter_limit_flags_no_more_people(clip, limit: float) -> None:
    strict, free = (
        {one.track_id for one in found.tracks if one.likelihood_ratio is not None}
        for found in (
            verdict_on(clip, dataclasses.replace(GATES, max_strangeness=limit)),
            verdict_on(clip, QualityGates()),
        )
    )
    assert strict <= free


@given(clips(), st.floats(-8, 8), st.floats(-8, 8))
def test_the_score_of_a_strange_track_has_no_say(clip, one: float, other: float) -> None:
    seen = [
        verdict_on([*clip, [scored(len(clip), frame, logit, STRANGE) for frame in range(10)]])
        for logit in (one, other)
    ]
    assert seen[0] == seen[1]
