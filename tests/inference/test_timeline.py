from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dfdetect.inference.timeline import MOST_TICKS, draw, find_spans, lean, tick_times
from dfdetect.types import (
    Analysis,
    Calibration,
    Face,
    FaceBox,
    FaceScore,
    ScoredFace,
)


def seen_at(indices: list[int]) -> list[ScoredFace]:
    return [
        ScoredFace(
            Face(index, index / 2, FaceBox(0, 0, 9, 9), (), 1.0),
            FaceScore("clip", 0, index, index / 2, 0.0, 0.5),
        )
        for index in indices
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_spans_are_the_runs_of_frames_with_the_person(present: list[bool]) -> None:
    sampled = [(index, index / 2) for index in range(len(present))]
    spans = find_spans(sampled, seen_at([index for index, here in enumerate(present) if here]))
    drawn = [False] * len(present)
    for span in spans:
        first, last = int(span.start_s * 2), int(span.end_s * 2)
        assert span.n_faces == last - first + 1
        drawn[first : last + 1] = [True] * span.n_faces
    assert drawn == present
    ends = [(span.start_s, span.end_s) for span in spans]
    assert all(end < start for (_, end), (start, _) in pairwise(ends))


@given(st.floats(0.01, 4 * 3600))
def test_ticks_are_few_and_within_the_clip(end_s: float) -> None:
    ticks = tick_times(end_s)
    assert ticks[0] == 0
    assert ticks[-1] <= end_s + 1e-6
    assert len(ticks) <= MOST_TICKS + 1


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_a_higher_score_never_leans_less(first: float, second: float) -> None:
    calibration = Calibration("platt", 1.2, -0.5, 1 / 9, 20.0, 50, 50, "made up", "2026-01-01")
    low, high = sorted((first, second))
    assert -1 <= lean(calibration, low) <= lean(calibration, high) <= 1


def test_a_calibration_that_supports_nothing_leans_nowhere() -> None:
    calibration = Calibration("platt", 1.0, 0.0, 1.0, 1.0, 2, 2, "made up", "2026-01-01")
    assert lean(calibration, 7.0) == lean(calibration, -7.0) == 0


def test_bars_and_gaps_tile_the_clip(
    make_analysis: Callable[..., Analysis], clips_of_each_band: dict[object, Analysis]
) -> None:
    for analysis in clips_of_each_band.values():
        for track in analysis.tracks:
            chart = draw(analysis, track)
            assert len(chart.bars) == len(track.faces)
            covered = sum(gap.width for gap in chart.gaps) + chart.width / 32 * len(track.faces)
            assert abs(covered - chart.width) < 0.1
            assert all(bar.x >= 0 and bar.x + bar.width <= chart.width + 0.1 for bar in chart.bars)
            assert all(bar.y >= 0 and bar.y + bar.height <= chart.axis_y for bar in chart.bars)


def test_gaps_stand_where_the_person_is_not_seen(clips_of_each_band: dict[str, Analysis]) -> None:
    analysis = clips_of_each_band["strong"]
    second = draw(analysis, analysis.tracks[1])  # seen in frames 6 to 19 of 32
    frame = second.width / 32
    starts = [round(gap.x / frame) for gap in second.gaps]
    widths = [round(gap.width / frame) for gap in second.gaps]
    assert (starts, widths) == ([0, 20], [6, 12])


def test_faces_that_were_not_judged_lean_to_neither_side(
    clips_of_each_band: dict[str, Analysis],
) -> None:
    analysis = clips_of_each_band["inconclusive"]
    chart = draw(analysis, analysis.tracks[0])
    assert chart.n_leaning_fake == 0
    assert {(bar.usable, bar.leans_fake) for bar in chart.bars} == {(False, False)}
