"""Measures a tokenizer on a corpus: tokens per unit of text, lengths, and the texts that it cannot write."""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from data.ends import text_ids
from data.errors import InputError
from data.examples import Example
from data.prompt import Prompt
from data.script import count_units, script_of

PERCENTILES = (50, 90, 99, 100)
MOST_LOST = 0.1  # of the reference texts that the tokenizer cannot write
MANY_BYTES = 0.3  # of the tokens of the reference texts: more get a warning
MANY_MORE = 1.25  # tokens with the trimmed vocabulary per token with the full one: more get a warning
REPLACED = "\ufffd"  # what a part of a character decodes to


def token_report(
    prompt: Prompt, examples: Sequence[Example], max_prompt_tokens: int, max_completion_tokens: int
) -> dict[str, Any]:
    """Tokens per source unit (Tibetan syllable) and per reference unit (Han character), percentiles of the
    lengths of prompts and completions with their start and end tokens, and the share of each that is longer
    than its limit. Of the reference texts: the share of tokens that are only a part of a character, the share
    of texts that do not come back from their tokens, and one of these.
    """
    tokenizer = prompt.tokenizer
    prompts, completions = array("i"), array("i")
    sources, references = _Ratio(tokenizer), _Ratio(tokenizer)
    pieces = Counter[int]()
    num_lost, lost_example = 0, ""
    for example in examples:
        prompts.append(len(prompt.encode_prompt(example)))
        sources.add(example.source, example.source_language)
        text = example.reference
        if text:
            ids = prompt.encode_completion(text)
            completions.append(len(ids))
            references.add(text, example.target_language)
            pieces.update(ids[:-1])  # without the end token
            if letters(text) != letters(prompt.decode_completion(ids)):
                num_lost += 1
                lost_example = lost_example or text
    return {
        "pairs": len(examples),
        "tokens_per_source_unit": sources.value,
        "tokens_per_reference_unit": references.value,
        "prompt_tokens": _percentiles(prompts),
        "completion_tokens": _percentiles(completions),
        "prompts_cut": _share_above(prompts, max_prompt_tokens),
        "completions_cut": _share_above(completions, max_completion_tokens),
        "max_prompt_tokens": max_prompt_tokens,
        "max_completion_tokens": max_completion_tokens,
        "reference_bytes": _share_of_bytes(tokenizer, pieces),
        "references_lost": num_lost / max(1, len(completions)),
        "lost_example": lost_example,
    }


def letters(text: str) -> str:
    """What a tokenizer must preserve of a text: letters, marks and digits, in any case or width."""
    normal_form = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in normal_form if unicodedata.category(character)[0] in "LMN")


def check_writable(report: dict[str, Any]) -> None:
    """Raises InputError where the model can never write too many of the reference texts."""
    if report["references_lost"] > MOST_LOST:
        share = report["references_lost"]
        example = report["lost_example"]
        raise InputError(
            f"model.policy: its tokenizer cannot write {share:.0%} of the reference texts, such as {example!r}, "
            "so the model never will; take one whose vocabulary has this script or falls back to bytes"
        )


def concerns(report: dict[str, Any], pieces: dict[str, Any] | None = None) -> list[str]:
    """Sentences about what makes a run poor or slow. `pieces`: the result of `grpo.engine.pretrained.check_pieces`."""
    times = pieces["tokens_trimmed"] / max(1, pieces["tokens_full"]) if pieces else 1
    sentences = []
    if report["references_lost"]:
        share = report["references_lost"]
        example = report["lost_example"]
        sentences.append(
            f"this tokenizer cannot write {share:.2%} of the reference texts, such as {example!r}"
        )
    if times > MANY_MORE:
        cure = 'write model.vocabulary="full"'
        sentences.append(f"the trimmed vocabulary needs {times:.1f} times the tokens of the full one: {cure}")
    elif report["reference_bytes"] > MANY_BYTES:
        sentences.append(
            f"{report['reference_bytes']:.0%} of the tokens of the reference texts are parts of characters, "
            "so outputs are slow and hard to learn; a model whose vocabulary has this script will do better"
        )
    if report["completions_cut"] > 0.5:
        sentences.append(
            f"{report['completions_cut']:.0%} of the reference texts have more than rollout.max_new_tokens = "
            f"{report['max_completion_tokens']} tokens; "
            f"{report['completion_tokens']['p99']} would let the policy write 99 % of them"
        )
    return sentences


@dataclass
class _Ratio:
    """Tokens per unit, a ratio of sums, so that a text counts by its length."""

    tokenizer: PreTrainedTokenizerBase
    tokens: int = 0
    units: int = 0

    def add(self, text: str, language: str) -> None:
        self.tokens += len(text_ids(self.tokenizer, text))
        self.units += count_units(text, script_of(language))

    @property
    def value(self) -> float:
        return self.tokens / max(1, self.units)


def _share_of_bytes(tokenizer: PreTrainedTokenizerBase, pieces: Counter[int]) -> float:
    """The share of tokens that are only a part of a character."""
    parts = sum(count for token, count in pieces.items() if REPLACED in tokenizer.decode([token]))
    return parts / max(1, pieces.total())


def _percentiles(lengths: Sequence[int]) -> dict[str, int]:
    values = np.percentile(lengths, PERCENTILES, method="higher") if lengths else [0] * len(PERCENTILES)
    return {f"p{percentile}": int(value) for percentile, value in zip(PERCENTILES, values, strict=True)}


def _share_above(lengths: Sequence[int], limit: int) -> float:
    return sum(length > limit for length in lengths) / max(1, len(lengths))
