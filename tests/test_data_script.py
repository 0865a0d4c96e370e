"""Unicode facts of the corpora."""

import pytest

from data.script import LANGUAGE_SCRIPT, SCRIPT_NAMES, count_units, is_han, is_script, script_share, tibetan_syllables

TIBETAN = "\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d"  # two syllables, a vowel, a subjoined letter, tsheg and shad


def test_syllables_are_runs_of_letters_between_marks() -> None:
    assert tibetan_syllables(TIBETAN) == 2
    assert tibetan_syllables(f"{TIBETAN} {TIBETAN} A1") == 4
    assert tibetan_syllables("\u0f0d \u0f0b 12") == 0


def test_share_counts_visible_characters_only() -> None:
    assert script_share(" 甲 乙 ab\u3000", "Hani") == pytest.approx(0.5)
    assert script_share(TIBETAN, "Tibt") == 1.0
    assert script_share(" \t", "Hani") == 0.0


@pytest.mark.parametrize(
    ("character", "expected"), [("\u4e00", True), ("\u3400", True), ("\U00020000", True), ("\u3042", False), ("。", False)]
)
def test_han_covers_the_extensions_and_not_kana_or_punctuation(character: str, expected: bool) -> None:
    assert is_han(character) is expected


@pytest.mark.parametrize(
    ("character", "script"), [("\u0627", "Arab"), ("\u0416", "Cyrl"), ("\u1208", "Ethi"), ("e", "Latn"), ("\u0e01", "Thai")]
)
def test_other_scripts_are_told_by_name(character: str, script: str) -> None:
    assert [code for code in SCRIPT_NAMES if is_script(character, code)] == [script]


def test_every_language_has_a_known_script() -> None:
    assert set(LANGUAGE_SCRIPT.values()) <= set(SCRIPT_NAMES)
    assert LANGUAGE_SCRIPT["bo"] == LANGUAGE_SCRIPT["dz"] == "Tibt" and LANGUAGE_SCRIPT["zh"] == "Hani"


def test_units_are_syllables_characters_or_words() -> None:
    assert count_units(TIBETAN, "Tibt") == 2
    assert count_units("甲乙 ab。", "Hani") == 2
    assert count_units("one two  three", "Latn") == 3
    assert count_units("one two", None) == 2
