"""Unicode facts of the corpora."""

import re
import unicodedata

import pytest
import regex
from langcodes.data_dicts import LIKELY_SUBTAGS

from data.errors import InputError
from data.script import (
    RIGHT_TO_LEFT,
    SCRIPT_NAMES,
    STYLES,
    count_units,
    is_han,
    is_right_to_left,
    is_script,
    is_shared_mark,
    known_code,
    known_script,
    primary,
    script_codes,
    script_of,
    script_share,
    tibetan_syllables,
)

# two syllables, a vowel, a subjoined letter, tsheg and shad
TIBETAN = "\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d"


def test_syllables_are_runs_of_letters_between_marks() -> None:
    assert tibetan_syllables(TIBETAN) == 2
    assert tibetan_syllables(f"{TIBETAN} {TIBETAN} A1") == 4
    assert tibetan_syllables("\u0f0d \u0f0b 12") == 0


def test_share_counts_visible_characters_only() -> None:
    assert script_share(" 甲 乙 ab\u3000", "Hani") == pytest.approx(0.5)
    assert script_share(TIBETAN, "Tibt") == 1.0
    assert script_share(" \t", "Hani") == 0.0


@pytest.mark.parametrize(
    ("character", "expected"),
    [
        ("\u4e00", True),
        ("\u3400", True),
        ("\U00020000", True),
        ("々", True),
        ("〇", True),
        ("\u3042", False),
        ("。", False),
    ],
)
def test_han_covers_the_extensions_and_not_kana_or_punctuation(character: str, expected: bool) -> None:
    assert is_han(character) is expected


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("\u0627", "Arab"), ("\u0416", "Cyrl"), ("\u1208", "Ethi"), ("e", "Latn"), ("\u0e01", "Thai"), ("가", "Hang"), ("Ａ", "Latn"),
        ("º", "Latn"), ("ɓ", "Latn"), ("ʰ", "Latn"), ("\u0640", None), ("\u0301", None), ("\u02bc", None), ("ー", None), ("1", None),
    ],
)  # fmt: skip
def test_other_scripts_are_told_by_unicode(character: str, script: str | None) -> None:
    assert [code for code in SCRIPT_NAMES if is_script(character, code)] == ([script] if script else [])


def test_marks_that_scripts_share_are_told_from_letters_and_from_marks_with_a_script() -> None:
    accent = "\u0301"
    okina = "\u02bb"
    glottal_stop = "\u02bc"
    tatweel = "\u0640"
    length = "ー"
    selector = "\ufe0f"
    assert all(map(is_shared_mark, (accent, okina, glottal_stop, tatweel, length, selector)))
    assert not any(
        map(is_shared_mark, ("e", "\u0f72", "\u093f", "々", "ʰ", "\u00b5", "\U0001d400", "1", "'", " "))
    )


def test_a_shared_mark_counts_with_the_character_before_it() -> None:
    yoruba = "O\u0323\u0300ro\u0323\u0300"
    assert script_share(yoruba, "Latn") == 1.0
    assert script_share("甲\u0301 e\u0301", "Latn") == 0.5
    assert script_share("\u02bbo", "Latn") == 0.5  # nothing stands before it
    assert script_share("“\ufe01甲", "Hani") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("sw", "Latn"), ("swh_Latn", "Latn"), ("quy_Latn", "Latn"), ("qu-latn", "Latn"), ("zho_Hans", "Hani"), ("zh-Hant", "Hani"),
        ("zh-CN", "Hani"), ("zh-Hans-CN", "Hani"), ("zh-Latn", "Latn"), ("zho", "Hani"), ("bod", "Tibt"), ("dzo_Tibt", "Tibt"),
        ("eng", "Latn"), ("de-1996", "Latn"), ("sr-Cyrl", "Cyrl"), ("mn-Mong", "Mong"), ("khk_Cyrl", "Cyrl"), ("kor_Hang", "Hang"),
        ("iw", "Hebr"), ("EN", "Latn"), ("en-Zzzz", None), ("", None),
        ("qu", "Latn"), ("sr", "Cyrl+Latn"), ("ja-Jpan", "Hani+Hira+Kana"), ("ko", "Hang+Hani"), ("sr-ME", "Latn"), ("pa-PK", "Arab"),
        ("acm", "Arab"), ("qqq", None), ("xx", None), ("aaa", None),
    ],
)  # fmt: skip
def test_a_tag_gives_its_script_or_that_of_its_language(language: str, script: str | None) -> None:
    assert script_of(language) == script


def test_the_primary_part_is_the_code_of_the_table() -> None:
    tags = ("zh-CN", "zho_Hans", "bod_Tibt", "eng", "qu-Latn", "quy_Latn", "BO")
    assert [primary(tag) for tag in tags] == ["zh", "zh", "bo", "en", "qu", "quy", "bo"]


def test_an_unknown_script_is_refused_with_the_setting_that_gives_it() -> None:
    with pytest.raises(
        InputError,
        match=r"data.target_language = 'aaa': its script is not known; give data.target_script, .* or write aaa_Latn \(names: Adlm",
    ):
        known_script("aaa")
    with pytest.raises(InputError, match=r"^data.source_language = 'aaa': its script"):
        known_script("aaa", "data.source_language")
    assert known_script("qu-Latn") == "Latn"


def test_units_are_syllables_characters_or_words() -> None:
    assert count_units(TIBETAN, "Tibt") == 2
    assert count_units("甲乙 ab。", "Hani") == 2
    assert count_units("one two  three", "Latn") == 3
    words = "\u1230\u120b\u121d\u1361\u1208\u12d3\u1208\u121d\u1362"  # two, with the sign between words and a full stop
    assert count_units(words, "Ethi") == 2 and count_units(words.replace("\u1361", " \u1361 "), "Ethi") == 2
    assert count_units("one two", None) == 2
    assert count_units("\u65e5\u672c\u3054\u3068 ab\u3002", "Hani+Hira+Kana") == 4
    assert count_units("\ud55c\uad6d\uc5b4 \ubb38\uc7a5", "Hang+Hani") == 2


@pytest.mark.parametrize(
    ("language", "text", "share"),
    [
        # the length mark counts with the Kana before it
        ("ja", "\u65e5\u672c\u306e\u30ab\u30fc a1\u3002", 5 / 8),
        ("ko", "\ud55c\uad6d \u6f22 ab", 3 / 5),
        ("sr", "\u0436\u0437 z\u017e \u4e00!", 4 / 6),
        ("crh", "\u043a\u044a q\u0131 12", 4 / 6),
        ("und_Goth", "\U00010330\U00010331 ab", 2 / 4),
        ("bo-Latn+Tibt", "\u0f56\u0f0d\u0fd5 b\u4e00", 4 / 5),
    ],
)
def test_the_share_of_several_scripts_and_of_one_without_a_name(
    language: str, text: str, share: float
) -> None:
    script = script_of(language)
    assert script is not None and script_share(text, script) == pytest.approx(share)


def test_every_language_of_cldr_has_a_share() -> None:
    codes = {re.split("-", key)[0] for key in LIKELY_SUBTAGS} | set(LIKELY_SUBTAGS)
    scripts = {script for code in codes if (script := script_of(code))} | set(map(known_code, STYLES))
    assert len(scripts) > 120
    assert {script_share("\u4e00", script) for script in scripts if script} == {0.0, 1.0}


def test_a_text_is_right_to_left_where_all_its_scripts_are() -> None:
    tags = ("ug", "he", "dv", "az-Arab+Latn", "az-Arab+Hebr", "sr", "ja", "aaa")
    assert [is_right_to_left(tag) for tag in tags] == [True, True, True, False, True, False, False, False]


def test_every_script_that_runs_from_right_to_left_is_known() -> None:
    """Past bug: Mende, Yezidi and the old ones were missing, so the report gave their texts no direction."""
    letters = [
        chr(code) for code in range(0x590, 0x20000) if unicodedata.bidirectional(chr(code)) in ("R", "AL")
    ]
    found = {
        script
        for script in script_codes()
        if any(map(regex.compile(rf"\p{{Script={script}}}").match, letters))
        and script not in ("Zyyy", "Zinh")
    }
    assert "Mend" in found and found <= RIGHT_TO_LEFT
