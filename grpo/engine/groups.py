"""Attention over the groups of a packed row in one fused kernel: torch's flex_attention, for an accelerator.

The kernel works on tiles of TILE x TILE pairs. A table says which tiles have a pair that may look at each other,
and which have no others; inside the rest a function of the pair decides. Both are made once for a row and a
window, on the device, from the row's structure and without any S x S mask. Nothing here waits for the device.

Queries, keys, values and the result have 16 bits. So has the gradient, which in fp16 may be too small for it:
`_Narrow` and `_Widen` bring it near 1 by a power of two and divide afterwards.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from grpo.engine.packing import Packed
from grpo.engine.private_apis import compiled_for_shapes
from grpo.engine.products import Format

if TYPE_CHECKING:  # importing it takes seconds, and a CPU does not need it
    from torch.nn.attention.flex_attention import BlockMask

TILE = 128
SEGMENTS = 1 << 15  # more than a group has completions
PADDING = (1 << 16) - 1  # number of the group behind all others
SMALL_TILES = {  # for heads of more than 128 numbers: larger tiles do not fit into the memory of a processor
    "BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_M1": 32, "BLOCK_N1": 32, "BLOCK_M2": 32, "BLOCK_N2": 32,
}  # fmt: skip
SMALLEST = 1e-30  # of a gradient's largest number, so that the power of two stays finite


def padded_length(count: int) -> int:
    """Tokens -> places in the kernel: few lengths, because each is compiled for itself.

    >>> [padded_length(count) for count in (1, 129, 300, 390, 513, 1600)]
    [128, 256, 384, 512, 768, 2048]
    """
    power = max(TILE, 1 << (count - 1).bit_length())
    less = power * 3 // 4
    return less if less >= count and less % TILE == 0 else power


@dataclass(frozen=True)
class Groups:
    """Who may look at whom in a row of S tokens, padded to S' places.

    group, segment, position  (S',) int32; a token's own prompt or completion is (group, segment), segment 0 is the prompt
    length                    S
    masks                     those made so far, by window
    """

    group: Tensor
    segment: Tensor
    position: Tensor
    length: int
    masks: "dict[int | None, BlockMask]" = field(default_factory=dict)

    def mask(self, window: int | None) -> "BlockMask":
        """The table and the function of pairs for layers with this window; the same for all of them."""
        if window not in self.masks:
            self.masks[window] = mask_of(self, window)
        return self.masks[window]

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, format: Format
    ) -> Tensor:
        """(heads, S, D), keys and values perhaps of fewer heads -> (heads, S, D)."""
        power = PowerOfTwo()
        size = len(self.group)
        parts = _Narrow.apply(size, format, power, query, key, value)
        result = kernel(query.device.type)(
            *(part[None] for part in parts),
            block_mask=self.mask(window),
            scale=scale,
            enable_gqa=query.shape[0] != key.shape[0],
            kernel_options=SMALL_TILES if query.shape[-1] > TILE else None,
        )
        attended: Tensor = _Widen.apply(result[0], self.length, query.dtype, power)
        return attended


def groups_of(packed: Packed) -> Groups:
    """The groups of a packed row."""
    length = packed.input_ids.shape[1]
    behind = padded_length(length) - length
    group, segment, position = (
        pad(ids[0].int(), (0, behind), value=filler)
        for ids, filler in ((packed.group_ids, PADDING), (packed.segment_ids, 0), (packed.position_ids, 0))
    )
    return Groups(group, segment, position, length)


def sees(groups: Groups, window: int | None) -> Callable[[Any, Any, Any, Any], Any]:
    """May a query look at a key, by their places in the row? One function for all windows, so that it is
    compiled once.
    """
    prompt = groups.group * SEGMENTS
    own = prompt + groups.segment
    position = groups.position
    earliest = torch.zeros_like(position) if window is None else position - window + 1

    def may_look(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
        near = (own[key] == own[query]) | (own[key] == prompt[query])
        return near & (position[key] <= position[query]) & (position[key] >= earliest[query])

    return may_look


def tiles_of(groups: Groups, window: int | None) -> tuple[Tensor, Tensor]:
    """(B, B) bool each, queries down, keys across: tiles that may have a pair that sees each other; tiles that
    have no other pairs.

    Groups and segments follow each other in the row, so the first and the last of a tile say which ones it has.
    """
    group, segment, position = (ids.view(-1, TILE) for ids in (groups.group, groups.segment, groups.position))
    own = group * SEGMENTS + segment
    first = group[:, 0, None]  # (B, 1), of the queries
    last = group[:, -1, None]
    of_prompt = segment == 0
    first_prompt = torch.where(of_prompt, group, PADDING + 1).amin(dim=1)  # (B,), of the keys
    last_prompt = torch.where(of_prompt, group, -1).amax(dim=1)
    lowest = position.amin(dim=1)
    highest = position.amax(dim=1)
    number = torch.arange(len(group), device=group.device)
    before = (number < number[:, None]) & (first < PADDING)
    at_prompt = (first_prompt <= last) & (last_prompt >= first)
    at_own = own[:, -1] == own[:, 0, None]
    some = before & (at_prompt | at_own)
    full = before & (first == last) & of_prompt.all(dim=1) & (group[:, 0] == first) & (group[:, -1] == first)
    if window is not None:
        some &= lowest[:, None] - highest < window
        full &= highest[:, None] - lowest < window
    return some | (number == number[:, None]), full


def tile_lists(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) bool -> (1, 1, B) how many tiles each row of queries has, (1, 1, B, B) these first; int32."""
    order = tiles.int().argsort(dim=-1, descending=True, stable=True)
    return tiles.sum(dim=-1, dtype=torch.int32)[None, None], order.int()[None, None].contiguous()


def mask_of(groups: Groups, window: int | None) -> "BlockMask":
    """What flex_attention takes."""
    from torch.nn.attention.flex_attention import BlockMask

    some, full = tiles_of(groups, window)
    size = len(groups.group)
    return BlockMask.from_kv_blocks(
        *tile_lists(some & ~full), *tile_lists(full), BLOCK_SIZE=TILE, mask_mod=sees(groups, window), seq_lengths=(size, size),
    )  # fmt: skip


@functools.cache
def kernel(device: str) -> Callable[..., Any]:
    """flex_attention, compiled but on a CPU, which has no compiled way back."""
    from torch.nn.attention.flex_attention import flex_attention

    plain: Any = flex_attention
    return plain if device == "cpu" else compiled_for_shapes(plain)


class PowerOfTwo:
    """What the gradient of one attention is multiplied by while it has 16 bits; chosen on the device."""

    value: Tensor  # (1,), so that it widens a product with 16 bits

    def choose(self, grad: Tensor) -> None:
        """So that the largest number lies in [1, 2)."""
        largest = grad.abs().amax().clamp_min(SMALLEST)
        self.value = torch.exp2(-largest.log2().floor())[None]


class _Narrow(torch.autograd.Function):
    """Queries, keys and values (heads, S, D) -> the same (heads, S', D) of 16 bits, zeros behind; their gradients come
    back with their own size.
    """

    @staticmethod
    def forward(ctx: Any, size: int, format: Format, power: PowerOfTwo, *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.length = parts[0].shape[1]
        ctx.power = power
        heads = [len(part) for part in parts]
        is_narrow = format.forward.itemsize == 2
        dtype = format.forward if is_narrow else parts[0].dtype
        room = parts[0].new_zeros(sum(heads), size, parts[0].shape[2], dtype=dtype)
        places = room.split(heads)
        for part, place in zip(parts, places, strict=True):
            place[:, : ctx.length] = format.cut(part) if is_narrow else part
        return places

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *(grad[:, : ctx.length] / ctx.power.value for grad in grads)


class _Widen(torch.autograd.Function):
    """(heads, S', D) -> (heads, S, D) of the type given; the gradient goes back near 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, length: int, dtype: torch.dtype, power: PowerOfTwo) -> Tensor:
        ctx.size = x.shape[1]
        ctx.power = power
        ctx.dtype = x.dtype
        return x[:, :length].to(dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        ctx.power.choose(grad)
        heads, length, width = grad.shape
        room = grad.new_zeros(heads, ctx.size, width, dtype=ctx.dtype)
        torch.mul(grad, ctx.power.value, out=room[:, :length])
        return room, None, None, None
