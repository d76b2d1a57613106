"""Which video serves for training, validation and testing, and the proof that nothing leaks."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfdetect.data.videos import SPLITS, ManifestRow, Videos
from dfdetect.errors import ContractError, UsageError

BYTES = "sha256:"
EVERYWHERE = "@"

_FOLD = re.compile(r"fold:(\d{1,3})/(\d{1,3})", re.ASCII)
_FEWEST_FOLDS = 2

# few groups may leave a split empty by chance; with more than two, one of so many seeds does not
_SEEDS_TRIED = 100
# what chance may still explain when splits are said to come from a hash
_COINCIDENCE = 1e-6


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How videos fall into train, val and test.

    `strategy` is one of

    * `official`: the dataset's own lists, `given`: the split column of a CSV; the same thing, and
      every video must have one;
    * `hash`: each group of videos that share a person or source is hashed with `seed` into one
      split, so that no group is ever torn; `train`, `val` and `test` are the shares of groups and
      add up to 1; adding a group moves no other one;
    * `fold:K/N`: the groups are hashed with `seed` into N folds; fold K, counted from 0, is test,
      all others are train. The N manifests of a dataset measure a recipe on every video, each by
      weights that never saw its people; weights are selected on another dataset's val;
    * `all:train`, `all:val`, `all:test`: everything is one split.
    """

    strategy: str = "official"
    seed: int = 0
    train: float = 0.8
    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Refuse an unknown strategy and shares that are not shares."""
        known = ("official", "given", "hash", *(f"all:{split}" for split in SPLITS))
        if self.strategy not in known and not self.folds:
            raise UsageError(
                f"unknown split {self.strategy!r}; choose one of {', '.join(known)}, or fold:K/N "
                "with K from 0 to N - 1 and N of 2 or more, such as fold:0/3"
            )
        shares = (self.train, self.val, self.test)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise UsageError(f"split shares {shares} must be 0 or more and add up to 1")

    @property
    def folds(self) -> tuple[int, int] | None:
        """Return K and N of `fold:K/N`, or None.

        Example:
            >>> SplitRule("fold:1/3").folds
            (1, 3)
        """
        found = _FOLD.fullmatch(self.strategy)
        fold, n_folds = map(int, found.groups()) if found else (0, 0)
        return (fold, n_folds) if fold < n_folds and n_folds >= _FEWEST_FOLDS else None


@dataclass(frozen=True, slots=True)
class Leak:
    """Two splits that share something.

    `kind` is `source` (a person or source video), `duplicate` (equal bytes) or `mixed` (a chain
    of both). `chain` reads from a video of the first split to one of the second: video, what it
    shares with the next, video, and so on.
    """

    kind: str
    splits: tuple[str, str]
    chain: tuple[str, ...]


def assign_splits(videos: Videos, rule: SplitRule) -> Videos:
    """Return the videos with their split filled in by the rule.

    Raises:
        UsageError: The dataset has no split of its own for some video, or a split that was asked
            for stays empty.
    """
    if rule.strategy.startswith("all:"):
        split = rule.strategy.removeprefix("all:")
        return videos.with_column("split", pa.repeat(split, len(videos)))
    if rule.strategy == "hash" or rule.folds:
        return _hashed(videos, rule)
    without = pc.is_null(videos.column("split"))
    n_without = pc.sum(without).as_py() or 0
    if n_without:
        first = videos.column("video_id").filter(without)[0]
        raise UsageError(
            f"{n_without} of {len(videos)} videos have no {rule.strategy} split "
            f"(the first: {first}); use split.strategy=hash"
        )
    return videos


def _hashed(videos: Videos, rule: SplitRule) -> Videos:
    groups = source_groups(videos)
    of_group = [_split_of(name, rule) for name in groups.names]
    wanted = {split for split in SPLITS if getattr(rule, split) > 0}
    if rule.folds:
        wanted = {"train", "test"}
    empty = sorted(wanted - set(of_group))
    if empty and len(videos):
        seeds = (replace(rule, seed=seed) for seed in range(_SEEDS_TRIED))
        fills = (r for r in seeds if wanted <= {_split_of(name, r) for name in groups.names})
        better = next((f"take split.seed={r.seed}, or " for r in fills), "")
        raise UsageError(
            f"split.seed={rule.seed} leaves {', '.join(empty)} empty with {len(of_group)} "
            f"groups of related videos; {better}keep them together with split.strategy=all:test"
        )
    return videos.with_column("split", pa.array(of_group, pa.string()).take(groups.codes))


def hashed_by(videos: Videos) -> SplitRule | None:
    """Return the hash rule of the default shares that the splits came from, or None.

    A manifest holds splits and not how they came about, but a hash can be made again: where the
    groups of related videos all lie where some seed puts them, and chance would do that less
    often than once in a million, the seed did. Videos of one split are enough.
    """
    groups = source_groups(videos)
    split = videos.column("split").to_pylist()
    of_group = dict(zip(groups.codes.tolist(), split, strict=True))
    found = [(name, of_group[number]) for number, name in enumerate(groups.names)]
    rule = SplitRule(strategy="hash")
    shares = [getattr(rule, each, 0.0) if each in SPLITS else 0.0 for _, each in found]
    if not shares or _SEEDS_TRIED * np.prod(shares) > _COINCIDENCE:
        return None
    for seed in range(_SEEDS_TRIED):
        rule = replace(rule, seed=seed)
        if all(_split_of(name, rule) == each for name, each in found):
            return rule
    return None


def _split_of(group: str, rule: SplitRule) -> str:
    digest = hashlib.sha256(f"{rule.seed}:{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if rule.folds:
        fold, n_folds = rule.folds
        return "test" if int(position * n_folds) == fold else "train"
    if position < rule.train:
        return "train"
    # rounding of shares such as 0.7 + 0.3 must not open a gap for a split of share 0
    return "val" if position < rule.train + rule.val or rule.test == 0 else "test"


@dataclass(frozen=True, slots=True)
class Groups:
    """Which videos are related: for each row the number of its group, and every group's name."""

    codes: NDArray[np.int64]
    names: tuple[str, ...]


def source_groups(videos: Videos) -> Groups:
    """Return the groups of related videos.

    Two videos are related when they share a source id (of the same dataset, or one that means the
    same everywhere) or equal bytes, or are related to a common third one. A group's name is its
    smallest source, whatever the order of rows is; groups are numbered by name.
    """
    rows, tokens, is_bytes, texts = _links(videos)
    n_rows, n_tokens = len(videos), len(texts)
    links = coo_array(
        (np.ones(len(rows), dtype=bool), (rows, n_rows + tokens)), shape=(n_rows + n_tokens,) * 2
    )
    n_groups, component = connected_components(links, directed=False)
    # a group is named by its sources, so that re-encoding a video does not move it
    order = np.asarray(
        pc.sort_indices(
            pa.table({"is_bytes": is_bytes, "text": texts}),
            sort_keys=[("is_bytes", "ascending"), ("text", "ascending")],
        )
    )
    rank = np.empty(n_tokens, dtype=np.int64)
    rank[order] = np.arange(n_tokens)
    smallest = np.full(n_groups, n_tokens, dtype=np.int64)
    np.minimum.at(smallest, component[n_rows:], rank)
    by_name = np.argsort(smallest)
    number = np.empty(n_groups, dtype=np.int64)
    number[by_name] = np.arange(n_groups)
    names = texts.take(pa.array(order[smallest[by_name]])).to_pylist()
    return Groups(number[component[:n_rows]], tuple(names))


def source_links(videos: Videos) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the row of every (video, source id), in order, and the source's name everywhere.

    A source id names something of its own dataset, unless it starts with `@`.
    """
    sources = videos.column("source_ids").combine_chunks()
    row_of_source = np.asarray(pc.list_parent_indices(sources), dtype=np.int64)
    flat = pc.list_flatten(sources)
    dataset = videos.column("dataset").combine_chunks().take(pa.array(row_of_source))
    own = pc.binary_join_element_wise(dataset, flat, ":")
    shared = pc.utf8_slice_codeunits(flat, len(EVERYWHERE))
    return row_of_source, pc.if_else(pc.starts_with(flat, EVERYWHERE), shared, own)


def _links(
    videos: Videos,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], pa.Array]:
    """Return (row, token) of every link, and of every token whether it is bytes, and its text."""
    row_of_source, named = source_links(videos)
    bytes_ = pc.binary_join_element_wise(BYTES, videos.column("sha256").combine_chunks(), "")
    first, second = (pc.dictionary_encode(texts) for texts in (named, bytes_))
    n_first = len(first.dictionary)
    tokens = np.concatenate([np.asarray(first.indices), np.asarray(second.indices) + n_first])
    rows = np.concatenate([row_of_source, np.arange(len(videos), dtype=np.int64)])
    is_bytes = np.arange(n_first + len(second.dictionary)) >= n_first
    return (
        rows,
        tokens.astype(np.int64),
        is_bytes,
        pa.concat_arrays([first.dictionary, second.dictionary]),
    )


def leak_check(videos: Videos) -> tuple[Leak, ...]:
    """Return one leak, with its shortest chain, per group of related videos and pair of splits.

    Videos of several datasets may be given together (`Videos.joined`): source ids are compared
    within a dataset unless they start with `@`, bytes across all. Videos without a split are links
    of a chain but no leak.
    """
    return tuple(leak for torn in _torn(videos) for leak in torn.leaks(videos))


def require_no_leak(videos: Videos) -> None:
    """Raise when related videos are in different splits.

    Raises:
        ContractError: The sentence shows the first chain and the number of leaks.
    """
    torn = _torn(videos)
    if torn:
        # a careless split tears thousands of groups; one chain shows what is wrong
        first = next(torn[0].leaks(videos))
        n_leaks = sum(len(list(combinations(one.splits, 2))) for one in torn)
        raise ContractError(
            f"{n_leaks} leak(s) between splits; {first.splits[0]} and {first.splits[1]} share: "
            f"{' → '.join(first.chain)}; split again with split.strategy=hash"
        )


@dataclass(frozen=True, slots=True)
class _Torn:
    """A group of related videos in several splits: the numbers of its rows, and the splits."""

    rows: NDArray[np.int64]
    splits: tuple[str, ...]

    def leaks(self, videos: Videos) -> Iterator[Leak]:
        members = videos.take(self.rows)
        for first, second in combinations(self.splits, 2):
            yield _shortest(members, first, second)


def _torn(videos: Videos) -> tuple[_Torn, ...]:
    codes = source_groups(videos).codes
    split = videos.column("split").combine_chunks()
    split_codes = np.asarray(pc.fill_null(pc.index_in(split, pa.array(SPLITS)), -1))
    # each group and split that occur together, once
    present = np.unique(np.stack([codes, split_codes])[:, split_codes >= 0], axis=1)
    groups, first_pairs, n_splits = np.unique(present[0], return_index=True, return_counts=True)
    several = np.flatnonzero(n_splits > 1)
    # one sort finds the members of every torn group
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], groups[several], side="left")
    ends = np.searchsorted(codes[order], groups[several], side="right")
    return tuple(
        _Torn(
            np.sort(order[start:end]),
            tuple(SPLITS[code] for code in present[1][pair : pair + n]),
        )
        for start, end, pair, n in zip(
            starts, ends, first_pairs[several], n_splits[several], strict=True
        )
    )


def _tokens(row: ManifestRow) -> Iterator[str]:
    for source in sorted(row.source_ids):
        everywhere = source.startswith(EVERYWHERE)
        yield source.removeprefix(EVERYWHERE) if everywhere else f"{row.dataset}:{source}"
    yield f"{BYTES}{row.sha256}"


_Place = tuple[str, str | None]
_Steps = dict[_Place, "tuple[ManifestRow, str] | None"]


def _place(row: ManifestRow) -> _Place:
    return row.video_id, row.split


def _shortest(members: Iterable[ManifestRow], first: str, second: str) -> Leak:
    by_token: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in members:
        for token in _tokens(row):
            by_token[token].append(row)
    members = sorted(members, key=lambda row: row.video_id)
    queue = deque(row for row in members if row.split == first)
    # one video may be given twice, from two stores that disagree on its split
    came_from: _Steps = {_place(row): None for row in queue}
    while queue:
        row = queue.popleft()
        if row.split == second:
            return _leak(row, came_from, (first, second))
        for token in _tokens(row):
            # each token leads somewhere new only once
            for neighbour in by_token.pop(token, ()):
                if _place(neighbour) not in came_from:
                    came_from[_place(neighbour)] = (row, token)
                    queue.append(neighbour)
    raise AssertionError("rows of one group are always connected")


def _leak(
    last: ManifestRow,
    came_from: _Steps,
    splits: tuple[str, str],
) -> Leak:
    chain, kinds = [last.video_id], set()
    step = came_from[_place(last)]
    while step is not None:
        row, token = step
        kinds.add("duplicate" if token.startswith(BYTES) else "source")
        chain += [token, row.video_id]
        step = came_from[_place(row)]
    return Leak(kinds.pop() if len(kinds) == 1 else "mixed", splits, tuple(reversed(chain)))
