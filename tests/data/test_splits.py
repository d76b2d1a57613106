"""Splits never tear related videos apart, and the leak check finds every way they could be torn."""

from __future__ import annotations

import random
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdetect.data.datasets.ffpp import METHODS, official_splits
from dfdetect.data.splits import (
    SplitRule,
    assign_splits,
    leak_check,
    require_no_leak,
    source_groups,
)
from dfdetect.data.videos import ManifestRow, Videos
from dfdetect.errors import ContractError, UsageError


def row(
    name: str,
    sources: tuple[str, ...],
    split: str | None = None,
    sha256: str | None = None,
    dataset: str = "set",
) -> ManifestRow:
    return ManifestRow(
        video_id=f"{dataset}/{name}",
        dataset=dataset,
        method="original",
        label=0,
        split=split,
        source_ids=sources,
        compression="",
        path=f"{name}.mp4",
        sha256=sha256 or f"hash of {dataset}/{name}",
        fps=25.0,
        n_frames=10,
        width=8,
        height=8,
        duration_s=0.4,
    )


@st.composite
def manifests(draw: st.DrawFn) -> list[ManifestRow]:
    people = st.sampled_from([f"p{n}" for n in range(30)])
    rows = []
    for index in range(draw(st.integers(1, 25))):
        sources = tuple(sorted(draw(st.sets(people, min_size=1, max_size=3))))
        twin = draw(st.sampled_from([None, None, None, "equal bytes", "other equal bytes"]))
        rows.append(row(f"v{index}", sources, sha256=twin))
    return rows


def components(rows: list[ManifestRow]) -> set[frozenset[str]]:
    """The groups by brute force: merge overlapping sets until nothing changes."""
    groups = [({r.video_id}, {*r.source_ids, r.sha256}) for r in rows]
    merged = True
    while merged:
        merged = False
        for i in range(len(groups)):
            for j in range(i + 1, len(groups)):
                if groups[i][1] & groups[j][1]:
                    groups[i] = (groups[i][0] | groups[j][0], groups[i][1] | groups[j][1])
                    del groups[j]
                    merged = True
                    break
            if merged:
                break
    return {frozenset(videos) for videos, _ in groups}


def hashed(rows: list[ManifestRow], seed: int = 0) -> dict[str, str | None]:
    try:
        assigned = assign_splits(
            Videos.of(rows), SplitRule("hash", seed=seed, train=0.5, val=0.5, test=0.0)
        )
    except UsageError:  # few groups may leave a split empty, which is told and not hidden
        assigned = assign_splits(
            Videos.of(rows), SplitRule("hash", seed=seed, train=1.0, val=0.0, test=0.0)
        )
    return {r.video_id: r.split for r in assigned}


@given(manifests())
@settings(max_examples=150, deadline=None)
def test_groups_are_the_connected_components(rows: list[ManifestRow]) -> None:
    by_name: dict[str, set[str]] = {}
    groups = source_groups(Videos.of(rows))
    for code, r in zip(groups.codes, rows, strict=True):
        by_name.setdefault(groups.names[code], set()).add(r.video_id)
    for name, videos in by_name.items():
        members = [r for r in rows if r.video_id in videos]
        assert name == min(f"set:{source}" for r in members for source in r.source_ids)
    assert {frozenset(videos) for videos in by_name.values()} == components(rows)


@given(manifests(), st.randoms(use_true_random=False), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_hash_split_never_leaks_and_ignores_the_order(
    rows: list[ManifestRow], shuffler: random.Random, seed: int
) -> None:
    splits = hashed(rows, seed)
    assert leak_check(Videos.of(replace(r, split=splits[r.video_id]) for r in rows)) == ()
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert hashed(shuffled, seed) == splits


@given(manifests(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_leak_is_found_exactly_where_a_component_is_torn(
    rows: list[ManifestRow], data: st.DataObject
) -> None:
    split = st.sampled_from(["train", "val", "test", None])
    rows = [replace(r, split=data.draw(split)) for r in rows]
    by_id = {r.video_id: r for r in rows}
    torn = 0
    for videos in components(rows):
        splits = {by_id[video].split for video in videos} - {None}
        torn += len(splits) * (len(splits) - 1) // 2
    leaks = leak_check(Videos.of(rows))
    assert len(leaks) == torn
    for leak in leaks:
        assert (by_id[leak.chain[0]].split, by_id[leak.chain[-1]].split) == leak.splits
        for left, token, right in zip(*(leak.chain[n::2] for n in (0, 1, 2)), strict=False):
            shared = token.removeprefix("sha256:").removeprefix("set:")
            for video in (left, right):
                assert shared in {*by_id[video].source_ids, by_id[video].sha256}


def test_new_videos_move_no_others() -> None:
    rows = [row(f"v{n}", (f"p{n}",)) for n in range(300)]
    rule = SplitRule("hash", seed=3)
    before = {r.video_id: r.split for r in assign_splits(Videos.of(rows[:200]), rule)}
    after = {r.video_id: r.split for r in assign_splits(Videos.of(rows), rule)}
    assert {video: after[video] for video in before} == before


def test_shares_and_seed_are_kept() -> None:
    rows = [row(f"v{n}", (f"p{n}",)) for n in range(5000)]
    assigned = assign_splits(
        Videos.of(rows), SplitRule("hash", seed=1, train=0.7, val=0.1, test=0.2)
    )
    splits = [r.split for r in assigned]
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert splits.count(split) / 5000 == pytest.approx(share, abs=0.02)
    other = assign_splits(Videos.of(rows), SplitRule("hash", seed=2, train=0.7, val=0.1, test=0.2))
    assert [r.split for r in other] != splits
    two = assign_splits(Videos.of(rows), SplitRule("hash", train=0.7, val=0.3, test=0.0))
    assert {r.split for r in two} == {"train", "val"}


def test_an_empty_split_is_told() -> None:
    with pytest.raises(
        UsageError, match=r"split\.seed=0 leaves .* empty with 1 groups.*; keep them"
    ):
        assign_splits(Videos.of([row("a", ("p",)), row("b", ("p",))]), SplitRule("hash"))


def test_all_puts_everything_into_one_split() -> None:
    rows = [row("a", ("p",), "train"), row("b", ("q",))]
    assert {r.split for r in assign_splits(Videos.of(rows), SplitRule("all:test"))} == {"test"}


@pytest.mark.parametrize("strategy", ["official", "given"])
def test_official_and_given_need_a_split_for_every_video(strategy: str) -> None:
    rows = [row("a", ("p",), "train"), row("b", ("q",))]
    with pytest.raises(UsageError, match="1 of 2 videos"):
        assign_splits(Videos.of(rows), SplitRule(strategy))
    assert assign_splits(Videos.of(rows[:1]), SplitRule(strategy)) == Videos.of(rows[:1])


@pytest.mark.parametrize(
    "options",
    [{"strategy": "random"}, {"strategy": "all:dev"}, {"train": 0.5}, {"train": 1.1, "val": -0.2}],
)
def test_a_senseless_rule_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        SplitRule(**options)  # type: ignore[arg-type]


def test_a_leak_shows_its_chain() -> None:
    rows = [
        row("a", ("1",), "train"),
        row("b", ("1", "2")),
        row("c", ("3",), "test", sha256="twin"),
        row("d", ("2",), sha256="twin"),
        row("e", ("4",), "test"),
    ]
    (leak,) = leak_check(Videos.of(rows))
    assert leak.kind == "mixed"
    assert leak.splits == ("train", "test")
    assert leak.chain == (
        "set/a", "set:1", "set/b", "set:2", "set/d", "sha256:twin", "set/c",
    )  # fmt: skip
    with pytest.raises(ContractError, match=r"1 leak.*train and test share: set/a → set:1 → set/b"):
        require_no_leak(Videos.of(rows))


def test_leaks_name_their_kind() -> None:
    source = [row("a", ("1",), "train"), row("b", ("1",), "val")]
    twins = [row("a", ("1",), "val", "x"), row("b", ("2",), "test", "x")]
    assert [leak.kind for leak in leak_check(Videos.of(source))] == ["source"]
    assert [leak.kind for leak in leak_check(Videos.of(twins))] == ["duplicate"]


def test_ids_are_compared_within_a_dataset_and_bytes_across() -> None:
    same_id = [row("a", ("1",), "train"), row("a", ("1",), "test", dataset="other")]
    same_bytes = [
        row("a", ("1",), "train", "x"),
        row("a", ("1",), "test", "x", dataset="other"),
    ]
    same_everywhere = [replace(r, source_ids=("@set:1",)) for r in same_id]
    assert [leak.chain[1] for leak in leak_check(Videos.of(same_everywhere))] == ["set:1"]
    assert leak_check(Videos.of(same_id)) == ()
    assert [leak.kind for leak in leak_check(Videos.of(same_bytes))] == ["duplicate"]


def test_the_official_pairs_give_720_140_140_videos_and_no_leak() -> None:
    splits = official_splits()
    rows = [row(f"original/{n:03d}", (f"{n:03d}",), splits[f"{n:03d}"]) for n in range(1000)]
    for pair in (name for name in splits if "_" in name):
        target, source = pair.split("_")
        rows += [row(f"{method}/{pair}", (target, source), splits[pair]) for method in METHODS]
    assert len(rows) == 6000
    real = [r.split for r in rows[:1000]]
    assert [real.count(split) for split in ("train", "val", "test")] == [720, 140, 140]
    assert leak_check(Videos.of(rows)) == ()


def test_a_hundred_thousand_videos_are_checked_in_seconds() -> None:
    rows = [row(f"v{n}", (f"p{n // 10}", f"q{n // 7}")) for n in range(100_000)]
    started = time.perf_counter()
    videos = assign_splits(Videos.of(rows), SplitRule("all:train"))
    assert leak_check(videos) == ()
    assert time.perf_counter() - started < 15


def test_an_empty_split_names_a_seed_that_fills_all() -> None:
    videos = Videos.of([row(f"v{n}", (f"s{n}",)) for n in range(12)])
    with pytest.raises(UsageError, match="leaves val empty") as refusal:
        assign_splits(videos, SplitRule("hash", seed=1))
    advised = re.search(r"take split\.seed=(\d+), or keep", str(refusal.value))
    assert advised is not None
    split = assign_splits(videos, SplitRule("hash", seed=int(advised[1]))).column("split")
    assert set(split.to_pylist()) == {"train", "val", "test"}


@given(manifests(), st.integers(0, 5))
def test_folds_test_every_video_once_and_tear_no_group(rows: list[ManifestRow], seed: int) -> None:
    # people who are nobody else keep every fold from staying empty
    rows += [row(f"alone{n}", (f"alone{n}",)) for n in range(40)]
    tested: list[str] = []
    for fold in range(3):
        found = assign_splits(Videos.of(rows), SplitRule(f"fold:{fold}/3", seed=seed))
        split_of = {row.video_id: row.split for row in found}
        assert set(split_of.values()) == {"train", "test"}
        for group in components(rows):
            assert len({split_of[video] for video in group}) == 1
        tested += [video for video, split in split_of.items() if split == "test"]
    assert sorted(tested) == sorted(row.video_id for row in rows)


def test_a_fold_that_would_test_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        assign_splits(Videos.of([row("a", ("a",))]), SplitRule("fold:0/3"))


@pytest.mark.parametrize("strategy", ["fold:3/3", "fold:0/1", "fold:-1/3", "fold:1", "fold:0/3x"])
def test_folds_that_do_not_exist_are_refused(strategy: str) -> None:
    with pytest.raises(UsageError, match="fold:0/3"):
        SplitRule(strategy)
