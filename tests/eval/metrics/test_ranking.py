"""Approximate randomisation against all possible swaps, and ranks by hand."""

from itertools import product

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from eval.metrics.overlap import bleu_of_sums, bleu_statistics, chrf_of_sums, chrf_statistics
from eval.metrics.ranking import group_numbers, random_swaps, randomisation_p, ranks
from eval.metrics.significance import (
    cluster_counts,
    mean_statistics,
    paired_bootstrap,
    ratio_of_sums,
    resample_counts,
)

BEFORE = [0.1, 0.5, 0.3, 0.4, 0.2, 0.6]
AFTER = [0.4, 0.6, 0.2, 0.9, 0.5, 0.8]


def p_value(swaps: np.ndarray) -> float:
    return randomisation_p(mean_statistics(BEFORE), mean_statistics(AFTER), ratio_of_sums, swaps)


def test_all_swaps_give_the_exact_permutation_p() -> None:
    swaps = np.array(list(product([0.0, 1.0], repeat=6)))
    gaps = [after - before for before, after in zip(BEFORE, AFTER, strict=True)]
    sums = [abs(sum(gap * (1 - 2 * s) for gap, s in zip(gaps, row, strict=True))) for row in swaps]
    exact = sum(value >= abs(sum(gaps)) - 1e-12 for value in sums)
    assert exact == 6  # nothing moves, the loss of 0.1, that and a gain of 0.1; and the mirror image of each
    assert p_value(swaps) == (1 + exact) / (1 + 64)


def test_random_swaps_come_near_the_exact_p() -> None:
    swaps = random_swaps(np.arange(6), np.random.default_rng(0), 20_000)
    assert p_value(swaps) == pytest.approx(6 / 64, abs=4 * np.sqrt(6 / 64 * 58 / 64 / 20_000))


def test_equal_systems_are_never_significant() -> None:
    same = mean_statistics(BEFORE)
    swaps = random_swaps(np.arange(6), np.random.default_rng(0), 100)
    assert randomisation_p(same, same, ratio_of_sums, swaps) == 1.0


def test_a_document_changes_sides_as_a_whole() -> None:
    groups = group_numbers(["x", "x", "y", "x", "y", "z"])
    assert groups.tolist() == [0, 0, 1, 0, 1, 2]
    swaps = random_swaps(groups, np.random.default_rng(0), 50)
    assert (swaps[:, 0] == swaps[:, 1]).all() and (swaps[:, 0] == swaps[:, 3]).all()
    assert {tuple(row) for row in swaps[:, [0, 2, 5]]} == set(product([0.0, 1.0], repeat=3))


def test_a_cluster_is_drawn_as_a_whole_and_widens_the_interval() -> None:
    """Ten copies of each of twenty items: by items the interval is that of 200, by clusters that of 20."""
    generator = np.random.default_rng(1)
    gaps = np.repeat(generator.normal(0.1, 1.0, size=20), 10)
    groups = np.repeat(np.arange(20), 10)
    counts = cluster_counts(groups, np.random.default_rng(0), 4000)
    assert counts.shape == (4000, 200) and (counts[:, ::10] == counts[:, 9::10]).all()
    assert (counts[:, ::10].sum(axis=1) == 20).all()
    start, end = mean_statistics(np.zeros(200)), mean_statistics(gaps)
    by_cluster = paired_bootstrap(start, end, ratio_of_sums, counts)
    by_item = paired_bootstrap(
        start, end, ratio_of_sums, resample_counts(200, np.random.default_rng(0), 4000)
    )
    width = (by_cluster.high - by_cluster.low) / (by_item.high - by_item.low)
    assert width == pytest.approx(np.sqrt(10), rel=0.1)


def test_items_of_their_own_are_the_plain_bootstrap() -> None:
    own = cluster_counts(np.arange(7), np.random.default_rng(3), 50)
    assert (own == resample_counts(7, np.random.default_rng(3), 50)).all()


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        ([], {"a": 1, "b": 2, "c": 3, "d": 4}),
        (["ab"], {"a": 1, "b": 1, "c": 3, "d": 4}),
        (["ab", "bc"], {"a": 1, "b": 1, "c": 1, "d": 4}),  # a beats c, and still they share a rank
        (["ad"], {"a": 1, "b": 1, "c": 1, "d": 1}),
        (["cd"], {"a": 1, "b": 2, "c": 3, "d": 3}),
    ],
)
def test_ranks_by_hand(close: list[str], expected: dict[str, int]) -> None:
    names = "abcd"
    p_values = {frozenset((x, y)): 0.2 if x + y in close else 0.01 for x in names for y in names if x < y}
    assert ranks({"d": 1.0, "c": 2.0, "b": 3.0, "a": 4.0}, p_values) == expected


def test_statistics_of_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="of different items"):
        randomisation_p(mean_statistics(BEFORE), mean_statistics(AFTER[1:]), ratio_of_sums, np.ones((3, 6)))


WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "barked", "at", "night", "late", "friend"]
ROUNDS = 200


def sentences(seed: int, changes: float) -> list[str]:
    """Forty sentences; each word is another one with probability `changes`."""
    generator = np.random.default_rng(seed)
    fixed = np.random.default_rng(0).integers(len(WORDS), size=(40, 8))
    others = np.where(
        generator.random(fixed.shape) < changes, generator.integers(len(WORDS), size=fixed.shape), fixed
    )
    return [" ".join(WORDS[word] for word in row) for row in others]


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_paired_tests_are_those_of_sacrebleu(name: str) -> None:
    """With its draws both of its tests give its p-values: approximate randomisation, and the bootstrap by its statistic."""
    references, before, after = sentences(0, 0.0), sentences(1, 0.30), sentences(2, 0.27)
    metric = {"bleu": BLEU(), "chrf": CHRF()}[name]
    systems = [("before", before), ("after", after)]
    expected = {
        kind: PairedTest(systems, {name: metric}, [references], kind, ROUNDS)()[1] for kind in ("ar", "bs")
    }
    texts = [[text] for text in references]
    if name == "bleu":
        score, rows = bleu_of_sums, [bleu_statistics(one, texts, "en") for one in (before, after)]
    else:
        score, rows = chrf_of_sums, [chrf_statistics(one, texts) for one in (before, after)]
    stays = np.random.default_rng(12345).integers(2, size=(ROUNDS, 40), dtype=bool)
    p = randomisation_p(*rows, score, (~stays).astype(np.float64))
    assert 0.01 < p < 0.9
    assert p == pytest.approx(expected["ar"][key_of(expected["ar"], name)][1].p_value, abs=1e-12)
    draws = np.random.default_rng(12345).choice(40, size=(ROUNDS, 40), replace=True)
    counts = np.stack([np.bincount(row, minlength=40) for row in draws]).astype(np.float64)
    gaps = abs(score(counts @ rows[1]) - score(counts @ rows[0]))
    gap = abs(score(rows[1].sum(axis=0)) - score(rows[0].sum(axis=0)))
    theirs = expected["bs"][key_of(expected["bs"], name)][1]
    assert (1 + np.sum(gaps - gaps.mean() > gap)) / (1 + ROUNDS) == pytest.approx(theirs.p_value, abs=1e-12)
    difference = paired_bootstrap(*rows, score, counts)
    low, high = np.quantile(score(counts @ rows[1]) - score(counts @ rows[0]), [0.025, 0.975])
    assert (difference.low, difference.high) == pytest.approx((low, high))
    assert score(counts @ rows[1]).mean() == pytest.approx(theirs.mean, abs=1e-3)


def key_of(results: dict, name: str) -> str:
    """sacreBLEU names a column by the metric as it writes it."""
    return next(key for key in results if key.lower().startswith(name))
