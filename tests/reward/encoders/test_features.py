"""Tibetan text to hashed features: what counts as a unit, what an unknown syllable shares, and packing into bags."""

import numpy as np
import pytest

from reward.encoders.features import (
    BUCKETS,
    MAX_UNITS,
    NUMBER_COPIES,
    ORDER_COPIES,
    Bags,
    bags,
    content_features,
    order_features,
    size_features,
    units,
)

BOD_YIG = "བོད་ཡིག"


def test_punctuation_spaces_and_kind_of_tsheg_do_not_matter() -> None:
    assert (
        units(f"༄༅། །{BOD_YIG}།")
        == units(BOD_YIG.replace("་", "༌"))
        == units(f"  {BOD_YIG} ་ ")
        == ["བོད", "ཡིག"]
    )


def test_tibetan_and_western_digits_are_one_number() -> None:
    assert units("༡༢ 12") == ["12", "12"]


def test_latin_words_are_units_whatever_their_case() -> None:
    assert units("PDF བོད Pdf") == ["pdf", "བོད", "pdf"]


def test_composed_and_decomposed_letters_are_equal() -> None:
    assert units("གྷ") == units("ག\u0fb7") == units("\u0f43")


def test_long_texts_are_cut() -> None:
    assert len(units("ཀ་" * 1000)) == MAX_UNITS


@pytest.mark.parametrize("text", ["", "།", " ", "。", "。!?", "\n"])
def test_a_text_without_units_has_the_empty_feature(text: str) -> None:
    assert units(text) == []
    assert content_features([]) == [0]
    assert all(0 < row < BUCKETS for row in order_features([]))


def test_repetition_shows_in_the_size_alone() -> None:
    """A mean of features cannot tell a text from itself three times over."""
    once = ["ཀ", "ཁ", "ག"]
    thrice = ["ཀ", "ཁ", "ག"] * 3
    assert set(content_features(once)) == set(content_features(thrice))
    assert not set(size_features(once)) & set(size_features(thrice))
    assert size_features(once) == size_features(["ང", "ཅ", "ཆ"])


def test_order_changes_the_order_features_alone() -> None:
    words = ["ཀ", "ཁ", "ག"]
    other_way = ["ག", "ཁ", "ཀ"]
    assert sorted(content_features(words)) == sorted(content_features(other_way))
    assert set(order_features(words)) != set(order_features(other_way))
    assert len(order_features(words)) == 4 + 3  # pairs and triples of ^ ཀ ཁ ག $


def test_an_unknown_syllable_shares_pieces_with_a_known_one() -> None:
    """The reason for pieces: with whole syllables alone, one never met carries no signal."""
    common_rows = set(content_features(["བསྒྲུབས"])) & set(content_features(["བསྒྲུབ"]))
    assert len(common_rows) > 10
    assert len(set(content_features(["ང"])) & set(content_features(["བསྒྲུབ"]))) == 0


def test_numbers_weigh_more_than_words() -> None:
    for number in ("12", "གཉིས"):
        result = content_features([number])
        assert result == result[: len(result) // NUMBER_COPIES] * NUMBER_COPIES
    assert len(content_features(["ཀཀ"])) == 7  # the unit and the pieces <ཀ ཀཀ ཀ> <ཀཀ ཀཀ> <ཀཀ>


def test_features_never_change_between_processes() -> None:
    """They name rows of a table on disk; a salted hash would scramble it at the next start."""
    assert content_features(["བོད"])[0] == _by_hand("1 བོད")


def _by_hand(feature: str) -> int:
    """CRC-32 from its definition."""
    remainder = 0xFFFFFFFF
    for byte in feature.encode():
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0xEDB88320 if remainder & 1 else 0)
    return (remainder ^ 0xFFFFFFFF) % (BUCKETS - 1) + 1


def test_bags_lie_side_by_side() -> None:
    result = bags([["ཀ"], []])
    assert len(result) == 2
    first, second = (content_features(words) + ORDER_COPIES * order_features(words) for words in (["ཀ"], []))
    assert result.ids.tolist() == [*first, *size_features(["ཀ"]), *second, *size_features([])]
    assert result.lengths.tolist() == [len(first), 2, len(second), 2]


def test_taking_texts_gives_what_they_give_alone() -> None:
    texts = [["ཀ", "ཁ"], ["ག"], ["ང", "ཅ", "ཆ"], []]
    part = bags(texts).take([2, 0, 0, 3])
    alone = bags([texts[2], texts[0], texts[0], texts[3]])
    assert np.array_equal(part.ids, alone.ids)
    assert np.array_equal(part.lengths, alone.lengths)


def test_joined_bags_come_one_after_the_other() -> None:
    one = bags([["ཀ"]])
    other = bags([["ཁ"], ["ག"]])
    both = one.join(other)
    whole = bags([["ཀ"], ["ཁ"], ["ག"]])
    assert np.array_equal(both.ids, whole.ids)
    assert np.array_equal(both.lengths, whole.lengths)


def test_no_texts_give_no_bags() -> None:
    empty = bags([])
    assert (len(empty), len(empty.ids)) == (0, 0)
    assert isinstance(empty.take([]), Bags)
