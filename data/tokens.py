"""How a tokenizer fares on a corpus: tokens for each unit of text, lengths, and what the limits of a run would cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from data.examples import Example
from data.script import count_units, script_of
from data.template import encode_completion, encode_prompt

PERCENTILES = (50, 90, 99, 100)


def token_report(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_prompt_tokens: int, max_completion_tokens: int
) -> dict[str, Any]:
    """Tokens per source unit (Tibetan syllable) and per reference unit (Han character), percentiles of the lengths of prompts and
    completions with their start and end tokens, and the share of each that is longer than its limit.
    """
    prompts = [len(encode_prompt(tokenizer, example)) for example in examples]
    completions = [len(encode_completion(tokenizer, example.reference)) for example in examples]
    sources = [(example.source, example.source_language) for example in examples]
    references = [(example.reference, example.target_language) for example in examples]
    return {
        "pairs": len(examples),
        "tokens_per_source_unit": _tokens_per_unit(tokenizer, sources),
        "tokens_per_reference_unit": _tokens_per_unit(tokenizer, references),
        "prompt_tokens": _percentiles(prompts),
        "completion_tokens": _percentiles(completions),
        "prompts_cut": _share_above(prompts, max_prompt_tokens),
        "completions_cut": _share_above(completions, max_completion_tokens),
        "max_prompt_tokens": max_prompt_tokens,
        "max_completion_tokens": max_completion_tokens,
    }


def _tokens_per_unit(tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str]]) -> float:
    """All tokens over all units: a ratio of sums, so that long texts count for what they are."""
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text, _ in texts)
    return tokens / max(1, sum(count_units(text, script_of(language)) for text, language in texts))


def _percentiles(lengths: Sequence[int]) -> dict[str, int]:
    values = np.percentile(lengths, PERCENTILES, method="higher") if lengths else [0] * len(PERCENTILES)
    return {f"p{percentile}": int(value) for percentile, value in zip(PERCENTILES, values, strict=True)}


def _share_above(lengths: Sequence[int], limit: int) -> float:
    return sum(length > limit for length in lengths) / max(1, len(lengths))
