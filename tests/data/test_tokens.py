"""The token report, on a tokenizer whose counts are known: one token a byte."""

from dataclasses import replace

import pytest
from tiny_tokenizers import characters
from transformers import PreTrainedTokenizerFast

from data.errors import InputError
from data.examples import Example
from data.prompt import Prompt
from data.template import Wording
from data.tokens import check_writable, concerns, letters, token_report

# 2 syllables in 9 bytes, 2 characters in 6
SHORT = Example("1", "\u0f40\u0f0b\u0f41", "甲乙", "o", "l", "bo", "zh")
# 10 syllables in 60 bytes, 10 characters in 30
LONG = Example("2", "\u0f40\u0f0b" * 10, "甲" * 10, "o", "l", "bo", "zh")


def test_tokens_per_unit_are_sums_over_sums(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    report = token_report(Prompt.of(tiny_tokenizer), [SHORT, LONG], 100, 100)
    assert report["tokens_per_source_unit"] == pytest.approx(69 / 12)
    assert report["tokens_per_reference_unit"] == pytest.approx(3.0)


def test_lengths_and_cut_shares_count_start_and_end_tokens(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    lengths = [1 + len(Wording().text(example).encode()) for example in (SHORT, LONG)]
    report = token_report(Prompt.of(tiny_tokenizer), [SHORT, LONG], lengths[0], 31)
    assert report["prompt_tokens"] == {
        "p50": lengths[1],
        "p90": lengths[1],
        "p99": lengths[1],
        "p100": lengths[1],
    }
    assert report["completion_tokens"]["p100"] == 31
    assert (report["prompts_cut"], report["completions_cut"]) == (0.5, 0.0)


def test_no_examples_give_an_empty_report(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert token_report(Prompt.of(tiny_tokenizer), [], 1, 1)["prompt_tokens"]["p100"] == 0


def test_tokens_that_are_parts_of_characters_are_counted(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert token_report(Prompt.of(tiny_tokenizer), [SHORT, replace(SHORT, reference="abc")], 100, 100)[
        "reference_bytes"
    ] == pytest.approx(6 / 9)


def test_a_script_spelled_in_bytes_is_said(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    report = token_report(Prompt.of(tiny_tokenizer), [SHORT], 100, 100)
    assert [line[:43] for line in concerns(report)] == ["100% of the tokens of the reference texts a"]
    assert (
        concerns(token_report(Prompt.of(tiny_tokenizer), [replace(SHORT, reference="abc")], 100, 100)) == []
    )


def test_a_trimmed_vocabulary_that_spells_in_bytes_is_advised_against(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Past bug: Amharic took 4.5 times the tokens with the trimmed vocabulary, and nothing said so."""
    report = token_report(Prompt.of(tiny_tokenizer), [SHORT], 100, 100)
    (line,) = concerns(report, {"tokens_trimmed": 450, "tokens_full": 100})
    assert (
        line
        == 'the trimmed vocabulary needs 4.5 times the tokens of the full one: write model.vocabulary="full"'
    )
    assert "vocabulary=" not in concerns(report, {"tokens_trimmed": 110, "tokens_full": 100})[0]


def test_outputs_that_most_references_do_not_fit_are_said(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [replace(SHORT, reference="a" * length) for length in (3, 5, 6)]
    assert concerns(token_report(Prompt.of(tiny_tokenizer), texts, 100, 6)) == []
    (line,) = concerns(token_report(Prompt.of(tiny_tokenizer), texts, 100, 5))
    assert line.startswith(
        "67% of the reference texts have more than rollout.max_new_tokens = 5 tokens; 7 would"
    )


def test_references_that_the_tokenizer_cannot_write_are_refused_above_a_share() -> None:
    """Past bug: what the tokenizer did not know became <unk>, which no output can hold, and training went on."""
    tokenizer = characters("甲乙ab")
    few = token_report(
        Prompt.of(tokenizer),
        [replace(SHORT, reference="a甲b")] * 9 + [replace(SHORT, reference="丙乙")],
        100,
        100,
    )
    assert (few["references_lost"], few["lost_example"]) == (0.1, "丙乙")
    check_writable(few)
    assert concerns(few) == ["this tokenizer cannot write 10.00% of the reference texts, such as '丙乙'"]
    with pytest.raises(
        InputError,
        match=r"model\.policy: its tokenizer cannot write 50% of the reference texts, such as '丙乙'",
    ):
        check_writable(
            token_report(
                Prompt.of(tokenizer),
                [replace(SHORT, reference="a"), replace(SHORT, reference="丙乙")],
                100,
                100,
            )
        )


def test_case_width_and_punctuation_may_change_and_letters_may_not() -> None:
    assert letters("Ａｂ，\u0f40\u0f72 ９") == letters("aB,\u0f40\u0f72 9") == "ab\u0f40\u0f729"
    assert letters("\u0f40\u0f72") != letters("\u0f40")
