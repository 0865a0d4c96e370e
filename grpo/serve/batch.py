"""Rows of several requests that decode together, each with its own temperature, seed, length and stops."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from grpo.engine.draw import draw
from grpo.engine.sampler import COMPACT_BELOW
from grpo.serve.decoders import Decoder
from grpo.serve.rows import STOP, Read, Row


def next_tokens(logits: Tensor, temperatures: Tensor, uniforms: Tensor) -> Tensor:
    """(B, V) logits, (B,) temperatures and uniforms -> (B,) tokens: the arg-max where the temperature is 0.

    >>> logits = torch.tensor([[0.0, 0.1], [0.0, 0.1]])
    >>> next_tokens(logits, torch.tensor([0.0, 1.0]), torch.tensor([0.2, 0.2])).tolist()
    [1, 0]
    """
    most_likely = logits.argmax(dim=1)
    is_drawn = temperatures > 0
    if not is_drawn.any():
        return most_likely
    drawn, _ = draw(logits / temperatures.where(is_drawn, 1.0)[:, None], uniforms)
    return drawn.where(is_drawn, most_likely)


class Batch:
    """The active rows of one decoder, and the logits of their next tokens. A row that has ended stays until enough
    have.
    """

    def __init__(self, decoder: Decoder, stop_ids: Collection[int], read: Read):
        self.decoder = decoder
        self.stop_ids = frozenset(stop_ids)
        self.read = read
        self.rows: list[Row] = []
        self.logits = torch.zeros(0)

    @property
    def takes_more(self) -> bool:
        """Whether rows may come in now."""
        return not self.rows or hasattr(self.decoder, "join")

    def join(self, rows: Sequence[Row]) -> None:
        """Run the prompts of new rows."""
        prompts = [row.prompt for row in rows]
        if self.rows:
            self.logits = torch.cat([self.logits, self.decoder.join(prompts)])  # type: ignore[attr-defined]
        else:
            self.logits = self.decoder.prefill(prompts, 1)
        self.rows += rows

    def advance(self) -> list[tuple[Row, str]]:
        """One token for each row that goes on -> those rows, and what their texts gain."""
        tokens = self._tokens()
        gains = [
            (row, row.take(token, self.stop_ids, self.read))
            for row, token in zip(self.rows, tokens.tolist(), strict=True)
            if not row.reason
        ]
        self._go_on(tokens)
        return gains

    def _tokens(self) -> Tensor:
        device = self.logits.device
        temperatures = torch.tensor([row.wish.temperature for row in self.rows], device=device)
        places = [min(len(row.ids), row.wish.max_tokens - 1) for row in self.rows]
        uniforms = torch.stack([row.uniforms[place] for row, place in zip(self.rows, places, strict=True)])
        return next_tokens(self.logits, temperatures, uniforms.to(device))

    def _go_on(self, tokens: Tensor) -> None:
        """Drop rows that have ended, and compute the next logits of the others."""
        active = [number for number, row in enumerate(self.rows) if not row.reason]
        if not active:
            self.rows = []
            return
        if len(active) < COMPACT_BELOW * len(self.rows):
            self.rows = [self.rows[number] for number in active]
            places = torch.tensor(active, device=tokens.device)
            tokens = tokens[places]
            self.decoder.keep(places)
        self.logits = self.decoder.step(tokens)


def end(rows: Sequence[Row]) -> None:
    """Nobody reads these rows any more."""
    for row in rows:
        row.reason = row.reason or STOP
