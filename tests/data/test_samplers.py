"""Draws are balanced, cover what they promise, and are split over ranks without loss or doubles."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dfdetect.data.samplers import (
    ClassBalanced,
    EveryRow,
    IdentityBalanced,
    Members,
    OnePerVideo,
    Population,
    PositionSampler,
)
from dfdetect.errors import UsageError


@st.composite
def populations(draw: st.DrawFn) -> Population:
    """Videos of 0 to 5 rows, in any order, each showing up to 3 of 6 persons."""
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=12))
    n_videos = len(sizes)
    rows = draw(st.permutations([video for video, size in enumerate(sizes) for _ in range(size)]))
    labels = draw(st.lists(st.integers(0, 1), min_size=n_videos, max_size=n_videos))
    shown = [draw(st.lists(st.integers(0, 5), max_size=3, unique=True)) for _ in sizes]
    links = [(video, person) for video, persons in enumerate(shown) for person in persons]
    shown_in, persons = np.array(links, dtype=np.int64).reshape(-1, 2).T
    return Population(np.array(rows, np.int32), np.array(labels, np.int8), shown_in, persons)


def videos_of(population: Population, positions: list[int]) -> list[int]:
    return population.videos[positions].tolist()


def spread(counts: Counter[Any], wanted: set[Any]) -> int:
    """How much oftener the most frequent was drawn than the least frequent."""
    assert set(counts) <= wanted
    return max(counts[one] for one in wanted) - min(counts[one] for one in wanted)


def made(population: Population, kind: str, **told: int) -> PositionSampler:
    try:
        if kind == "class":
            return ClassBalanced(population, 60, **told)
        if kind == "identity":
            return IdentityBalanced(population, 60, **told)
    except UsageError:
        assume(False)
    if kind == "video":
        return OnePerVideo(population, **told)
    told.pop("seed", None)
    return EveryRow(len(population), **told)


KINDS = pytest.mark.parametrize("kind", ["class", "identity", "video", "row"])


@KINDS
@settings(max_examples=40, deadline=None)
@given(population=populations(), seed=st.integers(0, 99), world=st.integers(1, 5))
def test_ranks_share_out_the_draws(
    kind: str, population: Population, seed: int, world: int
) -> None:
    ranks = [
        made(population, kind, seed=seed, rank=rank, world_size=world) for rank in range(world)
    ]
    shares = [list(sampler) for sampler in ranks]
    assert [len(share) for share in shares] == [len(sampler) for sampler in ranks]
    numbered = {draw.number: draw for share in shares for draw in share}
    # every draw of the epoch is in exactly one share
    assert len(numbered) == sum(len(share) for share in shares)
    assert [numbered[n] for n in sorted(numbered)] == ranks[0].draws().tolist()
    if kind != "row":
        assert len({len(share) for share in shares}) == 1


@KINDS
@settings(max_examples=40, deadline=None)
@given(population=populations(), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_draws_are_a_function_of_seed_and_epoch(
    kind: str, population: Population, seed: int, epoch: int
) -> None:
    first, again = (made(population, kind, seed=seed) for _ in range(2))
    list(again)
    for sampler in (first, again):
        sampler.set_epoch(epoch)
    drawn = list(first)
    assert drawn == list(again) == list(again)
    assert {draw.epoch for draw in drawn} <= {epoch}
    assert all(0 <= position < len(population) for position in drawn)


@settings(max_examples=60, deadline=None)
@given(population=populations(), seed=st.integers(0, 99), n_draws=st.integers(1, 80))
def test_classes_and_their_videos_are_drawn_equally_often(
    population: Population, seed: int, n_draws: int
) -> None:
    filled = set(population.videos.tolist())
    assume({int(population.labels[video]) for video in filled} == {0, 1})
    drawn = videos_of(population, list(ClassBalanced(population, n_draws, seed)))
    assert spread(Counter(population.labels[drawn].tolist()), {0, 1}) <= 1
    for label in (0, 1):
        videos = {video for video in filled if population.labels[video] == label}
        assert spread(Counter(video for video in drawn if video in videos), videos) <= 1


@settings(max_examples=60, deadline=None)
@given(population=populations(), seed=st.integers(0, 99))
def test_persons_are_drawn_equally_often(population: Population, seed: int) -> None:
    shown: dict[int, set[int]] = {}
    for video, person in zip(population.shown_in, population.persons, strict=True):
        if video in population.videos:
            shown.setdefault(int(person), set()).add(int(video))
    assume(shown)
    sampler = IdentityBalanced(population, 12 * len(shown), seed)
    named = set().union(*shown.values())
    assert sampler.n_without == sum(video not in named for video in population.videos.tolist())
    drawn = Counter(videos_of(population, list(sampler)))
    assert set(drawn) <= named
    # whoever alone is shown in some videos makes up at least 12 of the draws of those
    for videos in shown.values():
        assert sum(drawn[video] for video in videos) >= 12


def test_a_person_of_few_videos_is_drawn_as_often_as_one_of_many() -> None:
    # person 0 has one video of one row, person 1 nine videos of ten rows
    videos = np.repeat(np.arange(10), [1, *[10] * 9])
    persons = np.array([0, *[1] * 9])
    population = Population(videos, np.zeros(10, np.int8), np.arange(10), persons)
    drawn = Counter(videos_of(population, list(IdentityBalanced(population, 1800))))
    assert drawn[0] == 900
    assert all(60 < drawn[video] < 140 for video in range(1, 10))


@settings(max_examples=60, deadline=None)
@given(population=populations(), seed=st.integers(0, 99), world=st.integers(1, 4))
def test_each_video_comes_once_an_epoch_and_each_row_in_time(
    population: Population, seed: int, world: int
) -> None:
    ranks = [OnePerVideo(population, seed, rank, world) for rank in range(world)]
    n_videos = len(set(population.videos.tolist()))
    seen: set[int] = set()
    for epoch in range(5):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        drawn = ranks[0].draws().tolist()
        assert len(drawn) == n_videos + ranks[0].n_padding
        once = drawn[:n_videos]
        assert len(set(videos_of(population, once))) == n_videos
        seen.update(once)
    # no video has more than 5 rows
    assert seen == set(range(len(population)))


@settings(max_examples=60, deadline=None)
@given(n_rows=st.integers(0, 50), world=st.integers(1, 9))
def test_every_row_is_seen_once(n_rows: int, world: int) -> None:
    shares = [list(EveryRow(n_rows, rank, world)) for rank in range(world)]
    assert [position for share in shares for position in share] == list(range(n_rows))
    padded = [EveryRow(n_rows, rank, world, padded=True) for rank in range(world)]
    assert len({len(sampler) for sampler in padded}) == 1
    for sampler, share in zip(padded, shares, strict=True):
        assert sampler.n_padding <= 1
        assert list(sampler)[: len(share)] == share
        assert len(list(sampler)) == len(share) + sampler.n_padding == len(sampler)


def test_epochs_and_seeds_differ() -> None:
    population = million(1000)
    sampler, other = ClassBalanced(population, 100), ClassBalanced(population, 100, seed=1)
    first = list(sampler)
    assert first != list(other)
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_a_loader_takes_a_sampler() -> None:
    data = np.arange(20)
    loader = DataLoader(data, 4, sampler=EveryRow(20, 1, 2), collate_fn=list)  # type: ignore[arg-type]
    assert [int(value) for batch in loader for value in batch] == list(range(10, 20))
    assert len(loader) == 3


@pytest.mark.parametrize(
    ("kind", "words"), [(ClassBalanced, "1 label"), (IdentityBalanced, "source id")]
)
def test_what_cannot_be_balanced_is_refused(
    kind: type[ClassBalanced] | type[IdentityBalanced], words: str
) -> None:
    none = np.empty(0, np.int64)
    with pytest.raises(UsageError, match=words):
        kind(Population(np.array([0, 1]), np.array([1, 1]), none, none), 4)


@pytest.mark.parametrize(("rank", "world"), [(1, 1), (-1, 2), (0, 0)])
def test_ranks_that_cannot_be_are_refused(rank: int, world: int) -> None:
    with pytest.raises(UsageError, match="ranks count from 0"):
        EveryRow(3, rank, world)


def test_members_keep_the_order_of_rows() -> None:
    members = Members.of(np.array([2, 0, 2, 0]), 4, rows=np.array([10, 11, 12, 13]))
    assert members.rows.tolist() == [11, 13, 10, 12]
    assert members.starts.tolist() == [0, 2, 2, 4, 4]


def million(n_rows: int = 1_000_000) -> Population:
    """Rows of videos of very different lengths, persons and labels of very different numbers."""
    rng = np.random.default_rng(0)
    n_videos = n_rows // 20
    persons = (rng.random(2 * n_videos) ** 3 * n_videos / 4).astype(np.int64)
    videos = np.sort((rng.random(n_rows) ** 2 * n_videos).astype(np.int32))
    labels = (rng.random(n_videos) < 0.8).astype(np.int8)
    return Population(videos, labels, np.repeat(np.arange(n_videos), 2), persons)


@pytest.mark.parametrize("kind", [ClassBalanced, IdentityBalanced])
def test_a_million_rows_are_drawn_from_in_seconds(
    kind: type[ClassBalanced] | type[IdentityBalanced],
) -> None:
    population = million()
    began = time.perf_counter()
    sampler = kind(population, 100_000)
    made_in = time.perf_counter() - began
    n_drawn = sum(1 for _ in sampler)
    drawn_in = time.perf_counter() - began - made_in
    # about a tenth of this where nothing else runs
    assert (n_drawn, made_in < 2, drawn_in < 1) == (100_000, True, True)
