"""How the model of a server decodes: one object that rows join and leave, whatever the model is."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.decode_step import FastDecoder
from grpo.engine.gathering import has_fast_step
from grpo.engine.model_decoder import ModelDecoder
from grpo.engine.padding import cause_of_padding
from grpo.engine.token_rows import token_logits


class Decoder(Protocol):
    """Rows behind their prompts, each prompt a group of one."""

    def prefill(self, prompts: Sequence[Sequence[int]], group_size: int) -> Tensor:
        """Begin anew with these prompts -> (N, V) logits of the first tokens."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """(B,) newest tokens -> (B, V) logits of the next ones."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Drop every row that is not in `rows`."""
        ...


class WholeRows:
    """Computes each row anew for every token, for models whose state only transformers' own generation keeps. No
    causal model sees the padding behind a token.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.rows: list[list[int]] = []

    def prefill(self, prompts: Sequence[Sequence[int]], group_size: int) -> Tensor:
        self.rows = [list(prompt) for prompt in prompts for _ in range(group_size)]
        return self._logits(self.rows)

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Add rows behind the active ones -> logits of their first tokens."""
        new = [list(prompt) for prompt in prompts]
        self.rows += new
        return self._logits(new)

    def step(self, tokens: Tensor) -> Tensor:
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.append(token)
        return self._logits(self.rows)

    def keep(self, rows: Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]

    def _logits(self, rows: Sequence[Sequence[int]]) -> Tensor:
        width = max(map(len, rows))
        padded = [[*row, *[0] * (width - len(row))] for row in rows]
        is_real = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        ids, mask = (torch.tensor(values, device=self.model.device) for values in (padded, is_real))
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        last = mask.sum(dim=1) - 1
        return token_logits(self.model, logits[torch.arange(len(rows), device=last.device), last]).float()


def decoders_of(
    model: PreTrainedModel, max_tokens: int, rows: int, is_fast: bool = True
) -> Callable[[], Decoder]:
    """Makes a decoder for at most `rows` rows of `max_tokens` new tokens. One that other rows can join is made once."""
    if cause_of_padding(model):
        whole_rows = WholeRows(model)
        return lambda: whole_rows
    if is_fast and has_fast_step(model):
        fast = FastDecoder(model, max_tokens, rows)
        return lambda: fast
    return lambda: ModelDecoder(model, max_tokens)
