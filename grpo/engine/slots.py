"""What the captured step reads and writes: tensors made once for a number of prompts, never moved.

A slot takes a prompt and the rows of its group. A smaller step runs on the first slots of the same tensors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from grpo.engine.products import FP32
from grpo.engine.step_weights import Geometry


class Rows(NamedTuple):
    """S slots of G rows with room for T tokens.

    tokens (S, G) the newest ones; num_tokens (S,) of a row that still goes on; length (S,) of the
    prompt; alive (S, G) rows that go on; ids, logps (S, G, T) what was drawn; lengths (S, G) of it; uniforms
    (S, G, T) fp64.
    """

    tokens: Tensor
    num_tokens: Tensor
    length: Tensor
    alive: Tensor
    ids: Tensor
    logps: Tensor
    lengths: Tensor
    uniforms: Tensor

    @classmethod
    def before_the_first_token(cls, length: Tensor, uniforms: Tensor) -> "Rows":
        """Rows behind prompts of `length` (S,) that will draw with `uniforms` (S, G, T)."""
        grid = torch.zeros_like(uniforms[:, :, 0], dtype=torch.int64)
        return cls(
            grid,
            torch.zeros_like(length),
            length,
            torch.ones_like(grid, dtype=torch.bool),
            torch.zeros_like(uniforms, dtype=torch.int64),
            torch.zeros_like(uniforms, dtype=torch.float32),
            grid.clone(),
            uniforms,
        )

    def record(self, tokens: Tensor, logps: Tensor, is_stop: Tensor, limit: Tensor) -> None:
        """Write (S, G) drawn tokens behind those of the rows that go on; `is_stop` (V,) ends a row, as do
        `limit` (1,) tokens.
        """
        column = torch.arange(self.ids.shape[2], device=tokens.device)
        here = (column == self.num_tokens[:, None])[:, None] & self.alive[:, :, None]
        self.ids.copy_(torch.where(here, tokens[:, :, None], self.ids))
        self.logps.copy_(torch.where(here, logps[:, :, None], self.logps))
        self.lengths.add_(self.alive)
        self.num_tokens.add_(1).clamp_(max=self.ids.shape[2])
        self.alive.logical_and_(~is_stop[tokens]).logical_and_((self.num_tokens < limit)[:, None])
        self.tokens.copy_(tokens)


class LayerCache(NamedTuple):
    """Keys and values of one layer: prompts (S, kv, L, D), own tokens of the rows (S, kv, G, T, D)."""

    prompt_keys: Tensor
    prompt_values: Tensor
    tail_keys: Tensor
    tail_values: Tensor


class Slots(NamedTuple):
    """Rows and, per layer, their keys and values."""

    rows: Rows
    caches: list[LayerCache]

    @classmethod
    def empty(
        cls, shape: tuple[int, int, int, int], geometry: Geometry, layers: int, device: torch.device
    ) -> "Slots":
        """Slots of this shape (slots, rows of each, longest prompt, most tokens of a row). Nothing in them goes on."""
        slots, group_size, width, tail = shape
        length = torch.ones(slots, dtype=torch.int64, device=device)
        uniforms = torch.zeros(slots, group_size, tail, dtype=torch.float64, device=device)
        rows = Rows.before_the_first_token(length, uniforms)
        rows.alive.zero_()
        rows.num_tokens.add_(1)  # of an empty slot, too, a token may look at itself
        type_ = storage_type(geometry)
        prompt = (slots, geometry.kv_heads, width, geometry.head_size)
        tails = (slots, geometry.kv_heads, group_size, tail, geometry.head_size)
        caches = [
            LayerCache(
                *(torch.zeros(size, dtype=type_, device=device) for size in (prompt, prompt, tails, tails))
            )
            for _ in range(layers)
        ]
        return cls(rows, caches)

    def part(self, slots: int, width: int) -> "Slots":
        """The first `slots`, with prompts of at most `width` tokens: the same memory."""
        return Slots(
            Rows(*(x[:slots] for x in self.rows)),
            [
                LayerCache(keys[:slots, :, :width], values[:slots, :, :width], *(x[:slots] for x in tails))
                for keys, values, *tails in self.caches
            ],
        )

    def fill(self, slots: Tensor, rows: Rows, prompts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Put new rows and the (K, kv, L, D) keys and values of their prompts into `slots` (K,)."""
        for own, new in zip(self.rows, rows, strict=True):
            own[slots] = new
        for cache, both in zip(self.caches, prompts, strict=True):
            for own, new in zip(cache[:2], both, strict=True):
                own[:, :, : new.shape[2]][slots] = new

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy everything in the slots `source` (K,) to the slots `target`."""
        for x in (*self.rows, *(x for cache in self.caches for x in cache)):
            x[target] = x[source]


def storage_type(geometry: Geometry) -> torch.dtype:
    """What holds all pieces of a key."""
    format = geometry.format
    return format.forward if format.pieces == 1 else FP32.forward


def bytes_of_slot(shape: tuple[int, int, int], geometry: Geometry, layers: int, vocabulary: int) -> int:
    """Memory of a slot of G rows, prompts of L and rows of T tokens, with six passes over the logits."""
    group_size, width, tail = shape
    token = 2 * layers * geometry.kv_heads * geometry.head_size * storage_type(geometry).itemsize
    return token * (width + group_size * tail) + 6 * 4 * group_size * vocabulary
