"""Resamples that draw whole clusters within each class, and all metrics of each of them at once.

The items of a video rise and fall together, so videos are what is drawn. A resample is how often
each cluster is in it; a sparse matrix of clusters by scores turns that into how often each score
is (`ScoreCounts`), for many resamples in one product. Many metrics then share draws and sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from typing_extensions import Self

from dfdetect.scoring.counted import ScoreCounts
from dfdetect.scoring.words import clopper_pearson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weights = NDArray[np.float32]
Numbers = Callable[[ScoreCounts], Floats]

EXACT_SCORES = 32_768
"""Up to so many distinct scores every resample is exact; beyond, `RANK_BINS` says how near."""
RANK_BINS = 4096
"""Where scores are many, neighbours are put together until a bin holds 1/4096 of a class."""
DRAWN_AT_ONCE = 6_000_000  # weights of clusters: some 50 MB
COUNTED_AT_ONCE = 400_000  # weights of scores: a few MB an array


@dataclass(frozen=True, slots=True)
class Sample:
    """N items, and which cluster each is of; clusters of genuine items are numbered first.

    Attributes:
        labels: (N,) 0 or 1.
        scores: (N,) finite.
        cluster: (N,) numbers from 0 to n_real + n_fake - 1.
        n_clusters: Those of genuine items, and those of fakes.
    """

    labels: Ints = field(repr=False)
    scores: Floats = field(repr=False)
    cluster: Ints = field(repr=False)
    n_clusters: tuple[int, int]

    @classmethod
    def of(cls, labels: Ints, scores: Floats, groups: NDArray[Any]) -> Self:
        """Return the sample of items whose groups bear any ids, in the order of which they count.

        Raises:
            ValueError: A group holds both labels, or there are more or fewer groups than items.
        """
        if groups.shape != labels.shape:
            raise ValueError(f"there are {labels.size} items but {groups.size} groups")
        names, group = np.unique(groups, return_inverse=True)
        fakes = np.bincount(group, weights=labels, minlength=names.size)
        if np.any((fakes > 0) & (fakes < np.bincount(group, minlength=names.size))):
            raise ValueError(
                "a group holds genuine and fake items; resample by video, not by source"
            )
        order = np.argsort(fakes > 0, kind="stable")
        number = np.empty(names.size, dtype=np.int64)
        number[order] = np.arange(names.size)
        n_fake = int(np.count_nonzero(fakes))
        return cls(labels, scores, number[group], (names.size - n_fake, n_fake))

    @property
    def has_spread(self) -> bool:
        """Whether no class has a single cluster, of which a resample is always the same."""
        return 1 not in self.n_clusters

    def require_spread(self) -> None:
        """Refuse a sample with a class of a single cluster.

        Raises:
            ValueError: It has one.
        """
        if not self.has_spread:
            raise ValueError("a class has a single group, so its spread cannot be estimated")


def drawn(n_clusters: tuple[int, int], n: int, seed: int) -> Iterator[Weights]:
    """Yield how often each cluster is in each of `n` resamples, B x V of them at a time.

    As many clusters of a class are drawn as it has. What is drawn depends on the seed and on the
    numbers of clusters only.
    """
    rng = np.random.default_rng(seed)
    total = sum(n_clusters)
    size = max(1, min(256, DRAWN_AT_ONCE // total))
    for start in range(0, n, size):
        weights = np.empty((min(size, n - start), total), dtype=np.float32)
        for row in weights:
            for begin, end in pairwise((0, n_clusters[0], total)):
                if count := end - begin:
                    row[begin:end] = np.bincount(rng.integers(0, count, count), minlength=count)
        yield weights


def replicates(
    samples: Sequence[Sample],
    numbers: Numbers,
    n: int,
    seed: int,
    *,
    exact_scores: int | None = EXACT_SCORES,
    cuts: Sequence[float] = (),
) -> tuple[Floats, ...]:
    """Return M numbers of each of `n` resamples, for every sample an M x n array.

    Resample i draws the same clusters in every sample. They may be frames, tracks and videos of
    the same videos.

    A sample of more than `exact_scores` distinct scores is counted in bins of neighbouring ones,
    none of which holds more than 1/`RANK_BINS` of either class beside a single score's items.
    Items in one bin are taken for ties with their mean score. The draws are those without bins, so
    the rates of a resample (EER, TPR) are off by about 1/`RANK_BINS`, a few times that where it
    holds a bin's items often, and areas and means by far less. The ends of intervals move by less
    than 2/`RANK_BINS`, and than a fiftieth of their width.

    Args:
        samples: With the same numbers of clusters.
        numbers: Metrics of B counted resamples, as an M x B array.
        n: Number of resamples.
        seed: Of the random numbers.
        exact_scores: None counts every score.
        cuts: Scores that thresholds lie at: a bin is never on both sides of one.

    Raises:
        ValueError: The samples differ in clusters, or a class has a single one.
    """
    if len({sample.n_clusters for sample in samples}) != 1:
        raise ValueError("samples that are drawn together need the same clusters")
    samples[0].require_spread()
    tallies = [_Tally.of(sample, exact_scores, cuts) for sample in samples]
    found: list[list[Floats]] = [[] for _ in samples]
    for weights in drawn(samples[0].n_clusters, n, seed):
        by_cluster = np.ascontiguousarray(weights.T)
        for tally, parts in zip(tallies, found, strict=True):
            parts += [numbers(counts) for counts in tally.counts(by_cluster)]
    return tuple(np.concatenate(parts, axis=1) for parts in found)


def auc_replicates(sample: Sample, n: int, seed: int) -> Floats:
    """Return the AUC of each of `n` resamples, the same as by `replicates` and faster.

    Raises:
        ValueError: A class has a single cluster.
    """
    sample.require_spread()
    is_fake = sample.labels == 1
    order = np.argsort(sample.scores[~is_fake], kind="stable")
    beaten = sample.scores[~is_fake][order]
    real, fake = sample.cluster[~is_fake][order], sample.cluster[is_fake]
    # positions in the sums of genuine items, from the lowest: those below, and those not above
    below = np.searchsorted(beaten, sample.scores[is_fake], side="left")
    not_above = np.searchsorted(beaten, sample.scores[is_fake], side="right")
    has_ties = not np.array_equal(below, not_above)
    sums = np.zeros(real.size + 1)
    found = np.empty(n)
    place = 0
    for weights in drawn(sample.n_clusters, n, seed):
        for row in weights:
            np.cumsum(row[real], out=sums[1:])
            won = sums[below]
            if has_ties:
                won = (won + sums[not_above]) / 2
            of_fakes = row[fake].astype(np.float64)
            found[place] = of_fakes @ won / (sums[-1] * of_fakes.sum())
            place += 1
    return found


def interval_of_unanimous(
    auc: float, n_clusters: tuple[int, int], level: float = 0.95
) -> tuple[float, float] | None:
    """Return an exact interval of an AUC of 0 or 1, and None of any other.

    Resamples cannot see beyond the sample: where every fake beats every genuine item, all of them
    say 1, be there three fakes or thousands. But as many pairs without a common cluster as the
    smaller class has clusters are so many independent trials, all of them won, whose interval is
    that of Clopper & Pearson (Biometrika 1934). It is wide rather than short, as other pairs count
    for nothing.

    Args:
        auc: In [0, 1].
        n_clusters: Those of genuine items, and those of fakes.
        level: Coverage, at least.

    Example:
        >>> low, high = interval_of_unanimous(1.0, (140, 3))
        >>> round(low, 3), high
        (0.292, 1.0)
        >>> interval_of_unanimous(0.99, (140, 3)) is None
        True
    """
    pairs = min(n_clusters)
    if auc not in (0.0, 1.0) or pairs < 1:
        return None
    return clopper_pearson(pairs if auc else 0, pairs, level)


@dataclass(frozen=True, slots=True)
class _Tally:
    """How many items of each score (or bin of scores) each cluster has."""

    scores: Floats
    real: Any  # sparse, K x clusters of genuine items
    fake: Any

    @classmethod
    def of(cls, sample: Sample, exact_scores: int | None, cuts: Sequence[float]) -> Self:
        order = np.argsort(sample.scores, kind="stable")[::-1]
        scores, labels = sample.scores[order], sample.labels[order]
        is_first = np.append(True, scores[1:] != scores[:-1])
        if exact_scores is not None and np.count_nonzero(is_first) > exact_scores:
            is_first &= _begins_bin(scores, labels, is_first, cuts)
        starts = np.flatnonzero(is_first)
        sizes = np.diff(np.append(starts, scores.size))
        means = np.add.reduceat(scores, starts) / sizes
        # where a bin has one score, a mean of many would be off by rounding
        is_tie = scores[starts] == scores[starts + sizes - 1]
        bin_of, cluster = np.cumsum(is_first) - 1, sample.cluster[order]
        # counts beyond 2**24 have no exact float32
        kind = np.float32 if scores.size < 2**24 else np.float64
        sides = []
        for label, first, count in zip(
            (0, 1), (0, sample.n_clusters[0]), sample.n_clusters, strict=True
        ):
            chosen = labels == label
            cells = bin_of[chosen], cluster[chosen] - first
            ones = np.ones(cells[0].size, dtype=kind)
            matrix = sparse.coo_array((ones, cells), shape=(starts.size, count)).tocsc()
            sides.append(matrix)
        return cls(np.where(is_tie, scores[starts], means), *sides)

    def counts(self, by_cluster: Weights) -> Iterator[ScoreCounts]:
        """Yield the counts of some resamples (V x B), a few at a time."""
        n_real = self.real.shape[1]
        # rows are resamples from here on, as sums run over scores
        real, fake = self.real @ by_cluster[:n_real], self.fake @ by_cluster[n_real:]
        step = max(1, COUNTED_AT_ONCE // self.scores.size)
        for start in range(0, by_cluster.shape[1], step):
            chosen = slice(start, start + step)
            sides = (side[:, chosen].T.astype(np.float64, order="C") for side in (real, fake))
            yield ScoreCounts.of(self.scores, *sides)


def _begins_bin(
    scores: Floats, labels: Ints, is_first: NDArray[np.bool_], cuts: Sequence[float]
) -> NDArray[np.bool_]:
    """Return which of the falling scores lie in another bin than the score before them."""
    begins = np.zeros(scores.size, dtype=bool)
    starts = np.flatnonzero(is_first)
    n_fakes_above = np.append(0, np.cumsum(labels))[starts]
    for above, total in (
        (n_fakes_above, int(labels.sum())),
        (starts - n_fakes_above, int(labels.size - labels.sum())),
    ):
        step = RANK_BINS * above // max(total, 1)
        begins[starts[1:]] |= step[1:] != step[:-1]
    for cut in cuts:
        begins[1:] |= (scores[1:] > cut) != (scores[:-1] > cut)
    begins[0] = True
    return begins
