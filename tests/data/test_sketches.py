"""The search by sketches finds what the exact one finds, and joins nothing else."""

import random
from itertools import pairwise

import numpy as np
import pytest
from ngram_sets import ngrams

from data import clusters
from data.clusters import Clusters, near_duplicate_labels
from data.examples import Example
from data.grams import BLOCK, Grams, grams_of, overlaps, starts_of
from data.sketches import COLUMNS, band_shape, sketch

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def pairs_with_variants(count: int) -> list[Example]:
    """Random words; every third source repeats an earlier one with one to three other words."""
    draw = random.Random(0)
    texts: list[list[str]] = []
    for number in range(count):
        words = ["".join(draw.choices(LETTERS, k=draw.randint(2, 8))) for _ in range(20)]
        if number % 3 == 2:
            words = list(draw.choice(texts))
            for place in draw.sample(range(20), draw.randint(1, 3)):
                words[place] = "".join(draw.choices(LETTERS, k=5))
        texts.append(words)
    return [
        Example(str(number), " ".join(words), f"{number * 7919:x}" * 3, "o", "l", "sw", "en")
        for number, words in enumerate(texts)
    ]


def links(examples: list[Example], threshold: float) -> set[tuple[int, int]]:
    found = Clusters.of(near_duplicate_labels(examples, threshold))
    return {pair for cluster in found for pair in pairwise(cluster)}


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_hardly_a_pair_is_overlooked_and_none_invented(
    threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = pairs_with_variants(600)
    exact = links(examples, threshold)
    exact_home = {
        item: n
        for n, one in enumerate(Clusters.of(near_duplicate_labels(examples, threshold)))
        for item in one
    }
    monkeypatch.setattr(clusters, "EXACT", 0)
    found = links(examples, threshold)
    assert len(exact) > 30
    assert len(exact - found) <= 0.02 * len(exact)
    for one, other in found - exact:  # a cluster that fell apart links its items in another way
        assert exact_home[one] == exact_home[other]


def test_columns_agree_as_often_as_the_sets_are_alike() -> None:
    draw = np.random.default_rng(0)
    shared = draw.integers(0, 2**54, 700, dtype=np.uint64)
    sides = [np.unique(np.concatenate([shared, draw.integers(0, 2**54, 150, dtype=np.uint64)])) for _ in "ab"]
    grams = Grams(np.concatenate(sides), starts_of(np.array([len(side) for side in sides])))
    words = sketch(grams)
    assert abs(float((words[:, 0] == words[:, 1]).mean()) - 0.7) < 4 * (0.21 / COLUMNS) ** 0.5


def test_a_band_is_narrower_for_a_lower_threshold() -> None:
    columns = [band_shape(threshold)[0] for threshold in (0.05, 0.3, 0.7, 1.0)]
    assert columns == sorted(columns) and columns[0] == 1
    for threshold in (0.3, 0.5, 0.7, 0.9):
        width, bands = band_shape(threshold)
        assert (1 - threshold**width) ** bands < 0.001  # if bands shared no column


def test_hashed_sets_are_those_of_the_texts() -> None:
    draw = random.Random(1)
    alphabet = "aB ,.1\u0f40\u0f0b\u0f72e\u0301\u03a3\u03c3\u03c2\n\t\u4e2d\u6587!"
    texts = ["".join(draw.choices(alphabet, k=draw.randint(0, 12))) for _ in range(BLOCK + 50)]
    texts += ["", " ", "!!", "a", "\u0130stanbul", "\u24b6", "\u24d0"]
    sizes = [draw.choice((2, 4)) for _ in texts]
    sets = [ngrams(text, size) for text, size in zip(texts, sizes, strict=True)]
    grams = grams_of(texts, sizes)
    assert grams.sizes.tolist() == [len(tokens) for tokens in sets]
    order = np.array(draw.sample(range(len(texts)), len(texts)))
    shared = overlaps(grams, grams.take(order)).tolist()
    assert shared == [len(sets[i] & sets[j]) for i, j in enumerate(order.tolist())]
    assert len(set(grams.keys().tolist())) == len(set(sets))
