"""Which of several systems are better than which: approximate randomisation, and ranks as WMT gives them.

Approximate randomisation (Noreen 1989; Riezler & Maxwell 2005, "On some pitfalls in automatic evaluation and
significance testing for MT") asks how often a difference as large as the measured one appears when the outputs of two
systems change sides by the toss of a coin, item by item or document by document. It assumes nothing about how scores
are distributed. Statistics and scores are those of `eval.metrics.significance`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eval.metrics.significance import Array, Score

LEVEL = 0.05  # below it a difference is significant


def group_numbers(labels: Sequence[str]) -> NDArray[np.int64]:
    """(n,) the number of each item's group, in the order of first appearance.

    >>> group_numbers(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def random_swaps(groups: NDArray[np.int64], generator: np.random.Generator, rounds: int) -> Array:
    """(rounds, n): 1 where an item's two outputs change sides, and 0 where not; equal inside a group."""
    tosses = generator.integers(0, 2, size=(rounds, int(groups.max()) + 1)).astype(np.int8)
    swaps: Array = tosses[:, groups].astype(np.float64)
    return swaps


def randomisation_p(before: Array, after: Array, score: Score, swaps: Array) -> float:
    """Two-sided p-value of score(after) - score(before): (n, k), (n, k) statistics of the same items.

    (1 + rounds whose difference is at least as large) / (1 + rounds), which is never 0. Raises ValueError for statistics
    of different items.
    """
    return macro_randomisation_p([(before, after, swaps)], score)


def macro_randomisation_p(corpora: Sequence[tuple[Array, Array, Array]], score: Score) -> float:
    """The same of the mean of a score over corpora, each given as (before, after, swaps); items change sides inside each
    corpus.
    """
    for before, after, swaps in corpora:
        if before.shape != after.shape or swaps.shape[1] != len(before):
            raise ValueError(
                f"statistics {before.shape}, {after.shape} and swaps {swaps.shape} are of different items"
            )
    gap = np.mean([score(after.sum(axis=0)) - score(before.sum(axis=0)) for before, after, _ in corpora])
    differences = np.mean([swapped_differences(*corpus, score) for corpus in corpora], axis=0)
    as_large = int((abs(differences) >= abs(gap) - 1e-12).sum())  # rounding must not hide a tie
    return (1 + as_large) / (1 + len(differences))


def swapped_differences(before: Array, after: Array, swaps: Array, score: Score) -> Array:
    """(rounds,) score(after) - score(before) after each round of swaps."""
    changes = swaps @ (before - after)
    differences: Array = score(after.sum(axis=0) + changes) - score(before.sum(axis=0) - changes)
    return differences


def ranks(scores: Mapping[str, float], p_values: Mapping[frozenset[str], float]) -> dict[str, int]:
    """The rank of each system, 1 = the best: a new rank begins where every system above is significantly better than
    every one below, as in WMT's tables (Barrault et al. 2019, section 3). `p_values` by pair.

    >>> close, far = 0.5, 0.01
    >>> pairs = {frozenset("ab"): close, frozenset("ac"): far, frozenset("bc"): far}
    >>> ranks({"a": 3.0, "b": 2.0, "c": 1.0}, pairs)
    {'a': 1, 'b': 1, 'c': 3}
    """
    order = sorted(scores, key=lambda name: (-scores[name], name))
    result: dict[str, int] = {}
    rank = 1
    for place, name in enumerate(order):
        pairs = (frozenset((upper, lower)) for upper in order[:place] for lower in order[place:])
        if place and all(p_values[pair] < LEVEL for pair in pairs):
            rank = place + 1
        result[name] = rank
    return result
