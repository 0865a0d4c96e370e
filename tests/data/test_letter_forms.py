"""One letter or digit that is written in several ways: what is said of it, and what the steps make of it."""

import pytest

from data.clean import clean_text
from data.examples import Example
from data.letter_forms import form_remarks
from data.normalise import DEFAULT

SORANI = "کتێبەکەی ئێمە"
TYPED = "كتێبه‌كه‌ی ئێمه‌"  # the same words on an Arabic keyboard
SHAPES = "\ufedb\ufe98\ufe8e\ufe90"


def pairs(texts: list[str], language: str = "ckb", side: str = "source") -> list[Example]:
    english = ("a text", "en")
    return [
        Example(f"a:{n}", *(text, english[0]), "", "", *(language, english[1]))
        if side == "source"
        else Example(f"a:{n}", *(english[0], text), "", "", *(english[1], language))
        for n, text in enumerate(texts)
    ]


@pytest.mark.parametrize("side", ["source", "reference"])
def test_letters_of_two_keyboards_are_said_with_the_steps_that_make_them_one(side: str) -> None:
    mixed = pairs([SORANI, TYPED, SORANI], side=side)
    said = form_remarks(mixed, DEFAULT)
    assert [sentence.split('"')[1] for sentence in said] == ["persian_letters", "sorani_letters"]
    assert all(sentence.startswith(f"1 {side} text with ") and "e.g. a:1: " in sentence for sentence in said)
    assert form_remarks(mixed, (*DEFAULT, "persian_letters", "sorani_letters")) == []
    assert form_remarks(pairs([SORANI] * 99 + [TYPED], side=side), DEFAULT) == []  # one in a hundred


def test_after_the_steps_the_texts_are_equal_and_arabic_stays_as_it_is() -> None:
    steps = ("persian_letters", "sorani_letters")
    assert clean_text(TYPED, steps, "ckb") == clean_text(SORANI, steps, "ckb") == SORANI != TYPED
    assert clean_text(TYPED, [*steps], "ckb_Arab") == SORANI
    arabic = "كتابي على"
    assert clean_text(arabic, steps, "ar") == arabic and form_remarks(pairs([arabic], "ar"), DEFAULT) == []
    assert clean_text("كتاب", steps, "fa") == "کتاب" and "\u200c" in clean_text("ه\u200cا", steps, "fa")
    uyghur = "كىتابىي"  # its own letters
    assert clean_text(uyghur, steps, "ug") == uyghur and form_remarks(pairs([uyghur], "ug"), DEFAULT) == []


@pytest.mark.parametrize("language", ["ar", "ckb", "ug"])
def test_shapes_of_old_fonts_are_said_of_every_language_of_arabic_script(language: str) -> None:
    (sentence,) = form_remarks(pairs([SHAPES, "دان"], language), DEFAULT)
    assert "1 source text with letters in the shapes" in sentence and '"arabic_shapes"' in sentence
    assert form_remarks(pairs([SHAPES], language), ("arabic_shapes",)) == []
    assert form_remarks(pairs([SHAPES], "en"), DEFAULT) == []  # its script is refused elsewhere


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            ["٣ نان", "۳ نان", "٤ نان"],
            "1 source text with digits from U+06F0 on, beside 2 with those from U+0660 on",
        ),
        (
            ["៣ ដង", "3 ដង", "5 ដង"],
            "1 source text with digits from U+17E0 on, beside 2 with those from U+0030 on",
        ),
        (["߃", "3", "߄ ߅"], "1 source text with digits from U+0030 on, beside 2 with those from U+07C0 on"),
        (["᱓ 3"], "1 source text with digits from U+"),
        (["٣ نان"] * 19 + ["3 نان"], ""),  # one in twenty
        (["٣ نان", "٤", ""], ""),
    ],
)
def test_digits_of_two_kinds_on_one_side_are_said(texts: list[str], expected: str) -> None:
    said = form_remarks(pairs(texts, "km"), DEFAULT)
    assert len(said) == bool(expected) and all(sentence.startswith(expected) for sentence in said)
    assert all('"digits_ascii"' in sentence for sentence in said)
    assert form_remarks(pairs(texts, "km"), ("digits_script",)) == []
