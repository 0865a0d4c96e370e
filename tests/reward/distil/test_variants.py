"""Texts made wrong on purpose: each change does what it says, and a variant never equals its original."""

import random

from hypothesis import given
from hypothesis import strategies as st

from reward.distil.variants import (
    NEGATIONS,
    OPPOSITES,
    change_negation,
    change_number,
    halve,
    repeat,
    shuffle,
    wrong_variant,
)
from reward.encoders.features import NUMBER_WORDS

WORDS = ["ང", "ཁོང", "ལ", "12", "འགྲོ"]


def draw() -> random.Random:
    return random.Random(3)


def test_shuffling_keeps_the_units() -> None:
    assert sorted(shuffle(WORDS, draw())) == sorted(WORDS)


def test_repetition_is_whole() -> None:
    assert repeat(WORDS, draw()) in (WORDS * 2, WORDS * 3)


def test_a_half_is_one_end() -> None:
    assert halve(WORDS, draw()) in (WORDS[:2], WORDS[-2:])
    assert halve(["ང"], draw()) == ["ང"]


def test_negation_goes_in_before_the_verb_or_comes_out() -> None:
    longer = change_negation(WORDS, draw())
    assert len(longer) == len(WORDS) + 1
    negations = [word for word in longer if word in NEGATIONS]
    assert len(negations) == 1
    assert longer.index(negations[0]) >= len(WORDS) - 3
    assert change_negation([*WORDS, NEGATIONS[1]], draw()) == WORDS


def test_being_becomes_not_being_and_back() -> None:
    for word, opposite in OPPOSITES.items():
        assert change_negation([*WORDS, word], draw()) == [*WORDS, opposite]
    assert OPPOSITES["ཡོད"] == "མེད"


def test_one_number_changes() -> None:
    variant = change_number([*WORDS, "7"], draw())
    assert sum(one != other for one, other in zip(variant, [*WORDS, "7"], strict=True)) == 1
    assert all(word.isdecimal() for word in (variant[3], variant[5]))
    assert change_number(["ང"], draw()) == ["ང"]
    assert change_number(["མི", "གཉིས"], draw())[1] in {*NUMBER_WORDS} - {"གཉིས"}


@given(st.lists(st.sampled_from([*WORDS, *NEGATIONS]), min_size=1, max_size=8), st.integers(0, 1000))
def test_a_variant_is_never_its_original(words: list[str], seed: int) -> None:
    before = list(words)
    variant = wrong_variant(words, [["ཀ"], ["ཁ", "ག"]], random.Random(seed))
    assert variant != words
    assert variant
    assert words == before


def test_variants_are_a_function_of_the_seed() -> None:
    results = [[wrong_variant(WORDS, [["ཀ"]], random.Random(seed)) for seed in range(30)] for _ in range(2)]
    assert results[0] == results[1]
    assert len({tuple(variant) for variant in results[0]}) > 8
