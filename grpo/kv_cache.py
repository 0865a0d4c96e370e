"""Keys and values of a rollout: prompts written once, then copied to the rows of their group, each with a tail.

Memory for all steps is taken once; finished rows are dropped by `keep`. It speaks the interface that transformers'
attention layers expect of a cache, and nothing more of it.
"""

from typing import Any

from torch import Tensor
from transformers import Cache, DynamicCache


class GroupCache(Cache):
    """Keys and values per layer: (P, heads, L, D) while the prompts run, (N, heads, L + tail, D) afterwards."""

    def __init__(self, tail: int):
        super().__init__(layers=list(DynamicCache().layers))
        self.tail = tail
        self.used = 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
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
