"""Packed rows with ragged groups, and what a model makes of one, for tests of attention."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.groups import TILE
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import Packed, pack


def tokens(lengths: tuple[int, ...], seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 259, (length,), generator=generator).tolist() for length in lengths]


def packed_of(prompts: tuple[int, ...], completions: tuple[int, ...]) -> Packed:
    return pack(tokens(prompts, 1), tokens(completions, 2), len(completions) // len(prompts))


LAYOUTS = {  # lengths of prompts, of completions; Gemma's window is 8
    "ragged, some empty, beyond the window": ((5, 19, 12), (0, 1, 2, 9, 4, 4, 7, 0, 5)),
    "long completions": ((30, 28), (11, 12, 3, 9, 20, 12, 12, 1)),
    "one prompt": ((4,), (9, 9, 9, 9, 9, 9)),
    "groups of one": ((9, 3, 11, 7), (4, 5, 0, 9)),
    "nothing fed behind the prompts": ((6, 7), (1, 1, 1, 0)),
}


def logps_and_gradients(model: PreTrainedModel, packed: Packed) -> Iterator[Tensor]:
    logps = completion_logps(model, packed).logps
    yield logps.detach()
    weights = torch.arange(logps.numel()).view_as(logps).sin()
    yield from torch.autograd.grad((logps * weights).sum(), list(model.parameters()))


def dense_kernel(
    query: Tensor, key: Tensor, value: Tensor, *, block_mask: Any, scale: float, **_: Any
) -> Tensor:
    """flex_attention without its kernel: the table and the function of pairs as one mask; 16-bit operands."""
    place = torch.arange(query.shape[2])
    table = block_mask.to_dense()[0, 0].bool().repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)
    shown = block_mask.mask_mod(0, 0, place[:, None], place) & table
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    scores = (query.float() @ key.float().mT * scale).masked_fill(~shown, float("-inf"))
    weights = scores.softmax(dim=-1).nan_to_num().to(value.dtype)
    return (weights.float() @ value.float()).to(value.dtype)
