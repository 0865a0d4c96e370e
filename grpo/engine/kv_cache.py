"""Keys and values of a rollout: each prompt runs once for its group, each row has a tail. Memory for all steps
is taken once.

`PrefixCache` stores a prompt once and computes the attention itself. `GroupCache` copies it to every row,
because it has the interface that transformers' attention layers expect of a cache, and nothing more of it.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from grpo.engine.products import FP32, Format, multiply


class GroupCache(Cache):
    """Keys and values per layer: (P, heads, L, D) while the prompts run, (N, heads, L + tail, D)
    afterwards.
    """

    def __init__(self, tail: int):
        super().__init__(layers=list(DynamicCache().layers))
        self.tail = tail
        self.used = 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store this step's keys and values of one layer and return all of that layer's."""
        if layer_idx == len(self.keys):
            self.keys.append(key_states)
            self.values.append(value_states)
            return key_states, value_states
        end = self.used + key_states.shape[2]
        self.keys[layer_idx][:, :, self.used : end] = key_states
        self.values[layer_idx][:, :, self.used : end] = value_states
        return self.keys[layer_idx][:, :, :end], self.values[layer_idx][:, :, :end]

    def expand(self, group_size: int) -> None:
        """Copy every prompt's keys and values to its `group_size` rows, with room for the tails."""
        self.used = self.keys[0].shape[2]
        self.keys = [self._with_tail(prompt, group_size) for prompt in self.keys]
        self.values = [self._with_tail(prompt, group_size) for prompt in self.values]

    def _with_tail(self, prompt: Tensor, group_size: int) -> Tensor:
        prompts, heads, length, size = prompt.shape
        rows = prompt.new_zeros(prompts, group_size, heads, length + self.tail, size)
        rows[:, :, :, :length] = prompt[:, None]
        return rows.flatten(0, 1)

    def advance(self, tokens: int = 1) -> None:
        """Make the tokens written last part of the past."""
        self.used += tokens

    def keep(self, rows: Tensor) -> None:
        """Drop every row that is not in `rows`."""
        self.keys = [tensor.index_select(0, rows) for tensor in self.keys]
        self.values = [tensor.index_select(0, rows) for tensor in self.values]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.used

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.used + query_length, 0


class PrefixCache:
    """Keys and values of P prompts, stored once and read by their groups, and of each row's own tail.

    Per layer: (P, kv, L, D) for the prompts, padded behind; (B, kv, T, D) for the tails of the B rows still
    active. Row b belongs to prompt `prompt[b]`, is number `slot[b]` of its group and began when the position
    counter `used` was `start[b]`. A tail is a ring buffer: the token that was number n of the counter stands
    in column n modulo T, so rows that join later take no more memory, as long as none goes on for more than T.
    """

    def __init__(self, lengths: Tensor, group_size: int, tail: int, format: Format = FP32):
        width = int(lengths.max())
        device = lengths.device
        self.real = torch.arange(width, device=device) < lengths[:, None]
        self.prompt = torch.arange(len(lengths), device=device).repeat_interleave(group_size)
        self.slot = torch.arange(group_size, device=device).repeat(len(lengths))
        self.lengths = lengths[self.prompt]
        self.start = torch.zeros_like(self.prompt)
        self.tail = tail
        self.format = format
        self.used = 0
        self.group_size = group_size
        self.prefixes: list[tuple[Tensor, Tensor]] = []
        self.tails: list[tuple[Tensor, Tensor]] = []

    def grid(self, x: Tensor) -> Tensor:
        """(S, heads, D) of all prompts' tokens in a row -> (P, heads, L, D), zeros in the padding."""
        grid = x.new_zeros(*self.real.shape, *x.shape[1:])
        grid[self.real] = x
        return grid.transpose(1, 2)

    def store(self, keys: Tensor, values: Tensor) -> None:
        """The prompts' keys and values of the next layer, (P, kv, L, D) each."""
        keys, values = (self.format.store(x) for x in (keys, values))
        self.prefixes.append((keys, values))
        shape = (len(self.prompt), keys.shape[1], self.tail, keys.shape[3])
        self.tails.append((keys.new_zeros(shape), values.new_zeros(shape)))

    def append(self) -> None:
        """One more token in every tail."""
        self.used += 1

    def newest_position(self) -> Tensor:
        """(B,) position of each row's newest token."""
        return self.lengths + self.used - self.start - 1

    def tail_length(self) -> int:
        """Columns of the tails that hold a token."""
        return min(self.used, self.tail)

    def hidden_mask(self, window: int | None) -> Tensor | None:
        """(B, 1, 1, L + tail length) bool: keys that the newest token may not look at; None when it may look at
        all.
        """
        prefix, column = (
            torch.arange(size, device=self.lengths.device)
            for size in (self.real.shape[1], self.tail_length())
        )
        age = (self.used - 1 - column) % self.tail
        of_prompt = prefix >= self.lengths[:, None]
        of_tail = age >= (self.used - self.start)[:, None]
        if window is not None:
            of_prompt = of_prompt | (self.newest_position()[:, None] - prefix >= window)
            of_tail = of_tail | (age >= window)
        hidden = torch.cat([of_prompt, of_tail], dim=1)
        return hidden[:, None, None] if hidden.any() else None

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None, scale: float
    ) -> Tensor:
        """Queries (B, heads, D), new keys and values (B, kv, D) -> (B, heads * D).

        The queries of a group meet their prompt in one product, so that its keys are read once; one softmax
        covers prompt and tail.
        """
        (prompt_keys, prompt_values) = self.prefixes[layer]
        (tail_keys, tail_values) = self.tails[layer]
        column = (self.used - 1) % self.tail
        length = self.tail_length()
        query, key, value = (self.format.store(x) for x in (query, key, value))
        tail_keys[:, :, column] = key
        tail_values[:, :, column] = value
        query = query.view(len(query), key.shape[1], -1, key.shape[2])
        with_prompt = self.by_row(multiply(self.by_prompt(query), prompt_keys.mT), query.shape[2])
        scores = torch.cat([with_prompt, multiply(query, tail_keys[:, :, :length].mT)], dim=-1).mul_(scale)
        if hidden is not None:
            scores.masked_fill_(hidden, -torch.inf)
        weights = self.format.store(scores.softmax(dim=-1))
        prompt_weights, tail_weights = weights.split([self.real.shape[1], length], dim=-1)
        of_prefix = self.by_row(multiply(self.by_prompt(prompt_weights), prompt_values), query.shape[2])
        return (of_prefix + multiply(tail_weights, tail_values[:, :, :length])).flatten(1)

    def by_prompt(self, x: Tensor) -> Tensor:
        """(B, kv, repeats, D) of the rows -> (P, kv, G * repeats, D) of the prompts; zeros for rows that have
        been dropped.
        """
        if len(self.prompt) == len(self.real) * self.group_size:
            grid = x.view(len(self.real), self.group_size, *x.shape[1:])
        else:
            grid = x.new_zeros(len(self.real), self.group_size, *x.shape[1:])
            grid[self.prompt, self.slot] = x
        return grid.transpose(1, 2).flatten(2, 3)

    def by_row(self, x: Tensor, repeats: int) -> Tensor:
        """(P, kv, G * repeats, D) of the prompts -> (B, kv, repeats, D) of the rows."""
        grid = x.unflatten(2, (self.group_size, repeats)).transpose(1, 2)
        return (
            grid[self.prompt, self.slot]
            if len(self.prompt) < len(self.real) * self.group_size
            else grid.flatten(0, 1)
        )

    def keep(self, rows: Tensor) -> None:
        """Drop every row that is not in `rows`, the prompts that no row follows any more, and the slots that
        none is in.
        """
        self.lengths = self.lengths[rows]
        self.start = self.start[rows]
        prompt = self.prompt[rows]
        left, self.prompt, counts = prompt.unique(return_inverse=True, return_counts=True)
        starts = counts.cumsum(0) - counts
        self.slot = torch.arange(len(rows), device=rows.device) - starts[self.prompt]
        width = int(self.lengths.max())
        if len(left) < len(self.real) or width < self.real.shape[1]:
            self.real = self.real[left, :width]
            self.prefixes = [
                (keys[left, :, :width], values[left, :, :width]) for keys, values in self.prefixes
            ]
        self.group_size = int(counts.max())
        self.tails = [(keys[rows], values[rows]) for keys, values in self.tails]

    def join(self, other: "PrefixCache") -> None:
        """Take in the prompts and rows of `other`, which have no tokens yet, behind the active ones."""
        self.prompt = torch.cat([self.prompt, other.prompt + len(self.real)])
        self.slot = torch.cat([self.slot, other.slot])
        self.start = torch.cat([self.start, torch.full_like(other.start, self.used)])
        self.lengths = torch.cat([self.lengths, other.lengths])
        self.group_size = max(self.group_size, other.group_size)
        for own, new in ((self.prefixes, other.prefixes), (self.tails, other.tails)):
            for layer, ((keys, values), (new_keys, new_values)) in enumerate(zip(own, new, strict=True)):
                own[layer] = stack_padded(keys, new_keys), stack_padded(values, new_values)
        lengths = torch.cat([self.real.sum(dim=1), other.real.sum(dim=1)])
        self.real = torch.arange(self.prefixes[0][0].shape[2], device=lengths.device) < lengths[:, None]


def stack_padded(upper: Tensor, lower: Tensor) -> Tensor:
    """(P, heads, L, D) on top of (Q, heads, M, D) -> (P + Q, heads, max(L, M), D), zeros behind the shorter
    ones.
    """
    both = upper.new_zeros(
        len(upper) + len(lower), upper.shape[1], max(upper.shape[2], lower.shape[2]), upper.shape[3]
    )
    both[: len(upper), :, : upper.shape[2]] = upper
    both[len(upper) :, :, : lower.shape[2]] = lower
    return both
