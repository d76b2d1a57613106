import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dfdetect.inference.wording import clock, file_name, likelihood_words
from dfdetect.visible import visible


@given(st.floats(0, 360_000))
def test_a_clock_reads_back_to_the_second(time_s: float) -> None:
    seconds = 0
    for part in clock(time_s).split(":"):
        seconds = seconds * 60 + int(part)
    assert seconds - 1e-6 <= time_s < seconds + 1 + 1e-6


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_nothing_in_a_name_hides(name: str) -> None:
    shown = visible(file_name(name))
    assert all(
        unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in shown
    )
    shown.encode("utf-8")


def test_a_name_that_turns_its_display_around_is_shown() -> None:
    assert visible("holiday\u202egpj.exe") == "holiday⟨U+202E⟩gpj.exe"
    assert visible("ordinary name – 1.mp4") == "ordinary name – 1.mp4"


@given(st.floats(1e-6, 1e6), st.floats(1, 50))
def test_a_ratio_and_its_inverse_say_the_same_of_the_other_side(
    ratio: float, spread: float
) -> None:
    told = likelihood_words(ratio, ratio / spread, ratio * spread)
    assert ("likelier from a manipulated face" in told.partition(" (")[0]) == (ratio >= 1)
    assert "nan" not in told


def test_an_interval_cut_to_one_number_is_not_printed_as_certainty() -> None:
    told = likelihood_words(5.0, 5.0, 5.0)
    assert (
        told
        == "5 times likelier from a manipulated face, the most that its calibration set supports"
    )
    assert "interval" not in likelihood_words(0.2, 0.2, 0.2)
    assert "(95% interval: 4 to 5 times)" in likelihood_words(5.0, 4.0, 5.0)
