"""How tokens are drawn from logits: inverse CDF, with uniforms that are addressed by row and token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 256  # vocabulary entries whose probabilities are added up before the fp64 cumulative sum


@dataclass(frozen=True)
class Sampling:
    """How to decode. temperature 0 is greedy, and log-probabilities are then those of temperature 1.

    `fast`: by the forward pass of grpo/engine/decode_step.py where it knows the model, else always by the
    model's own. `parts`: how many parts of the prompts are decoded one after the other, to save memory.
    """

    group_size: int
    max_new_tokens: int
    temperature: float
    stop_ids: tuple[int, ...]
    fast: bool = True
    parts: int = 1


def draw(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling, (B, V) logits and (B,) uniforms in [0, 1) -> (B,) token ids and their
    log-probabilities.

    Probabilities are added up in blocks, then the cumulative sum runs in fp64 over blocks and inside the
    block hit: no sort, and no long fp32 cumulative sum whose rounding would favour some tokens.
    """
    rows, vocabulary = logits.shape
    peak = logits.amax(dim=1, keepdim=True)
    weights = torch.nn.functional.pad((logits - peak).exp_(), (0, -vocabulary % BLOCK)).view(rows, -1, BLOCK)
    sums = weights.sum(dim=2).double()
    ends = sums.cumsum(dim=1)
    goal = uniforms.to(logits.device)[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, goal, right=True).clamp_max(ends.shape[1] - 1)
    inside = weights.gather(1, block[:, :, None].expand(-1, 1, BLOCK))[:, 0].double()
    place = torch.searchsorted(inside.cumsum(dim=1), goal - (ends - sums).gather(1, block), right=True)
    last_possible = BLOCK - 1 - (inside.flip(1) > 0).int().argmax(dim=1, keepdim=True)
    tokens = block * BLOCK + torch.minimum(place, last_possible)
    return tokens[:, 0], (logits.gather(1, tokens) - peak - ends[:, -1:].log().float())[:, 0]


def pick(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Next tokens and log-probabilities at `temperature`; the arg-max when it is 0."""
    if temperature > 0:
        return draw(logits / temperature, uniforms)
    tokens = logits.argmax(dim=1)
    return tokens, logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)


def uniforms_for(seed: tuple[int, ...], rows: Sequence[int], tokens: int) -> Tensor:
    """(N, tokens) fp64 uniforms for the N `rows` of these numbers; each comes from a generator of its own, seeded by
    (*seed, number).
    """
    return torch.from_numpy(np.stack([np.random.default_rng((*seed, row)).random(tokens) for row in rows]))
