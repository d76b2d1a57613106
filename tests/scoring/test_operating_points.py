"""Operating points: against the definition, by simulation, and measured on other clips."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.scoring.calibrate import fit_platt
from dfdetect.scoring.operating_points import FALSE_ALARMS, conformal_threshold, operating_points
from dfdetect.types import OperatingPoint

logits = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=120)
shares = st.sampled_from([0.01, 0.05, 0.1, 0.29, 0.5])


def by_definition(genuine: list[float], share: float) -> float | None:
    """The least logit t of the sample for which the conformal p-value of t is still above a.

    p(t) = (genuine clips at t or above it, and the new one) / (n + 1); what lies strictly above
    the last such t has p ≤ a.
    """
    n, found = len(genuine), None
    for t in sorted(genuine):
        above = sum(other > t for other in genuine)
        if Fraction(above + 1, n + 1) <= Fraction(str(share)):
            found = t if found is None else min(found, t)
    return found


class TestThreshold:
    @given(logits, shares)
    def test_equals_the_p_value_of_conformal_prediction(
        self, genuine: list[float], share: float
    ) -> None:
        assert conformal_threshold(genuine, share) == by_definition(genuine, share)

    @given(logits, shares, st.data())
    def test_a_higher_genuine_logit_never_lowers_it(
        self, genuine: list[float], share: float, data: st.DataObject
    ) -> None:
        place = data.draw(st.integers(0, len(genuine) - 1))
        raised = [*genuine]
        raised[place] += data.draw(st.floats(0, 50))
        before, after = (conformal_threshold(one, share) for one in (genuine, raised))
        if before is None:
            assert after is None
        else:
            assert after is not None
            assert after >= before

    @given(logits, shares)
    def test_a_smaller_share_is_stricter(self, genuine: list[float], share: float) -> None:
        strict, loose = (conformal_threshold(genuine, one) for one in (share / 2, share))
        assert strict is None or (loose is not None and loose <= strict)

    @pytest.mark.parametrize(
        ("share", "n"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.001, 999), (0.07, 14)]
    )
    def test_how_many_clips_a_share_takes(self, share: float, n: int) -> None:
        values = np.arange(n, dtype=float)
        assert n == math.ceil(1 / Fraction(str(share)) - 1)
        assert conformal_threshold(values, share) is not None
        assert conformal_threshold(values[1:], share) is None

    def test_of_no_clips(self) -> None:
        assert conformal_threshold([], 0.5) is None

    @pytest.mark.parametrize(("n", "share"), [(99, 0.01), (150, 0.01), (19, 0.05), (70, 0.05)])
    def test_new_genuine_clips_are_flagged_as_rarely_as_promised(
        self, n: int, share: float
    ) -> None:
        rng = np.random.default_rng(n)
        # heavy tails: the promise asks for no shape of the distribution
        sets = rng.standard_t(2, (4000, n))
        thresholds = np.array([conformal_threshold(one, share) for one in sets], dtype=float)
        new = rng.standard_t(2, (4000, 200))
        by_set = np.mean(new > thresholds[:, None], axis=1)
        # for a continuous score the share is known: ⌊(n + 1) a⌋ / (n + 1)
        exact = math.floor((n + 1) * Fraction(str(share))) / (n + 1)
        error = by_set.std() / math.sqrt(len(by_set))
        assert exact <= share
        assert by_set.mean() == pytest.approx(exact, abs=4 * error)
        assert by_set.mean() <= share + 4 * error


class TestCounts:
    def test_each_fold_meets_the_threshold_of_the_others(self) -> None:
        rng = np.random.default_rng(0)
        values, labels = rng.normal(size=300), np.repeat([0, 1], 150)
        values[labels == 1] += 1.5
        fold_of = rng.integers(0, 5, 300)
        (point,) = operating_points(values, labels, fold_of, [0.05])
        real_flagged = fake_flagged = 0
        for fold in range(5):
            there = values[(labels == 0) & (fold_of != fold)]
            threshold = by_definition(there.tolist(), 0.05)
            assert threshold is not None
            for value, label, where in zip(values, labels, fold_of, strict=True):
                if where == fold and value > threshold:
                    real_flagged += label == 0
                    fake_flagged += label == 1
        whole = by_definition(values[labels == 0].tolist(), 0.05)
        assert point == OperatingPoint(0.05, whole, 150, real_flagged, 150, fake_flagged)

    def test_too_few_clips_flag_nothing(self) -> None:
        values, labels = np.arange(36.0), np.repeat([0, 1], 18)
        found = operating_points(values, labels, np.arange(36) % 6)
        assert found == tuple(OperatingPoint(a, None, 18, 0, 18, 0) for a in FALSE_ALARMS)

    def test_folds_with_too_few_others_flag_more_rather_than_less(self) -> None:
        # 19 support 5 %, the 18 others of each fold do not: their highest is the threshold
        values, labels = np.arange(38.0), np.repeat([0, 1], 19)
        (point,) = operating_points(values, labels, np.arange(38) % 19, [0.05])
        assert (point.logit, point.real_flagged, point.fake_flagged) == (18.0, 1, 19)

    def test_what_equals_the_threshold_is_not_flagged(self) -> None:
        values, labels = np.full(80, 3.0), np.repeat([0, 1], 40)
        (point,) = operating_points(values, labels, np.arange(80) % 4, [0.05])
        assert (point.logit, point.real_flagged, point.fake_flagged) == (3.0, 0, 0)

    def test_a_calibration_has_those_of_its_own_folds(self) -> None:
        rng = np.random.default_rng(1)
        labels = np.repeat([0, 1], 200)
        values = rng.normal(size=400) + 2 * labels
        found = fit_platt(values, labels, set_name="val", date="2026-01-01")
        by_share = {point.false_alarm: point for point in found.operating_points}
        assert by_share.keys() == {0.01, 0.05}
        for share, point in by_share.items():
            assert point.logit == conformal_threshold(values[:200], share)
            assert (point.n_real, point.n_fake) == (200, 200)
            assert point.real_flagged / 200 == pytest.approx(share, abs=0.02)
        assert by_share[0.01].fake_flagged < by_share[0.05].fake_flagged
        assert {type(point.logit) for point in found.operating_points} == {float}

    def test_relatives_do_not_set_each_others_threshold(self) -> None:
        # one person in 30 clips scores high: alone among strangers they are flagged, all of them
        rng = np.random.default_rng(2)
        labels = np.repeat([0, 1], 300)
        values = rng.normal(size=600) + 2 * labels
        values[:30] += 8
        groups = ["one person"] * 30 + [str(number) for number in range(570)]
        about = {"set_name": "val", "date": "2026-01-01"}
        apart = fit_platt(values, labels, groups=groups, **about).operating_points[1]
        mixed = fit_platt(values, labels, **about).operating_points[1]
        assert apart.logit == mixed.logit
        assert apart.real_flagged >= 30
        assert mixed.real_flagged < 30


@pytest.mark.parametrize(
    "wrong", [{"false_alarm": 0.0}, {"false_alarm": 1.0}, {"real_flagged": 3}, {"fake_flagged": -1}]
)
def test_points_that_contradict_themselves_are_refused(wrong: dict[str, float]) -> None:
    facts = {"false_alarm": 0.05, "logit": 0.0, "n_real": 2, "real_flagged": 1}
    with pytest.raises(ValueError, match=r"operating point|false-alarm"):
        OperatingPoint(**(facts | {"n_fake": 2, "fake_flagged": 1} | wrong))
