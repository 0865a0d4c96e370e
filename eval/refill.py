"""Greedy decoding of many prompts with a batch that stays full: when enough rows have ended, waiting prompts join those that go on.

A step of a few rows costs nearly what a step of many does, for both read every weight; and outputs of a set differ widely in length. The
tokens are those of decoding batch after batch. Only for models that `grpo.decode_step` knows.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from grpo.decode_step import FastDecoder

REFILL_BELOW = 0.75  # drop ended rows, and let waiting prompts join, when fewer than this share of the rows go on


@dataclass
class Row:
    """A prompt that is being decoded: its number, its output so far, and whether that is all of it."""

    prompt: int
    ids: list[int] = field(default_factory=list)
    ended: bool = False

    def add(self, token: int, max_new_tokens: int, stop_ids: Collection[int]) -> None:
        self.ids.append(token)
        self.ended = token in stop_ids or len(self.ids) == max_new_tokens


@torch.inference_mode()
def greedy(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: Sequence[int], batch_size: int
) -> Iterator[tuple[int, list[int]]]:
    """Number and output of every prompt, in the order in which they end; prompts start in the order given.

    At most `batch_size` rows are held at any time, each with room for `max_new_tokens` behind its prompt.
    """
    decoder = FastDecoder(model, max_new_tokens, min(batch_size, len(prompts)))
    stops, waiting, rows = frozenset(stop_ids), deque(range(len(prompts))), list[Row]()
    tokens = torch.zeros(0, dtype=torch.int64, device=model.device)  # the newest of each row
    while waiting or rows:
        if waiting and len(rows) < REFILL_BELOW * batch_size:
            new = [Row(waiting.popleft()) for _ in range(min(len(waiting), batch_size - len(rows)))]
            texts = [prompts[row.prompt] for row in new]
            logits = decoder.join(texts) if rows else decoder.prefill(texts, group_size=1)
            tokens, rows = torch.cat([tokens, logits.argmax(dim=1)]), rows + new
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if not row.ended:
                row.add(token, max_new_tokens, stops)
                if row.ended:
                    yield row.prompt, row.ids
        alive = [number for number, row in enumerate(rows) if not row.ended]
        if not alive:
            rows, tokens = [], tokens[:0]
            continue
        if len(alive) < REFILL_BELOW * (batch_size if waiting else len(rows)):
            kept = torch.tensor(alive, device=tokens.device)
            rows, tokens = [rows[number] for number in alive], tokens[kept]
            decoder.keep(kept)
        tokens = decoder.step(tokens).argmax(dim=1)
