"""The token report, on a tokenizer whose counts are known: one token a byte."""

import pytest
from transformers import PreTrainedTokenizerFast

from data.examples import Example
from data.template import prompt_text
from data.tokens import token_report

SHORT = Example("1", "\u0f40\u0f0b\u0f41", "甲乙", "o", "l", "bo", "zh")  # 2 syllables in 9 bytes, 2 characters in 6
LONG = Example("2", "\u0f40\u0f0b" * 10, "甲" * 10, "o", "l", "bo", "zh")  # 10 syllables in 60 bytes, 10 characters in 30


def test_tokens_per_unit_are_sums_over_sums(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    report = token_report(tiny_tokenizer, [SHORT, LONG], 100, 100)
    assert report["tokens_per_source_unit"] == pytest.approx(69 / 12)
    assert report["tokens_per_reference_unit"] == pytest.approx(3.0)


def test_lengths_and_cut_shares_count_start_and_end_tokens(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    lengths = [1 + len(prompt_text(example).encode()) for example in (SHORT, LONG)]
    report = token_report(tiny_tokenizer, [SHORT, LONG], lengths[0], 31)
    assert report["prompt_tokens"] == {"p50": lengths[1], "p90": lengths[1], "p99": lengths[1], "p100": lengths[1]}
    assert report["completion_tokens"]["p100"] == 31
    assert (report["prompts_cut"], report["completions_cut"]) == (0.5, 0.0)


def test_no_examples_give_an_empty_report(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert token_report(tiny_tokenizer, [], 1, 1)["prompt_tokens"]["p100"] == 0
