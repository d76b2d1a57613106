"""Verdicts: each rule once by example, and the laws that hold for any evidence."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from dfdetect.scoring.verdict import QualityGates, TrackEvidence, decide, gather_evidence
from dfdetect.scoring.words import Faults, headline
from dfdetect.types import (
    Band,
    Calibration,
    Face,
    FaceBox,
    FaceQuality,
    FaceScore,
    ScoredFace,
    TrackScore,
    Verdict,
)

CALIBRATION = Calibration(
    "platt", 1.0, 0.0, 1e-3, 1e3, 500, 500, "val", "2026-01-01", covariance=(0.01, 0.0, 0.01)
)
GATES = QualityGates()
ORDER = [Band.NONE, Band.INCONCLUSIVE, Band.WEAK, Band.MODERATE, Band.STRONG]
GOOD = FaceQuality(side_px=200.0, inter_eye_px=80.0, sharpness=500.0, yaw=0.0, confidence=0.99)
BAD = dataclasses.replace(GOOD, side_px=20.0)
STRONG, MODERATE, WEAK, NEAR, CLEAR = (math.log(lr) for lr in (100, 15, 5, 1, 0.1))


def scored(track: int, frame: int, logit: float, quality: FaceQuality | None = GOOD) -> ScoredFace:
    box = FaceBox(0, 0, 200, 200)
    face = Face(frame, frame * 0.5, box, (), 0.99, quality)
    return ScoredFace(face, FaceScore("v", track, frame, frame * 0.5, logit, float(expit(logit))))


def track(
    number: int, logits: list[float], quality: FaceQuality = GOOD, n_frames: int = 32
) -> TrackEvidence:
    faces = [scored(number, frame, logit, quality) for frame, logit in enumerate(logits)]
    return gather_evidence(faces, n_frames, CALIBRATION)


def steady(number: int, logit: float, n: int = 16, **more) -> TrackEvidence:
    return track(number, [logit] * n, **more)


def judge(*tracks: TrackEvidence) -> Verdict:
    return decide(tracks, CALIBRATION)


class TestOnePerson:
    @pytest.mark.parametrize(
        ("logit", "band"),
        [
            (STRONG, Band.STRONG),
            (MODERATE, Band.MODERATE),
            (WEAK, Band.WEAK),
            (CLEAR, Band.NONE),
        ],
    )
    def test_bands(self, logit: float, band: Band) -> None:
        verdict = judge(steady(0, logit))
        assert (verdict.band, verdict.track_id) == (band, 0)
        assert verdict.tracks[0].likelihood_ratio == pytest.approx(math.exp(logit))

    def test_near_the_threshold(self) -> None:
        verdict = judge(steady(0, NEAR))
        assert verdict.band is Band.INCONCLUSIVE
        assert "near the threshold" in verdict.reasons[0]
        assert verdict.tracks[0].likelihood_ratio == pytest.approx(1.0)

    def test_interval_surrounds_the_ratio(self) -> None:
        found = judge(steady(0, WEAK)).tracks[0]
        assert found.lr_low is not None
        assert found.lr_high is not None
        assert found.lr_low < found.likelihood_ratio < found.lr_high

    def test_no_interval_without_covariance(self) -> None:
        plain = dataclasses.replace(CALIBRATION, covariance=None)
        found = decide([steady(0, WEAK)], plain).tracks[0]
        assert (found.lr_low, found.lr_high) == (None, None)

    def test_ratio_held_at_its_bound_says_so(self) -> None:
        small = dataclasses.replace(CALIBRATION, lr_max=12.0, n_real=14, n_fake=20)
        verdict = decide([steady(0, 9.0)], small)
        assert verdict.band is Band.MODERATE
        assert verdict.tracks[0].likelihood_ratio == pytest.approx(12.0)
        assert any("14 authentic and 20 manipulated" in reason for reason in verdict.reasons)

    @pytest.mark.parametrize(
        ("quality", "cause"),
        [
            (dataclasses.replace(GOOD, side_px=63.0), "too small"),
            (dataclasses.replace(GOOD, sharpness=0.5), "too blurred"),
            (dataclasses.replace(GOOD, yaw=0.95), "from the side"),
            (dataclasses.replace(GOOD, yaw=-0.95), "from the side"),
        ],
    )
    @pytest.mark.parametrize("logit", [STRONG, CLEAR])
    def test_poor_quality(self, quality: FaceQuality, cause: str, logit: float) -> None:
        verdict = judge(steady(0, logit, quality=quality))
        assert (verdict.band, verdict.track_id) == (Band.INCONCLUSIVE, None)
        assert cause in verdict.reasons[0]
        assert headline(verdict).startswith("Inconclusive because none of 16 faces can be used")
        assert verdict.tracks[0].likelihood_ratio is None

    def test_too_few_faces(self) -> None:
        assert judge(steady(0, STRONG, n=8)).band is Band.STRONG
        verdict = judge(steady(0, STRONG, n=7))
        assert headline(verdict) == (
            "Inconclusive because only 7 faces were found and 8 are needed"
        )

    def test_unusable_faces_do_not_count(self) -> None:
        faces = [scored(0, frame, CLEAR) for frame in range(10)]
        faces += [scored(0, frame, 50.0, BAD) for frame in range(10, 20)]
        found = gather_evidence(faces, 32, CALIBRATION)
        assert (found.n_usable, found.n_seen) == (10, 20)
        assert found.faults == Faults(n_small=10)
        assert judge(found).band is Band.NONE

    @pytest.mark.parametrize(("most", "few"), [(STRONG, -3.0), (CLEAR, 3.0)])
    def test_frames_that_disagree(self, most: float, few: float) -> None:
        # means that alone would say strong or none
        shift = most + (most - few) * 10 / 22
        verdict = judge(track(0, [shift] * 22 + [few] * 10))
        assert verdict.band is Band.INCONCLUSIVE
        assert "frames disagree" in verdict.reasons[0]
        assert judge(track(0, [most] * 30 + [few] * 2)).band is not Band.INCONCLUSIVE


class TestStillsAndGlimpses:
    def test_single_picture_is_judged_but_never_strongly(self) -> None:
        verdict = judge(steady(0, STRONG, n=1, n_frames=1))
        assert verdict.band is Band.MODERATE
        assert any("single picture" in reason for reason in verdict.reasons)

    def test_single_picture_without_signs_says_what_it_is(self) -> None:
        verdict = judge(steady(0, CLEAR, n=1, n_frames=1))
        assert verdict.band is Band.NONE
        assert any("single picture" in reason for reason in verdict.reasons)

    def test_single_picture_of_poor_quality(self) -> None:
        verdict = judge(steady(0, STRONG, n=1, n_frames=1, quality=BAD))
        assert verdict.band is Band.INCONCLUSIVE

    def test_few_pictures_must_all_be_usable(self) -> None:
        assert judge(steady(0, WEAK, n=4, n_frames=4)).band is Band.WEAK
        assert judge(steady(0, WEAK, n=3, n_frames=4)).band is Band.INCONCLUSIVE

    def test_frames_of_one_moment_are_one_look(self) -> None:
        moment = dataclasses.replace(steady(0, STRONG), span_s=0.4)
        verdict = judge(moment)
        assert verdict.band is Band.MODERATE
        assert any("0.4 seconds" in reason for reason in verdict.reasons)


class TestSeveralPersons:
    def test_most_suspicious_decides_and_is_named(self) -> None:
        verdict = judge(steady(0, CLEAR), steady(1, STRONG), steady(2, CLEAR))
        assert (verdict.band, verdict.track_id) == (Band.STRONG, 1)
        assert "person B" in verdict.reasons[0]
        assert [found.band for found in verdict.tracks] == [Band.NONE, Band.STRONG, Band.NONE]

    def test_one_high_score_among_many_is_chance(self) -> None:
        crowd = [steady(number, CLEAR) for number in range(9)]
        verdict = judge(*crowd, steady(9, MODERATE))
        assert verdict.band is Band.INCONCLUSIVE
        assert "tracks disagree" in verdict.reasons[0]
        assert "10 persons" in verdict.reasons[0]
        assert judge(*crowd, steady(9, STRONG)).band is Band.STRONG

    def test_none_needs_everybody_prominent_judged(self) -> None:
        hidden = steady(1, CLEAR, quality=dataclasses.replace(GOOD, yaw=0.95))
        verdict = judge(steady(0, CLEAR), hidden)
        assert verdict.band is Band.INCONCLUSIVE
        assert headline(verdict) == (
            "Inconclusive because person B could not be judged, although nobody else shows signs"
        )

    @pytest.mark.parametrize(
        "bystander",
        [steady(1, STRONG, quality=BAD), steady(1, STRONG, n=3)],
        ids=["small", "passing"],
    )
    def test_bystanders_are_named_not_held_against_the_clip(self, bystander) -> None:
        verdict = judge(steady(0, CLEAR), bystander)
        assert verdict.band is Band.NONE
        assert "1 further person could not be judged" in verdict.reasons

    def test_inconclusive_person_keeps_the_clip_from_none(self) -> None:
        verdict = judge(steady(0, CLEAR), steady(1, NEAR))
        assert (verdict.band, verdict.track_id) == (Band.INCONCLUSIVE, 1)
        assert "(person B)" in verdict.reasons[0]

    def test_nobody_can_be_judged(self) -> None:
        verdict = judge(steady(0, STRONG, quality=BAD), steady(1, STRONG, n=5))
        assert (verdict.band, verdict.track_id) == (Band.INCONCLUSIVE, None)
        assert "(person B)" in verdict.reasons[0]


def test_no_face() -> None:
    verdict = judge()
    assert (verdict.band, verdict.track_id, verdict.tracks) == (Band.NO_FACE, None, ())
    assert headline(verdict) == "No face found, so nothing was judged"


class TestRefusals:
    def test_two_tracks_with_one_id(self) -> None:
        with pytest.raises(ValueError, match="one id"):
            judge(steady(0, WEAK), steady(0, CLEAR))

    def test_evidence_of_nothing_or_of_two(self) -> None:
        with pytest.raises(ValueError, match="one track"):
            gather_evidence([], 32, CALIBRATION)
        with pytest.raises(ValueError, match="one track"):
            gather_evidence([scored(0, 0, 1.0), scored(1, 0, 1.0)], 32, CALIBRATION)

    def test_face_without_quality(self) -> None:
        with pytest.raises(ValueError, match="no quality"):
            gather_evidence([scored(0, 0, 1.0, None)], 32, CALIBRATION)

    def test_score_that_is_no_number(self) -> None:
        broken = dataclasses.replace(steady(0, WEAK), score=TrackScore(0, 16, math.nan, math.nan))
        with pytest.raises(ValueError, match="not finite"):
            judge(broken)


def test_quality_summary() -> None:
    qualities = [dataclasses.replace(GOOD, side_px=side, sharpness=side) for side in (80, 90, 200)]
    faces = [scored(3, 2 * n, float(n), quality) for n, quality in enumerate(qualities)]
    found = gather_evidence(faces, 32, CALIBRATION)
    assert (found.track_id, found.span_s, found.n_frames) == (3, 2.0, 32)
    assert (found.median_side_px, found.median_sharpness) == (90, 90)
    assert (found.logit_low, found.logit_high) == (0.5, 1.5)
    assert found.score == TrackScore(3, 3, 1.0, pytest.approx(expit(1.0)))


def test_calibration_names_the_aggregate() -> None:
    highest = dataclasses.replace(CALIBRATION, aggregate="max")
    found = gather_evidence([scored(0, n, float(n)) for n in range(9)], 32, highest)
    assert found.score is not None
    assert found.score.logit == 8.0


logits = st.lists(st.floats(-8, 8), min_size=1, max_size=12)
qualities = st.sampled_from([GOOD, GOOD, GOOD, BAD, dataclasses.replace(GOOD, yaw=0.95)])


@st.composite
def clips(draw: st.DrawFn) -> list[list[ScoredFace]]:
    tracks = []
    for number in range(draw(st.integers(1, 4))):
        quality = draw(qualities)
        values = draw(logits)
        tracks.append([scored(number, frame, x, quality) for frame, x in enumerate(values)])
    return tracks


def verdict_on(tracks: list[list[ScoredFace]], n_frames: int = 10) -> Verdict:
    return decide([gather_evidence(faces, n_frames, CALIBRATION) for faces in tracks], CALIBRATION)


class TestLaws:
    @given(clips(), st.integers(0, 3), st.integers(0, 11), st.floats(0, 16))
    def test_a_higher_score_never_lowers_the_band(self, clip, which, where, step) -> None:
        which %= len(clip)
        where %= len(clip[which])
        old = clip[which][where]
        raised = [list(faces) for faces in clip]
        logit = old.score.logit + step
        raised[which][where] = dataclasses.replace(
            old, score=dataclasses.replace(old.score, logit=logit, p_fake=float(expit(logit)))
        )
        before, after = verdict_on(clip), verdict_on(raised)
        assert ORDER.index(after.band) >= ORDER.index(before.band)

    @given(clips(), st.randoms(use_true_random=False))
    def test_order_of_tracks_and_faces_does_not_matter(self, clip, random) -> None:
        shuffled = [random.sample(faces, len(faces)) for faces in clip]
        assert verdict_on(random.sample(shuffled, len(shuffled))) == verdict_on(clip)

    @given(clips(), st.floats(-8, 8), st.floats(-8, 8))
    def test_score_of_an_unsound_track_has_no_say(self, clip, one: float, other: float) -> None:
        number = len(clip)
        seen = []
        for logit in (one, other):
            unsound = [scored(number, frame, logit, BAD) for frame in range(10)]
            seen.append(verdict_on([*clip, unsound]))
        assert seen[0] == seen[1]

    @given(clips(), st.integers(1, 10), st.sampled_from([BAD, dataclasses.replace(GOOD, yaw=0.95)]))
    def test_unsound_track_neither_raises_nor_clears(self, clip, n: int, quality) -> None:
        unsound = [scored(len(clip), frame, 8.0, quality) for frame in range(n)]
        before, after = verdict_on(clip), verdict_on([*clip, unsound])
        # it can only take "no signs" back
        allowed = {before.band} | ({Band.INCONCLUSIVE} if before.band is Band.NONE else set())
        assert after.band in allowed

    @given(clips())
    def test_every_verdict_says_why(self, clip) -> None:
        verdict = verdict_on(clip)
        assert verdict.reasons
        assert all(verdict.reasons)
        assert len(verdict.tracks) == len(clip)
        for found in verdict.tracks:
            assert found.reasons or found.band not in (Band.INCONCLUSIVE,)
        if verdict.band is Band.NONE:
            judged = [found for found in verdict.tracks if found.likelihood_ratio is not None]
            assert judged
            assert {found.band for found in judged} == {Band.NONE}

    @given(clips())
    def test_signs_are_those_of_the_most_suspicious_track(self, clip) -> None:
        verdict = verdict_on(clip)
        sound = [found for found in verdict.tracks if found.likelihood_ratio is not None]
        top = max((ORDER.index(found.band) for found in sound), default=-1)
        if verdict.band in (Band.WEAK, Band.MODERATE, Band.STRONG):
            assert ORDER.index(verdict.band) == top
            (named,) = [found for found in sound if found.track_id == verdict.track_id]
            assert named.band is verdict.band
