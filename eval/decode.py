"""Greedy outputs of a test set: fixed settings of its own, no randomness, so evaluating never disturbs training.

Prompts are decoded in batches of similar length; the outputs come back in the order of the examples.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from data.examples import Example
from data.template import decode_completion, encode_prompt
from grpo.sampler import Sampling, generate


@dataclass(frozen=True)
class DecodeSettings:
    """How outputs are made; `stop_ids` end an output, `max_new_tokens` cuts one that does not stop."""

    max_new_tokens: int
    stop_ids: tuple[int, ...]
    batch_size: int = 64
    fast: bool = True


def batches_by_length(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Indices of prompts in batches, longest first, so that a batch wastes little padding and memory peaks at the start."""
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def greedy_outputs(model: Any, tokenizer: Any, examples: Sequence[Example], settings: DecodeSettings) -> list[str]:
    """One text per example: the most likely token at every place."""
    prompts = [encode_prompt(tokenizer, example) for example in examples]
    sampling = Sampling(1, settings.max_new_tokens, temperature=0.0, stop_ids=settings.stop_ids, fast=settings.fast)
    outputs = [""] * len(prompts)
    with torch.inference_mode():
        batches = list(batches_by_length(prompts, settings.batch_size))
        for batch in tqdm(batches, desc="decoding", unit="batch", leave=False, disable=not sys.stderr.isatty()):
            rollout = generate(model, [prompts[i] for i in batch], sampling, seed=(0,))
            for i, ids in zip(batch, rollout.completions(), strict=True):
                outputs[i] = decode_completion(tokenizer, ids)
    return outputs
