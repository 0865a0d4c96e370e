"""How sure a difference is: paired bootstrap, exact McNemar test, Wilson interval.

Not here: what is compared (eval/systems.py, eval/forgetting/probes.py). Ideas: paired bootstrap resampling of test items
as in Koehn, "Statistical Significance Tests for Machine Translation Evaluation" (EMNLP 2004); McNemar,
Psychometrika 12 (1947), in its exact binomial form; Wilson, JASA 22 (1927).

One routine serves means and corpus metrics alike: every item brings a row of sufficient statistics, a
resample is a weighted sum of rows, and a `score` function turns sums into the metric. A mean is the special
case with statistics (value, 1).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Score = Callable[[Array], Array]
RESAMPLES = 2000
CONFIDENCE = 0.95
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Difference:
    """after - before with its percentile interval; `p_not_greater` is the share of resamples with a difference <= 0."""

    before: float
    after: float
    difference: float
    low: float
    high: float
    p_not_greater: float
    n: int


@dataclass(frozen=True)
class McNemar:
    """Items only the second (`gained`) or only the first (`lost`) got right, and the exact two-sided p-value."""

    gained: int
    lost: int
    p_value: float
    n: int


@dataclass(frozen=True)
class Share:
    """A share of `n` items with its Wilson interval; `value` is None where there is no item."""

    value: float | None
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Transitions:
    """Of the items that were right before the share that is wrong after (1 -> 0), and of those that were wrong
    before the share that is right after (0 -> 1).
    """

    lost_share: Share
    gained_share: Share


def mean_statistics(values: Sequence[float] | Array) -> Array:
    """(n,) values -> (n, 2) rows (value, 1), whose sums `ratio_of_sums` turns into the mean."""
    column = np.asarray(values, dtype=np.float64)
    return np.stack([column, np.ones_like(column)], axis=1)


def ratio_of_sums(sums: Array) -> Array:
    """(..., 2) sums -> (...) first / second; 0 where the second is 0."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros_like(sums[..., 0]), where=sums[..., 1] != 0)


def resample_counts(n: int, generator: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """(resamples, n): how often each resample, drawn with replacement, has each of n items."""
    if n < 1:
        raise ValueError("a bootstrap needs at least one item")
    return generator.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)


def cluster_counts(groups: NDArray[np.int64], generator: np.random.Generator, resamples: int) -> Array:
    """(resamples, n): `resample_counts` of whole groups, for items that are not independent, as those of one document.

    `groups` (n,): the group of each item, numbered from 0.
    """
    counts: Array = resample_counts(int(groups.max()) + 1, generator, resamples)[:, groups]
    return counts


def percentile_interval(resampled: Array) -> tuple[float, float]:
    """The ends of the 95 % interval of a figure from its values in the resamples (resamples,)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def paired_bootstrap(before: Array, after: Array, score: Score, counts: Array) -> Difference:
    """Difference of a metric between two systems on the same items.

    `before`, `after`: (n, k) sufficient statistics, row i of both from item i. `score`: (..., k) sums ->
    (...) metric. `counts`: (resamples, n) from `resample_counts`; passing it in lets several metrics share
    one set of resamples.
    """
    return macro_bootstrap([(before, after, counts)], score)


def macro_bootstrap(corpora: Sequence[tuple[Array, Array, Array]], score: Score) -> Difference:
    """Difference of the mean of a metric over corpora, each given as (before, after, counts) of `paired_bootstrap`.

    Items are drawn inside each corpus, and the corpora are taken as given: a stratified bootstrap. `n` is the number
    of items of the smallest corpus. Raises ValueError for statistics of different items.
    """
    for before, after, counts in corpora:
        if before.shape != after.shape or counts.shape[1] != len(before):
            raise ValueError(
                f"statistics {before.shape} and {after.shape} and counts {counts.shape} do not belong to the same items"
            )
    start = float(np.mean([score(before.sum(axis=0)) for before, _, _ in corpora]))
    end = float(np.mean([score(after.sum(axis=0)) for _, after, _ in corpora]))
    changes = [score(counts @ after) - score(counts @ before) for before, after, counts in corpora]
    resampled = np.mean(changes, axis=0)
    smallest = min(len(before) for before, _, _ in corpora)
    p_not_greater = float(np.mean(resampled <= 0))
    return Difference(start, end, end - start, *percentile_interval(resampled), p_not_greater, smallest)


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """95 % interval of a share: 8 of 10 -> (0.490, 0.943). No items -> (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    spread = Z_95 * Z_95 / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """Exact two-sided McNemar test: under no change each discordant item falls either way like a coin.

    1 gained and 9 lost: p = 2 * (C(10, 0) + C(10, 1)) / 2**10 = 0.0215.
    """
    if len(before) != len(after):
        raise ValueError(f"McNemar needs the same items twice, got {len(before)} and {len(after)}")
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    discordant = gained + lost
    tail = sum(math.comb(discordant, k) for k in range(min(gained, lost) + 1))
    return McNemar(gained, lost, min(1.0, 2 * tail / 2**discordant), len(before))


def share(successes: int, n: int) -> Share:
    """`successes` of `n` items."""
    return Share(successes / n if n else None, *wilson_interval(successes, n), n)


def transitions(before: Sequence[bool], after: Sequence[bool]) -> Transitions:
    """The transition rates of the same items before and after. Raises ValueError for different numbers of items.

    Two right items of which one is lost, and three wrong ones of which one is gained: 1/2 and 1/3.
    """
    change = mcnemar(before, after)
    right = sum(map(bool, before))
    return Transitions(share(change.lost, right), share(change.gained, change.n - right))
