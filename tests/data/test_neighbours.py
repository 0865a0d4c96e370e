"""The join must find what a quadratic comparison finds, for every threshold and on the border itself."""

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram_sets import ngrams, similar_pairs

from data.grams import grams_of


def brute_force(sets: list[frozenset[str]], ratio: tuple[int, int]) -> set[tuple[int, int]]:
    high, low = ratio
    return {
        (i, j)
        for (i, one), (j, other) in combinations(enumerate(sets), 2)
        if len(one & other) * low >= high * len(one | other)
    }


def pairs_of(sets: list[frozenset[str]], threshold: float) -> list[tuple[int, int]]:
    return [(min(pair), max(pair)) for pair in similar_pairs(sets, threshold)]


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.lists(st.frozensets(st.sampled_from("abcdefghijklmn"), min_size=1), max_size=25),
    st.sampled_from([3, 5, 7, 8, 9, 10]),
)
def test_every_pair_at_the_threshold_is_found_once(sets: list[frozenset[str]], tenths: int) -> None:
    pairs = pairs_of(sets, tenths / 10)
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == brute_force(sets, (tenths, 10))


def test_equal_to_quadratic_comparison_on_mutated_strings() -> None:
    generator = random.Random(5)
    texts = [
        "".join(generator.choice("abcdefgh ") for _ in range(generator.randint(3, 60))) for _ in range(60)
    ]
    for _ in range(240):
        text = list(generator.choice(texts))
        for _ in range(generator.randint(0, 4)):
            text[generator.randrange(len(text))] = generator.choice("abcdefgh")
        texts.append("".join(text))
    sets = [ngrams(text, 4) for text in texts]
    expected = brute_force(sets, (7, 10))
    assert len(expected) > 200
    assert set(pairs_of(sets, 0.7)) == expected


def test_a_pair_exactly_on_the_border_counts() -> None:
    seven_of_ten = [frozenset("abcdefghi"), frozenset("abcdefgj")]  # 7 shared of 10
    assert pairs_of(seven_of_ten, 0.7) == [(0, 1)]
    assert pairs_of(seven_of_ten, 0.71) == []


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        # Python's \\w calls Tibetan vowels and subjoined letters no word characters; without them different words are equal
        ("\u0f40\u0f72\u0f0b", "\u0f40\u0f74\u0f0b", False),
        ("\u0f66\u0f90", "\u0f66", False),
        ("Ab, cd: 12", "ab cd 7!", True),  # punctuation and digits do not count
        ("12:30", "99", False),  # a text without letters keeps its characters
        ("", " ", False),
    ],
)
def test_letters_and_marks_tell_texts_apart(one: str, other: str, is_equal: bool) -> None:
    grams = grams_of([one, other], [4, 4])
    assert (grams.keys()[0] == grams.keys()[1]) == is_equal and all(grams.sizes)


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="0 < threshold <= 1"):
        list(similar_pairs([frozenset("a")], threshold))


def test_no_sets_give_no_pairs() -> None:
    assert list(similar_pairs([], 0.7)) == []
