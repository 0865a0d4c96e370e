"""Keys and values of a rollout: each prompt is run once for its group, each row has a tail. Memory for all
steps is taken once.

`PrefixCache` keeps a prompt once and attends itself. `GroupCache` copies it to every row, because it speaks
the interface that transformers' attention layers expect of a cache, and nothing more of it.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache


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
        """Give every prompt's keys and values to its `group_size` rows, with room for the tails."""
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
    """Keys and values of P prompts, kept once and read by their groups, and of each row's own tail.

    Per layer: (P, kv, L, D) for the prompts, padded behind; (B, kv, T, D) for the tails of the B rows still
    held. Row b belongs to prompt `prompt[b]`, is number `slot[b]` of its group and began when `used` was
    `start[b]`. Tails are rings: token number n of the clock `used` stands in column n modulo T, so rows that
    join later take no more memory, as long as none goes on for more than T.
    """

    def __init__(self, lengths: Tensor, group_size: int, tail: int):
        width = int(lengths.max())
        device = lengths.device
        self.real = torch.arange(width, device=device) < lengths[:, None]
        self.prompt = torch.arange(len(lengths), device=device).repeat_interleave(group_size)
        self.slot = torch.arange(group_size, device=device).repeat(len(lengths))
        self.lengths = lengths[self.prompt]
        self.start = torch.zeros_like(self.prompt)
        self.tail = tail
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
        self.prefixes.append((keys, values))
        shape = (len(self.prompt), keys.shape[1], self.tail, keys.shape[3])
        self.tails.append((keys.new_zeros(shape), values.new_zeros(shape)))

    def append(self) -> None:
        """One more token in every tail."""
        self.used += 1

    def newest(self) -> Tensor:
        """(B,) position of each row's newest token."""
        return self.lengths + self.used - self.start - 1

    def filled(self) -> int:
        """Columns of the tails that have been written."""
        return min(self.used, self.tail)

    def hidden_from_last(self, window: int | None) -> Tensor | None:
        """(B, 1, 1, L + filled) bool: keys that the newest token may not look at; None when it may look at
        all.
        """
        prefix, column = (
            torch.arange(size, device=self.lengths.device) for size in (self.real.shape[1], self.filled())
        )
        age = (self.used - 1 - column) % self.tail
        of_prompt = prefix >= self.lengths[:, None]
        of_tail = age >= (self.used - self.start)[:, None]
        if window is not None:
            of_prompt = of_prompt | (self.newest()[:, None] - prefix >= window)
            of_tail = of_tail | (age >= window)
        hidden = torch.cat([of_prompt, of_tail], dim=1)
        return hidden[:, None, None] if hidden.any() else None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None) -> Tensor:
        """Scaled queries (B, heads, D), new keys and values (B, kv, D) -> (B, heads * D).

        The queries of a group meet their prompt in one product, so that its keys are read once; one softmax
        covers prompt and tail.
        """
        (prompt_keys, prompt_values) = self.prefixes[layer]
        (tail_keys, tail_values) = self.tails[layer]
        newest = (self.used - 1) % self.tail
        filled = self.filled()
        tail_keys[:, :, newest] = key
        tail_values[:, :, newest] = value
        query = query.view(len(query), key.shape[1], -1, key.shape[2])
        with_prompt = self.ungrouped(self.grouped(query) @ prompt_keys.mT, query.shape[2])
        scores = torch.cat([with_prompt, query @ tail_keys[:, :, :filled].mT], dim=-1)
        if hidden is not None:
            scores.masked_fill_(hidden, -torch.inf)
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
        of_prompt, of_tail = weights.split([self.real.shape[1], filled], dim=-1)
        mixed = self.ungrouped(self.grouped(of_prompt) @ prompt_values, query.shape[2])
        return (mixed + of_tail @ tail_values[:, :, :filled]).flatten(1)

    def grouped(self, x: Tensor) -> Tensor:
        """(B, kv, repeats, D) of the rows -> (P, kv, G * repeats, D) of the prompts; zeros for rows that have
        been dropped.
        """
        if len(self.prompt) == len(self.real) * self.group_size:
            grid = x.view(len(self.real), self.group_size, *x.shape[1:])
        else:
            grid = x.new_zeros(len(self.real), self.group_size, *x.shape[1:])
            grid[self.prompt, self.slot] = x
        return grid.transpose(1, 2).flatten(2, 3)

    def ungrouped(self, x: Tensor, repeats: int) -> Tensor:
        """The way back: (P, kv, G * repeats, D) -> (B, kv, repeats, D)."""
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
        """Take in the prompts and rows of `other`, which have no tokens yet, behind what is held."""
        self.prompt = torch.cat([self.prompt, other.prompt + len(self.real)])
        self.slot = torch.cat([self.slot, other.slot])
        self.start = torch.cat([self.start, torch.full_like(other.start, self.used)])
        self.lengths = torch.cat([self.lengths, other.lengths])
        self.group_size = max(self.group_size, other.group_size)
        for mine, new in ((self.prefixes, other.prefixes), (self.tails, other.tails)):
            for layer, ((keys, values), (new_keys, new_values)) in enumerate(zip(mine, new, strict=True)):
                mine[layer] = stacked(keys, new_keys), stacked(values, new_values)
        lengths = torch.cat([self.real.sum(dim=1), other.real.sum(dim=1)])
        self.real = torch.arange(self.prefixes[0][0].shape[2], device=lengths.device) < lengths[:, None]


def stacked(upper: Tensor, lower: Tensor) -> Tensor:
    """(P, heads, L, D) on top of (Q, heads, M, D) -> (P + Q, heads, max(L, M), D), zeros behind the shorter
    ones.
    """
    both = upper.new_zeros(
        len(upper) + len(lower), upper.shape[1], max(upper.shape[2], lower.shape[2]), upper.shape[3]
    )
    both[: len(upper), :, : upper.shape[2]] = upper
    both[len(upper) :, :, : lower.shape[2]] = lower
    return both
