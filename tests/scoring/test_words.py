"""What a user reads: exact phrases, frequencies against scipy, and words that never appear."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from dfdetect.scoring import words
from dfdetect.types import Band, BandRate, Calibration, Verdict


def rate(band: Band, real: int, n_real: int, fake: int = 50, n_fake: int = 100) -> BandRate:
    return BandRate(band, real, n_real, fake, n_fake)


@pytest.mark.parametrize(
    ("band", "phrase"),
    [
        (Band.STRONG, "Strong signs of face manipulation"),
        (Band.MODERATE, "Moderate signs of face manipulation"),
        (Band.WEAK, "Weak signs of face manipulation"),
        (Band.NONE, "No signs found (this is not proof of authenticity)"),
        (Band.INCONCLUSIVE, "Inconclusive because it is dark"),
        (Band.NO_FACE, "No face found, so nothing was judged"),
    ],
)
def test_headlines(band: Band, phrase: str) -> None:
    assert words.headline(Verdict(band, None, ("it is dark",))) == phrase


def test_every_band_has_words() -> None:
    assert set(words.BAND_WORDS) == set(Band)


ALL_TEXTS = [
    *words.BAND_WORDS.values(),
    words.NO_FACE_REASON,
    words.NEAR_THRESHOLD,
    words.FRAMES_DISAGREE,
    words.too_few_usable(0, 9, 8, words.Faults(9, 4, 2)),
    words.few_pictures(1, True),
    words.few_pictures(3, False),
    words.brief(9, 1.2, False),
    words.bounded(3.0, Calibration("platt", 1, 0, 0.1, 20, 30, 40, "s", "d")),
    words.signs_in(0, 30),
    words.all_clear(1),
    words.all_clear(3),
    *words.passed_over(2),
    words.prominent_unjudged([0, 3]),
    words.tracks_disagree(1, Band.WEAK, 4),
    words.flagged_frequency(rate(Band.WEAK, 5, 100)),
    words.missed_frequency(rate(Band.NONE, 80, 100)),
]


@pytest.mark.parametrize("text", ALL_TEXTS)
def test_nothing_says_that_a_clip_is_fake_or_gives_a_bare_percentage(text: str) -> None:
    assert "%" not in text
    assert not re.search(r"\b(fakes?|deepfakes?|real|genuine|percent|probably)\b", text, re.I)
    assert not text.endswith(".")  # `sentence` adds it


def test_too_few_names_what_the_faces_lack() -> None:
    found = words.too_few_usable(0, 12, 8, words.Faults(n_small=12, n_blurred=3, n_profile=1))
    assert found == (
        "none of 12 faces can be used and 8 are needed; 12 are too small, 3 are too blurred, "
        "1 is seen too much from the side"
    )
    assert words.too_few_usable(0, 1, 1, words.Faults(n_blurred=1)) == (
        "none of 1 face can be used and 1 is needed; 1 is too blurred"
    )


class TestFrequencies:
    @given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_clopper_pearson_is_scipys(self, counted: tuple[int, int]) -> None:
        count, n = counted
        expected = binomtest(count, n).proportion_ci(0.95, method="exact")
        assert words.clopper_pearson(count, n) == pytest.approx(
            (expected.low, expected.high), abs=1e-9
        )

    def test_large_sets_and_other_levels(self) -> None:
        expected = binomtest(37, 50_000).proportion_ci(0.9, method="exact")
        assert words.clopper_pearson(37, 50_000, 0.9) == pytest.approx(
            (expected.low, expected.high), rel=1e-6
        )

    @pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 5), (6, 5)])
    def test_impossible_counts(self, count: int, n: int) -> None:
        with pytest.raises(ValueError, match="0 ≤ count ≤ n"):
            words.clopper_pearson(count, n)

    @given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_the_told_interval_holds_the_exact_one(self, counted: tuple[int, int]) -> None:
        count, n = counted
        told = words.frequency(count, n)
        low, high = words.clopper_pearson(count, n)
        assert told.low / told.of <= low <= high <= told.high / told.of
        assert told.low <= told.about <= told.high
        assert told.of in (100, 1000, 10_000)

    def test_sentences(self) -> None:
        assert words.flagged_frequency(rate(Band.STRONG, 26, 500)) == (
            "Of 100 authentic clips like the 500 it was measured on, about 5 would be flagged this "
            "strongly (between 3 and 8)"
        )
        assert words.flagged_frequency(rate(Band.STRONG, 3, 2000)) == (
            "Of 1,000 authentic clips like the 2,000 it was measured on, about 2 would be flagged "
            "this strongly (between 0 and 5)"
        )
        # no false alarm was seen: the interval says what that is worth
        assert words.flagged_frequency(rate(Band.STRONG, 0, 60)).endswith(
            "about 0 would be flagged this strongly (between 0 and 6)"
        )
        assert words.missed_frequency(BandRate(Band.NONE, 80, 100, 12, 100)).startswith(
            "Of 100 manipulated clips like the 100 it was measured on, about 12 would be called "
            "free of signs"
        )

    def test_misses_are_those_of_the_band_without_signs(self) -> None:
        with pytest.raises(ValueError, match="counted by the rate"):
            words.missed_frequency(rate(Band.WEAK, 1, 10))


class TestPosterior:
    @pytest.mark.parametrize(
        ("tpr", "fpr", "expected"),
        [
            (0.90, 0.05, [0.15, 0.67, 0.95]),
            (0.662, 0.065, [0.09, 0.53, 0.91]),
            (0.95, 0.01, [0.49, 0.91, 0.99]),
        ],
    )
    def test_worked_examples(self, tpr: float, fpr: float, expected: list[float]) -> None:
        found = [words.posterior(prior, tpr / fpr) for prior in words.PRIORS]
        assert [round(value, 2) for value in found] == expected

    def test_no_false_alarm_is_not_certainty(self) -> None:
        table = words.posterior_table(rate(Band.STRONG, 0, 100, 90, 100))
        assert [row.prior for row in table] == [0.01, 0.1, 0.5]
        assert table[0].probability < 0.7
        assert 0.9 < table[2].probability < 1

    def test_rises_with_the_prior(self) -> None:
        table = words.posterior_table(rate(Band.WEAK, 9, 100), [0.001, 0.01, 0.3, 0.9])
        values = [row.probability for row in table]
        assert values == sorted(values)


def test_rate_of_a_band() -> None:
    weak = rate(Band.WEAK, 9, 100)
    calibration = Calibration("platt", 1, 0, 0.1, 20, 100, 100, "s", "d", rates=(weak,))
    assert words.rate_of(calibration, Band.WEAK) == weak
    assert words.rate_of(calibration, Band.STRONG) is None


def test_pictures_of_a_folder_are_given_no_seconds() -> None:
    assert words.few_pictures(3, False) == (
        "only 3 pictures were looked at, too few to confirm each other"
    )
    assert words.few_pictures(1, True).endswith("are therefore called moderate, not strong")


def test_a_bound_is_told_as_elsewhere_in_the_report() -> None:
    calibration = Calibration("platt", 1, 0, 0.2, 5, 11, 13, "s", "d")
    assert "counts as 5 times likelier" in words.bounded(math.log(5), calibration)
