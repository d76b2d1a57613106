"""A cause that was planted between two files of scores is the first that is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.errors import UsageError
from dfdetect.evaluation.diagnosis import causes
from dfdetect.evaluation.diagnosis.diagnose import diagnose
from dfdetect.evaluation.diagnosis.diagnosis import (
    EXPLAINED,
    PARTLY,
    SAME,
    UNEXPLAINED,
    WEIGHTS,
    WITHIN,
)
from dfdetect.evaluation.diagnosis.reading import Reading, average_precision_at
from dfdetect.scoring import metrics
from dfdetect.scoring.aggregate import sigmoid
from tests.scored_runs import N_FRAMES, by_video, generated, manifest, run_of, trembling

PLAIN = Reading(video_rule="all_faces")


def plant_polarity(names, logits):
    return run_of(names, -logits), {}


def plant_labels(names, logits):
    theirs = run_of(names, logits)
    labels = [
        1 - row.label if row.method == "FaceSwap" and row.video_id.endswith("5") else row.label
        for row in theirs.videos
    ]
    return dataclasses.replace(theirs, videos=theirs.videos.with_column("label", labels)), {}


def plant_inverted_labels(names, logits):
    theirs = run_of(names, logits)
    labels = [1 - row.label for row in theirs.videos]
    return dataclasses.replace(theirs, videos=theirs.videos.with_column("label", labels)), {}


def plant_video_keys(names, logits):
    # the folder's name alone: fakes of both methods become one video
    keys = [name.rpartition("/")[2] for name in names]
    keys = [f"r{key}" if "original" in name else key for name, key in zip(names, keys, strict=True)]
    merged: dict[str, list[float]] = {}
    for key, row in zip(keys, logits.tolist(), strict=True):
        merged.setdefault(key, []).extend(row)
    rows = list(merged)
    videos = manifest(sorted(rows))
    labels = [int(not name.startswith("r")) for name in sorted(rows)]
    return run_of(rows, list(merged.values()), videos.with_column("label", labels)), {}


def plant_duplicates(names, logits):
    twice = [place for place in range(len(names)) if place % 5 == 0]
    return run_of(
        [*names, *(f"{names[place]}-copy" for place in twice)], [*logits, *logits[twice]]
    ), {}


def plant_videos(names, logits):
    kept = [place for place, name in enumerate(names) if "FaceSwap" not in name]
    return run_of([names[place] for place in kept], logits[kept]), {}


def plant_lost_videos(names, logits):
    changed = logits.copy()
    changed[::7] = np.nan
    return run_of(names, changed), {}


def plant_lost_frames(names, logits):
    changed = logits.copy()
    changed[np.random.default_rng(7).random(logits.shape) < 0.2] = np.nan
    changed[:, :2] = logits[:, :2]
    return run_of(names, changed), {}


def plant_first_frames(names, logits):
    return run_of(names, logits[:, :4]), {}


def plant_even_frames(names, logits):
    places = np.linspace(0, N_FRAMES - 1, 5).astype(int)
    changed = np.full_like(logits, np.nan)
    changed[:, places] = logits[:, places]
    return run_of(names, changed), {}


def plant_level(names, logits):
    return run_of(names, logits), {"their_reading": dataclasses.replace(PLAIN, unit="frame")}


def plant_aggregation(names, logits):
    return by_video(run_of(names, logits), "mean_p"), {}


def plant_maximum(names, logits):
    return by_video(run_of(names, logits), "max"), {}


def plant_rounding(names, logits):
    p = np.clip(np.round(sigmoid(logits), 1), 0.001, 0.999)
    return run_of(names, np.log(p) - np.log1p(-p)), {}


def plant_probabilities(names, logits):
    return run_of(names, sigmoid(logits)), {"reading": dataclasses.replace(PLAIN, unit="frame",
        metric="log_loss")}  # fmt: skip


def plant_metric(names, logits):
    return run_of(names, logits), {
        "reading": dataclasses.replace(PLAIN, metric="eer"),
        "their_reading": dataclasses.replace(PLAIN, metric="eer_nearest"),
    }


def plant_threshold(names, logits):
    reading = dataclasses.replace(PLAIN, metric="accuracy")
    return run_of(names, logits), {
        "reading": reading,
        "their_reading": dataclasses.replace(reading, threshold=0.7),
    }


PLANTED = {
    plant_polarity: causes.POLARITY,
    plant_labels: causes.LABELS,
    plant_inverted_labels: causes.LABELS,
    plant_duplicates: causes.DUPLICATES,
    plant_videos: causes.VIDEOS,
    plant_lost_videos: causes.SKIPPED,
    plant_lost_frames: causes.FRAMES,
    plant_first_frames: causes.FRAMES,
    plant_even_frames: causes.FRAMES,
    plant_level: causes.LEVEL,
    plant_aggregation: causes.AGGREGATION,
    plant_maximum: causes.AGGREGATION,
    plant_rounding: causes.SCALE,
    plant_probabilities: causes.SCALE,
    plant_metric: causes.METRIC,
    plant_threshold: causes.THRESHOLD,
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(12, 45))
def test_the_planted_cause_is_named_first_and_explains_all(plant, seed: int, size: int) -> None:
    names, logits = generated(seed, size)
    theirs, more = plant(names, logits)
    found = diagnose(run_of(names, logits), theirs, n_bootstrap=10, **{"reading": PLAIN, **more})
    if found.verdict == SAME:
        # two definitions may give one number, but no two sets of scores
        assert plant in (plant_metric, plant_threshold)
        return
    assert found.causes[0].name == PLANTED[plant]
    assert len(found.causes) == 1
    assert found.verdict == EXPLAINED
    assert found.remainder == pytest.approx(0, abs=1e-9)


def test_videos_that_share_a_folder_name_are_found_out() -> None:
    names, logits = generated(3)
    ours = run_of(
        [name if "original" not in name else name.replace("al/", "al/r") for name in names], logits
    )
    theirs, _ = plant_video_keys(names, logits)
    found = diagnose(ours, theirs, reading=PLAIN, n_bootstrap=10)
    assert [cause.name for cause in found.causes] == [causes.KEYS]
    assert "120 videos of ours have only 80 different last names" in found.causes[0].sentence
    assert found.verdict == EXPLAINED


@pytest.mark.parametrize("logit", [0.0, -9.0, 9.0])
def test_a_score_given_to_what_was_skipped_is_found(logit: float) -> None:
    names, logits = generated(5)
    mine, other = logits.copy(), logits.copy()
    mine[::6], other[::6] = np.nan, logit
    found = diagnose(
        run_of(names, mine), by_video(run_of(names, other), "mean_logit"), reading=PLAIN
    )
    assert [cause.name for cause in found.causes] == [causes.SKIPPED]
    assert f"p = {sigmoid(np.float64(logit)):.3g}" in found.causes[0].sentence
    assert found.verdict == EXPLAINED


def test_a_mix_of_compressions_is_found() -> None:
    names, logits = generated(8)
    low = [f"{name}-c40" for name in names]
    every = sorted([*names, *low])
    mixed = manifest(every, ["c40" if name.endswith("c40") else "c23" for name in every])
    ours = run_of([*names, *low], [*logits, *(0.2 * logits)], mixed)
    found = diagnose(ours, run_of(names, logits), reading=PLAIN, n_bootstrap=10)
    assert [cause.name for cause in found.causes] == [causes.COMPRESSION]
    assert "c23, c40" in found.causes[0].sentence


def test_other_weights_are_named_where_nothing_makes_the_scores_equal() -> None:
    ours = trembling(2)
    logits = ours.scores.logit.reshape(-1, N_FRAMES)
    noise = np.random.default_rng(11).normal(0, 1.5, (len(logits), 1))
    theirs = run_of(ours.scores.video_ids, 0.6 * logits + noise)
    theirs = dataclasses.replace(theirs, oracle="the best step on test")
    found = diagnose(ours, theirs, reading=PLAIN, n_bootstrap=200)
    assert [cause.name for cause in found.causes] == [causes.CHECKPOINT]
    # a guess that leaves all of the gap explains none of it
    assert found.verdict == WEIGHTS
    assert found.causes[0].explained is None
    assert found.conclusion.startswith("No way of counting explains the gap of ")
    assert "-" not in found.conclusion
    assert "the best step on test" in found.causes[0].sentence
    assert "0 are" in found.causes[0].sentence
    assert found.remainder == found.gap


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("plant", [plant_labels, plant_polarity])
def test_a_planted_cause_is_found_beside_other_weights(plant, seed: int) -> None:
    ours = trembling(seed)
    logits = ours.scores.logit.reshape(-1, N_FRAMES)
    other = 0.6 * logits + np.random.default_rng(seed).normal(0, 1.5, (len(logits), 1))
    theirs, _ = plant(ours.scores.video_ids, other)
    found = diagnose(ours, theirs, reading=PLAIN, n_bootstrap=10)
    assert [cause.name for cause in found.causes] == [PLANTED[plant], causes.CHECKPOINT]
    assert found.verdict in (PARTLY, WITHIN)


def test_a_small_change_of_weights_is_no_more_than_noise() -> None:
    names, logits = generated(2, 60)
    noise = np.random.default_rng(0).normal(0, 0.3, (len(names), 1))
    found = diagnose(run_of(names, logits), run_of(names, logits + noise), reading=PLAIN)
    assert found.verdict == WITHIN
    assert "no more than noise" in found.conclusion


def test_scores_of_strangers_are_not_explained() -> None:
    names, logits = generated(2, 40, spread=0.2)
    guesses = np.random.default_rng(0).normal(size=logits.shape)
    found = diagnose(run_of(names, logits), run_of(names, guesses), reading=PLAIN)
    assert found.verdict == UNEXPLAINED
    assert not found.causes
    assert any("Unexplained remainder" in note for note in found.notes)


def test_equal_scores_need_no_explanation() -> None:
    names, logits = generated(1)
    found = diagnose(run_of(names, logits), run_of(names, logits))
    assert (found.verdict, found.gap, found.causes) == (SAME, 0, ())


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize(
    ("plants", "wanted"),
    [
        ((plant_polarity, "mean_p"), {causes.POLARITY, causes.AGGREGATION}),
        ((plant_labels, "max"), {causes.LABELS, causes.AGGREGATION}),
        ((plant_first_frames, "mean_p"), {causes.FRAMES, causes.AGGREGATION}),
        ((plant_videos, "top_third"), {causes.VIDEOS, causes.AGGREGATION}),
    ],
)
def test_two_planted_causes_are_both_found(plants, wanted: set[str], seed: int) -> None:
    names, logits = generated(seed, 25)
    theirs = by_video(plants[0](names, logits)[0], plants[1])
    found = diagnose(run_of(names, logits), theirs, reading=PLAIN, n_bootstrap=10)
    assert {cause.name for cause in found.causes} == wanted
    assert found.verdict == EXPLAINED
    assert found.causes[-1].is_exact


def test_rounding_and_wrong_labels_are_both_found() -> None:
    names, logits = generated(4)
    rounded, _ = plant_rounding(names, logits)
    theirs = dataclasses.replace(rounded, videos=plant_labels(names, logits)[0].videos)
    found = diagnose(run_of(names, logits), theirs, reading=PLAIN, n_bootstrap=10)
    assert {cause.name for cause in found.causes} == {causes.LABELS, causes.SCALE}


def test_the_page_and_the_lines_tell_the_same_numbers() -> None:
    names, logits = generated(3)
    found = diagnose(run_of(names, logits), plant_polarity(names, logits)[0], reading=PLAIN)
    lines, page = found.lines(), found.markdown()
    assert f"ours {found.ours:.4f}" in lines[0]
    assert lines[0] in page
    assert found.causes[0].sentence in page
    assert found.causes[0].sentence in lines[2]


def test_what_cannot_be_compared_is_refused() -> None:
    names, logits = generated(3, 12)
    ours = run_of(names, logits)
    with pytest.raises(UsageError, match="no genuine or no fake video of ffpp, Face2Face"):
        diagnose(ours, ours, method="Face2Face")
    with pytest.raises(UsageError, match="unknown metric 'uac'"):
        diagnose(ours, ours, reading=Reading(metric="uac"))


@given(seed=st.integers(0, 1000), n=st.integers(4, 60))
def test_average_precision_at_the_own_base_rate_is_average_precision(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, n), [0, 1])
    scores = rng.integers(0, 9, n + 2).astype(float)
    own = metrics.average_precision(labels, scores)
    assert average_precision_at(labels, scores, labels.mean()) == pytest.approx(own)
