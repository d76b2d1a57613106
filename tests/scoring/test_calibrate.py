"""Calibration: fitted values against scikit-learn, bounds against published ones, honest rates."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from dfdetect.errors import UsageError
from dfdetect.scoring import calibrate
from dfdetect.scoring.calibrate import (
    BAND_LIMITS,
    band_of,
    fit_platt,
    fit_temperature,
    is_bounded,
    log_likelihood_ratio,
    log_lr_interval,
    supported_range,
)
from dfdetect.scoring.metrics import cllr
from dfdetect.types import Band, Calibration

ABOUT = {"set_name": "val", "date": "2026-01-01"}


def gaussian(n_real: int, n_fake: int, distance: float, seed: int = 0, scale: float = 1.0):
    """Logits whose true log LR is `distance` / `scale` · (x − the middle)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], (n_real, n_fake))
    logits = rng.normal(0, 1, labels.size) + np.where(labels == 1, distance / 2, -distance / 2)
    return logits * scale, labels


def plain(**changes) -> Calibration:
    base = Calibration("platt", 1.0, 0.0, 1e-3, 1e3, 500, 500, "val", "2026-01-01")
    return dataclasses.replace(base, **changes)


class TestFit:
    def test_large_sample_approaches_the_true_likelihood_ratio(self) -> None:
        logits, labels = gaussian(40_000, 10_000, 2.0, scale=3.0)
        found = fit_platt(logits + 5, labels, **ABOUT)
        # log LR = distance / scale · (x − 5), whatever the class sizes
        assert found.slope == pytest.approx(2 / 3, rel=0.03)
        assert found.intercept == pytest.approx(-10 / 3, rel=0.03)

    def test_equals_weighted_logistic_regression_on_smoothed_targets(self) -> None:
        logits, labels = gaussian(60, 140, 1.5)
        epsilon = 1 / (60 + 2)
        # a smoothed target is the same as both labels with fractional weights
        weights = np.where(labels == 1, 1 / 140, 1 / 60)
        reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
            np.concatenate((logits, logits))[:, None],
            np.concatenate((labels, 1 - labels)),
            np.concatenate((weights * (1 - epsilon), weights * epsilon)) * 100,
        )
        found = fit_platt(logits, labels, **ABOUT)
        assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
        assert found.intercept == pytest.approx(reference.intercept_[0], rel=1e-3, abs=1e-4)

    def test_temperature_is_the_fit_through_the_origin(self) -> None:
        logits, labels = gaussian(20_000, 20_000, 2.0, scale=2.0)
        found = fit_temperature(logits, labels, **ABOUT)
        assert found.method == "temperature"
        assert found.intercept == 0.0
        assert found.slope == pytest.approx(1.0, rel=0.03)
        assert found.covariance is not None
        assert found.covariance[1:] == (0.0, 0.0)

    @pytest.mark.parametrize("fit", [fit_platt, fit_temperature])
    @pytest.mark.parametrize("gap", [0.1, 5.0, 500.0])
    def test_separable_clips_stay_finite(self, fit, gap: float) -> None:
        labels = np.repeat([0, 1], 20)
        logits = np.linspace(-1, 1, 40) + np.where(labels == 1, gap, -gap)
        found = fit(logits, labels, **ABOUT)
        assert 0 < found.slope < 1e3
        # 20 clips a class: never more than 21 to 1, smoothed or not
        assert 1 / 21 <= found.lr_min < 1 < found.lr_max <= 21

    @given(st.floats(0.01, 100), st.floats(-100, 100))
    def test_units_of_the_logit_do_not_matter(self, scale: float, shift: float) -> None:
        logits, labels = gaussian(40, 50, 1.5)
        base = fit_platt(logits, labels, **ABOUT)
        moved = fit_platt(logits * scale + shift, labels, **ABOUT)
        for logit in (-2.0, 0.0, 1.0):
            assert log_likelihood_ratio(moved, logit * scale + shift) == pytest.approx(
                log_likelihood_ratio(base, logit), abs=1e-5
            )

    def test_exchanged_classes_mirror_everything(self) -> None:
        logits, labels = gaussian(80, 50, 1.5)
        base, mirror = fit_platt(logits, labels, **ABOUT), fit_platt(-logits, 1 - labels, **ABOUT)
        assert mirror.slope == pytest.approx(base.slope)
        assert mirror.intercept == pytest.approx(-base.intercept)

    def test_class_sizes_do_not_shift_the_neutral_point(self) -> None:
        # fifty copies of every fake: the same evidence about scores, another prior
        logits, labels = gaussian(40, 40, 1.5)
        copies = np.where(labels == 1, 50, 1)
        many = fit_platt(np.repeat(logits, copies), np.repeat(labels, copies), **ABOUT)
        few = fit_platt(logits, labels, **ABOUT)
        assert many.slope == pytest.approx(few.slope, rel=1e-6)
        assert many.intercept == pytest.approx(few.intercept, abs=1e-6)

    def test_balanced_sets_equal_weighted_logistic_regression(self) -> None:
        logits, labels = gaussian(300, 90, 1.5)
        # 240 stills, all genuine, of another spread, beside 60 + 90 clips of two sets
        sets = np.repeat(["stills", "clips", "clips", "films"], (240, 60, 50, 40))
        logits[:240] -= 2
        cells = {("stills", 0): 240, ("clips", 0): 60, ("clips", 1): 50, ("films", 1): 40}
        each = np.array([1 / cells[pair] for pair in zip(sets, labels.tolist(), strict=True)])
        epsilon = 1 / (90 + 2)
        reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
            np.concatenate((logits, logits))[:, None],
            np.concatenate((labels, 1 - labels)),
            np.concatenate((each * (1 - epsilon), each * epsilon)) * 100,
        )
        found = fit_platt(logits, labels, sets=sets, balance=True, **ABOUT)
        assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
        assert found.intercept == pytest.approx(reference.intercept_[0], rel=1e-3, abs=1e-4)
        plain = fit_platt(logits, labels, sets=sets, **ABOUT)
        assert plain.intercept != pytest.approx(found.intercept, abs=0.05)
        # every clip of the larger set ten times: a balanced fit does not hear it
        copies = np.where(sets == "stills", 10, 1)
        many = fit_platt(
            *(np.repeat(one, copies) for one in (logits, labels)),
            sets=np.repeat(sets, copies), balance=True, **ABOUT,
        )  # fmt: skip
        assert many.slope == pytest.approx(found.slope, rel=1e-6)
        assert many.intercept == pytest.approx(found.intercept, rel=1e-6)

    def test_sets_without_balance_change_no_number(self) -> None:
        logits, labels = gaussian(60, 70, 1.5)
        told = fit_platt(logits, labels, sets=["a", "b"] * 65, **ABOUT)
        assert dataclasses.replace(told, sets=()) == fit_platt(logits, labels, **ABOUT)

    def test_one_set_has_nothing_to_balance(self) -> None:
        logits, labels = gaussian(60, 70, 1.5)
        sets = ["a"] * 130
        balanced = fit_platt(logits, labels, sets=sets, balance=True, **ABOUT)
        assert balanced == fit_platt(logits, labels, sets=sets, **ABOUT)

    def test_rates_of_sets_add_up(self) -> None:
        logits, labels = gaussian(200, 150, 2.0)
        sets = np.repeat(["c", "a", "b"], (50, 200, 100))
        found = fit_platt(logits, labels, sets=sets, **ABOUT)
        assert [one.name for one in found.sets] == ["a", "b", "c"]
        assert [(one.n_real, one.n_fake) for one in found.sets] == [(150, 50), (0, 100), (50, 0)]
        for place, whole in enumerate(found.rates):
            parts = [one.rates[place] for one in found.sets]
            assert {part.band for part in parts} == {whole.band}
            for count in ("real_flagged", "n_real", "fake_flagged", "n_fake"):
                assert sum(getattr(part, count) for part in parts) == getattr(whole, count)

    def test_improves_on_raw_logits_of_other_clips(self) -> None:
        logits, labels = gaussian(300, 300, 2.0, scale=4.0)
        found = fit_platt(logits + 3, labels, **ABOUT)
        fresh, truth = gaussian(5000, 5000, 2.0, seed=9, scale=4.0)
        ratios = [log_likelihood_ratio(found, float(logit)) for logit in fresh + 3]
        # 0.449 bits is what the true LR costs for two unit normals 2 apart, about
        best = cllr(truth, fresh / 2)
        assert cllr(truth, ratios) < best + 0.01
        assert cllr(truth, fresh + 3) > best + 0.3

    def test_same_input_same_calibration(self) -> None:
        logits, labels = gaussian(50, 60, 1.0)
        assert fit_platt(logits, labels, **ABOUT) == fit_platt(logits, labels, **ABOUT)

    def test_values_are_plain_numbers(self) -> None:
        found = fit_platt(*gaussian(50, 60, 1.0), **ABOUT)
        assert {type(value) for value in (found.slope, found.intercept, found.lr_min)} == {float}
        assert found.covariance is not None
        assert {type(value) for value in found.covariance} == {float}
        assert all(
            type(count) is int
            for rate in found.rates
            for count in (rate.real_flagged, rate.n_real, rate.fake_flagged, rate.n_fake)
        )


class TestRefusals:
    def test_useless_detector(self) -> None:
        logits, labels = gaussian(50, 50, 1.0)
        with pytest.raises(UsageError, match="do not go with manipulated clips"):
            fit_platt(-logits, labels, **ABOUT)

    @pytest.mark.parametrize(
        ("logits", "labels", "message"),
        [
            ([1.0, 2.0], [1, 1], "both classes"),
            ([1.0, math.nan], [0, 1], "finite"),
            ([1.0, 2.0], [0, 2], "labels must be"),
            ([1.0], [0, 1], "one logit and one label"),
            ([0.0, 1.0, 2.0], [0, 1, 1], "two groups in each class"),
            ([1.0] * 4, [0, 1, 0, 1], "equal"),
        ],
    )
    def test_malformed_input(self, logits, labels, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            fit_platt(logits, labels, **ABOUT)

    def test_wrong_number_of_groups(self) -> None:
        with pytest.raises(ValueError, match="4 logits but 1 groups"):
            fit_platt([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], groups=["a"], **ABOUT)

    def test_wrong_sets(self) -> None:
        with pytest.raises(ValueError, match="4 logits but 1 sets"):
            fit_platt([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], sets=["a"], **ABOUT)
        with pytest.raises(ValueError, match="no sets to balance"):
            fit_platt([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], balance=True, **ABOUT)

    def test_logit_that_is_no_number(self) -> None:
        with pytest.raises(ValueError, match="not finite"):
            log_likelihood_ratio(plain(), math.nan)


class TestSupportedRange:
    """Bounds of small sets as the reference implementation of ELUB (NFI's `lir`) gives them.

    It searches a grid of 0.01 in log10 LR, so its values lie up to that far inside ours.
    """

    @pytest.mark.parametrize(
        ("ratios", "labels", "expected"),
        [
            ([1e9, 1e-9], [1, 0], (1.0, 1.0)),
            ([1e9] * 3 + [1e-9] * 3, [1] * 3 + [0] * 3, (0.3362165, 2.9742741)),
            ([0.01, 0.1, 1, 10, 100], [1, 1, 1, 0, 0], (1.0, 1.0)),
            ([0.01, 0.1, 1, 10, 100], [0, 0, 1, 1, 1], (0.3771282, 1.4990474)),
            ([0.01, 0.1, 1, 10, 100], [0, 0, 0, 1, 1], (0.6668633, 2.6507161)),
        ],
    )
    def test_published_values(self, ratios, labels, expected) -> None:
        found = supported_range(np.log(ratios), labels)
        assert np.log10(found) == pytest.approx(np.log10(expected), abs=0.011)

    @pytest.mark.parametrize("seed", range(20))
    def test_by_trying_every_threshold(self, seed: int) -> None:
        log_lrs, labels = gaussian(30, 45, 2.0, seed)
        log_lrs = np.round(log_lrs * 2, 1)  # ties
        grid = np.exp(np.linspace(-9, 9, 18_001))

        def claim_holds(t: float) -> bool:
            miss = (np.sum(log_lrs[labels == 1] <= np.log(t)) + 1) / 46
            alarm = (np.sum(log_lrs[labels == 0] > np.log(t)) + 1) / 31
            return bool(miss + t * alarm <= min(1.0, t))

        failing = [t for t in grid if not claim_holds(t)]
        low = max([t for t in failing if t < 1], default=0.0)
        high = min([t for t in failing if t > 1], default=math.inf)
        assert supported_range(log_lrs, labels) == pytest.approx((low, high), rel=0.002)

    @given(
        st.lists(st.integers(-30, 30), min_size=1, max_size=40),
        st.lists(st.integers(-30, 30), min_size=1, max_size=40),
    )
    def test_never_beyond_the_size_of_the_sample(self, real: list[int], fake: list[int]) -> None:
        labels = [0] * len(real) + [1] * len(fake)
        low, high = supported_range(np.array(real + fake) / 4, labels)
        assert 1 / (len(fake) + 1) < low <= 1 <= high < len(real) + 1

    def test_more_clips_support_more(self) -> None:
        highs = [supported_range(*gaussian(n, n, 60.0))[1] for n in (10, 100, 1000)]
        assert highs == pytest.approx([10, 100, 1000], rel=0.01)


class TestLikelihoodRatio:
    @given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
    def test_never_falls_and_never_leaves_the_bounds(self, logit: float, step: float) -> None:
        found = plain(lr_min=0.1, lr_max=20.0)
        low, high = (log_likelihood_ratio(found, x) for x in (logit, logit + step))
        assert math.log(0.1) <= low <= high <= math.log(20)

    def test_bounds_are_told(self) -> None:
        found = plain(lr_min=0.1, lr_max=20.0)
        assert not is_bounded(found, 1.0)
        assert is_bounded(found, 4.0)
        assert is_bounded(found, -4.0)

    def test_interval_without_covariance(self) -> None:
        assert log_lr_interval(plain(), 1.0) is None

    @given(st.floats(-20, 20))
    def test_interval_holds_the_estimate(self, logit: float) -> None:
        found = plain(covariance=(0.04, -0.01, 0.09), lr_max=30.0)
        interval = log_lr_interval(found, logit)
        assert interval is not None
        assert interval[0] <= log_likelihood_ratio(found, logit) <= interval[1]

    def test_interval_widens_with_the_level_and_covers_fits_of_fresh_sets(self) -> None:
        # fit 300 independent sets: the curve at x varies as one fit says it does
        fits = [fit_platt(*gaussian(100, 100, 1.5, seed), folds=2, **ABOUT) for seed in range(300)]
        for x in (-1.0, 0.5, 2.0):
            curves = np.array([fit.slope * x + fit.intercept for fit in fits])
            told = []
            for fit in fits:
                assert fit.covariance is not None
                a, b, c = fit.covariance
                told.append(math.sqrt(a * x * x + 2 * b * x + c))
            # smoothing pulls the curve in, never out, so the spread is told within a fifth
            assert np.median(told) == pytest.approx(np.std(curves), rel=0.2)

    def test_clustered_covariance_is_wider_than_if_copies_were_new_clips(self) -> None:
        logits, labels = gaussian(50, 50, 1.5)
        groups = [f"source{number}" for number in range(100) for _ in range(5)]
        logits, labels = np.repeat(logits, 5), np.repeat(labels, 5)
        naive, honest = (
            fit_platt(logits, labels, groups=which, **ABOUT) for which in (None, groups)
        )
        assert naive.covariance is not None
        assert honest.covariance is not None
        assert honest.covariance[0] > 3 * naive.covariance[0]


class TestBandsAndRates:
    def test_limits_are_half_powers_of_ten(self) -> None:
        assert [band for band, _ in BAND_LIMITS] == [Band.STRONG, Band.MODERATE, Band.WEAK]
        assert [band_of(math.log(10) * k / 2).value for k in (3, 2, 1, 0, -1)] == [
            "strong",
            "moderate",
            "weak",
            "inconclusive",
            "none",
        ]

    def test_rates_are_near_those_of_fresh_clips(self) -> None:
        found = fit_platt(*gaussian(2000, 2000, 2.5), **ABOUT)
        fresh, truth = gaussian(20_000, 20_000, 2.5, seed=5)
        bands = np.array([band_of(log_likelihood_ratio(found, x)).value for x in fresh])
        by_band = {rate.band: rate for rate in found.rates}
        assert by_band.keys() == {Band.STRONG, Band.MODERATE, Band.WEAK, Band.NONE}
        reached = {
            Band.STRONG: ["strong"],
            Band.MODERATE: ["strong", "moderate"],
            Band.WEAK: ["strong", "moderate", "weak"],
            Band.NONE: ["none"],
        }
        for band, names in reached.items():
            rate = by_band[band]
            share = np.isin(bands, names)
            assert rate.real_flagged / rate.n_real == pytest.approx(
                share[truth == 0].mean(), abs=0.02
            )
            assert rate.fake_flagged / rate.n_fake == pytest.approx(
                share[truth == 1].mean(), abs=0.03
            )

    def test_rates_are_not_of_the_clips_the_curve_was_fitted_to(self) -> None:
        # a lone genuine clip with a wild score bends its own curve; held out, it counts in full
        logits, labels = gaussian(30, 30, 3.0)
        logits[0] = 12.0
        held_out = fit_platt(logits, labels, folds=30, **ABOUT)
        without = fit_platt(logits[1:], labels[1:], folds=30, **ABOUT)
        assert held_out.slope < without.slope
        assert {rate.band: rate for rate in held_out.rates}[Band.WEAK].real_flagged >= 1

    def test_related_clips_are_never_on_both_sides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        original = calibrate._folds

        def spy(*args):
            folds = original(*args)
            seen.append(folds)
            return folds

        monkeypatch.setattr(calibrate, "_folds", spy)
        logits, labels = gaussian(60, 60, 2.0)
        groups = [f"source{number % 60}" for number in range(120)]  # a clip and its forgery
        fit_platt(logits, labels, groups=groups, **ABOUT)
        (folds,) = seen
        assert len(set(folds)) == calibrate.FOLDS
        for source in set(groups):
            members = [fold for fold, name in zip(folds, groups, strict=True) if name == source]
            assert len(set(members)) == 1

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=4, max_size=30))
    def test_no_fold_takes_a_whole_class(self, members: list[tuple[int, int]]) -> None:
        groups = np.unique([group for group, _ in members], return_inverse=True)[1]
        labels = np.array([label for _, label in members])
        if min(len({*groups[labels == label]}) for label in (0, 1)) < 2:
            return
        folds = calibrate._folds(labels, groups, 10, 0)
        for fold in set(folds):
            assert set(labels[folds != fold]) == {0, 1}


def test_scoring_costs_numpy_only() -> None:
    heavy = ("torch", "sklearn", "scipy", "pandas", "matplotlib", "pyarrow", "hydra", "omegaconf")
    program = (
        "import sys, dfdetect.scoring; "
        f"print([name for name in {heavy} if name in sys.modules], "
        "'dfdetect.scoring.metrics' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "[] False", answer.stderr
