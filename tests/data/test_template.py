"""Prompts and completions: wording, ids, and back."""

from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerFast

from data.errors import InputError
from data.examples import Example, swap_sides
from data.prompt import Prompt
from data.template import Wording, decode_completion, encode_completion, encode_prompt, stop_ids

EXAMPLE = Example("1", "\u0f40\u0f0b\u0f41", "甲乙", "o", "l", "dz", "zh")


def test_prompt_names_both_languages_and_ends_where_the_completion_starts() -> None:
    assert Wording().text(EXAMPLE) == "宗喀文：\u0f40\u0f0b\u0f41\n中文："
    assert Wording().text(replace(EXAMPLE, source_language="xx")).startswith("xx：")


@pytest.mark.parametrize(
    ("language", "label"),
    [
        ("zh-CN", "中文"),
        ("zho_Hans", "中文"),
        ("bod_Tibt", "藏文"),
        ("eng", "英文"),
        ("qu-Latn", "qu"),
        ("quy_Latn", "quy"),
    ],
)
def test_prompt_says_the_language_without_script_and_region(language: str, label: str) -> None:
    assert Wording().text(replace(EXAMPLE, target_language=language)).endswith(f"\n{label}：")


@pytest.mark.parametrize(
    ("source", "target", "plain", "names"),
    [
        ("sr_Cyrl", "sr_Latn", "", ("Serbian (Cyrillic)", "Serbian (Latin)")),
        ("zho_Hans", "zho_Hant", "", ("Chinese (Simplified)", "Chinese (Traditional)")),
        ("ks_Arab", "ks_Deva", "", ("Kashmiri (Arabic)", "Kashmiri (Devanagari)")),
        ("ks_Arab", "ks", "", ("Kashmiri (Arabic)", "Kashmiri")),
        ("zho_Hant", "zho_Hant", "中文", ("Chinese (Traditional)", "Chinese (Traditional)")),
        ("en", "zh-TW", "英文", ("English", "Chinese (Traditional)")),
        ("pt-BR", "pt-PT", "pt", ("Portuguese", "Portuguese (Portugal)")),
        ("kmr", "cnr", "ku", ("Northern Kurdish", "Montenegrin")),
        ("eng_Latn", "sr-Latn", "英文", ("English", "Serbian (Latin)")),
        ("sr_Cyrl", "hr_Latn", "sr", ("Serbian", "Croatian")),
    ],
)
def test_one_language_in_two_scripts_is_named_with_them(
    source: str, target: str, plain: str, names: tuple[str, str]
) -> None:
    example = replace(EXAMPLE, source_language=source, target_language=target)
    assert f"from {names[0]} to {names[1]}. " in Wording("chat").request(example)
    assert Wording().text(example).startswith(f"{plain or names[0]}：")
    assert "from X to X. " in Wording("chat", source_label="X", target_label="X").request(example)


@pytest.mark.parametrize(
    ("languages", "settings", "named"),
    [
        (("st", "en"), {}, "the code of st; "),
        (("sw_Latn", "ha"), {}, "the code of sw and ha; "),
        (("st", "en"), {"source_label": "Sotho"}, ""),
        (("st", "en"), {"template": "{source_language}: {source}"}, ""),
        (("sr_Latn", "sr_Cyrl"), {}, ""),
        (("bo", "zh"), {}, ""),
    ],
)
def test_a_reader_is_told_where_the_plain_prompt_says_a_code(
    languages: tuple[str, str], settings: dict[str, str], named: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    example = Example("1", "x", "y", "o", "l", *languages)
    notes = [
        line
        for line in Prompt.of(tiny_tokenizer, Wording(**settings)).lines(example)
        if line.startswith("NOTE")
    ]
    assert len(notes) == bool(named) and all(named in note for note in notes)


def test_a_language_without_a_name_is_told() -> None:
    example = replace(EXAMPLE, target_language="qaa-Latn-x-mine")
    sentence = (
        'qaa-Latn-x-mine has no English name, so the prompt says the code; write prompt.target_label="NAME"'
    )
    assert Wording("chat").nameless(example) == [sentence]
    assert Wording("chat", target_label="Mine").nameless(example) == []
    (plain,) = Wording().nameless(example)
    assert "says only the code of qaa; " in plain
    assert "to Mine. " in Wording("chat", target_label="Mine").request(example)


def test_prompt_of_a_headline_asks_for_one() -> None:
    assert (
        Wording().text(replace(EXAMPLE, task="headline", target_language="dz"))
        == "宗喀文：\u0f40\u0f0b\u0f41\n宗喀文标题："
    )


def test_prompt_from_chinese_says_which_language_is_wanted() -> None:
    other_way = swap_sides(EXAMPLE)
    assert Wording().text(other_way) == "中文：甲乙\n宗喀文："
    assert Wording().text(replace(other_way, target_language="bo")) == "中文：甲乙\n藏文："


def test_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown task 'poem'; known tasks: mt, headline"):
        Wording().text(replace(EXAMPLE, task="poem"))


def test_prompt_has_one_start_token_and_no_end(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = Prompt.of(tiny_tokenizer).encode_prompt(EXAMPLE)
    assert ids[0] == tiny_tokenizer.bos_token_id
    assert ids.count(tiny_tokenizer.bos_token_id) == 1 and tiny_tokenizer.eos_token_id not in ids
    assert len(ids) == 1 + len(Wording().text(EXAMPLE).encode())


def test_completion_comes_back_and_stops_at_the_end_token(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = Prompt.of(tiny_tokenizer).encode_completion("甲乙")
    assert ids[-1] == tiny_tokenizer.eos_token_id and tiny_tokenizer.bos_token_id not in ids
    assert Prompt.of(tiny_tokenizer).decode_completion([*ids, *ids]) == "甲乙"
    assert Prompt.of(tiny_tokenizer).decode_completion(ids[:-1]) == "甲乙"
    assert Prompt.of(tiny_tokenizer).decode_completion([ids[-1]]) == ""


def test_completion_is_one_line_and_loses_space_at_its_ends(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Past bug: an untuned model that never ends was judged by all it wrote after the line that was asked for."""
    assert (
        Prompt.of(tiny_tokenizer).decode_completion(Prompt.of(tiny_tokenizer).encode_completion(" 甲 \n乙 "))
        == "甲"
    )
    (line_end,) = tiny_tokenizer.encode("\n", add_special_tokens=False)
    assert line_end in Prompt.of(tiny_tokenizer).stops


def test_end_of_turn_stops_where_the_vocabulary_has_it(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    (line_end,) = tiny_tokenizer.encode("\n", add_special_tokens=False)
    assert Prompt.of(tiny_tokenizer).stops == (tiny_tokenizer.eos_token_id, line_end)
    other = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer.backend_tokenizer,
        eos_token="<eos>",
        bos_token="<bos>",
        additional_special_tokens=["<end_of_turn>"],
    )
    turn_end = other.convert_tokens_to_ids("<end_of_turn>")
    assert Prompt.of(other).stops == (other.eos_token_id, turn_end, line_end)
    assert (
        Prompt.of(other).decode_completion(
            [
                *Prompt.of(other).encode_completion("甲")[:-1],
                turn_end,
                *Prompt.of(other).encode_completion("乙"),
            ]
        )
        == "甲"
    )


def test_the_plain_wording_by_functions(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """The spelling of a special token in a text is text, and a line end ends a completion."""
    start, end = tiny_tokenizer.bos_token_id, tiny_tokenizer.eos_token_id
    ids = encode_completion(tiny_tokenizer, "天<eos>地")
    assert ids.count(end) == 1 and ids[-1] == end
    prompt = encode_prompt(tiny_tokenizer, replace(EXAMPLE, source="ཀ <bos> ཁ"))
    assert prompt.count(start) == 1 and prompt[0] == start
    line = tiny_tokenizer.encode("天地\nthe", add_special_tokens=False)
    assert set(line) & set(stop_ids(tiny_tokenizer))
    assert decode_completion(tiny_tokenizer, line) == "天地"


def test_words_that_ask_for_a_translation_into_the_same_language_are_told() -> None:
    """Past bug: a corpus of questions and answers, both English, was taught as a translation without a word."""
    example = Example("1", "why?", "so", "o", "l", "en", "en", "mt")
    (chat,) = Wording("chat").one_language(example)
    assert chat == (
        'the prompt asks for a translation from English to English; write data.task="summary", "headline", "answer" or "free", '
        "or your own words as prompt.instruction"
    )
    (text,) = Wording("english").one_language(example)
    assert text.endswith("or your own words as prompt.template")
    silent = [
        (Wording("chat", instruction="Say it simply: {source}"), example),
        (Wording("{source} ->"), example),
        (Wording("english"), replace(example, task="answer")),
        (Wording("english"), replace(example, target_language="fr")),
        (Wording("english"), replace(example, source_language="sr-Latn", target_language="sr-Cyrl")),
    ]
    assert [wording.one_language(other) for wording, other in silent] == [[]] * 5
