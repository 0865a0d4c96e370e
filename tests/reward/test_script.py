"""The language rule, clause by clause."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reward.script import is_consistent, script

HAN = "Hani"
TIBETAN = "Tibt"


@pytest.mark.parametrize("text", ["打开文件", "第3页（共10页）。", "𠀀字", "好 ☺ 100%", "二〇二四年"])
def test_chinese_with_digits_and_punctuation_is_consistent(text: str) -> None:
    assert is_consistent(text, HAN)


@pytest.mark.parametrize("text", ["", " ", "\n\t", "。", "，！？", "123", "...", "(1) - 2", "☺"])
@pytest.mark.parametrize("target", [HAN, TIBETAN])
def test_letterless_is_inconsistent(text: str, target: str) -> None:
    assert not is_consistent(text, target)


@pytest.mark.parametrize("text", ["བོད་ཡིག", "རྒྱལ་ས་༡༢༣།", "ཨོཾ"])
def test_tibetan_with_stacks_digits_and_marks_is_consistent(text: str) -> None:
    assert is_consistent(text, TIBETAN)
    assert not is_consistent(text, HAN)


def test_one_forbidden_letter_is_enough() -> None:
    assert not is_consistent("的" * 1000 + "ཀ", HAN)
    assert not is_consistent("ཀ" * 1000 + "的", TIBETAN)


def test_share_of_letters_decides_at_its_border() -> None:
    assert is_consistent("的" * 19 + "a", HAN)
    assert not is_consistent("的" * 18 + "a", HAN)
    assert is_consistent("的" * 18 + "a", HAN, min_share=0.9)
    assert not is_consistent("的" * 10 + "か", HAN)


def test_latin_words_of_the_reference_are_neutral() -> None:
    assert is_consistent("输入URL地址", HAN, reference="在此输入 url。")
    assert not is_consistent("输入URLs地址", HAN, reference="在此输入 url。")
    assert not is_consistent("输入URL", HAN)


def test_latin_words_alone_are_not_enough() -> None:
    assert not is_consistent("URL", HAN, reference="URL")


def test_other_scripts_of_the_reference_get_no_allowance() -> None:
    assert not is_consistent("好བོད", HAN, reference="好བོད")


def test_latin_can_be_the_target() -> None:
    assert is_consistent("open the file", "Latn") and not is_consistent("打开 file", "Latn")


@pytest.mark.parametrize(
    "text",
    [
        "open the file",
        "Wasi yaku patapi puka",
        "Ọ̀rọ̀ ìgbà náà kò dára",
        "ʻAʻole i hala",
        "Dooígo ʼałtso",
        "ＯＫ",
    ],
)
def test_a_latin_target_keeps_the_words_of_its_reference(text: str) -> None:
    """The perfect answer passes as it does without a reference text, and so does one that shares a part of it."""
    assert is_consistent(text, "Latn", reference=text) and is_consistent(text, "Latn")
    assert is_consistent(f"{text} zzz", "Latn", reference=text) and is_consistent(
        text.split()[0], "Latn", reference=text
    )
    assert not is_consistent(f"{text} 打开文件并显示全部内容", "Latn", reference=text)


@pytest.mark.parametrize("target", ["Hani", "Tibt", "Deva"])
def test_marks_that_scripts_share_are_neutral_and_no_letters(target: str) -> None:
    letter = {"Hani": "的", "Tibt": "ཀ", "Deva": "क"}[target]
    marks = "\u0301\ufe01\u02bc" * 10
    assert is_consistent(letter + marks, target) and not is_consistent(marks, target)
    assert not is_consistent(f"{letter}{marks}e", target)


@pytest.mark.parametrize("letter", ["\u00b5", "𝐀", "ℎ"])
def test_letters_that_are_drawn_like_others_are_no_way_around_the_script(letter: str) -> None:
    assert not is_consistent("的" * 10 + letter, HAN)


@pytest.mark.parametrize("word", ["ＮＥＣ", "ɓata", "e\u0301te\u0301", "「ɑ」"])
def test_every_latin_word_of_the_reference_is_neutral(word: str) -> None:
    assert is_consistent(f"常昊喜捧{word}奖杯", HAN, reference=f"捧{word}") and not is_consistent(
        f"常昊喜捧{word}奖杯", HAN
    )


@given(st.text())
def test_any_text_is_judged_without_error_and_at_most_one_language(text: str) -> None:
    assert not (is_consistent(text, HAN) and is_consistent(text, TIBETAN))


def test_term_reads_the_references_of_its_row_and_never_the_source() -> None:
    values = script(
        ["Save"] * 3, ["存 Save", "存 Save", "保存"], [["存 Save"], ["存"], ["x"]], target_script=HAN
    )
    assert torch.equal(values, torch.tensor([1.0, 0.0, 1.0])) and values.dtype == torch.float32


def test_every_reference_text_lends_its_latin_words() -> None:
    values = script(
        ["s"] * 2, ["打开 URL 和 PDF", "打开 URL 和 XML"], [["打开 URL", "PDF 文件"]] * 2, target_script=HAN
    )
    assert values.tolist() == [1.0, 0.0]


def test_min_letters_counts_letters_of_the_target_script_alone() -> None:
    assert is_consistent("好的 12", HAN, min_letters=2) and not is_consistent("好 12", HAN, min_letters=2)
    assert not is_consistent("好 URL", HAN, reference="URL", min_letters=2)
    assert not is_consistent("12", HAN, min_letters=0)
    assert script(["s"] * 2, ["好", "好的"], [["x"]] * 2, target_script=HAN, min_letters=2).tolist() == [
        0.0,
        1.0,
    ]


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="one length, got 1, 1, 2"):
        script(["s"], ["a"], [["a"], ["b"]], target_script=HAN)


@pytest.mark.parametrize(
    "text",
    ["Dobar dan", "\u0414\u043e\u0431\u0430\u0440 dan", "\u0414\u043e\u0431\u0430\u0440 \u0434\u0430\u043d"],
)
def test_latin_beside_another_target_script_keeps_the_words_of_its_reference(text: str) -> None:
    assert is_consistent(text, "Cyrl+Latn", reference=text) and is_consistent(text, "Cyrl+Latn")
    assert not is_consistent("Dobar dan", "Cyrl", reference="Dobar dan")
