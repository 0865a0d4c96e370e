"""Decodes a test set greedily, with settings of its own and without randomness, so it never changes training.

Prompts start in the order of their lengths, the longest first; the outputs come back in the order of the
examples.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from data.examples import Example
from data.live_table import with_count
from data.prompt import Prompt
from grpo.engine.decode_step import FastDecoder
from grpo.engine.gathering import has_fast_step
from grpo.engine.graph_decoder import GraphDecoder
from grpo.engine.packing import FILLER
from grpo.engine.sampler import Sampling, generate, uses_graph
from grpo.engine.sharding import in_step


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


def greedy_in_full_batches(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: DecodeSettings
) -> Iterator[tuple[int, list[int]]]:
    """Index and completion of every prompt, as they end; the batch is kept full."""
    order = longest_first(prompts)
    outputs = greedy(
        model, [prompts[i] for i in order], settings.max_new_tokens, settings.stop_ids, settings.batch_size
    )
    for number, ids in outputs:
        yield order[number], ids


def greedy_in_slots(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: DecodeSettings
) -> Iterator[tuple[int, list[int]]]:
    """Decode as `greedy_in_full_batches` does, by a step of fixed shapes, each prompt a group of one."""
    order = longest_first(prompts)
    sampling = Sampling(1, settings.max_new_tokens, temperature=0.0, stop_ids=settings.stop_ids)
    outputs = GraphDecoder.of(model).outputs(
        model, [prompts[i] for i in order], sampling, most_slots=settings.batch_size
    )
    for numbers, rows in outputs:
        lengths = rows.lengths.flatten().tolist()
        for number, ids, length in zip(numbers, rows.ids[:, 0].tolist(), lengths, strict=True):
            yield order[number], ids[:length]


def greedy_in_batches(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: DecodeSettings
) -> Iterator[tuple[int, list[int]]]:
    """Decode each batch to its end before the next, which any model can do."""
    sampling = Sampling(
        1, settings.max_new_tokens, temperature=0.0, stop_ids=settings.stop_ids, fast=settings.fast
    )
    for batch in in_step(model, [*batches_by_length(prompts, settings.batch_size)]):
        rollout = generate(model, [prompts[i] for i in batch] or [FILLER], sampling, seed=(0,))
        yield from zip(batch, rollout.completions(), strict=bool(batch))


def greedy_ids(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: DecodeSettings
) -> Iterator[tuple[int, list[int]]]:
    """Index and completion of every prompt, as they end, by the fastest way that the model has."""
    decode = greedy_in_full_batches if settings.fast and has_fast_step(model) else greedy_in_batches
    decode = greedy_in_slots if settings.fast and uses_graph(model) else decode
    return decode(model, prompts, settings)


def greedy_outputs(
    model: PreTrainedModel, prompt: Prompt, examples: Sequence[Example], settings: DecodeSettings
) -> list[str]:
    """One text per example: the most likely token at every place. All processes call it for a sharded model, each with
    its own examples, perhaps none.
    """
    prompts = [prompt.encode_prompt(example) for example in examples]
    outputs = [""] * len(prompts)
    with torch.inference_mode():
        for i, ids in with_count(greedy_ids(model, prompts, settings), "decoding", len(prompts)):
            outputs[i] = prompt.decode_completion(ids)
    return outputs


# drop complete rows, and let waiting prompts join, when fewer than this share of the rows go on
REFILL_BELOW = 0.75


@dataclass
class Row:
    """A prompt that is being decoded: its number, its output so far, and whether that is the whole output."""

    prompt: int
    ids: list[int] = field(default_factory=list)
    is_complete: bool = False

    def add(self, token: int, max_new_tokens: int, stop_ids: Collection[int]) -> None:
        self.ids.append(token)
        self.is_complete = token in stop_ids or len(self.ids) == max_new_tokens


@torch.inference_mode()
def greedy(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """Number and output of every prompt, in the order in which they end; prompts start in the order given.

    At most `batch_size` rows are active at any time, each with room for `max_new_tokens` behind its prompt.
    """
    decoder = FastDecoder(model, max_new_tokens, max(1, min(batch_size, len(prompts))))
    stops = frozenset(stop_ids)
    waiting = deque(range(len(prompts)))
    rows = list[Row]()
    tokens = torch.zeros(0, dtype=torch.int64, device=model.device)  # the newest of each row
    while waiting or rows:
        if waiting and len(rows) < REFILL_BELOW * batch_size:
            new = [Row(waiting.popleft()) for _ in range(min(len(waiting), batch_size - len(rows)))]
            texts = [prompts[row.prompt] for row in new]
            logits = decoder.join(texts) if rows else decoder.prefill(texts, group_size=1)
            tokens = torch.cat([tokens, logits.argmax(dim=1)])
            rows = rows + new
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if not row.is_complete:
                row.add(token, max_new_tokens, stops)
                if row.is_complete:
                    yield row.prompt, row.ids
        alive = [number for number, row in enumerate(rows) if not row.is_complete]
        if not alive:
            rows = []
            tokens = tokens[:0]
            continue
        if len(alive) < REFILL_BELOW * (batch_size if waiting else len(rows)):
            rows = [rows[number] for number in alive]
            active = torch.tensor(alive, device=tokens.device)
            tokens = tokens[active]
            decoder.keep(active)
        tokens = decoder.step(tokens).argmax(dim=1)
