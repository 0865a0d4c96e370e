"""Attention over a packed row that computes only pairs of tokens of which one sees the other.

A dense mask costs S^2 pairs for a row of S tokens. Here tokens move to two padded blocks: the prompts, each
attending to itself, and the completions, each attending to its prompt and itself; then back. That is P L^2 +
N R (L + R) pairs. A group of one is a prompt as a whole. Same numbers as the dense mask up to rounding.
An accelerator has another way, grpo/engine/groups.py. transformers calls `packed_attention` by name; for a row
that is not packed it is torch's own attention.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from grpo.engine.groups import groups_of
from grpo.engine.packing import Packed
from grpo.engine.private_apis import attention_name
from grpo.engine.products import FP32, Format, format_of, in_format, round_operand

NAME = "packed"
GROUPS = "packed_groups"
PLAIN = "sdpa"  # transformers' name of torch's own attention


class Layout(Protocol):
    """How the tokens of a packed row lie, and an attention over it."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, format: Format
    ) -> Tensor:
        """(heads, S, D), keys and values perhaps of fewer heads -> (heads, S, D)."""
        ...


@dataclass(frozen=True)
class Blocks:
    """Where the S tokens of a row lie in P L + P G R padded places: first the prompts (P, L), then the
    completions (P, G, R).

    slots    (S,) the place of each token
    tokens   (P L + P G R,) the token at each place; padding repeats token 0
    lengths  (P,) tokens of each prompt
    shape    (P, L, G, R); R = 0 when there are only prompts
    """

    slots: Tensor
    tokens: Tensor
    lengths: Tensor
    shape: tuple[int, int, int, int]

    @property
    def pairs(self) -> int:
        """Queries times keys, padding included."""
        prompts, prompt, group, completion = self.shape
        return prompts * prompt**2 + prompts * group * completion * (prompt + completion)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, format: Format
    ) -> Tensor:
        query, key, value = (round_operand(x, format) for x in (query, key, value))
        return attend(query, key, value, self, scale, window, format)

    def forbidden_pairs(self, window: int | None) -> Tensor:
        """(P, 1, R, L + R) bool: places of its prompt and of itself that a token of a completion may not see."""
        _, prompt, _, completion = self.shape
        query = torch.arange(completion, device=self.lengths.device)[:, None]
        key = torch.arange(prompt, device=self.lengths.device)
        ahead = (
            self.lengths[:, None, None] + query - key
        )  # (P, R, L) positions from the prompt's token to the query
        own = (query - query.T).expand(len(self.lengths), -1, -1)
        beyond_prompt = (key >= self.lengths[:, None]).unsqueeze(1).expand_as(ahead)
        forbidden = torch.cat([beyond_prompt, own < 0], dim=-1)
        if window is not None:
            forbidden = forbidden | (torch.cat([ahead, own], dim=-1) >= window)
        return forbidden[:, None]


def blocks_of(packed: Packed) -> Blocks | None:
    """The blocks of a row; None where lengths differ so much that padding would cost more than the dense
    mask.
    """
    group = packed.group_ids[0]
    segment = packed.segment_ids[0]
    position = packed.position_ids[0]
    group_size = int(segment.max())
    leading = (segment == 0) | (group_size <= 1)
    lengths = group[leading].bincount()
    behind = position - lengths[group]
    prompt = int(lengths.max())
    completion = int(behind.max().clamp_min(-1)) + 1
    prompts = len(lengths)
    place = prompts * prompt + (group * group_size + segment - 1) * completion + behind
    slots = torch.where(leading, group * prompt + position, place)
    tokens = slots.new_zeros(prompts * prompt + prompts * group_size * completion)
    tokens[slots] = torch.arange(len(slots), device=slots.device)
    blocks = Blocks(slots, tokens, lengths, (prompts, prompt, group_size, completion))
    return blocks if blocks.pairs <= len(slots) ** 2 else None


def attend_prompts(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
) -> Tensor:
    """(P, heads, L, D) each -> (P, heads, L, D); padding lies behind a prompt, so that causality hides it."""
    length = query.shape[2]
    if window is None or window >= length:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    back = torch.arange(length, device=query.device)[:, None] - torch.arange(length, device=query.device)
    return scaled_dot_product_attention(query, key, value, (back >= 0) & (back < window), scale=scale)


def attend_completions(
    query: Tensor, keys: list[Tensor], values: list[Tensor], hidden: Tensor, scale: float, format: Format
) -> Tensor:
    """Queries (P, heads, G, Q, D), Q = R or several heads of R -> the same; keys and values (P, heads, L, D),
    (P, heads, G, R, D).
    """
    over_prompt = query.flatten(2, 3) @ keys[0].mT
    scores = torch.cat([over_prompt.unflatten(2, query.shape[2:4]), query @ keys[1].mT], dim=-1) * scale
    by_row = scores.unflatten(3, (-1, hidden.shape[-2])).masked_fill(hidden[:, :, None, None], float("-inf"))
    weights = round_operand(by_row.softmax(dim=-1), format).flatten(3, 4)
    at_prompt, at_own = weights.split([keys[0].shape[-2], keys[1].shape[-2]], dim=-1)
    return (at_prompt.flatten(2, 3) @ values[0]).unflatten(2, query.shape[2:4]) + at_own @ values[1]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: Blocks,
    scale: float,
    window: int | None,
    format: Format = FP32,
) -> Tensor:
    """(heads, S, D), keys and values perhaps of fewer heads -> (heads, S, D)."""
    prompts, prompt, group, completion = blocks.shape
    repeats = query.shape[0] // key.shape[0]
    border = prompts * prompt
    parts = [
        part.index_select(1, blocks.tokens).split([border, len(blocks.tokens) - border], dim=1)
        for part in (query, key, value)
    ]
    queries, *shared = (leading.unflatten(1, (prompts, prompt)).transpose(0, 1) for leading, _ in parts)
    key, value = (part[:, :, None].expand(-1, -1, repeats, -1, -1).flatten(1, 2) for part in shared)
    result = attend_prompts(queries, key, value, scale, window).transpose(0, 1).flatten(1, 2)
    if completion:
        queries, *own = (rest.unflatten(1, (prompts, group, completion)) for _, rest in parts)
        folded = queries.unflatten(0, (-1, repeats)).permute(2, 0, 3, 1, 4, 5).flatten(3, 4)
        keys, values = (
            [at_prompt, rest.transpose(0, 1)] for at_prompt, rest in zip(shared, own, strict=True)
        )
        arguments = folded, keys, values, blocks.forbidden_pairs(window), scale, format
        behind = checkpoint(attend_completions, *arguments, use_reentrant=False, preserve_rng_state=False)
        behind = (
            behind.unflatten(3, (repeats, completion)).permute(1, 3, 0, 2, 4, 5).flatten(0, 1).flatten(1, 3)
        )
        result = torch.cat([result, behind], dim=1)
    return result.index_select(1, blocks.slots)


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
    layout: Layout | None = None, **settings: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """What transformers calls: (1, heads, S, D) -> (1, S, heads, D). With a layout the mask is `no_mask`."""
    format = format_of(module)
    if layout is None:
        query, key, value = (round_operand(x, format) for x in (query, key, value))
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)
    if attention_mask is None:
        raise ValueError("a packed row came without its mask")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = window_of(attention_mask)
    return layout.attend(query[0], key[0], value[0], scale, window, format).transpose(0, 1)[None], None


def no_mask(window: int | None) -> Tensor:
    """(1, 1, 0, W) bool, without an element: what goes with a layout, which says who sees whom.

    W is the window of these layers, 0 for none. It keeps transformers from making one; who reads it fails.
    """
    return torch.ones(1, 1, 0, window or 0, dtype=torch.bool)


def window_of(mask: Tensor) -> int | None:
    """The window that a mask of `no_mask` tells."""
    return mask.shape[-1] or None


def use_blocks(model: PreTrainedModel, name: str = NAME) -> None:
    """From now on packed rows of `model` and of its copies run through `packed_attention`: by blocks, or with
    the name GROUPS in one kernel.

    transformers keeps attentions in a table of the whole process, by name; ours is entered here and nowhere
    at import.
    """
    AttentionInterface.register(name, packed_attention)
    AttentionMaskInterface.register(name, sdpa_mask)
    model.set_attn_implementation(name)


def uses_blocks(model: PreTrainedModel) -> bool:
    """Do packed rows of `model` run through `packed_attention`?"""
    return attention_name(model) in (NAME, GROUPS)


@contextmanager
def in_fp32(*models: PreTrainedModel) -> Iterator[None]:
    """Inside, `models` compute in fp32 without TF32, whatever a run trains in; their packed rows run by blocks, because
    the tiles of the one kernel are too large in fp32.
    """
    precision = torch.get_float32_matmul_precision()
    grouped = [model for model in models if attention_name(model) == GROUPS]
    for model in grouped:
        use_blocks(model)
    torch.set_float32_matmul_precision("highest")
    try:
        with in_format(FP32, *models):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for model in grouped:
            use_blocks(model, GROUPS)


def layout_of(model: PreTrainedModel, packed: Packed) -> Layout | None:
    """What the attention of `model` needs to know of a row; None where it takes a dense mask."""
    if attention_name(model) == GROUPS:
        return groups_of(packed)
    return blocks_of(packed) if attention_name(model) == NAME else None
