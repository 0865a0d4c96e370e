"""Numbers and negations: what counts as a marker in several scripts, and the guard by hand."""

from collections import Counter

import pytest

from data.errors import InputError
from reward.markers import count_word, difference, markers, markers_of
from reward.negators import NEGATORS, negators


def guard(language: str, script: str, completion: str, *references: str, **settings) -> float:
    values = markers(
        ["s"], [completion], [references], target_language=language, target_script=script, **settings
    )
    return values.item()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("打开第3个文件", {"3": 1}),
        ("打开第三个文件", {"3": 1}),
        ("༡༢ ཡིག", {"12": 1}),
        ("ཡིག་ཆ་གཉིས།", {"2": 1}),
        ("٣ كتب", {"3": 1}),
        ("7 of 7, 007", {"7": 3}),
        ("none", {}),
    ],
)
def test_numbers_are_values(text: str, expected: dict[str, int]) -> None:
    assert markers_of(text, (), False) == Counter(expected)


def test_words_are_units_beginnings_or_letters() -> None:
    assert count_word("no", "No one knows", False) == 1
    assert count_word("kein*", "Keine, keiner, kleine", False) == 2
    assert count_word("ไม่", "ผมไม่รู้และไม่ไป", True) == 2
    assert count_word("མེད*", "ཡིག་ཆ་མེདཔ་མེད།", False) == 2


def test_the_guard_by_hand() -> None:
    assert guard("en", "Latn", "It is not 3", "It is not 3") == 1.0
    assert guard("en", "Latn", "It is 3", "It is not 3") == 0.5
    assert guard("en", "Latn", "It is not 4", "It is not 3") == 0.25  # one missing, one too many
    assert guard("en", "Latn", "It is 4 4", "It is not 3") == 0.0625
    assert guard("en", "Latn", "It is never 3", "It is not 3") == 1.0  # negations are one kind
    assert guard("en", "Latn", "It is 3", "It is not 3", "It is 3") == 1.0  # the nearest reference text
    assert guard("zh", "Hani", "我不知道", "我知道") == 0.5
    assert guard("en", "Latn", "It is 3", "It is not 3", decay=0.0) == 0.0
    assert guard("und", "Latn", "ma it", "it") == 1.0  # no list, nothing is counted
    assert guard("und", "Latn", "ma it", "it", words=("ma",)) == 0.5


def test_difference_is_symmetric() -> None:
    first, second = Counter({"3": 2, "negation": 1}), Counter({"5": 1})
    assert difference(first, second) == difference(second, first) == 4


def test_a_decay_is_a_share() -> None:
    with pytest.raises(InputError, match=r"markers\.decay = 1\.5"):
        guard("en", "Latn", "a", "a", decay=1.5)


def test_every_list_is_of_one_code_and_without_doubles() -> None:
    for code, words in NEGATORS.items():
        assert negators(code) == words and len(set(words)) == len(words)
    assert negators("zho_Hans") == NEGATORS["zh"] and negators("") == ()
