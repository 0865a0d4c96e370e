"""A shift between the two sides is found where the texts show it, nothing is said where they do not, and no
aligned corpus is accused.
"""

import random
from dataclasses import replace

import numpy as np
import pytest

from data import alignment as alignment_module
from data.alignment import Alignment, alignment
from data.errors import InputError
from data.examples import Example
from data.user_checks import CERTAIN, DOUBTFUL, alignment_remark

Pairs = list[tuple[str, str]]


def made_up(count: int, seed: int = 0, noise: float = 0.3, names: float = 0.0) -> Pairs:
    """Texts whose log lengths agree but for `noise`; a share of them has a number on both sides. No two are equal."""
    draw = random.Random(seed)
    pairs = []
    for item in range(count):
        length = draw.gauss(3, 0.6)
        sides = [
            f"{chr(0x4E00 + item)}{'乙' * max(1, round(np.exp(length + draw.gauss(0, noise))))}"
            for _ in range(2)
        ]
        number = str(draw.randrange(10**6)) if draw.random() < names else ""
        pairs.append((f"{sides[0]} {number}", f"{sides[1]} {number}"))
    return pairs


def without(pairs: Pairs, side: int, place: int, lines: int = 1) -> Pairs:
    """The pairs of two files one of which has lost some lines at `place`."""
    sides = [[pair[other] for pair in pairs] for other in (0, 1)]
    del sides[side][place : place + lines]
    return list(zip(*sides, strict=False))


def same_length(count: int) -> Pairs:
    return [(f"{chr(0x4E00 + item)}甲甲甲甲", f"{chr(0x5E00 + item)}乙乙乙") for item in range(count)]


@pytest.mark.parametrize("names", [0.0, 0.3])
def test_pairs_that_belong_together_give_no_evidence(names: float) -> None:
    facts = [alignment(made_up(count, seed, names=names)) for count in (60, 160, 600) for seed in range(6)]
    assert max(fact.evidence for fact in facts) < 1.0
    assert all(fact.correlations[0] > 0.6 for fact in facts)


@pytest.mark.parametrize(("side", "lines", "shift"), [(0, 1, 1), (1, 1, -1), (0, 2, 2), (1, 3, -3)])
def test_a_line_lost_at_the_beginning_shifts_all(side: int, lines: int, shift: int) -> None:
    facts = alignment(without(made_up(161), side, 0, lines))
    assert facts.shift == shift and facts.evidence > CERTAIN
    assert facts.first <= 4 and facts.last >= 150 and facts.share > 0.9
    assert abs(facts.correlations[0]) < 0.3 < facts.correlations[shift]


@pytest.mark.parametrize("place", [200, 300, 420])
def test_a_line_lost_in_the_middle_shifts_the_rest(place: int) -> None:
    facts = alignment(without(made_up(600, seed=1), 0, place))
    assert facts.shift == 1 and facts.evidence > CERTAIN
    assert abs(facts.first - place) <= 12 and facts.last >= 590
    assert facts.share == pytest.approx((600 - place) / 600, abs=0.02)


def test_a_stretch_between_two_lost_lines_is_found_with_both_ends() -> None:
    facts = alignment(without(without(made_up(600, seed=2), 0, 200), 1, 350))
    assert (facts.shift, facts.evidence > CERTAIN) == (1, True)
    assert abs(facts.first - 200) <= 12 and abs(facts.last - 350) <= 12


def test_numbers_tell_where_lengths_cannot() -> None:
    pairs = [
        (f"{one}{900 + item}", f"{other}{900 + item}") for item, (one, other) in enumerate(same_length(90))
    ]
    assert alignment(pairs).evidence < 1.0
    facts = alignment(without(pairs, 1, 0))
    assert facts.shift == -1 and facts.evidence > CERTAIN


def test_digits_of_every_script_and_letters_of_either_case_are_one() -> None:
    digits = str.maketrans("0123456789", "༠༡༢༣༤༥༦༧༨༩")
    other = [
        (one + str(900 + item).translate(digits), two + str(900 + item))
        for item, (one, two) in enumerate(same_length(90))
    ]
    assert alignment(without(other, 0, 0)).shift == 1 and alignment(without(other, 0, 0)).evidence > CERTAIN
    letters = [(f"{one} n{chr(97 + i // 26)}{chr(97 + i % 26)}".upper(), f"{two} n{chr(97 + i // 26)}{chr(97 + i % 26)}") for i, (one, two)
               in enumerate(same_length(90))]  # fmt: skip
    assert (
        alignment(without(letters, 0, 0)).shift == 1 and alignment(without(letters, 0, 0)).evidence > CERTAIN
    )


def test_nothing_is_said_without_a_sign() -> None:
    assert alignment(without(same_length(300), 0, 0)).evidence < 0
    assert alignment(without(made_up(11), 0, 0)) == Alignment(10, {}, 0, 0.0, 0, -1, 0.0)
    assert alignment([]) == Alignment(0, {}, 0, 0.0, 0, -1, 0.0)
    draw = random.Random(0)
    pairs = made_up(400)
    references = [reference for _, reference in pairs]
    draw.shuffle(references)
    assert (
        alignment(
            [(source, reference) for (source, _), reference in zip(pairs, references, strict=True)]
        ).evidence
        < 1.0
    )


@pytest.mark.parametrize("kind", ["random walk", "every second line is long", "blocks", "heavy tails"])
def test_lengths_that_depend_on_their_neighbours_accuse_nobody(kind: str) -> None:
    """A first version took the agreement of neighbouring lines for a shift: 49 nats on a random walk."""
    worst = 0.0
    for seed in range(8):
        draw = np.random.default_rng(seed)
        count = 800
        lengths = {
            "random walk": np.cumsum(draw.normal(size=count)) * 0.2,
            "every second line is long": np.arange(count) % 2 * 2 + 0.2 * draw.normal(size=count),
            "blocks": np.repeat(draw.normal(size=count // 20) * 2, 20),
            "heavy tails": draw.standard_t(2, size=count),
        }[kind]
        for noise in (0.1, 0.5, 2.0):
            sides = [
                np.exp(3 + 0.6 * np.clip(lengths + other * draw.normal(size=count), -4, 4))
                for other in (0.0, noise)
            ]
            texts = [
                [f"{chr(0x4E00 + item)}{'x' * int(value)}" for item, value in enumerate(side)]
                for side in sides
            ]
            worst = max(worst, alignment(list(zip(*texts, strict=True))).evidence)
    assert worst < DOUBTFUL


def test_texts_of_one_vocabulary_that_have_nothing_to_do_with_each_other_accuse_nobody() -> None:
    """A first version weighed tokens by the shift that fitted best and accused 200,000 unrelated pairs of a
    shift by 3.
    """
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=5)) for _ in range(2000)]
    pairs = [(" ".join(draw.choices(words, k=10)), " ".join(draw.choices(words, k=10))) for _ in range(8000)]
    assert alignment(pairs).evidence < DOUBTFUL


def test_several_reference_texts_of_a_source_are_no_shift() -> None:
    pairs = [
        (source, f"{reference}{further}")
        for source, reference in made_up(200)
        for further in ("", "丙", "丁戊")
    ]
    facts = alignment(pairs)
    assert facts.pairs == 200 and facts.evidence < 1.0
    assert alignment(without(pairs, 1, 300, 3)).shift == -1  # counted in sources


def test_of_a_very_long_corpus_stretches_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment_module, "MAX_PAIRS", 400)
    monkeypatch.setattr(alignment_module, "STRETCH", 50)
    facts = alignment(without(made_up(1200), 0, 600))
    assert facts.pairs == 400 and facts.shift == 1
    assert facts.first == pytest.approx(600, abs=12) and facts.last > 1040


def examples_of(pairs: Pairs) -> list[Example]:
    return [
        Example(f"s.txt:{item}", *pair, "user", "none", "bo", "zh")
        for item, pair in enumerate(pairs, start=1)
    ]


def test_a_shift_is_refused_with_its_lines_and_a_smaller_share_is_told() -> None:
    examples = examples_of(without(made_up(600, seed=1), 0, 300))
    place = r"s\.txt:(29\d|30\d): from about here to s\.txt:59\d the reference text of a source stands 1 line below it"
    with pytest.raises(InputError, match=place) as error:
        alignment_remark(examples, 0.05)
    assert "50% of the pairs" in str(error.value) and "data.max_bad_share=0.05" in str(error.value)
    assert alignment_remark(examples, 0.6).startswith(str(error.value).split(",")[0])
    assert alignment_remark(examples_of(made_up(600, seed=1)), 0.0) == ""
    above = examples_of(without(made_up(600, seed=1), 1, 0, 2))
    with pytest.raises(InputError, match="stands 2 lines above it"):
        alignment_remark([replace(example) for example in above], 0.05)
