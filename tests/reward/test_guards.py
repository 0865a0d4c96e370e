"""Guards: 1 for the reference text and for what is as good, falling with what is wrong, each for Han and for
Tibetan script.
"""

import math
import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cache import cache_dir
from data.errors import InputError
from data.examples import Example
from data.records import Records
from reward.copying import copied_units, uncopied
from reward.guards import length_fit, length_ratio, length_ratio_penalty, nonempty
from reward.repetition import unrepeated
from reward.rows import per_row
from reward.units import units

GUARDS = (nonempty, length_fit, unrepeated, uncopied)
TSHEG = "\u0f0b"
SYLLABLES = [chr(0x0F40 + n) for n in range(24) if n != 8]  # U+0F48 is no letter
HAN = "打开上次保存过的文件夹并显示全部内容"
TIBETAN = TSHEG.join(SYLLABLES[:18])
TEXTS = [HAN, TIBETAN]


def value(guard, completion: str, *references: str, source: str = "源", **settings) -> float:  # type: ignore[no-untyped-def]
    return guard([source], [completion], [list(references)], **settings).item()


# --- units ---


def test_units_are_syllables_single_han_letters_and_words() -> None:
    assert units("བོད་ཡིག། ༡༢") == ("བོད", "ཡིག", "༡༢")
    assert units("打开URL，第12页") == ("打", "开", "url", "第", "12", "页")
    assert units("Open the file: it's") == ("open", "the", "file", "it", "s")
    assert units("O\u0323\u0300ro\u0323\u0300 ʻAʻole") == ("o\u0323\u0300ro\u0323\u0300", "ʻaʻole")
    assert units("ก\u0303ข ကခ။") == ("ก\u0303", "ข", "က", "ခ")
    assert units("नमस्ते दुनिया") == ("नमस्ते", "दुनिया")  # vowel signs are marks, and stay in
    assert units("สวัสดี")[0] == "ส"
    assert units("，。 …") == ()


@pytest.mark.parametrize(
    ("word", "num_joiners"),
    [
        ("ئه\u200cمه\u200c", 2),
        ("می\u200cخواهم", 1),
        ("ශ්\u200dරී", 1),
        ("ক্\u200dষ", 1),
        ("n\u200co", 1),
        ("ᠠᠭ\u180eᠠ", 1),
    ],
)
def test_a_joiner_neither_ends_a_word_nor_is_a_unit(word: str, num_joiners: int) -> None:
    """Past bug: a Mongolian word ended at the separator of its last vowel."""
    plain = re.sub("[\u180e\u200c\u200d]", "", word)
    assert len(word) - len(plain) == num_joiners
    assert units(f"{word} x {word}") == (plain, "x", plain) == units(f"{plain} x {plain}")
    text, written_without = (" ".join(f"{one}{n}" for n in range(10)) for one in (word, plain))
    assert len(units(text)) == 10 and [value(guard, written_without, text) for guard in GUARDS] == [1.0] * 4
    assert value(uncopied, text, "another text", source=written_without) == 0.0


# --- all guards ---


@settings(deadline=None)
@given(st.text(), st.text(alphabet="的一是ཀ་ཁ།ab 1", min_size=1), st.text(alphabet="的一是ཀ་ཁab"))
def test_guards_lie_in_0_1_and_give_the_reference_text_1(
    completion: str, reference: str, source: str
) -> None:
    for guard in GUARDS:
        assert 0 <= value(guard, completion, reference, source=source) <= 1
        if any(map(str.isalnum, reference)):
            assert value(guard, reference, reference, source=source) == 1
            assert value(guard, reference, "完全另外的文本", reference, source=source) == 1


@pytest.mark.parametrize("guard", GUARDS)
def test_any_of_several_reference_texts_will_do(guard) -> None:  # type: ignore[no-untyped-def]
    for completion in (HAN, HAN * 3, HAN[:2], ""):
        alone = [value(guard, completion, text, source=HAN) for text in (HAN, HAN * 2)]
        assert value(guard, completion, HAN, HAN * 2, source=HAN) == max(alone)


@pytest.mark.parametrize("guard", GUARDS)
def test_rows_are_judged_alone_and_come_back_in_order(guard) -> None:  # type: ignore[no-untyped-def]
    completions = [HAN, "", HAN * 4, TIBETAN]
    together = guard([HAN] * 4, completions, [[HAN]] * 4)
    assert together.dtype == torch.float32
    assert together.tolist() == [value(guard, completion, HAN, source=HAN) for completion in completions]
    assert guard([], [], []).shape == (0,)


@pytest.mark.parametrize("guard", GUARDS)
def test_ragged_rows_and_rows_without_reference_text_are_refused(guard) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="a term needs lists of one length, got 1, 2, 1"):
        guard(["s"], ["a", "b"], [["r"]])
    with pytest.raises(ValueError, match=r"row 1: reference texts are a list of at least one text, got \[\]"):
        guard(["s"] * 2, ["a", "b"], [["r"], []])


def test_a_lone_string_is_no_list_of_reference_texts() -> None:
    with pytest.raises(
        ValueError, match="row 0: reference texts are a list of at least one text, got '好的'"
    ):
        per_row(lambda *_: 1.0, ["s"], ["a"], ["好的"])


@pytest.mark.parametrize(
    ("guard", "setting", "value", "message"),
    [
        (length_fit, "slack", 0.5, r"reward\.settings\.length_fit\.slack = 0\.5: must be at least 1"),
        (length_fit, "alpha", -1.0, r"reward\.settings\.length_fit\.alpha = -1\.0: must be at least 0"),
        (unrepeated, "ngram", 0, r"reward\.settings\.unrepeated\.ngram = 0: must be at least 1"),
        (uncopied, "run", 0, r"reward\.settings\.uncopied\.run = 0: must be at least 1"),
    ],
)
def test_impossible_settings_are_named(guard, setting: str, value: float, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        guard([], [], [], **{setting: value})


# --- nonempty ---


@pytest.mark.parametrize("completion", ["", " \n", "。", "།", "…!?", "☺"])
def test_what_says_nothing_is_empty(completion: str) -> None:
    assert value(nonempty, completion, HAN) == 0


def test_min_letters_never_asks_for_more_than_a_reference_text_has() -> None:
    assert value(nonempty, "好", HAN, min_letters=2) == 0
    assert value(nonempty, "好", "是", min_letters=2) == 1
    # a reference text without any letter excuses nobody
    assert value(nonempty, "。", "。", min_letters=2) == 0


# --- length ---


@pytest.mark.parametrize("text", TEXTS)
def test_length_falls_both_ways_and_without_a_cliff(text: str) -> None:
    tokens = units(text)
    mark = TSHEG if text == TIBETAN else ""
    values = [value(length_fit, mark.join((tokens * 4)[:count]), text) for count in range(73)]
    assert values[18] == 1 and values[15] == 1 and values[22] == 1
    assert all(a <= b for a, b in pairwise(values[:19]))
    assert all(a >= b for a, b in pairwise(values[18:]))
    assert max(abs(a - b) for a, b in pairwise(values[19:])) < 0.03


def test_length_by_hand() -> None:
    """18 units against 36: ratio 37 / 19, over the slack of 1.25 that is 1.5579, exp(0.5 * -0.5579) =
    0.7566.
    """
    assert value(length_fit, HAN * 2, HAN) == pytest.approx(0.75659, abs=1e-4)
    assert value(length_fit, "", HAN) == pytest.approx(math.exp(0.5 * (1 - 19 / 1.25)))


def test_one_unit_more_costs_short_texts_little() -> None:
    assert value(length_fit, "打开", "开") == pytest.approx(0.9048, abs=1e-4)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 500))
def test_length_penalty_is_symmetric(first: int, second: int) -> None:
    assert length_ratio_penalty(first, second, 1.25, 0.5) == length_ratio_penalty(second, first, 1.25, 0.5)


def test_length_ratio_is_of_the_reference_text_closest_in_length() -> None:
    assert length_ratio(["s"] * 2, [HAN * 2, ""], [[HAN, "x"], [HAN]]).tolist() == [2.0, 0.0]
    texts = [HAN * 8, HAN * 6, HAN * 2]
    assert length_ratio(["s"] * 3, [HAN * 7, HAN * 4, HAN * 5], [texts] * 3).tolist() == pytest.approx(
        [7 / 6, 2.0, 5 / 6]
    )


# --- repetition ---


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("times", "low", "high"), [(2, 0.5, 0.55), (3, 0.33, 0.4), (5, 0.2, 0.25)])
def test_repeated_reference_text_keeps_its_share(text: str, times: int, low: float, high: float) -> None:
    mark = TSHEG if text == TIBETAN else ""
    assert low <= value(unrepeated, mark.join([text] * times), text) <= high


@pytest.mark.parametrize("text", TEXTS)
def test_one_word_repeated_is_caught(text: str) -> None:
    tokens = units(text)
    mark = TSHEG if text == TIBETAN else ""
    assert value(unrepeated, mark.join(tokens[:1] * 18), text) < 0.1
    assert value(unrepeated, mark.join(tokens[:2] * 9), text) < 0.2


@pytest.mark.parametrize("text", TEXTS)
def test_repeated_tail_is_caught_and_worse_when_longer(text: str) -> None:
    tokens = units(text)
    mark = TSHEG if text == TIBETAN else ""
    tails = [value(unrepeated, mark.join(tokens + tokens[-3:] * times), text) for times in range(6)]
    assert tails[0] == 1 and tails[5] < 0.65 and all(a > b for a, b in pairwise(tails))


def test_repetition_of_a_one_unit_reference_text_is_caught() -> None:
    assert value(unrepeated, "是是是是", "是") == 0.25


def test_what_the_reference_text_repeats_is_free_and_no_more_than_that() -> None:
    reference = "一二三四一二三四一二三四"
    assert value(unrepeated, reference, reference) == 1
    assert value(unrepeated, "五六七八五六七八五六七八", reference) < 0.5
    assert value(unrepeated, reference * 2, reference) < 0.6


def test_other_words_than_the_reference_text_cost_nothing() -> None:
    assert value(unrepeated, "另外一种说法完全不同", HAN) == 1


# --- copying ---


def test_source_in_another_script_is_caught() -> None:
    assert value(uncopied, TIBETAN, HAN, source=TIBETAN) == 0
    assert value(uncopied, HAN, TIBETAN, source=HAN) == 0
    assert value(uncopied, HAN + " " + TIBETAN, HAN, source=TIBETAN) == 0.5


def test_whole_short_source_is_a_copy_too() -> None:
    assert value(uncopied, "ཀ་ཁ", "好的", source="ཀ་ཁ།") == 0
    assert value(uncopied, "ཀ་ག", "好的", source="ཀ་ཁ།") == 1


def test_headline_out_of_the_words_of_its_body_is_free_and_its_lead_sentence_is_not() -> None:
    body = TSHEG.join(SYLLABLES) + "།" + TSHEG.join(reversed(SYLLABLES)) + "།"
    lead = TSHEG.join(SYLLABLES)
    headline = TSHEG.join([*SYLLABLES[3:6], *SYLLABLES[10:13]])
    assert value(uncopied, headline, headline, source=body) == 1
    assert value(uncopied, TSHEG.join([*SYLLABLES[7:10], *SYLLABLES[14:17]]), headline, source=body) == 1
    assert value(uncopied, lead, headline, source=body) == 0
    assert value(uncopied, body, headline, source=body) == 0


def test_copying_reference_text_does_not_excuse_copying_more() -> None:
    """As a share its allowance would be 1 and would excuse the whole body."""
    body = TIBETAN
    headline = TSHEG.join(SYLLABLES[:6])
    assert value(uncopied, headline, headline, source=body) == 1
    assert value(uncopied, TIBETAN, headline, source=body) == pytest.approx(6 / 18)


def test_copied_units_are_counted_once_each() -> None:
    assert copied_units(tuple("abcdeabcd"), tuple("abcdef"), 3) == 9
    assert copied_units(tuple("xabcxbcdx"), tuple("abcdef"), 3) == 6
    assert copied_units(tuple("ab"), tuple("abcdef"), 3) == 0
    assert (
        copied_units((), (), 3) == copied_units((), tuple("ab"), 3) == copied_units(tuple("ab"), (), 3) == 0
    )


# --- real data ---


def real_examples() -> list[Example]:
    folders = [*cache_dir().glob("corpus/*/test.jsonl")]
    examples = [
        example
        for path in folders
        for part in ("test", "train")
        for example in Records(path.with_name(f"{part}.jsonl"))
    ]
    translations = [
        example for example in examples if example.task == "mt" and example.target_language == "zh"
    ]
    if len(translations) < 1000:
        pytest.skip("no built-in corpus in the cache; `make data` prepares it")
    return translations


@pytest.mark.real
@pytest.mark.parametrize("guard", GUARDS)
def test_real_reference_texts_get_1_and_other_valid_ones_nearly(guard) -> None:  # type: ignore[no-untyped-def]
    examples = real_examples()
    sources = [e.source for e in examples]
    references = [e.reference for e in examples]
    for outputs, targets in ((sources, references), (references, sources)):
        assert guard(outputs, targets, [[text] for text in targets]).min() == 1
    several = [example for example in examples if example.others]
    others = guard(
        [e.source for e in several], [e.others[0] for e in several], [[e.reference] for e in several]
    )
    assert len(several) > 200 and others.mean() > 0.95


@pytest.mark.real
def test_real_attacks_lose_most_of_the_gates() -> None:
    examples = real_examples()[:500]
    sources = [e.source for e in examples]
    references = [e.reference for e in examples]
    for originals, targets in ((sources, references), (references, sources)):
        texts = [[text] for text in targets]
        assert uncopied(originals, originals, texts).max() == 0
        for times, most in ((2, 0.6), (3, 0.4), (5, 0.22)):
            assert unrepeated(originals, [" ".join([text] * times) for text in targets], texts).mean() < most
            assert length_fit(originals, [" ".join([text] * times) for text in targets], texts).mean() < 0.85
        assert nonempty(originals, [""] * len(originals), texts).max() == 0
