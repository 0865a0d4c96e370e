"""Greedy outputs of a test set: fixed settings of its own, no randomness, so evaluating never disturbs training.

Prompts start in the order of their lengths, the longest first; the outputs come back in the order of the examples.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from data.examples import Example
from data.template import decode_completion, encode_prompt
from eval import refill
from grpo.decode_step import is_known
from grpo.sampler import Sampling, generate


@dataclass(frozen=True)
class DecodeSettings:
    """How outputs are made; `stop_ids` end an output, `max_new_tokens` cuts one that does not stop."""

    max_new_tokens: int
    stop_ids: tuple[int, ...]
    batch_size: int = 64
    fast: bool = True


def longest_first(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Indices of prompts, so that neighbours waste little padding and memory peaks at the start."""
    return sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))


def batches_by_length(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Indices of prompts in batches, longest first."""
    order = longest_first(prompts)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def greedy_refilled(model: Any, prompts: Sequence[Sequence[int]], settings: DecodeSettings) -> Iterator[tuple[int, list[int]]]:
    """Index and completion of every prompt, as they end; the batch is kept full."""
    order = longest_first(prompts)
    ended = refill.greedy(model, [prompts[i] for i in order], settings.max_new_tokens, settings.stop_ids, settings.batch_size)
    for number, ids in ended:
        yield order[number], ids


def greedy_in_batches(model: Any, prompts: Sequence[Sequence[int]], settings: DecodeSettings) -> Iterator[tuple[int, list[int]]]:
    """The same, each batch to its end before the next, which any model can do."""
    sampling = Sampling(1, settings.max_new_tokens, temperature=0.0, stop_ids=settings.stop_ids, fast=settings.fast)
    for batch in batches_by_length(prompts, settings.batch_size):
        rollout = generate(model, [prompts[i] for i in batch], sampling, seed=(0,))
        yield from zip(batch, rollout.completions(), strict=True)


def greedy_outputs(model: Any, tokenizer: Any, examples: Sequence[Example], settings: DecodeSettings) -> list[str]:
    """One text per example: the most likely token at every place."""
    prompts = [encode_prompt(tokenizer, example) for example in examples]
    decode = greedy_refilled if settings.fast and is_known(model) else greedy_in_batches
    outputs = [""] * len(prompts)
    with torch.inference_mode():
        ended = decode(model, prompts, settings)
        for i, ids in tqdm(ended, desc="decoding", total=len(prompts), leave=False, disable=not sys.stderr.isatty()):
            outputs[i] = decode_completion(tokenizer, ids)
    return outputs
