"""Which video serves for training, validation and testing, and the proof that nothing leaks."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from dfdetect.data.datasets.base import SPLITS
from dfdetect.errors import ContractError, UsageError

if TYPE_CHECKING:
    from dfdetect.data.manifest import ManifestRow


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How videos fall into train, val and test.

    `strategy` is one of

    * `official`: the dataset's own lists, `given`: the split column of a CSV; the same thing, and
      every video must have one;
    * `hash`: each group of videos that share a person or source is hashed with `seed` into one
      split, so that no group is ever torn; `train`, `val` and `test` are the shares of groups and
      add up to 1; adding a group moves no other one;
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
        if self.strategy not in known:
            raise UsageError(f"unknown split {self.strategy!r}; choose one of {', '.join(known)}")
        shares = (self.train, self.val, self.test)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise UsageError(f"split shares {shares} must be 0 or more and add up to 1")


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


def assign_splits(rows: Sequence[ManifestRow], rule: SplitRule) -> tuple[ManifestRow, ...]:
    """Return the rows with their split filled in by the rule.

    Raises:
        UsageError: The dataset has no split of its own for some video, or a split that was asked
            for stays empty.
    """
    if rule.strategy.startswith("all:"):
        split = rule.strategy.removeprefix("all:")
        return tuple(replace(row, split=split) for row in rows)
    if rule.strategy == "hash":
        return _hashed(rows, rule)
    without = [row.video_id for row in rows if row.split is None]
    if without:
        raise UsageError(
            f"{len(without)} of {len(rows)} videos have no {rule.strategy} split "
            f"(the first: {without[0]}); use split.strategy=hash"
        )
    return tuple(rows)


def _hashed(rows: Sequence[ManifestRow], rule: SplitRule) -> tuple[ManifestRow, ...]:
    groups = source_groups(rows)
    assigned = tuple(
        replace(row, split=_split_of(group, rule)) for row, group in zip(rows, groups, strict=True)
    )
    wanted = {split for split in SPLITS if getattr(rule, split) > 0}
    empty = sorted(wanted - {row.split for row in assigned})
    if empty and rows:
        raise UsageError(
            f"split.seed={rule.seed} leaves {', '.join(empty)} empty with {len(set(groups))} "
            "groups of related videos; try another split.seed, or keep them together with "
            "split.strategy=all:test"
        )
    return assigned


def _split_of(group: str, rule: SplitRule) -> str:
    digest = hashlib.sha256(f"{rule.seed}:{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < rule.train:
        return "train"
    # rounding of shares such as 0.7 + 0.3 must not open a gap for a split of share 0
    return "val" if position < rule.train + rule.val or rule.test == 0 else "test"


def source_groups(rows: Sequence[ManifestRow]) -> tuple[str, ...]:
    """Return, for each row, the name of the group of related videos it belongs to.

    Two videos are related when they share a source id of the same dataset or equal bytes, or are
    related to a common third one. The name is the group's smallest token, whatever the order of
    rows is.
    """
    parent: dict[str, str] = {}

    def find(token: str) -> str:
        parent.setdefault(token, token)
        while parent[token] != token:
            parent[token] = parent[parent[token]]
            token = parent[token]
        return token

    firsts = []
    for row in rows:
        first, *others = _tokens(row)
        firsts.append(first)
        root = find(first)
        for token in others:
            # the smaller token stays root, so the name does not depend on the order of rows
            root, below = sorted((root, find(token)), key=_token_order)
            parent[below] = root
    return tuple(find(first) for first in firsts)


def leak_check(rows: Sequence[ManifestRow]) -> tuple[Leak, ...]:
    """Return one leak, with its shortest chain, per group of related videos and pair of splits.

    Rows of several datasets may be given together: source ids are compared within a dataset,
    bytes across all. Rows without a split are links of a chain but no leak.
    """
    groups: dict[str, list[ManifestRow]] = defaultdict(list)
    for group, row in zip(source_groups(rows), rows, strict=True):
        groups[group].append(row)
    leaks: list[Leak] = []
    for _, members in sorted(groups.items()):
        splits = sorted({row.split for row in members if row.split is not None}, key=_split_order)
        leaks.extend(_shortest(members, *pair) for pair in combinations(splits, 2))
    return tuple(leaks)


def require_no_leak(rows: Sequence[ManifestRow]) -> None:
    """Raise when related videos are in different splits.

    Raises:
        ContractError: The sentence shows the first chain and the number of leaks.
    """
    leaks = leak_check(rows)
    if leaks:
        first = leaks[0]
        raise ContractError(
            f"{len(leaks)} leak(s) between splits; {first.splits[0]} and {first.splits[1]} share: "
            f"{' → '.join(first.chain)}; split again with split.strategy=hash"
        )


def _tokens(row: ManifestRow) -> Iterator[str]:
    for source in sorted(row.source_ids):
        yield f"{row.dataset}:{source}"
    yield f"sha256:{row.sha256}"


def _token_order(token: str) -> tuple[bool, str]:
    # a group is named by its sources, so that re-encoding a video does not move it
    return token.startswith("sha256:"), token


def _split_order(split: str) -> int:
    return SPLITS.index(split)


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
        kinds.add("duplicate" if token.startswith("sha256:") else "source")
        chain += [token, row.video_id]
        step = came_from[_place(row)]
    return Leak(kinds.pop() if len(kinds) == 1 else "mixed", splits, tuple(reversed(chain)))
