"""The guard on the order: the common subsequence against a plain table, and shares by hand."""

import random
from functools import cache

import pytest

from data.errors import InputError
from reward.order import common_subsequence, order, ordered_share


def by_definition(first: str, second: str) -> int:
    @cache
    def longest(i: int, j: int) -> int:
        if not i or not j:
            return 0
        if first[i - 1] == second[j - 1]:
            return longest(i - 1, j - 1) + 1
        return max(longest(i - 1, j), longest(i, j - 1))

    return longest(len(first), len(second))


def test_common_subsequences_are_those_of_the_definition() -> None:
    rng = random.Random(0)
    for length in range(70):  # more than one machine word
        first, second = ("".join(rng.choices("abcd", k=rng.randint(0, length))) for _ in range(2))
        assert common_subsequence(first, second) == by_definition(first, second)


@pytest.mark.parametrize(
    ("completion", "reference", "share"),
    [
        ("a b c d", "a b c d", 1.0),
        ("d c b a", "a b c d", 0.25),
        ("b a d c", "a b c d", 0.5),
        ("x a y b z", "a b c d", 1.0),  # other words, the shared ones in order
        ("b x a", "a b c d", 0.5),
        ("a a a b", "a b", 1.0),  # repetition is judged elsewhere
        ("x y", "a b", 1.0),
        ("a", "a b", 1.0),
        ("", "a b", 1.0),
    ],
)
def test_shares_by_hand(completion: str, reference: str, share: float) -> None:
    assert ordered_share(completion.split(), reference.split()) == share


def test_the_most_permissive_reference_text_and_the_floor_count() -> None:
    texts = ["一二三四", "四三二一"]
    assert order(["s"] * 2, ["四三二一", "二一四三"], [texts, texts[:1]]).tolist() == [1.0, 0.5]
    assert order(["s"], ["四三二一"], [texts[:1]], floor=0.75).tolist() == [0.75]
    with pytest.raises(InputError, match=r"order\.floor = -1"):
        order(["s"], ["a"], [["a"]], floor=-1)
