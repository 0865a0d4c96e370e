"""The steps of data.normalise, one by one, and that the default is what cleaning always did."""

import random
import re
import unicodedata

import pytest

from data.clean import clean_text
from data.config import DataConfig, check, settings_of_old
from data.errors import InputError
from data.examples import Example
from data.normalise import DEFAULT, STEPS, normalise
from data.script import isolate
from data.user_checks import is_zawgyi, zawgyi_remark

NGA, KA = "\u0f44", "\u0f40"
UNICODE_BURMESE = "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း မွေးဖွားလာသူများ ဖြစ်သည်။"
ZAWGYI_BURMESE = "လူတုိင္းသည္ တူညီ လြတ္လပ္ေသာ ဂုဏ္သိကၡာျဖင့္ ေမြးဖြားလာသူမ်ား ျဖစ္သည္။"


def earlier_clean_text(text: str) -> str:
    """What cleaning did before its steps could be chosen (texts below the length that is checked for towers)."""
    invisible = re.compile(
        "[\x00-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
    )
    visible = invisible.sub("", " ".join(text.split())).replace("\u0f0c", "\u0f0b")
    return unicodedata.normalize("NFC", " ".join(visible.split()))


def test_the_default_is_bit_equal_to_earlier_versions_on_random_texts() -> None:
    draw = random.Random(3)
    signs = "ab \t\n\u00a0\u200b\u200c\u200d\u00ad\u0f0c\u0f0b\u0f0d\u0f40e\u0301\u0323\ufeb0\u0661\u202e\x07\u1100\u1161\ufeff"
    for _ in range(5000):
        text = "".join(draw.choices(signs, k=draw.randrange(30)))
        assert clean_text(text) == earlier_clean_text(text)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("\u182a\u1822\u202f\u1824\u1828  \u1820", "\u182a\u1822\u202f\u1824\u1828 \u1820"),
        ("\u182a\u180b\u202f\u1824", "\u182a\u180b\u202f\u1824"),
        ("\u182a \u202f\u1824", "\u182a \u1824"),
        ("a\u202f!\u202f\u1824\u202f", "a ! \u1824"),
    ],
)
def test_the_narrow_space_before_a_mongolian_ending_stays(text: str, result: str) -> None:
    """Past bug: it became a space, so endings were words of their own and the model never learnt to write it."""
    assert clean_text(text, language="mn-Mong") == result


@pytest.mark.parametrize(
    ("step", "script", "text", "result"),
    [
        ("invisible", "", "a\u200bb\u202e\u061c", "ab"),
        ("joiners", "", "\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u062e"),
        ("tsheg", "", f"{KA}\u0f0c", f"{KA}\u0f0b"),
        ("nfc", "", "e\u0301", "\u00e9"),
        ("digits_ascii", "", "\u0f21\u0f22 \u0663\u06f4 \u00b2", "12 34 \u00b2"),
        ("digits_script", "Tibt", "120", "\u0f21\u0f22\u0f20"),
        ("digits_script", "Latn", "120", "120"),
        ("digits_script", "Arab", "120", "\u0661\u0662\u0660"),
        ("digits_script", "Mong", "120", "\u1811\u1812\u1810"),
        ("digits_script", "Adlm", "120", "\U0001e951\U0001e952\U0001e950"),
        ("digits_script", "Hani+Hira+Kana", "120", "120"),
        ("arabic_shapes", "", "\ufee3\ufeae\ufea3\ufe92\ufe8e \ufefb \ufd3e", "\u0645\u0631\u062d\u0628\u0627 \u0644\u0627 \ufd3e"),
        ("persian_letters", "", "\u0643\u064a\u0649 \u06a9\u06cc", "\u06a9\u06cc\u06cc \u06a9\u06cc"),
        ("sorani_letters", "", "\u0626\u0647\u200c\u0645\u0647 \u06be", "\u0626\u06d5\u0645\u0647 \u0647"),
        ("tibetan_spacing", "", f"{KA}\u0f0b {KA}\u0f0b\u0f0b{NGA}\u0f0b\u0f0d", f"{KA}\u0f0b{KA}\u0f0b{NGA}\u0f0b\u0f0d"),
        ("tibetan_spacing", "", f"{KA}\u0f0b\u0f0d \u0f0d {KA}", f"{KA}\u0f0d \u0f0d {KA}"),
    ],
)  # fmt: skip
def test_a_step_does_one_thing_and_only_where_it_is_asked(
    step: str, script: str, text: str, result: str
) -> None:
    assert normalise(text, [step], script) == result
    others = [name for name in STEPS if name != step and name not in ("digits_ascii", "digits_script")]
    assert text == result or normalise(text, [], script) == " ".join(text.split())
    assert normalise(result, [step], script) == result and step not in others


def test_line_ends_stay_only_where_they_are_asked_for() -> None:
    text = " one \t two\r\n\n \n\u200b\nthree\u0f0c\n e\u0301 \n"
    assert normalise(text, (*DEFAULT, "line_ends")) == "one two\n\nthree\u0f0b\n\u00e9"
    assert normalise(text, DEFAULT) == "one two three\u0f0b \u00e9"
    assert normalise("a\n\nb", ["line_ends"]) == "a\n\nb" and normalise("a b", ["line_ends"]) == "a b"


def test_a_step_without_name_and_two_kinds_of_digits_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"data\.normalise: nfkc is no step; known steps: invisible, arabic_shapes"
    ):
        check(DataConfig(normalise=("nfc", "nfkc")))
    with pytest.raises(InputError, match=r"of digits_ascii and digits_script only one"):
        check(DataConfig(normalise=("digits_ascii", "digits_script")))


def test_the_default_does_not_change_the_name_of_a_prepared_corpus() -> None:
    assert "normalise" not in settings_of_old(DataConfig()) and DataConfig().normalise == DEFAULT
    assert settings_of_old(DataConfig(normalise=("nfc",)))["normalise"] == ("nfc",)


def test_zawgyi_is_refused_and_unicode_burmese_is_not() -> None:
    assert (is_zawgyi(UNICODE_BURMESE), is_zawgyi(ZAWGYI_BURMESE), is_zawgyi("no Burmese")) == (
        False,
        True,
        False,
    )
    good = Example("a:1", "a text", UNICODE_BURMESE, "user", "", "en", "my")
    bad = Example("a:2", "a text", ZAWGYI_BURMESE, "user", "", "en", "mya_Mymr")
    assert zawgyi_remark([good] * 9, 0.05) == ""
    assert zawgyi_remark([good] * 99 + [bad], 0.05).startswith(
        "a:2: 1 of 100 Burmese texts are in Zawgyi codes"
    )
    with pytest.raises(InputError, match=r"a:2: 1 of 10 Burmese texts are in Zawgyi .*convert the file"):
        zawgyi_remark([good] * 9 + [bad], 0.05)


def test_a_text_from_right_to_left_is_isolated_in_a_line() -> None:
    assert isolate("abc 12") == "abc 12"
    assert isolate("\u0626\u06c7 %s") == "\u2068\u0626\u06c7 %s\u2069"
