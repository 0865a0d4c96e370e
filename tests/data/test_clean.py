"""What cleaning changes, what it drops and that it counts both."""

from dataclasses import replace

import pytest

from data.clean import Limits, clean, clean_text, problem
from data.examples import Example, swap_sides
from data.interface_text import interface_problem, placeholders, without_accelerators

BO = "\u0f40\u0f0b\u0f41\u0f0b\u0f42"  # three letters, three syllables
LIMITS = Limits(2, 5, 2, 4)


def pair(source: str = BO, reference: str = "甲乙", key: str = "1", language: str = "bo") -> Example:
    return Example(key, source, reference, "made up", "none", language, "zh")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("\u0f40\u0f0c\u0f41", "\u0f40\u0f0b\u0f41"),  # the tsheg that does not break
        ("  甲\u00a0\t乙\n丙 ", "甲 乙 丙"),
        ("甲\u200b\ufeff\x00乙", "甲乙"),
        ("e\u0301", "\u00e9"),
        # NFC takes this letter apart: the composed form is excluded from composition
        ("\u0f43", "\u0f42\u0fb7"),
        (" \u200b ", ""),
    ],
)
def test_text_is_normalised(raw: str, expected: str) -> None:
    assert clean_text(raw) == expected
    assert clean_text(expected) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("文件(~F)", "文件"),
        ("文件 (_F)...", "文件..."),
        ("_打开", "打开"),
        (f"&{BO}", BO),
        ("Sa~ve", "Save"),
        ("max_size R&D", "max_size R&D"),
        ("<b>甲</b> &amp; 乙<br/>", "甲 & 乙"),
        ("1 < 2 > 0", "1 < 2 > 0"),
    ],
)
def test_marks_of_user_interfaces_are_taken_off(raw: str, expected: str) -> None:
    assert without_accelerators(raw) == expected


@pytest.mark.parametrize(
    ("source", "reference", "expected"),
    [
        (BO, "甲乙", ""),
        (f"{BO} %s %d", "甲 %d 乙 %s", ""),
        (f"{BO} %s", "甲乙", "placeholders differ"),
        (f"{BO} $1", "甲乙 $2", "placeholders differ"),
        (f"{BO} {{{{x}}}}", "甲乙", "wiki markup"),
        (BO, "甲乙 [[丙]]", "wiki markup"),
        ("abc def", "甲乙", "source not in Tibetan script"),
        (BO, "save it 甲乙", "reference not in Han script"),
        ("\u0f40\u0f0b", "甲乙", "source too short"),
        ("\u0f40\u0f0b" * 6, "甲乙", "source too long"),
        (BO, "甲", "reference too short"),
        (BO, "甲乙丙丁戊", "reference too long"),
        ("", "甲乙", "empty"),
    ],
)
def test_each_drop_has_its_reason(source: str, reference: str, expected: str) -> None:
    assert problem(pair(source, reference), LIMITS, interface_problem) == expected


def test_placeholders_of_the_formats_read_here() -> None:
    assert placeholders("%s %(name)s %1$s %d%% %PRODUCTNAME $1 $(ARG1) {0} {name} %2 50% of it") == sorted(
        ["%s", "%(name)s", "%1$s", "%d", "%PRODUCTNAME", "$1", "$(ARG1)", "{0}", "{name}", "%2"]
    )


def test_further_references_join_the_first_and_are_counted() -> None:
    further = [
        pair(key="2"),
        pair(reference="丙丁", key="3"),
        pair(language="dz", key="4"),
        pair(reference="甲", key="5"),
    ]
    tally = clean([pair(), *further], LIMITS)
    assert [example.id for example in tally.pairs] == ["1", "4"]
    assert [example.others for example in tally.pairs] == [("丙丁",), ()]
    assert tally.pairs[0].references == ("甲乙", "丙丁")
    assert tally.drops == [("2", "duplicate"), ("3", "other reference"), ("5", "reference too short")]
    assert tally.num_read["made up"] == len(tally.pairs) + sum(tally.reasons["made up"].values()) == 5


def test_a_dropped_pair_does_not_take_the_place_of_a_good_one() -> None:
    tally = clean([pair(reference="甲"), pair(reference="甲乙", key="2")], LIMITS)
    assert [example.id for example in tally.pairs] == ["2"]


def test_one_source_keeps_its_target_languages_apart() -> None:
    """From Chinese, a Dzongkha and a Tibetan reference text answer two different prompts."""
    one, other = (swap_sides(pair(key=language, language=language)) for language in ("dz", "bo"))
    further = swap_sides(pair(source=f"{BO}\u0f0b\u0f44", key="2", language="bo"))
    tally = clean([one, other, further], LIMITS)
    assert [(example.source, example.target_language) for example in tally.pairs] == [
        ("甲乙", "dz"),
        ("甲乙", "bo"),
    ]
    assert [example.others for example in tally.pairs] == [(), (further.reference,)]


def test_a_headline_need_not_repeat_placeholders() -> None:
    headline = replace(pair(f"{BO} $1", BO), target_language="bo", task="headline")
    assert problem(headline, LIMITS, interface_problem) == ""
    assert problem(replace(headline, task="mt"), LIMITS, interface_problem) == "placeholders differ"


def test_swapping_turns_texts_and_languages_round_and_back() -> None:
    other_way = swap_sides(pair())
    assert (other_way.source, other_way.reference) == ("甲乙", BO)
    assert (other_way.source_language, other_way.target_language, other_way.id) == ("zh", "bo", "1")
    assert swap_sides(other_way) == pair()
    with pytest.raises(ValueError, match="example 1 has 2 reference texts"):
        swap_sides(replace(pair(), others=("丙丁",)))


def test_a_further_reference_comes_once() -> None:
    tally = clean([pair(), pair(reference="丙丁", key="2"), pair(reference="丙丁", key="3")], LIMITS)
    assert tally.pairs[0].others == ("丙丁",)
    assert tally.drops == [("2", "other reference"), ("3", "duplicate")]
